"""A test that `make test` leaves out must be run by something else."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_marker_left_out_is_run_by_continuous_integration():
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    left_out = re.findall(r"not (\w+)", options["addopts"])
    assert left_out == [marker.partition(":")[0] for marker in options["markers"]]
    runs = (ROOT / ".ci/run").read_text() + "".join(p.read_text() for p in (ROOT / ".github/workflows").glob("*.yml"))
    makefile = (ROOT / "Makefile").read_text()
    for marker in left_out:
        (target,) = re.findall(rf"^([\w-]+):[^\n]*\n\t[^\n]*-m {marker} ", makefile, re.MULTILINE)
        assert re.search(rf"\bmake {target}$", runs, re.MULTILINE), f"nothing runs `make {target}`"
