"""What `Predictor.predict` gives of an image: its cells, named, counted, drawn, cut out and written."""

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

import wbcjax
from tests.oracle import oracle, paint
from wbcjax.enhance import eff
from wbcjax.predict.classifier import load_classifier
from wbcjax.predict.detector import Predictor, load
from wbcjax.predict.found_cells import FoundCells
from wbcjax.report.overlay import draw_detections
from wbcjax.smear.formats import coco, geojson
from wbcjax.smear.read import read
from wbcjax.system.files import write_png

CELLS = {(10, 10, 30, 30): 1, (40, 20, 60, 50): 2, (70, 5, 90, 25): 1}  # scores 0.96, 0.92, 0.88
IMAGE = paint(64, 96, CELLS)


@pytest.fixture(scope="module")
def model() -> Predictor:
    return oracle((64, 96), (1.0, 1.0))


@pytest.fixture(scope="module")
def found(model: Predictor) -> FoundCells:
    return model.predict(IMAGE, name="a.png")


def test_each_cell_has_class_score_box_mask_and_polygon(found):
    assert found.class_names == ["L1", "L2", "L1"]
    assert found.labels.tolist() == [1, 2, 1]
    np.testing.assert_allclose(found.scores, np.array([245, 235, 225]) / 255, rtol=1e-6)
    assert found.boxes.tolist() == [list(map(float, box)) for box in CELLS]
    assert found.masks.shape == (3, 64, 96)
    for mask, polygons, cell, (x1, y1, x2, y2) in zip(found.masks, found.polygons, found, CELLS, strict=True):
        assert mask.dtype == bool
        expected = np.zeros((64, 96), bool)
        expected[y1:y2, x1:x2] = True
        np.testing.assert_array_equal(mask, expected)
        np.testing.assert_array_equal(cell.mask, expected)
        assert len(polygons) == 1
        np.testing.assert_array_equal(cell.polygons[0], polygons[0])
        outline: Any = [polygons[0].ravel().tolist()]
        drawn = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(outline, 64, 96)))
        assert (drawn & expected).sum() / (drawn | expected).sum() >= 0.97


def test_a_cell_found_twice_is_reported_once_with_its_runner_up(model):
    image = paint(64, 96, {(10, 10, 30, 30): 1})
    twice = model.detect(image).select(np.array([0, 0]))
    twice.labels[:], twice.scores[:] = (1, 2), (0.9, 0.6)

    class Twice(Predictor):
        def detect(self, image: np.ndarray, name: str = "image", pixel_size: float = 0.0):
            return twice

    again = Twice(model.network, model.canvas, model.classes, "detectron2", model.scales)
    found = again.predict(image)
    assert len(found) == 1
    assert found[0].runner_up == ("L2", pytest.approx(0.6))
    assert len(found.detections.rles) == 2
    assert again.predict(image, min_score=0.95).__repr__() == (
        "no cell in 96 x 64 pixels scores 0.95 or more; the surest of 2 detections has 0.90"
    )


def test_the_least_score_is_the_models_unless_given(model):
    strict = oracle((64, 96), (1.0, 1.0))
    strict.min_score = 0.9
    assert len(strict.predict(IMAGE)) == 2
    assert len(strict.predict(IMAGE, min_score=0.0)) == 3
    assert len(strict.predict(IMAGE).detections.rles) == 3
    for wrong in (-0.1, 1.1, float("nan"), 50):
        with pytest.raises(ValueError, match=r"min_score is .*: give a number from 0 to 1"):
            model.predict(IMAGE, min_score=wrong)


def test_what_was_found_is_said_in_words(model, found):
    assert repr(found) == "3 cells in 96 x 64 pixels: 2 L1, 1 L2; scores 0.88 to 0.96"
    assert repr(found[:1]) == "1 cell in 96 x 64 pixels: 1 L1; score 0.96"
    assert repr(model.predict(np.zeros((40, 50, 3), np.uint8))) == "no cell in 50 x 40 pixels scores 0.5 or more"
    nuclear = oracle((64, 96), (1.0, 1.0))
    nuclear.classes = ("blast", "nucleus", "other")
    assert repr(nuclear.predict(IMAGE)) == (
        "2 cells and 1 nucleus in 96 x 64 pixels: 2 blast, 1 nucleus; scores 0.88 to 0.96"
    )


def test_counts_have_every_class_those_not_found_too(found):
    assert found.counts() == {"L1": 2, "L2": 1, "L3": 0}
    assert found[:0].counts() == {"L1": 0, "L2": 0, "L3": 0}


@pytest.mark.parametrize(
    ("rows", "boxes"),
    [
        ("L1", [0, 2]),
        ("L3", []),
        (slice(1, None), [1, 2]),
        ([2, 0], [2, 0]),
        ([], []),
        ([-1], [2]),
        (np.array([True, False, True]), [0, 2]),
        (np.zeros(3, bool), []),
        (np.array([1]), [1]),
    ],
)
def test_cells_are_chosen_as_of_an_array_or_by_class(found, rows, boxes):
    chosen = found[rows]
    assert chosen.boxes.tolist() == [list(map(float, list(CELLS)[row])) for row in boxes]
    assert len(chosen) == len(chosen.cells.runner_up) == len(boxes)
    assert len(chosen.detections.rles) == 3
    assert [cell.box.tolist() for cell in chosen] == chosen.boxes.tolist()


def test_one_cell_is_taken_by_number_and_none_beyond_the_last(found):
    assert found[-1].box.tolist() == found[np.int64(2)].box.tolist() == [70, 5, 90, 25]
    assert (found[1].class_name, found[1].score) == ("L2", pytest.approx(235 / 255))
    with pytest.raises(IndexError):
        found[3]
    with pytest.raises(IndexError):
        found[np.array([True, False])]
    with pytest.raises(KeyError, match="no class is called 'blast'; the classes are L1, L2, L3"):
        found["blast"]


def test_the_picture_and_the_annotations_are_those_of_the_command(found, tmp_path):
    np.testing.assert_array_equal(found.draw(), draw_detections(IMAGE, found.cells, found.classes))
    assert not np.array_equal(found.draw(), IMAGE)
    what = [found._field()], found.classes, found._predicted()
    coco.write(tmp_path / "coco.json", *what)
    assert json.loads((tmp_path / "coco.json").read_text()) == json.loads(json.dumps(found.to_coco()))
    geojson.write(tmp_path / "geojson", *what)
    assert json.loads((tmp_path / "geojson/a.png.geojson").read_text()) == json.loads(json.dumps(found.to_geojson()))


def test_pycocotools_and_our_reader_take_the_coco_data(found, tmp_path):
    write_png(tmp_path / "images/a.png", IMAGE)
    (tmp_path / "coco.json").write_text(json.dumps(found.to_coco()))
    theirs = COCO(str(tmp_path / "coco.json"))
    assert [theirs.annToMask(cell).sum() for cell in theirs.loadAnns(theirs.getAnnIds())] == [400, 600, 400]
    (field,) = read(tmp_path / "coco.json", tmp_path / "images", {"L1": 1, "L2": 2}).fields
    assert [cell.label for cell in field.cells] == [1, 2, 1]


def test_a_notebook_shows_the_picture_and_a_large_one_smaller(model, found):
    def decoded(png: bytes) -> np.ndarray:
        return cv2.cvtColor(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)  # type: ignore[arg-type]

    np.testing.assert_array_equal(decoded(found._repr_png_()), found.draw())
    large = model.predict(np.zeros((100, 2400, 3), np.uint8))
    assert decoded(large._repr_png_()).shape == (50, 1200, 3)


def test_a_file_is_read_as_the_command_reads_it(model, found, tmp_path):
    write_png(tmp_path / "a.png", IMAGE)
    for place in (tmp_path / "a.png", str(tmp_path / "a.png")):
        again = model.predict(place)
        assert again.name == "a.png"
        assert again.boxes.tolist() == found.boxes.tolist()
    grey = np.full((40, 50), 9, np.uint16)
    write_png(tmp_path / "grey.png", grey)
    assert model.predict(tmp_path / "grey.png").image.shape == (40, 50, 3)


def test_a_path_that_is_no_image_is_refused_with_its_remedy(model, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no such image: correct the path: '.*absent\.png'"):
        model.predict(tmp_path / "absent.png")
    with pytest.raises(IsADirectoryError, match="it is a folder: give one image of it at a time, or the folder to"):
        model.predict(str(tmp_path))
    (tmp_path / "notes.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"notes\.png: not an image"):
        model.predict(tmp_path / "notes.png")
    small = oracle((64, 96), (1.0, 1.0))
    small.max_pixels = 99
    write_png(tmp_path / "a.png", IMAGE)
    with pytest.raises(ValueError, match=r"a\.png: claims 96 x 64 pixels, and 99 are allowed"):
        small.predict(tmp_path / "a.png")


def test_a_wrong_array_is_refused_as_by_name(model, unchecked_types):
    wrong: Any
    for wrong in (None, [[1, 2, 3]], np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(ValueError, match=r"image: needs RGB as \(height, width, 3\) uint8, got "):
            model.predict(wrong)
        with pytest.raises(ValueError, match=r"smear\.png: needs RGB"):
            model.predict(wrong, name="smear.png")


def test_what_was_found_can_be_sent_to_other_processes(found):
    again = pickle.loads(pickle.dumps(found))
    assert repr(again) == repr(found)
    np.testing.assert_array_equal(again.draw(), found.draw())


def test_the_package_shows_what_there_is_and_each_is_there():
    assert dir(wbcjax) == sorted(wbcjax.__all__) == ["__version__", "enhance", "load", "load_classifier", "read"]
    assert (wbcjax.load, wbcjax.load_classifier, wbcjax.read) == (load, load_classifier, read)
    assert wbcjax.enhance.eff is eff
    with pytest.raises(AttributeError, match="has no attribute 'detect'"):
        wbcjax.detect  # type: ignore[attr-defined]  # noqa: B018


def test_what_needs_no_jax_is_imported_without_it():
    code = "import sys, wbcjax; wbcjax.read; wbcjax.enhance.eff; dir(wbcjax); assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
