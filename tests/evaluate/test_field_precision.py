"""The papers' matching and average precision, by hand."""

import numpy as np
import pytest

from tests.evaluate.make import annotated, detected
from wbcjax.evaluate.field_precision import field_average_precision, match_field
from wbcjax.evaluate.overlap import mask_overlaps

LEFT, MIDDLE, RIGHT = (0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10)
NOWHERE = (20, 25, 30, 35)


def matched(cells, found, **settings):
    return match_field(cells, found, mask_overlaps(cells, found), **settings)


@pytest.mark.parametrize(
    ("found", "cells", "expected"),
    [
        ([True], 1, 1.0),
        ([False, True], 1, 1 / 2),
        ([True, False, False], 1, 1.0),  # what comes after the last cell is found costs nothing
        ([True, False, True], 2, (1 + 2 / 3) / 2),
        ([True, False, True], 4, (1 + 2 / 3) / 4),  # cells never found count with precision 0
        ([False, True, True], 2, 2 / 3),  # the envelope: 2/3 is reached beyond the first cell's 1/2
        ([False, False], 3, 0.0),
        ([], 3, 0.0),
    ],
)
def test_precision_of_a_field_worked_by_hand(found: list[bool], cells: int, expected: float):
    assert field_average_precision(np.array(found, bool), cells) == pytest.approx(expected)


def test_precision_of_a_field_equals_the_published_formula():
    """Against the recall steps and padded envelope of Matterport's `compute_ap`, written out."""
    rng = np.random.default_rng(5)
    for _ in range(200):
        found = rng.random(rng.integers(0, 12)) < 0.6
        cells = int(found.sum() + rng.integers(0, 4)) or 1
        precisions = [0.0, *(np.cumsum(found) / (np.arange(len(found)) + 1)), 0.0]
        recalls = [0.0, *(np.cumsum(found) / cells), 1.0]
        area = 0.0
        for step in range(1, len(recalls)):
            area += (recalls[step] - recalls[step - 1]) * max(precisions[step:])
        assert field_average_precision(found, cells) == pytest.approx(area)


def test_a_field_without_cells_has_no_precision():
    assert np.isnan(field_average_precision(np.array([False]), 0))


def test_found_missed_and_false_cells_are_told_apart():
    cells = annotated([(LEFT, 1), (MIDDLE, 1), (RIGHT, 2)])
    found = detected(
        [
            (NOWHERE, 1, 0.75),
            (RIGHT, 1, 0.8),  # the wrong class
            (LEFT, 1, 0.9),
            (LEFT, 1, 0.95),  # this finds it, the one before is a duplicate
            (MIDDLE, 1, 0.69),  # not confident
        ]
    )
    match = matched(cells, found)
    np.testing.assert_array_equal(match.detections, [3, 2, 1, 0])
    np.testing.assert_array_equal(match.cell_of, [0, -1, -1, -1])
    np.testing.assert_array_equal(match.missed, [1, 2])
    np.testing.assert_array_equal(match.false, [2, 1, 0])
    assert (match.found, match.cells) == (1, 3)
    assert matched(cells, found, score_threshold=0.69 - 1e-6).found == 2


def test_a_detection_takes_the_free_cell_it_overlaps_most():
    cells = annotated([((0, 0, 10, 10), 1), ((1, 0, 11, 10), 1)])
    found = detected([((1, 0, 11, 10), 1, 0.9), ((1, 0, 11, 10), 1, 0.8)])
    np.testing.assert_array_equal(matched(cells, found).cell_of, [1, 0])


def test_a_better_covered_cell_of_another_class_does_not_stand_in_the_way():
    cells = annotated([((0, 0, 10, 10), 2), ((1, 0, 11, 10), 1)])
    np.testing.assert_array_equal(matched(cells, detected([((0, 0, 10, 10), 1, 0.9)])).cell_of, [1])


def test_iou_of_exactly_one_half_is_a_match():
    cells, found = annotated([((0, 0, 10, 10), 1)]), detected([((0, 0, 5, 10), 1, 0.9)])
    assert matched(cells, found).found == 1
    assert matched(cells, found, iou_threshold=0.51).found == 0


def test_a_detection_in_its_crowd_is_left_out():
    """A detection in a crowd of its class is left out and the crowd is not missed."""
    cells = annotated([(LEFT, 1)], crowds=[((20, 0, 60, 40), 1)])
    found = detected([(RIGHT, 1, 0.9), (NOWHERE, 1, 0.9), (MIDDLE, 2, 0.9)])
    match = matched(cells, found)
    np.testing.assert_array_equal(match.detections, [2])  # of another class than the crowd
    np.testing.assert_array_equal(match.missed, [0])
    assert match.cells == 1


def test_equal_scores_keep_their_order():
    found = detected([(NOWHERE, 1, 0.9), (LEFT, 1, 0.9)])
    np.testing.assert_array_equal(matched(annotated([(LEFT, 1)]), found).detections, [0, 1])
