"""One cell, one name: what is reported of detections that repeat a cell, by hand and for any detections."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluate.dense import SCORES, build, drawn_fields, mask, once
from tests.evaluate.make import annotated, detected
from wbcjax.evaluate.detections import FieldDetections
from wbcjax.evaluate.image_scores import subtype_scores
from wbcjax.evaluate.reported_cells import reported_cells, rows_of_cells
from wbcjax.evaluate.scores import detection_scores

SUBTYPES = ("L1", "L2", "L3")
HERE, NEARLY, HALF, THERE = (0, 0, 10, 10), (0, 0, 10, 9), (0, 0, 10, 5), (30, 0, 40, 10)


def told(found: FieldDetections, min_score: float = 0.5, classes: tuple[str, ...] = SUBTYPES) -> list[tuple]:
    """Class, score and runner-up of each cell."""
    cells = reported_cells(found, min_score, classes)
    parts = zip(cells.labels, cells.scores, cells.runners_up(classes), strict=True)
    return [(classes[label - 1], round(float(score), 3), second and second[0]) for label, score, second in parts]


def test_a_cell_of_two_classes_has_the_surer_name():
    """A cell outlined as two classes is one cell with the surer name and the other beside it."""
    found = detected([(NEARLY, 2, 0.67), (THERE, 3, 0.6), (HERE, 1, 0.69)])
    assert told(found) == [("L1", 0.69, "L2"), ("L3", 0.6, None)]
    cells = reported_cells(found, 0.5, SUBTYPES)
    assert cells.runners_up(SUBTYPES) == [("L2", pytest.approx(0.67)), None]
    assert cells.boxes.tolist() == [list(HERE), list(THERE)]


def test_the_runner_up_may_score_below_the_least():
    """The runner up is the surest of another class even below the least score."""
    found = detected([(HERE, 1, 0.9), (NEARLY, 1, 0.8), (NEARLY, 2, 0.3), (HERE, 3, 0.4)])
    assert told(found) == [("L1", 0.9, "L3")]


def test_more_than_half_of_a_cell_repeats_it():
    """A half of a cell is a cell by itself and more of it is not."""
    assert len(told(detected([(HERE, 1, 0.9), (HALF, 2, 0.8)]))) == 2
    assert len(told(detected([(HERE, 1, 0.9), ((0, 0, 10, 6), 2, 0.8)]))) == 1


def test_a_nucleus_is_never_the_cell_that_it_fills():
    classes = ("blast", "nucleus", "other")
    found = detected([(NEARLY, 2, 0.9), (HERE, 1, 0.8), (HERE, 3, 0.7), (HERE, 2, 0.6)])
    assert told(found, classes=classes) == [("nucleus", 0.9, None), ("blast", 0.8, "other")]


def test_what_has_no_pixel_is_no_cell():
    assert told(detected([((5, 5, 5, 5), 1, 0.9)])) == []
    assert told(detected([])) == []


def test_a_cell_votes_once_while_cocos_and_the_papers_scores_count_every_detection():
    annotations = [annotated([(HERE, 1), (THERE, 1)])]
    detections = [detected([(HERE, 1, 0.97), (THERE, 1, 0.96), (NEARLY, 3, 0.93)])]
    (image,) = subtype_scores(annotations, detections, SUBTYPES, 0.9)["images"]
    assert image["counts"] == {"L1": 2, "L2": 0, "L3": 0}
    assert set(image["votes"].values()) == {"L1"}
    assert detection_scores(annotations, detections, SUBTYPES, 0.9)["counts"]["detections"] == {
        "L1": 2,
        "L2": 0,
        "L3": 1,
    }


@given(drawn_fields())
def test_each_detection_left_out_repeats_a_surer_one(drawn):
    """The cells are those of counted pixels and each detection left out repeats a surer one."""
    _, found = build(drawn)
    rows, _ = rows_of_cells(found, 0)
    assert sorted(found.scores[rows].tolist()) == sorted(found.scores[once(found)].tolist())
    for row in set(range(len(found.scores))).difference(rows.tolist()):
        repeated = [other for other in rows if iou(mask(found, row), mask(found, other)) > 0.5]
        assert not mask(found, row).any() or max(found.scores[repeated]) >= found.scores[row]


@given(drawn_fields(), st.randoms(use_true_random=False))
def test_reported_cells_do_not_depend_on_order(drawn, random):
    """The cells do not depend on the order of detections nor on being told again."""
    _, found = build(drawn)
    cells = reported_cells(found, 0.0, "abc")
    order = list(range(len(found.scores)))
    random.shuffle(order)
    assert plain(reported_cells(found.select(np.array(order, np.int64)), 0.0, "abc")) == plain(cells)
    again = reported_cells(cells, 0.0, "abc")
    assert [one[:3] for one in plain(again)] == [one[:3] for one in plain(cells)]


@given(drawn_fields(), SCORES)
def test_a_higher_least_score_leaves_the_other_cells_as_they_are(drawn, min_score):
    _, found = build(drawn)
    every = plain(reported_cells(found, 0.0, "abc"))
    assert plain(reported_cells(found, min_score, "abc")) == [cell for cell in every if cell[0] >= min_score]
    surer = found.select(np.flatnonzero(found.scores >= min_score))
    told_of_surer = [cell[:3] for cell in plain(reported_cells(surer, 0.0, "abc"))]
    assert told_of_surer == [cell[:3] for cell in every if cell[0] >= min_score]
    assert all(second is None or second[1] <= score for score, *_, second in every)


def plain(cells) -> list[tuple]:
    outlines = [rle["counts"] for rle in cells.rles]
    return list(zip(cells.scores.tolist(), cells.labels.tolist(), outlines, cells.runners_up("abc"), strict=True))


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / max((one | other).sum(), 1)
