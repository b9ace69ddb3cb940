import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.evaluate.make import annotated, detected, random_set, rle
from wbcjax.evaluate.cell_scores import cell_scores
from wbcjax.evaluate.detections import load, save
from wbcjax.evaluate.scores import detection_scores, table, write_json
from wbcjax.system.terminal import plain

CLASSES = ("L1", "L2")


@pytest.fixture
def three_fields():
    """Two touching cells and one alone, a field with one cell found beside a false one, and an empty field."""
    annotations = [
        annotated([((0, 0, 10, 10), 1), ((12, 0, 22, 10), 1), ((40, 20, 50, 30), 2)], name="a.png"),
        annotated([((0, 0, 10, 10), 1)], crowds=[((20, 20, 60, 40), 2)], name="b.png"),
        annotated([], name="c.png"),
    ]
    detections = [
        detected([((0, 0, 10, 10), 1, 0.9), ((40, 20, 50, 30), 2, 0.95)], name="a.png"),
        detected([((30, 0, 40, 10), 1, 0.85), ((0, 0, 10, 10), 1, 0.8), ((30, 25, 40, 35), 2, 0.99)], name="b.png"),
        detected([((0, 0, 5, 5), 2, 0.75), ((10, 0, 15, 5), 2, 0.1)], name="c.png"),
    ]
    return annotations, detections


def test_scores_worked_by_hand(three_fields):
    annotations, detections = three_fields
    result = detection_scores(annotations, detections, CLASSES)

    # L1: three cells; in order true (.9), false (.85), true (.8), then one is never found:
    # precision 1 at the 34 recall points up to 1/3, 2/3 at the 33 up to 2/3, 0 at the other 34.
    first = (34 + 33 * 2 / 3) / 101
    for kind in ("mask", "box"):
        assert result[kind]["per_class"] == pytest.approx({"L1": first, "L2": 1.0})
        assert result[kind]["AP"] == result[kind]["AP50"] == result[kind]["AP75"] == pytest.approx((first + 1) / 2)

    # Touching: the first two cells of L1; the cell of b.png, alone, is ignored together with its detection.
    touching = result["touching"]
    assert touching["cells"] == 2
    assert touching["mask"]["per_class"]["L1"] == pytest.approx(51 / 101)
    assert np.isnan(touching["mask"]["per_class"]["L2"])
    assert touching["mask"]["AP50"] == touching["box"]["AP50"] == pytest.approx(51 / 101)

    # a.png finds two of three cells without a false one, b.png its cell after a false one.
    assert result["paper"]["mAP"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert result["paper"]["fields"] == 2
    assert result["paper"]["empty_fields"] == 1
    assert result["paper"]["false_on_empty_fields"] == 1

    assert result["counts"] == {
        "fields": 3,
        "cells": {"L1": 3, "L2": 1},
        "not_outlined": 0,
        "crowd_regions": 1,
        "detections": {"L1": 3, "L2": 4},
    }


def test_a_field_of_260_found_cells_scores_100():
    """COCO's hundred detections gave 38.6 beside the papers' mAP of 100."""
    corners = [(x, y) for y in range(0, 40, 3) for x in range(0, 60, 3)][:260]
    cells = [((x, y, x + 2, y + 2), 1) for x, y in corners]
    annotations, detections = [annotated(cells)], [detected([(*cell, 0.9) for cell in cells])]
    result = detection_scores(annotations, detections, ("cell",))
    assert result["mask"]["AP"] == result["box"]["AP"] == pytest.approx(1.0)
    assert result["paper"]["mAP"] == pytest.approx(1.0)
    assert (result["max_detections"], result["cut_fields"]) == (260, 0)
    assert cell_scores(annotations, detections, ("cell",), 0.5)["pr_curves"]["cell"]["AP50"] == pytest.approx(1.0)
    text = " ".join(text_of(result).split())
    assert "the best 260 of a field and class. COCO itself counts 100; here a field has 260 cells." in text


def test_detections_beyond_the_hundred_that_count_are_told():
    found = [((x, 0, x + 5, 5), 1, 0.5) for x in range(50)] * 3
    result = detection_scores([annotated([((0, 0, 5, 5), 1)])], [detected(found)], ("cell",))
    assert (result["max_detections"], result["cut_fields"]) == (100, 1)
    text = " ".join(text_of(result).split())
    assert "Fields with more detections of a class, whose less sure ones are left out: 1." in text


def text_of(scores) -> str:
    return plain(*table(scores))


def test_cells_without_outlines_count_for_boxes_and_neither_way_for_masks():
    annotations = [
        annotated([((0, 0, 10, 10), 1)], boxes=[((12, 0, 22, 10), 1), ((40, 20, 50, 30), 1)], name="a.png"),
        annotated([], boxes=[((0, 0, 10, 10), 1)], name="b.png"),
        annotated([], name="c.png"),
    ]
    disc = rle((14, 2, 20, 8))  # what a mask in the box of the second cell may be
    detections = [
        detected([((12, 0, 22, 10), 1, 0.95), ((0, 0, 10, 10), 1, 0.9), ((30, 30, 38, 38), 1, 0.85)], name="a.png"),
        detected([((0, 0, 10, 10), 1, 0.99)], name="b.png"),
        detected([], name="c.png"),
    ]
    detections[0].rles[0] = disc
    result = detection_scores(annotations, detections, ("cell",))

    # Masks: the one outlined cell, found before a false detection; those in the boxes are not counted.
    assert (result["mask"]["AP"], result["mask"]["AP75"]) == pytest.approx((1.0, 1.0))
    assert result["paper"]["mAP"] == pytest.approx(1.0)
    assert (result["paper"]["fields"], result["paper"]["empty_fields"]) == (1, 1)
    # Boxes: true (.99), true (.95), true (.9), false (.85), and the fourth cell is never found.
    assert result["box"]["AP"] == pytest.approx(76 / 101)
    assert result["touching"]["cells"] == 2
    assert result["touching"]["mask"]["AP"] == pytest.approx(1.0)
    assert result["touching"]["box"]["AP"] == pytest.approx(1.0)
    assert result["counts"]["cells"] == {"cell": 4}
    assert result["counts"]["not_outlined"] == 3
    assert "3 cells have no outline: mask scores leave them out" in text_of(result)


def test_without_any_outline_there_are_no_mask_scores():
    annotations = [annotated([], boxes=[((0, 0, 10, 10), 1)]), annotated([], name="empty.png")]
    detections = [detected([((0, 0, 10, 10), 1, 0.9)]), detected([], name="empty.png")]
    result = detection_scores(annotations, detections, ("cell",))
    found = result["mask"], result["touching"]["mask"], {"mAP": result["paper"]["mAP"]}
    assert all(np.isnan(row[key]) for row in found for key in ("AP", "AP50", "mAP") if key in row)
    assert result["box"]["AP"] == pytest.approx(1.0)
    rows = {line.strip()[:14]: line.split()[-3:] for line in text_of(result).splitlines()}
    assert rows["all cells, mas"] == ["n/a", "n/a", "n/a"]
    assert rows["all cells, box"] == ["100.0", "100.0", "100.0"]
    assert "score 0.7), %: n/a over 0 fields" in text_of(result)
    assert "without cells and left out 1 (false detections on them 0)" in " ".join(text_of(result).split())


@pytest.mark.parametrize("seed", range(4))
def test_missing_outlines_leave_box_scores_unchanged(seed: int):
    """Outlines taken away leave box scores as they are and make cells crowds for masks."""
    annotations, detections = random_set(seed)
    rng = np.random.default_rng(seed)
    boxed = [replace(field, outlined=rng.random(len(field.labels)) < 0.5) for field in annotations]
    crowds = [replace(field, crowd=field.crowd | ~field.outlined, outlined=field.crowd | True) for field in boxed]
    whole, without, as_crowds = (
        detection_scores(fields, detections, "abcd") for fields in (annotations, boxed, crowds)
    )
    np.testing.assert_equal(without["box"], whole["box"])
    np.testing.assert_equal(without["touching"]["box"], whole["touching"]["box"])
    np.testing.assert_equal(without["mask"], as_crowds["mask"])
    np.testing.assert_equal(without["touching"]["mask"], as_crowds["touching"]["mask"])
    assert without["paper"]["mAP"] == as_crowds["paper"]["mAP"]


def test_the_score_threshold_reaches_the_papers_map_but_not_cocos(three_fields):
    annotations, detections = three_fields
    strict, lax = (
        detection_scores(annotations, detections, CLASSES, score_threshold=threshold) for threshold in (0.82, 0.05)
    )
    assert strict["mask"] == lax["mask"]
    assert strict["paper"]["mAP"] == pytest.approx((2 / 3 + 0) / 2)
    assert lax["paper"]["false_on_empty_fields"] == 2


def test_scores_of_saved_detections_equal_those_of_the_originals(tmp_path: Path):
    annotations, detections = random_set(seed=11)
    classes = ("a", "b", "c", "d")
    save(tmp_path / "detections.json", classes, annotations, detections)
    loaded_classes, annotations_again, detections_again = load(tmp_path / "detections.json")
    again = detection_scores(annotations_again, detections_again, loaded_classes)
    np.testing.assert_equal(again, detection_scores(annotations, detections, classes))


def test_the_table_shows_the_scores_that_were_computed(three_fields):
    annotations, detections = three_fields
    lines = text_of(detection_scores(annotations, detections, CLASSES)).splitlines()
    rows = {line.partition("  ")[0]: line.split()[-3:] for line in lines if " cells, " in line}
    assert rows["all cells, mask"] == ["77.7", "77.7", "77.7"]
    assert rows["touching cells, mask"] == ["50.5", "50.5", "50.5"]
    assert next(line.split() for line in lines if line.startswith("L1")) == ["L1", "55.4", "55.4", "3", "3"]
    assert "58.3 over 2 fields; without cells and left out 1 (false detections on them 1)" in " ".join(lines)


def test_the_table_names_the_rule_that_each_score_is_defined_by(three_fields):
    annotations, detections = three_fields
    text = " ".join(text_of(detection_scores(annotations, detections, CLASSES)).split())
    assert "COCO's matching: each class by itself, detections of any score, the best 100 of a field and class." in text
    assert "Matterport's matching: cells and detections of one class, field by field." in text
    assert "IoU, shared area over joint area" in text


def test_a_set_without_cells_has_null_scores(tmp_path: Path):
    """A set without cells has no scores in the table and null in json."""
    result = detection_scores([annotated([])], [detected([((0, 0, 5, 5), 1, 0.9)])], CLASSES)
    assert "nan" not in text_of(result)
    assert next(line.split() for line in text_of(result).splitlines() if "all cells, mask" in line)[-3:] == ["n/a"] * 3
    write_json(tmp_path / "scores.json", result)
    written = json.loads((tmp_path / "scores.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert written["mask"] == {"AP": None, "AP50": None, "AP75": None, "per_class": {"L1": None, "L2": None}}
    assert written["paper"]["mAP"] is None
    assert written["counts"] == result["counts"]


def test_cells_do_not_touch_the_nuclei_in_them():
    cells = [((0, 0, 20, 20), 1), ((22, 0, 42, 20), 1), ((0, 28, 12, 40), 1)]
    nuclei = [((4, 4, 16, 16), 2), ((26, 4, 38, 16), 2), ((3, 31, 9, 37), 2)]
    annotations, detections = [annotated(cells + nuclei)], [detected([(*cell, 0.9) for cell in cells])]
    result = detection_scores(annotations, detections, ("myeloma", "nucleus"))["touching"]
    assert result["cells"] == 2
    assert result["mask"]["per_class"]["myeloma"] == pytest.approx(1)
    assert np.isnan(result["mask"]["per_class"]["nucleus"])
    assert detection_scores(annotations, detections, ("myeloma", "plasma"))["touching"]["cells"] == 6


def test_a_label_beyond_the_classes_is_refused_naming_the_field():
    with pytest.raises(ValueError, match=r"field.png: label 3 has no class; the 2 classes are L1, L2"):
        detection_scores([annotated([])], [detected([((0, 0, 5, 5), 3, 0.9)])], CLASSES)
