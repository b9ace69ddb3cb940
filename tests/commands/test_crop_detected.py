"""`wbcjax crop --run`: a detector's cells, misses and false alarms as crops, split as the detector's training was."""

import dataclasses
import json
from collections import Counter
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from tests.commands.test_crop_folder import crop, make_set, refusal, table
from tests.evaluate.make import detected
from wbcjax.commands.crop import detected as detected_module
from wbcjax.commands.crop.detected import Detectors, detected_crops
from wbcjax.input.crop_contents import crop_sides
from wbcjax.input.digest import pixels_digest
from wbcjax.input.settings import CropSetSettings
from wbcjax.input.split import SplitSettings
from wbcjax.predict.search import Search
from wbcjax.runs.data_note import NOTE
from wbcjax.smear.crops import FALSE_ALARM, FOUND
from wbcjax.smear.field import Cell, SmearField, read_image
from wbcjax.smear.formats.coco import write
from wbcjax.smear.synthetic import SyntheticSmear, fields
from wbcjax.system.files import write_png

FIRST, SECOND = (20, 20, 70, 70), (110, 20, 160, 70)  # the annotated cells of `make_set`
NEAR_FIRST, ALARM, UNSURE, HALF_OFF = (22, 20, 70, 70), (200, 100, 250, 150), (20, 120, 60, 160), (140, 20, 190, 70)


def detector(found: list[tuple[tuple[int, int, int, int], int, float]], classes: tuple[str, ...] = ("cell",)) -> Mock:
    """A detector that finds the same in every field."""
    stub = Mock(spec=Search, min_score=0.5, classes=classes)
    stub.detect.side_effect = lambda image, name: detected(found, name=name, height=200, width=300)
    return stub


def stubbed(monkeypatch: pytest.MonkeyPatch, *stubs: Mock) -> None:
    monkeypatch.setattr(detected_module, "load_detectors", lambda *_: Detectors(stubs, {}))


def runs(folder: Path, count: int = 1) -> list[Path]:
    places = [folder / f"run{number}" for number in range(count)]
    for place in places:
        place.mkdir()
    return places


SURE = [(NEAR_FIRST, 1, 0.9), (ALARM, 1, 0.8), (UNSURE, 1, 0.4), (HALF_OFF, 1, 0.7)]


def test_found_cells_misses_and_false_alarms_become_crops(tmp_path, monkeypatch, capsys):
    annotations, images = make_set(tmp_path, {"a.png": ("L1", "L2")})
    stubbed(monkeypatch, detector(SURE))
    crop(annotations, images, "--out", tmp_path / "out", "--run", *runs(tmp_path), "--negatives=other", "--margin=0")
    shown = [(row["class"], row["rule"], row["cell"], row["x1"], row["y1"]) for row in table(tmp_path / "out")]
    assert shown == [
        ("L1", "annotated", "1", "20", "20"),
        ("L2", "missed", "2", "110", "20"),
        ("L1", "found", "1", "21", "20"),
        ("other", "false alarm", "", "200", "100"),
    ]
    assert "L1: 2 crops (1 annotated, 1 found; 0 at the border)" in capsys.readouterr().out


def test_a_cell_is_missed_where_all_detectors_miss_it(tmp_path, monkeypatch):
    annotations, images = make_set(tmp_path, {"a.png": ("L1", "L2")})
    stubbed(monkeypatch, detector([(NEAR_FIRST, 1, 0.9)]), detector([(SECOND, 1, 0.9)]))
    crop(annotations, images, "--out", tmp_path / "out", "--run", *runs(tmp_path, 2), "--negatives=other")
    assert Counter(row["rule"] for row in table(tmp_path / "out")) == {"annotated": 2, "found": 2}


INSIDE = (24, 24, 66, 66)  # a nucleus of 0.7 of the first cell


def test_a_detected_nucleus_takes_no_cell(tmp_path, monkeypatch):
    annotations, images = make_set(tmp_path, {"a.png": ("L1", "nucleus")})
    found = [(INSIDE, 1, 0.9), (NEAR_FIRST, 2, 0.8), (SECOND, 1, 0.7), ((200, 100, 250, 150), 1, 0.6)]
    stubbed(monkeypatch, detector(found, classes=("nucleus", "blast")))
    crop(annotations, images, "--out", tmp_path / "out", "--run", *runs(tmp_path), "--negatives=other", "--margin=0")
    shown = [(row["class"], row["rule"], row["x1"]) for row in table(tmp_path / "out") if row["rule"] != "annotated"]
    assert shown == [("L1", "found", "21"), ("nucleus", "found", "110"), ("other", "false alarm", "200")]


def test_nuclei_are_no_false_alarms_where_none_is_annotated(tmp_path, monkeypatch):
    annotations, images = make_set(tmp_path, {"a.png": ("L1", "L2")})
    found = [(ALARM, 1, 0.9), (NEAR_FIRST, 2, 0.8), (SECOND, 2, 0.7)]
    stubbed(monkeypatch, detector(found, classes=("nucleus", "blast")))
    crop(annotations, images, "--out", tmp_path / "out", "--run", *runs(tmp_path), "--negatives=other")
    assert Counter(row["rule"] for row in table(tmp_path / "out")) == {"annotated": 2, "found": 2}


def test_balanced_false_alarms_are_the_surest_and_as_many_as_cells(tmp_path, monkeypatch):
    annotations, images = make_set(tmp_path, {"a.png": ("L1",)})
    stubbed(monkeypatch, detector([((200, 20, 240, 60), 1, 0.6), (ALARM, 1, 0.8), ((20, 120, 60, 160), 1, 0.7)]))
    out = tmp_path / "out"
    crop(annotations, images, "--out", out, "--run", *runs(tmp_path), "--negatives=other", "--balance", "--margin=0")
    alarms = [row for row in table(out) if row["rule"] == FALSE_ALARM]
    assert [(row["x1"], row["y1"]) for row in alarms] == [("200", "100")]


def test_false_alarms_need_a_class(tmp_path, monkeypatch):
    annotations, images = make_set(tmp_path, {"a.png": ("L1",)})
    stubbed(monkeypatch, detector(SURE))
    told = refusal(annotations, images, "--out", tmp_path / "out", "--run", *runs(tmp_path))
    assert "a detector's false alarms become crops: name their class by --negatives" in told


def test_detections_in_crowd_regions_are_no_crops():
    cells = (Cell(1, box=(0, 0, 100, 100), crowd=True), Cell(1, box=(110.0, 20.0, 160.0, 70.0)))
    field = SmearField("a.png", 200, 300, cells, pixels=np.zeros((200, 300, 3), np.uint8))
    found = detected([((10, 10, 50, 50), 1, 0.9), (SECOND, 1, 0.8)], name="a.png", height=200, width=300)
    of = detected_crops(field, found, 0.5, 0.1)
    assert [crop.rule for crop in of.crops] == [FOUND]
    assert of.cell_of == [1]
    assert of.missed == set()


def note(run: Path, **parts: list[Path]) -> None:
    """data.json of a run whose parts had these images, under other names."""
    items = {part: [["of old", pixels_digest(read_image(path)), "", None] for path in of] for part, of in parts.items()}
    (run / "data.json").write_text(json.dumps({NOTE: {"folder": "", "parts": items, "earlier": {}}}))


def test_crops_are_split_as_the_fields_of_the_detectors_training(tmp_path, monkeypatch):
    """An image that any detector was trained on trains, also where another one validated on it."""
    annotations, images = make_set(tmp_path, {f"{number}.png": ("L1", "L2") for number in range(6)})
    paths = [images / f"{number}.png" for number in range(6)]
    for number, path in enumerate(paths):
        write_png(path, np.full((200, 300, 3), 100 + number, np.uint8))
    first, second = places = runs(tmp_path, 2)
    note(first, train=paths[:2], val=paths[2:4])
    note(second, train=[paths[2]], val=paths[:1], test=[paths[4]])
    monkeypatch.setattr(detected_module, "load", lambda *_, **__: detector(SURE))
    crop(annotations, images, "--out", tmp_path / "out", "--run", *places, "--negatives=other")
    parts = {row["field"]: row["part"] for row in table(tmp_path / "out")}
    assert list(parts.values()) == ["train", "train", "train", "val", "test", ""]

    dataset = CropSetSettings(crops=str(tmp_path / "out"), classes=("L1", "L2", "other"))
    sides = {part: {c.field for c in crops} for part, crops in crop_sides(dataset).items()}
    assert sides == {"train": {"0.png", "1.png", "2.png", "5.png"}, "val": {"3.png"}, "test": {"4.png"}}
    own = dataclasses.replace(dataset, split=SplitSettings(val_names=("0.png",)))
    assert {c.field for c in crop_sides(own)["val"]} == {"0.png"}, "a list in the config comes first"


def test_a_part_that_is_none_is_refused(tmp_path, monkeypatch):
    annotations, images = make_set(tmp_path, {"a.png": ("L1", "L2")})
    stubbed(monkeypatch, detector(SURE))
    crop(annotations, images, "--out", tmp_path / "out", "--run", *runs(tmp_path), "--negatives=other")
    path = tmp_path / "out/crops.csv"
    path.write_text(path.read_text().replace(",missed,2,0,", ",missed,2,0,training"))
    with pytest.raises(ValueError, match=r"crops\.csv has the part 'training'; give train, val, test or none"):
        crop_sides(CropSetSettings(crops=str(tmp_path / "out"), classes=("L1", "L2", "other")))


@pytest.mark.slow
def test_the_starter_finds_cells_to_crop(tmp_path):
    """The starter, which no training precedes, gives crops of drawn fields."""
    drawn = list(fields(SyntheticSmear(cells=(3, 4), others=(1, 2)), 3, seed=7))
    for field in drawn:
        write_png(tmp_path / "images" / field.name, field.image())
    write(tmp_path / "coco.json", drawn, ("L1", "L2", "L3"))
    out = tmp_path / "out"
    crop(tmp_path / "coco.json", tmp_path / "images", "--out", out, "--run", "starter", "--negatives", "other")
    rules = Counter(row["rule"] for row in table(out))
    cells = sum(len(field.cells) for field in drawn)
    assert rules["annotated"] + rules["missed"] == cells
    assert rules["found"] >= cells - 2
    assert rules["false alarm"] >= 1, "the other leukocytes are white cells to it"
    assert {row["part"] for row in table(out)} == {""}
