"""Scores of single cells: by hand, by counting pixels, against COCOeval, and what must always hold."""

import contextlib
import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.evaluate.dense import CLASSES, SCORES, build, cover, drawn_fields, once, outcome
from tests.evaluate.make import annotated, detected, random_set
from wbcjax.evaluate.average_precision import RECALL_POINTS, average_precision
from wbcjax.evaluate.cell_scores import cell_scores
from wbcjax.evaluate.cell_table import cell_table
from wbcjax.evaluate.detections import FieldAnnotations, FieldDetections, load, save
from wbcjax.evaluate.overlap import box_overlaps, mask_overlaps
from wbcjax.evaluate.scores import detection_scores, write_json
from wbcjax.system.terminal import plain

CELLS_AND_NUCLEI = ("myeloma", "nucleus")
FOUR = ("a", "b", "c", "never annotated")


def test_scores_worked_by_hand():
    annotations = [
        annotated([((0, 0, 10, 10), 1), ((20, 0, 30, 10), 2), ((40, 0, 50, 10), 2)], name="a.png"),
        annotated([((0, 0, 10, 10), 1)], crowds=[((20, 20, 60, 40), 2)], name="b.png"),
        annotated([], name="c.png"),
    ]
    detections = [
        detected([((0, 0, 10, 10), 1, 0.75), ((20, 0, 30, 8), 1, 1.0), ((40, 0, 50, 10), 2, 0.25)], name="a.png"),
        detected([((25, 25, 30, 30), 1, 0.9), ((0, 0, 10, 4), 1, 0.5), ((0, 0, 10, 9), 2, 0.5)], name="b.png"),
        detected([((0, 0, 5, 5), 2, 0.875)], name="c.png"),
    ]
    result = cell_scores(annotations, detections, ("L1", "L2"), min_score=0.5)

    assert result["confusion"] == {
        "classes": ["L1", "L2", "background"],
        # An L1 each found as L1 and L2; an L2 found as L1, an L2 missed; false alarms of each class.
        "counts": [[1, 1, 0], [1, 0, 1], [1, 1, 0]],
    }
    assert result["misses"] == [{"field": "a.png", "cell": 2, "class": "L2", "best_score": 0.25}]
    assert result["false_alarms"] == [
        {"field": "c.png", "detection": 0, "class": "L2", "score": 0.875},
        {"field": "b.png", "detection": 1, "class": "L1", "score": 0.5},
    ]
    assert result["count_error"] == {
        "mean_absolute": pytest.approx((1 + 1 + 1) / 3),
        "mean": pytest.approx((-1 + 1 + 1) / 3),
        "per_field": [
            {"name": "a.png", "annotated": 3, "found": 2},
            {"name": "b.png", "annotated": 1, "found": 2},
            {"name": "c.png", "annotated": 0, "found": 1},
        ],
    }
    assert result["counts"] == {
        "fields": 3,
        "cells": 4,
        "not_outlined": 0,
        "detections": 6,
        "repeated": 0,
        "in_crowds": 1,
    }
    assert result["undefined"] == ["no outlined L2 is found with an IoU over 0.5: its SQ is not defined"]

    # L1: two cells; by score false (1.0), false (.9), true (.75), false (.5). For one class alone L2's crowd is none.
    assert result["pr_curves"]["L1"] == {
        "precision": [0, 0, 1 / 3, 0.25],
        "recall": [0, 0, 0.5, 0.5],
        "thresholds": [1, pytest.approx(0.9), 0.75, 0.5],
        "AP50": pytest.approx(51 / 101 / 3),
    }
    # L2: false (.875), false (.5), true (.25), the last below the least score.
    assert result["pr_curves"]["L2"] == {
        "precision": [0, 0, 1 / 3],
        "recall": [0, 0, 0.5],
        "thresholds": [0.875, 0.5, 0.25],
        "AP50": pytest.approx(51 / 101 / 3),
    }


def test_an_iou_of_a_half_just_matches():
    """An iou of a half is a match and less is a miss and a false alarm."""
    cells = [annotated([((0, 0, 10, 10), 1)])]
    half, less = (cell_scores(cells, [detected([((0, 0, 10, rows), 1, 0.9)])], "a", 0.5) for rows in (5, 4))
    assert half["confusion"]["counts"] == [[1, 0], [0, 0]]
    assert less["confusion"]["counts"] == [[0, 1], [1, 0]]


def test_a_cell_goes_once_to_the_better_score():
    """A cell goes to the better score whatever the class and is found once."""
    cells = [annotated([((0, 0, 10, 10), 1)])]
    found = [detected([((0, 0, 10, 10), 1, 0.67), ((0, 0, 10, 8), 2, 0.69), ((30, 0, 40, 10), 1, 0.6)])]
    result = cell_scores(cells, found, "ab", 0.5)
    assert result["confusion"]["counts"] == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]
    assert [alarm["detection"] for alarm in result["false_alarms"]] == [2]
    assert (result["counts"]["detections"], result["counts"]["repeated"]) == (2, 1)
    assert result["count_error"]["per_field"] == [{"name": "field.png", "annotated": 1, "found": 2}]
    assert "1 more detections of that score repeat a cell under another class" in plain(*cell_table(result))
    assert result["pr_curves"]["a"]["recall"][-1] == 1, "COCO's curves are of all detections"


def test_a_crowd_region_takes_what_half_lies_in_it():
    """A crowd region of any class takes what lies in it by half and no cell can be missed there."""
    cells = [annotated([], crowds=[((0, 0, 20, 20), 2)])]
    inside = [((2, 2, 8, 8), 1, 0.9), ((2, 10, 8, 16), 1, 0.9), ((15, 0, 25, 10), 2, 0.9)]
    result = cell_scores(cells, [detected([*inside, ((16, 2, 26, 16), 1, 0.9)])], "ab", 0.5)
    assert result["confusion"]["counts"] == [[0, 0, 0], [0, 0, 0], [1, 0, 0]]
    assert [alarm["detection"] for alarm in result["false_alarms"]] == [3]
    assert (result["counts"]["cells"], result["counts"]["in_crowds"], result["misses"]) == (0, 3, [])
    box_only = replace(cells[0], outlined=np.array([False]))
    assert cell_scores([box_only], [detected([])], "ab", 0.5)["counts"]["not_outlined"] == 0  # it is no cell
    assert result["count_error"]["per_field"] == [{"name": "field.png", "annotated": 0, "found": 1}]


def test_a_filling_nucleus_is_not_counted_as_a_cell():
    """A nucleus that fills its cell is not taken for it and is no cell in the counts."""
    cells = [annotated([((0, 0, 10, 10), 1), ((20, 0, 30, 10), 1), ((20, 0, 30, 6), 2)])]
    found = [detected([((0, 0, 10, 6), 2, 0.9), ((20, 0, 30, 10), 1, 0.9), ((21, 0, 30, 6), 2, 0.9)])]
    result = cell_scores(cells, found, CELLS_AND_NUCLEI, 0.5)
    assert result["confusion"]["counts"] == [[1, 0, 1], [0, 1, 0], [0, 1, 0]]
    assert result["misses"] == [{"field": "field.png", "cell": 0, "class": "myeloma", "best_score": 0.0}]
    assert [alarm["class"] for alarm in result["false_alarms"]] == ["nucleus"]
    assert result["count_error"]["per_field"] == [{"name": "field.png", "annotated": 2, "found": 1}]
    assert (result["counts"]["cells"], result["counts"]["detections"]) == (3, 3)


def test_where_nothing_is_annotated_but_nuclei_they_are_counted():
    result = cell_scores([annotated([((0, 0, 9, 9), 1)])], [detected([])], ("nucleus",), 0.5)
    assert result["count_error"]["per_field"] == [{"name": "field.png", "annotated": 1, "found": 0}]


@settings(max_examples=60)
@given(drawn_fields(), SCORES)
def test_nuclei_and_cells_are_scored_apart(drawn, min_score):
    """Nuclei change nothing of what is said of cells and cells nothing of nuclei."""
    cells, found = build(drawn)
    classes = ("a", "b", "nucleus")
    both = cell_scores([cells], [found], classes, min_score)
    without_cells, without_nuclei = (
        cell_scores(
            [some(cells, cells.crowd | chosen(cells.labels))],
            [found.select(np.flatnonzero(chosen(found.labels)))],
            classes,
            min_score,
        )
        for chosen in (lambda labels: labels == 3, lambda labels: labels != 3)
    )
    assert both["count_error"] == without_nuclei["count_error"]
    expected = np.add(without_cells["confusion"]["counts"], without_nuclei["confusion"]["counts"])
    assert both["confusion"]["counts"] == expected.tolist()


def some(field: FieldAnnotations, chosen: np.ndarray) -> FieldAnnotations:
    """A field with these of its cells alone."""
    parts = {part: getattr(field, part)[chosen] for part in ("boxes", "labels", "crowd", "outlined")}
    return replace(field, **parts, rles=[field.rles[row] for row in np.flatnonzero(chosen)])


def test_a_cell_without_outline_is_matched_by_its_box():
    cells = [annotated([], boxes=[((0, 0, 10, 10), 1)])]
    found = detected([((0, 0, 10, 10), 1, 0.9)])
    found.rles[0] = detected([((0, 0, 5, 5), 1, 0.9)]).rles[0]
    result = cell_scores(cells, [found], "a", 0.5)
    assert result["confusion"]["counts"] == [[1, 0], [0, 0]]
    assert result["pr_curves"]["a"]["AP50"] == pytest.approx(1)
    assert result["counts"]["not_outlined"] == 1
    assert np.isnan(result["segmentation"]["segpc_miou"])
    assert result["undefined"] == [
        "no cell is outlined as a and none is found that scores 0.5: its PQ and RQ are not defined",
        "no outlined a is found with an IoU over 0.5: its SQ is not defined",
        "no cell is outlined as a: its mean IoU is not defined",
        "no field has an outlined cell or a false detection that scores 0.5: AJI is not defined",
    ]


def test_a_set_without_fields_has_no_scores_and_says_so():
    result = cell_scores([], [], "a", 0.5)
    assert result["confusion"]["counts"] == [[0, 0], [0, 0]]
    assert np.isnan([result["count_error"]["mean"], result["segmentation"]["pq"]]).all()
    assert result["undefined"] == ["there are no fields: no score is defined"]


def test_an_empty_field_counts_for_the_counts_alone():
    result = cell_scores([annotated([])], [detected([])], "a", 0.5)
    assert result["confusion"]["counts"] == [[0, 0], [0, 0]]
    assert result["count_error"]["mean_absolute"] == 0
    np.testing.assert_equal(result["pr_curves"]["a"], {"precision": [], "recall": [], "thresholds": [], "AP50": np.nan})
    assert result["undefined"][0] == "no cell is a: its precision-recall curve and AP50 are not defined"


def test_a_class_that_is_never_found_has_no_points_and_scores_zero():
    curve = cell_scores([annotated([((0, 0, 9, 9), 1)])], [detected([])], "a", 0.5)["pr_curves"]["a"]
    assert curve == {"precision": [], "recall": [], "thresholds": [], "AP50": 0}


@given(st.lists(drawn_fields(), max_size=3), SCORES)
def test_matches_equal_those_from_counted_pixels(drawn, min_score):
    built = [build(field, str(number)) for number, field in enumerate(drawn)]
    annotations, detections = [cells for cells, _ in built], [found for _, found in built]
    result = cell_scores(annotations, detections, CLASSES, min_score)
    expected, misses, false_alarms, errors = Counter(), [], [], []
    for cells, found in zip(annotations, detections, strict=True):
        rows = once(found)
        pairs, missed, false = outcome(
            cells, found.select(np.array(rows, np.int64)), min_score, same_class=False, over_half=False
        )
        pairs, false = [(cell, rows[row]) for cell, row in pairs], [rows[row] for row in false]
        expected.update((cells.labels[cell], found.labels[row]) for cell, row in pairs)
        expected.update((cells.labels[cell], 4) for cell in missed)
        expected.update((4, found.labels[row]) for row in false)
        misses += [(best_score(cells, cell, found), -area(cells, cell), cells.name, cell) for cell in missed]
        false_alarms += [(found.name, row) for row in false]
        errors.append(len(pairs) + len(false) - (~cells.crowd).sum())
    counts = result["confusion"]["counts"]
    assert {(i, j): n for i, row in enumerate(counts, 1) for j, n in enumerate(row, 1) if n} == expected
    told = [(miss["best_score"], miss["field"], miss["cell"]) for miss in result["misses"]]
    assert told == [(best, name, cell) for best, _, name, cell in sorted(misses)]
    assert sorted((alarm["field"], alarm["detection"]) for alarm in result["false_alarms"]) == sorted(false_alarms)
    assert [field["found"] - field["annotated"] for field in result["count_error"]["per_field"]] == errors
    if errors:
        assert result["count_error"]["mean"] == pytest.approx(np.mean(errors))
        assert result["count_error"]["mean_absolute"] == pytest.approx(np.mean(np.abs(errors)))


def best_score(cells: FieldAnnotations, cell: int, found: FieldDetections) -> float:
    """The best score of a detection that shares half of its pixels or more with a cell."""
    covers = [cover(cells, cell, found, row) for row in range(len(found.scores))]
    return max((float(found.scores[row]) for row, (shared, both) in enumerate(covers) if 2 * shared >= both), default=0)


def area(cells: FieldAnnotations, cell: int) -> float:
    x1, y1, x2, y2 = cells.boxes[cell].tolist()
    return (x2 - x1) * (y2 - y1)


def test_misses_begin_with_the_large_cells_of_which_nothing_was_suspected():
    small, large, weak, strong = (0, 0, 8, 8), (20, 0, 40, 20), (0, 20, 20, 40), (45, 25, 55, 40)
    cells = [annotated([(weak, 1), (small, 1), (strong, 1), (large, 1)])]
    found = [detected([(weak, 1, 0.25), (strong, 1, 0.375)])]
    misses = cell_scores(cells, found, ("L1",), 0.5)["misses"]
    assert [(miss["cell"], miss["best_score"]) for miss in misses] == [(3, 0.0), (1, 0.0), (0, 0.25), (2, 0.375)]


@settings(max_examples=40)
@given(st.lists(drawn_fields(), min_size=1, max_size=3), SCORES)
def test_every_cell_and_every_detection_is_in_the_matrix_once(drawn, min_score):
    annotations, detections = zip(*map(build, drawn), strict=True)
    result = cell_scores(annotations, detections, CLASSES, min_score)
    counts = np.array(result["confusion"]["counts"])
    labels = np.concatenate([cells.labels[~cells.crowd] for cells in annotations])
    assert counts[:-1].sum(axis=1).tolist() == [(labels == label).sum() for label in (1, 2, 3)]
    assert counts[:, :-1].sum() == result["counts"]["detections"] - result["counts"]["in_crowds"]
    assert counts[:-1, -1].sum() == len(result["misses"])
    assert counts[-1].sum() == len(result["false_alarms"])
    assert [alarm["score"] for alarm in result["false_alarms"]] == sorted(
        (alarm["score"] for alarm in result["false_alarms"]), reverse=True
    )


@settings(max_examples=40)
@given(drawn_fields(), st.sets(SCORES, min_size=2, max_size=2))
def test_a_higher_least_score_never_adds_a_match(drawn, least):
    """A higher least score never adds a match a false alarm or a curve."""
    cells, found = build(drawn)
    lax, strict = (cell_scores([cells], [found], CLASSES, score) for score in sorted(least))
    lax_counts, strict_counts = (np.array(result["confusion"]["counts"]) for result in (lax, strict))
    assert (strict_counts[:, :-1] <= lax_counts[:, :-1]).all()
    assert all(alarm in lax["false_alarms"] for alarm in strict["false_alarms"])
    assert all(miss in strict["misses"] for miss in lax["misses"])
    np.testing.assert_equal(strict["pr_curves"], lax["pr_curves"])


@pytest.mark.parametrize("seed", range(4))
def test_scores_do_not_depend_on_the_order_of_fields_and_detections(seed: int):
    annotations, detections = random_set(seed)
    rng = np.random.default_rng(seed)
    for field in detections:
        field.scores[:] = rng.random(len(field.scores))  # of equal ones the first counts
    result = cell_scores(annotations, detections, FOUR, 0.3)
    order = rng.permutation(len(annotations)).tolist()
    shuffled = [detections[i].select(rng.permutation(len(detections[i].scores))) for i in order]
    again = cell_scores([annotations[i] for i in order], shuffled, FOUR, 0.3)
    for part in ("confusion", "pr_curves", "counts"):
        np.testing.assert_equal(again[part], result[part])
    assert again["segmentation"]["aji"] == pytest.approx(result["segmentation"]["aji"])
    assert again["count_error"]["mean"] == pytest.approx(result["count_error"]["mean"])


@pytest.mark.parametrize("seed", range(4))
def test_curves_equal_cocoevals_ties_and_the_hundred_and_first_detection_included(seed: int, tmp_path: Path):
    annotations, detections = random_set(seed)
    curves = cell_scores(annotations, detections, FOUR, 0.5)["pr_curves"]
    expected = coco_curves(annotations, detections, tmp_path / "detections.json")
    for label, name in enumerate(FOUR[:3]):
        curve = {key: np.array(curves[name][key]) for key in ("precision", "recall", "thresholds")}
        reached = curve["recall"].max() >= RECALL_POINTS
        best = [curve["precision"][curve["recall"] >= recall].max(initial=0) for recall in RECALL_POINTS]
        first = np.searchsorted(curve["recall"], RECALL_POINTS[reached])
        np.testing.assert_allclose(best, expected["precision"][0, :, label, 0, 2], rtol=0, atol=1e-12)
        np.testing.assert_array_equal(curve["recall"].max(), expected["recall"][0, label, 0, 2])
        np.testing.assert_allclose(curve["thresholds"][first], expected["scores"][0, reached, label, 0, 2], atol=1e-7)
        assert curves[name]["AP50"] == pytest.approx(expected["precision"][0, :, label, 0, 2].mean(), abs=1e-12)
        assert (np.diff(curve["thresholds"]) <= 0).all()
        assert (np.diff(curve["recall"]) >= 0).all()
    assert np.isnan(curves["never annotated"]["AP50"])


@pytest.mark.parametrize("seed", range(3))
def test_points_left_out_of_a_curve_lie_straight_below_one_that_is_kept(seed: int):
    annotations, detections = random_set(seed)
    for field in detections:
        field.scores[:] = np.random.default_rng(len(field.scores)).random(len(field.scores))
    curve = cell_scores(annotations, detections, FOUR, 0.5)["pr_curves"]["a"]
    kept = dict(zip(curve["thresholds"], zip(curve["precision"], curve["recall"], strict=True), strict=True))
    for threshold, (precision, recall) in kept.items():  # each is what the detections from this score on give
        few = [field.select(np.flatnonzero(field.scores >= threshold)) for field in detections]
        last = cell_scores(annotations, few, FOUR, 0.5)["pr_curves"]["a"]
        assert (last["precision"][-1], last["recall"][-1]) == (precision, recall)
    assert len(curve["recall"]) <= 2 * len(set(curve["recall"]))


@pytest.mark.parametrize("seed", range(3))
def test_ap50_agrees_with_the_other_scores(seed: int):
    """Ap50 is that of the other scores of masks of boxes and of both."""
    annotations, detections = random_set(seed)
    curves = cell_scores(annotations, detections, FOUR, 0.5)["pr_curves"]
    ap50 = np.nanmean([curve["AP50"] for curve in curves.values()])
    assert ap50 == pytest.approx(detection_scores(annotations, detections, FOUR)["mask"]["AP50"])
    rng = np.random.default_rng(seed)
    for share, overlaps in ((1.0, box_overlaps), (0.5, mask_overlaps)):
        boxed = [
            replace(field, outlined=(rng.random(len(field.labels)) >= share) | field.crowd) for field in annotations
        ]
        pairs = zip(boxed, detections, strict=True)
        expected = average_precision(boxed, detections, [overlaps(*pair) for pair in pairs], len(FOUR)).ap50
        curves = cell_scores(boxed, detections, FOUR, 0.5)["pr_curves"]
        assert np.nanmean([curve["AP50"] for curve in curves.values()]) == pytest.approx(expected)


def test_scores_of_saved_detections_equal_those_of_the_originals(tmp_path: Path):
    annotations, detections = random_set(seed=11)
    save(tmp_path / "detections.json", FOUR, annotations, detections)
    classes, annotations_again, detections_again = load(tmp_path / "detections.json")
    again = cell_scores(annotations_again, detections_again, classes, 0.5)
    np.testing.assert_equal(again, cell_scores(annotations, detections, FOUR, 0.5))


def test_scores_are_plain_json_with_null_for_what_is_not_defined(tmp_path: Path):
    annotations, detections = random_set(seed=1)
    result = cell_scores(annotations, detections, FOUR, 0.5)
    write_json(tmp_path / "cells.json", result)
    written = json.loads((tmp_path / "cells.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert written["pr_curves"]["never annotated"]["AP50"] is None
    assert written["segmentation"]["per_class"]["never annotated"]["sq"] is None
    for part in ("confusion", "misses", "false_alarms", "count_error", "counts", "undefined"):
        assert written[part] == result[part]


def test_lists_of_different_fields_are_refused():
    with pytest.raises(ValueError, match=r"must be the same, in the same order; found in one list only: \['a', 'b'\]"):
        cell_scores([annotated([], name="a")], [detected([], name="b")], "a", 0.5)


def test_a_label_beyond_the_classes_is_refused_naming_the_field():
    with pytest.raises(ValueError, match=r"field.png: label 3 has no class; the 2 classes are L1, L2"):
        cell_scores([annotated([])], [detected([((0, 0, 5, 5), 3, 0.9)])], ("L1", "L2"), 0.5)


def coco_curves(annotations, detections, path: Path) -> Any:
    """What COCOeval accumulates of masks: precision and scores (iou, recall, class, area, detections), and recall."""
    save(path, FOUR, annotations, detections)
    with contextlib.redirect_stdout(io.StringIO()):
        truth: Any = COCO(path)
        evaluation = COCOeval(truth, truth.loadRes(json.loads(path.read_text())["detections"]), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval
