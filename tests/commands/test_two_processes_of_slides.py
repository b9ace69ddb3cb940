"""Two real processes that share a folder of slides write what one does."""

from pathlib import Path

import pytest

from tests.oracle import paint
from tests.processes import codes, start
from tests.slides.make import pages_pyramid

pytestmark = pytest.mark.slow

PREDICT = """
import sys
from ml_collections import ConfigDict
from tests.oracle import oracle
from wbcjax import cli
from wbcjax.predict import detector
from wbcjax.runs import folder
from wbcjax.system import heap, runtime

config = ConfigDict({"dataset": {"class_attribute": "cell"}, "evaluate": {"score_threshold": 0.5}})
heap.tune_malloc = runtime.use_compilation_cache = lambda: None
folder.load_config = lambda *_: config
detector.load = lambda *_, **__: oracle((64, 96), (1.0, 1.0))
cli.main(["predict", *sys.argv[1:]])
"""
CELLS = {
    "a.tif": {(10, 10, 30, 40): 2, (90, 50, 120, 80): 1},
    "b.tif": {(200, 100, 230, 130): 3},
    "c.tif": {(40, 40, 60, 60): 1, (150, 20, 170, 44): 1, (90, 100, 110, 130): 2},
}


def files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_two_processes_write_the_files_that_one_writes(tmp_path):
    slides = tmp_path / "slides"
    slides.mkdir()
    for name, cells in CELLS.items():
        pages_pyramid(slides / name, [paint(150, 260, cells)])
    started = {}
    for name, processes in (("one", 1), ("two", 2)):
        arguments = [str(slides), str(slides), "--slide", f"--out={tmp_path / name}"]
        started[name] = start(PREDICT, arguments, processes=processes, devices=1, log=tmp_path / f"{name}.log")
    ended = {name: codes(processes) for name, processes in started.items()}
    said = {path.name: path.read_text() for path in sorted(tmp_path.glob("*.log.*"))}
    assert ended == {"one": [0], "two": [0, 0]}, said
    assert files(tmp_path / "two") == files(tmp_path / "one")
    assert {"a", "b", "c", "counts.csv"} <= {path.name for path in (tmp_path / "two").iterdir()}
    for name, cells in CELLS.items():
        table = (tmp_path / "two" / Path(name).stem / "cells.csv").read_text()
        assert len(table.splitlines()) == 1 + len(cells)
    assert "Shares of 6 cells" in said["two.log.0"], "the first process tells what all have found"
    assert "Shares of" not in said["two.log.1"]
