import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluate.make import annotated, detected, rle
from wbcjax.evaluate.overlap import box_overlaps, mask_overlaps, touching


def test_overlaps_of_rectangles_are_intersection_over_union():
    cells = annotated([((0, 0, 10, 10), 1), ((30, 0, 40, 10), 2)])
    found = detected([((5, 0, 15, 10), 1, 0.5), ((30, 0, 40, 10), 1, 0.5), ((50, 30, 60, 40), 2, 0.5)])
    expected = [[50 / 150, 0], [0, 1], [0, 0]]
    np.testing.assert_allclose(mask_overlaps(cells, found), expected)
    np.testing.assert_allclose(box_overlaps(cells, found), expected)


def test_overlap_with_a_crowd_is_the_share_of_the_detection_in_it():
    cells = annotated([], crowds=[((0, 0, 40, 40), 1)])
    found = detected([((35, 0, 45, 10), 1, 0.5)])
    assert mask_overlaps(cells, found)[0, 0] == pytest.approx(0.5)
    assert box_overlaps(cells, found)[0, 0] == pytest.approx(0.5)


def test_overlap_with_a_cell_that_has_no_outline_is_that_of_the_boxes():
    cells = annotated([((0, 0, 10, 10), 1)], boxes=[((20, 0, 40, 20), 1)])
    found = detected([((20, 0, 40, 20), 1, 0.5)])
    found.rles[0] = rle((25, 5, 35, 15))  # a quarter of its box
    np.testing.assert_allclose(mask_overlaps(cells, found), [[0, 1]])
    np.testing.assert_allclose(mask_overlaps(cells.for_masks(), found), [[0, 1]])  # wholly inside
    found.rles[0] = rle((30, 5, 50, 15))
    np.testing.assert_allclose(mask_overlaps(cells.for_masks(), found), [[0, 0.5]])


def test_overlaps_without_cells_or_detections_are_empty_arrays():
    assert mask_overlaps(annotated([]), detected([((0, 0, 5, 5), 1, 0.5)])).shape == (1, 0)
    assert box_overlaps(annotated([((0, 0, 5, 5), 1)]), detected([])).shape == (0, 1)
    assert mask_overlaps(annotated([]), detected([])).shape == (0, 0)


@given(gap=st.integers(-5, 8), aside=st.booleans())
def test_cells_touch_when_at_most_three_pixels_lie_between(gap: int, aside: bool):
    first = (5, 5, 15, 15)
    second = (15 + gap, 8, 25 + gap, 18) if aside else (7, 15 + gap, 17, 25 + gap)
    np.testing.assert_array_equal(touching(annotated([(first, 1), (second, 2)])), [gap <= 3] * 2)


def test_only_the_cells_that_touch_are_marked_and_crowds_are_neighbours():
    cells = annotated(
        [((0, 0, 10, 10), 1), ((11, 0, 20, 10), 1), ((40, 0, 50, 10), 1), ((0, 28, 10, 38), 2)],
        crowds=[((12, 28, 30, 38), 1)],
    )
    np.testing.assert_array_equal(touching(cells), [True, True, False, True, True])
    np.testing.assert_array_equal(touching(annotated([((0, 0, 10, 10), 1)])), [False])
    assert touching(annotated([])).shape == (0,)
