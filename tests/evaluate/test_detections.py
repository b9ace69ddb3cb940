"""Detections at image size and the file that keeps them."""

import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from tests.evaluate.make import annotated, detected, random_set, rle
from wbcjax.evaluate.detections import (
    FieldDetections,
    annotate,
    check_pairs,
    load,
    save,
    write_results,
)
from wbcjax.smear.field import Cell

CLASSES = ("a", "b", "c", "d")


def test_saved_annotations_and_detections_come_back_unchanged(tmp_path: Path):
    annotations, detections = random_set(seed=3)
    rng = np.random.default_rng(0)
    for field in detections:  # boxes of a model are not whole pixels, nor are its scores short
        field.boxes[:] += rng.normal(0, 0.1, field.boxes.shape)
        field.scores[:] = rng.random(field.scores.shape)
    save(tmp_path / "run/detections.json", CLASSES, annotations, detections)
    classes, annotations_again, detections_again = load(tmp_path / "run/detections.json")

    assert classes == CLASSES
    pairs = zip([*annotations, *detections], [*annotations_again, *detections_again], strict=True)
    for before, after in pairs:
        assert vars(before).keys() == vars(after).keys()
        for key, value in vars(before).items():
            np.testing.assert_array_equal(getattr(after, key), value, err_msg=key)
            assert getattr(getattr(after, key), "dtype", None) == getattr(value, "dtype", None), key
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["detections.json"]  # nothing partial left


def test_the_file_is_a_coco_ground_truth_with_tight_boxes(tmp_path: Path, capsys):
    cells = annotated([((3, 4, 13, 10), 2)], crowds=[((20, 20, 50, 40), 1)])
    save(tmp_path / "detections.json", CLASSES, [cells], [detected([((0, 0, 2, 2), 1, 0.5)])])
    truth = COCO(tmp_path / "detections.json")
    capsys.readouterr()  # COCO speaks
    (cell, crowd) = truth.loadAnns(truth.getAnnIds())
    assert (cell["bbox"], cell["area"], cell["iscrowd"], cell["category_id"]) == ([3, 4, 10, 6], 60, 0, 2)
    assert (crowd["bbox"], crowd["area"], crowd["iscrowd"], crowd["category_id"]) == ([20, 20, 30, 20], 600, 1, 1)
    assert truth.annToMask(cell).sum() == 60
    assert min(truth.getAnnIds()) == 1


def test_results_of_images_nobody_annotated_are_written_without_annotations(tmp_path: Path):
    found = [detected([], name="a.png"), detected([((3, 4, 13, 10), 2, 0.5)], name="b.png")]
    write_results(tmp_path / "predictions.json", ("L1", "L2"), found)
    assert json.loads((tmp_path / "predictions.json").read_text()) == {
        "categories": [{"id": 1, "name": "L1"}, {"id": 2, "name": "L2"}],
        "images": [
            {"id": 1, "file_name": "a.png", "height": 40, "width": 60},
            {"id": 2, "file_name": "b.png", "height": 40, "width": 60},
        ],
        "detections": [
            {
                "image_id": 2,
                "category_id": 2,
                "bbox": [3, 4, 10, 6],
                "score": 0.5,
                "segmentation": rle((3, 4, 13, 10)),
            }
        ],
    }


def test_selected_detections_keep_their_parts_together():
    found = detected([((0, 0, 5, 5), 1, 0.5), ((5, 5, 9, 9), 2, 0.6), ((1, 1, 4, 4), 3, 0.7)])
    some = found.select(np.array([2, 0]))
    np.testing.assert_array_equal(some.boxes, [[1, 1, 4, 4], [0, 0, 5, 5]])
    np.testing.assert_array_equal(some.labels, [3, 1])
    np.testing.assert_array_equal(some.scores, np.array([0.7, 0.5], np.float32))
    assert some.rles == [rle((1, 1, 4, 4)), rle((0, 0, 5, 5))]
    assert found.select(np.zeros(0, int)).rles == []


def test_what_further_heads_say_is_selected_saved_and_read_with_its_cell(tmp_path: Path):
    found = detected([((0, 0, 9, 9), 1, 0.9), ((20, 0, 30, 9), 2, 0.8), ((40, 0, 50, 9), 1, 0.7)])
    found = replace(found, said={"roundness": np.array([0.5, 0.25, 1.5], np.float32)})
    np.testing.assert_array_equal(found.select(np.array([2, 0])).said["roundness"], [1.5, 0.5])
    save(tmp_path / "a.json", CLASSES, [annotated([]), annotated([], name="b.png")], [found, detected([], "b.png")])
    again, without = load(tmp_path / "a.json")[2]
    np.testing.assert_array_equal(again.said["roundness"], found.said["roundness"])
    assert without.said == {}
    write_results(tmp_path / "b.json", CLASSES, [detected([((0, 0, 9, 9), 1, 0.9)])])
    assert "said" not in json.loads((tmp_path / "b.json").read_text())["detections"][0]


def test_a_failed_save_leaves_the_previous_file_whole(tmp_path: Path, monkeypatch):
    path = tmp_path / "detections.json"
    save(path, CLASSES, [annotated([])], [detected([])])
    before = path.read_bytes()

    def full_disk(self, target):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OSError, match="no space left"):
        save(path, CLASSES, [annotated([((0, 0, 5, 5), 1)])], [detected([])])
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", ["", '{"images": []}', "[1]", '{"categories": [], "images": 3}', "{"])
def test_a_file_that_holds_no_detections_is_refused_by_name(tmp_path: Path, content: str):
    path = tmp_path / "broken.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"broken\.json: not a whole file of saved detections"):
        load(path)


def test_a_detection_of_an_image_that_is_not_listed_is_refused(tmp_path: Path):
    path = tmp_path / "detections.json"
    save(path, CLASSES, [annotated([])], [detected([((0, 0, 5, 5), 1, 0.5)])])
    data = json.loads(path.read_text())
    data["detections"][0]["image_id"] = 7
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match="not a whole file"):
        load(path)


def test_annotated_boxes_are_tight_around_polygons():
    square = np.array([[10.0, 5.0], [30.0, 5.0], [30.0, 25.0], [10.0, 25.0]])
    field = annotate("a.png", 40, 60, [Cell(1, polygons=(square,))])
    mask = coco_mask.decode(field.rles[0])
    ys, xs = np.nonzero(mask)
    np.testing.assert_array_equal(field.boxes, [[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]])
    np.testing.assert_allclose(field.boxes, [[10, 5, 30, 25]], atol=1)


def test_a_cell_known_by_its_box_is_annotated_with_that_box_between_pixels():
    square = np.array([[10.0, 5.0], [30.0, 5.0], [30.0, 25.0], [10.0, 25.0]])
    cells = [Cell(1, polygons=(square,)), Cell(2, box=(3.25, 4.5, 9.75, 12.125))]
    field = annotate("a.png", 40, 60, cells)
    np.testing.assert_array_equal(field.boxes, [[10, 5, 30, 25], [3.25, 4.5, 9.75, 12.125]])
    np.testing.assert_array_equal(field.outlined, [True, False])
    assert coco_mask.area(field.rles[1]) == pytest.approx(6.5 * 7.625, rel=0.15)


def test_saved_detections_keep_which_cells_lack_outlines(tmp_path: Path):
    """The file says which cells have no outline and files from before have none such."""
    path = tmp_path / "detections.json"
    field = annotated([((0, 0, 10, 10), 1)], boxes=[((20, 5, 30, 15), 2)])
    save(path, CLASSES, [field], [detected([])])
    data = json.loads(path.read_text())
    assert [annotation.get("outlined") for annotation in data["annotations"]] == [None, False]
    (again,) = load(path)[1]
    np.testing.assert_array_equal(again.outlined, [True, False])

    del data["annotations"][1]["outlined"]
    path.write_text(json.dumps(data))
    (older,) = load(path)[1]
    assert older.outlined.all()


def test_masks_are_judged_by_outlined_cells_with_the_others_as_crowds():
    field = annotated([((0, 0, 9, 9), 1)], crowds=[((30, 0, 50, 20), 1)], boxes=[((10, 20, 20, 30), 2)])
    np.testing.assert_array_equal(field.for_masks().crowd, [False, True, True])
    np.testing.assert_array_equal(field.crowd, [False, True, False])


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": np.array([np.nan])}, "f.png: a detection's score or box is not finite"),
        ({"said": {"roundness": np.array([np.inf])}}, "f.png: an output of roundness is not finite"),
        ({"said": {"roundness": np.zeros(2)}}, "f.png: every cell needs all its parts, found .*'roundness': 2"),
        ({"labels": np.array([0])}, "f.png: class 0 found; classes count from 1"),
        ({"labels": np.array([1, 1])}, "f.png: every cell needs all its parts, found .*'labels': 2"),
        ({"boxes": np.zeros((1, 5))}, r"f.png: boxes must be \(n, 4\), found \(1, 5\)"),
        ({"rles": [rle((0, 0, 5, 5), 30, 60)]}, r"f.png: a mask is \[30, 60\], the field \[40, 60\]"),
    ],
)
def test_parts_that_do_not_fit_are_refused_naming_the_field(change: dict, message: str):
    parts = {
        "boxes": np.array([[0.0, 0, 5, 5]]),
        "labels": np.array([1]),
        "scores": np.array([0.5]),
        "rles": [rle((0, 0, 5, 5))],
    }
    with pytest.raises(ValueError, match=message):
        FieldDetections(name="f.png", height=40, width=60, **(parts | change))


def test_lists_of_different_fields_are_refused_naming_them():
    with pytest.raises(ValueError, match=r"found in one list only: \['b.png', 'c.png'\]"):
        check_pairs(
            [annotated([], name="a.png"), annotated([], name="b.png")],
            [detected([], name="c.png")] * 0 + [detected([], name="a.png"), detected([], name="c.png")],
        )
    with pytest.raises(ValueError, match="their order differs"):
        check_pairs(
            [annotated([], name="a.png"), annotated([], name="b.png")],
            [detected([], name="b.png"), detected([], name="a.png")],
        )
