"""The wheel alone, in an empty folder outside of the checkout: every command of the quickstart works."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.input.sets import write_via_set

ROOT = Path(__file__).parents[1]
TINY = (
    *("--config.dataset.synthetic.count=4", "--config.dataset.canvas=(64, 64)", "--config.dataset.synthetic.height=64"),
    *("--config.dataset.synthetic.width=64", "--config.dataset.synthetic.pixels_per_micron=2.0"),
    *("--config.dataset.synthetic.cells=(1,2)", "--config.model.backbone.width=8", "--config.model.fpn.channels=16"),
    *("--config.model.rpn.channels=16", "--config.model.box_head.channels=16", "--config.model.mask_head.channels=16"),
    *("--config.train.epochs=0.0", "--config.train.steps=2", "--config.train.batch_size=1"),
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder with the wheel, unpacked as pip does it, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT], check=True, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True, cwd=folder)
    return folder / "site"


@pytest.fixture(scope="module")
def run(site, tmp_path_factory):
    """Run a command line of `wbcjax` in the empty folder; what it printed."""
    folder = tmp_path_factory.mktemp("empty")
    flags = os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")

    def run(*arguments: str) -> str:
        code = (
            f"import sys, wbcjax; assert wbcjax.__file__.startswith({str(site)!r}); from wbcjax.cli import main; main()"
        )
        said = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(site), "XLA_FLAGS": flags},
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert said.returncode == 0, said.stderr
        return said.stdout

    run.folder = folder  # pyright: ignore[reportFunctionMemberAccess]
    return run


def test_the_quickstart_works_from_the_wheel_alone(run):
    folder: Path = run.folder
    write_via_set(folder / "data", cells=[2, 1, 2, 1])
    assert run("--version").startswith("wbcjax ")
    assert "segpc_mask_rcnn" in run("config")
    assert "wbcjax train" in run("inspect", "data/via.json", "data/images", "--write", "mine.py")
    assert "4 images" in run("predict", "starter", "data/images", "--out", "before")
    run("config", "smear_demo", *TINY, "--write", "drawn.py")
    run("train", "--config", "drawn.py", "--workdir", "runs/drawn")
    assert "mask AP" in run("evaluate", "--workdir", "runs/drawn").replace("\n", " ")
    assert "4 images" in run("predict", "runs/drawn", "data/images", "--out", "found")
    assert (folder / "runs/drawn/report.html").is_file()
    assert len(list((folder / "found/outlines").iterdir())) == 4
