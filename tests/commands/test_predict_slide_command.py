"""`wbcjax predict` on a slide, from the command line: a network that finds rectangles, and what the terminal says."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from ml_collections import ConfigDict

from tests.oracle import CLASSES, oracle, paint
from tests.slides.make import pages_pyramid
from wbcjax import cli
from wbcjax.input.cell_sizes import CellSides
from wbcjax.predict import detector
from wbcjax.predict.slide_grid import grid_of
from wbcjax.slides.annotated import cut_fields
from wbcjax.slides.open import open_slide
from wbcjax.smear.read import read
from wbcjax.system import heap, runtime

CELLS = {(10, 10, 30, 40): 2, (90, 50, 120, 80): 1, (200, 100, 230, 130): 3}  # the second is on a seam of four tiles
MODEL = oracle((64, 96), (1.0, 1.0))


@pytest.fixture
def slide(tmp_path, monkeypatch) -> Path:
    config = ConfigDict({"dataset": {"class_attribute": "cell"}, "evaluate": {"score_threshold": 0.5}})
    monkeypatch.setattr(heap, "tune_malloc", lambda: None)
    monkeypatch.setattr(runtime, "use_compilation_cache", lambda: None)
    monkeypatch.setattr("wbcjax.runs.folder.load_config", lambda workdir, trusted: config)
    monkeypatch.setattr(detector, "load", lambda workdir, which, trust_parts: MODEL)
    (tmp_path / "slides").mkdir()
    return pages_pyramid(tmp_path / "slides" / "a.tif", [paint(150, 260, CELLS)])


def predict(slide: Path, *options: str) -> Path:
    out = slide.parent.parent / "out"
    cli.main(["predict", str(slide.parent), str(slide), f"--out={out}", *options])
    return out


def test_the_network_finds_every_cell_whole_and_the_terminal_counts_them(slide, capsys):
    out = predict(slide, "--slide", "--pixel-size=0.5")
    rows = list(csv.DictReader((out / "a" / "cells.csv").read_text(encoding="utf-8").splitlines()))
    boxes = {tuple(float(row[side]) for side in ("x1", "y1", "x2", "y2")): row for row in rows}
    assert {box: CLASSES.index(row["class"]) + 1 for box, row in boxes.items()} == CELLS
    for (x1, y1, x2, y2), row in boxes.items():
        assert float(row["area"]) == (x2 - x1) * (y2 - y1)
        assert float(row["area_um2"]) == float(row["area"]) / 4
    told = capsys.readouterr().out
    assert "a.tif: 3 cells at scale 1 in " in told
    assert " empty" in told
    assert "Shares of 3 cells" in told


def test_a_damaged_tile_ends_the_command_with_exit_code_1(slide, capsys):
    with tifffile.TiffFile(slide) as tiff:
        page: Any = tiff.pages[0]
        start, length = page.dataoffsets[0], page.databytecounts[0]
    with slide.open("r+b") as file:
        file.seek(start)
        file.write(bytes(length))
    with pytest.raises(SystemExit, match=r"1 image could not be searched whole:\n.*a\.tif: 4 of 12 tiles") as ended:
        predict(slide, "--slide")
    assert isinstance(ended.value.code, str), "which Python turns into 1"
    told = capsys.readouterr().out
    assert "a.tif: 2 cells at scale 1 in " in told
    assert " 4 unreadable" in told


@pytest.mark.parametrize(("scale", "told"), [(1.0, "2.0 x larger than in training; try --scale 0.5"), (0.5, "")])
def test_cells_larger_than_in_training_are_told_with_a_scale(slide, capsys, monkeypatch, scale, told):
    """Cells 20 pixels wide; the training's were 10 on the canvas."""
    monkeypatch.setattr(MODEL, "cell_sides", CellSides(8.0, 10.0, 13.0))
    monkeypatch.setattr(MODEL, "scales", (scale, scale))
    cells = {(x, y, x + 20, y + 20): 1 for x in range(8, 240, 60) for y in (8, 60, 112)}
    pages_pyramid(slide, [paint(150, 260, cells)])
    predict(slide, "--slide")
    said = capsys.readouterr().out
    assert f"{len(cells)} cells at scale {scale:g}" in said
    assert ("cells look" in said) == bool(told)
    assert told in " ".join(said.split())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--slide", "--classifier=b0"), "--classifier names cells of images"),
        (("--all-tiles",), "--all-tiles is for slides; add --slide"),
    ],
)
def test_options_that_do_not_go_together_are_refused(slide, options, told):
    with pytest.raises(SystemExit, match=told):
        predict(slide, *options)


def test_a_run_without_a_scale_asks_for_one(slide, monkeypatch):
    monkeypatch.setattr(detector, "load", lambda workdir, which, trust_parts: oracle((64, 96)))
    with pytest.raises(SystemExit, match="give --scale to search a slide"):
        predict(slide, "--slide")


@pytest.mark.parametrize(("slides_own", "expected"), [(0.25, 0.5), (0.5, 1.0), (0.0, 1.0)])
def test_a_slide_is_shown_at_the_physical_scale_of_the_training(slide, monkeypatch, slides_own, expected):
    monkeypatch.setattr(MODEL, "pixel_size", 0.5)
    with open_slide(slide) as opened:
        grid = grid_of(opened, MODEL, slides_own)
    assert grid.scale * grid.drawn == expected
    assert grid.tile == (64 / expected, 96 / expected)


def test_what_was_found_trains_when_a_region_is_drawn_around_it(slide, tmp_path):
    """QuPath's way round: the GeoJSON that comes out, with a region, is a set in slide coordinates."""
    out = predict(slide, "--slide")
    data = json.loads((out / "a" / "geojson" / "a.geojson").read_text(encoding="utf-8"))
    square = {"type": "Polygon", "coordinates": [[[0, 0], [250, 0], [250, 150], [0, 150], [0, 0]]]}
    region = {"type": "Feature", "geometry": square, "properties": {"classification": {"name": "Region*"}}}
    (tmp_path / "a.geojson").write_text(json.dumps({**data, "features": [*data["features"], region]}), encoding="utf-8")
    found = read(tmp_path / "a.geojson", slide.parent, file_format=lambda reading: cut_fields(reading, 150))
    first = found.fields[0]
    assert (first.name, len(first.cells)) == ("a.tif@0,0", 2)
    masks = {found.classes[cell.label - 1]: cell.mask(150, 150) for cell in first.cells}
    for (x1, y1, x2, y2), label in list(CELLS.items())[:2]:
        drawn = np.zeros((150, 150), np.uint8)
        drawn[y1:y2, x1:x2] = 1
        mask = masks[CLASSES[label - 1]]
        assert (mask & drawn).sum() / (mask | drawn).sum() > 0.97
