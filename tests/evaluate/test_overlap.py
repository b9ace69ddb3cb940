import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from tests.evaluate.make import HEIGHT, WIDTH, annotated, detected, rle
from wbcjax.evaluate.detections import FieldAnnotations, annotate
from wbcjax.evaluate.overlap import box_overlaps, mask_overlaps, touching, touching_pairs
from wbcjax.smear.field import Cell, text_rle


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


def test_a_nucleus_does_not_touch_its_own_cell():
    """A nucleus does not touch the cell that it lies in but another nucleus."""
    apart = annotated([((0, 0, 20, 20), 1), ((5, 5, 15, 15), 2), ((30, 0, 50, 20), 1), ((35, 5, 45, 15), 2)])
    np.testing.assert_array_equal(touching(apart), [True] * 4)
    np.testing.assert_array_equal(touching(apart, nucleus=2), [False] * 4)
    near = annotated([((0, 0, 20, 20), 1), ((5, 5, 19, 15), 2), ((21, 0, 41, 20), 1), ((22, 5, 35, 15), 2)])
    np.testing.assert_array_equal(touching(near, nucleus=2), [True] * 4)
    lobes = annotated([((0, 0, 20, 20), 1), ((2, 2, 8, 8), 2), ((10, 2, 18, 8), 2)])
    np.testing.assert_array_equal(touching(lobes, nucleus=2), [False, True, True])
    crowd = annotated([((25, 5, 35, 15), 2)], crowds=[((0, 0, 40, 40), 1)])
    np.testing.assert_array_equal(touching(crowd, nucleus=2), [False, False])


@settings(max_examples=200)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 7), largest=st.integers(1, 20))
def test_cells_touch_as_their_whole_masks_dilated_share_a_pixel(seed: int, count: int, largest: int):
    rng = np.random.default_rng(seed)
    cells = []
    for _ in range(count):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        for _ in range(int(rng.integers(0, 4))):  # parts, also none, over the field's border and beyond it
            centre, axes = rng.integers(-3, (WIDTH + 3, HEIGHT + 3)).tolist(), rng.integers(0, largest, 2).tolist()
            cv2.ellipse(mask, centre, axes, int(rng.integers(180)), 0, 360, 1, cv2.FILLED)
        cells.append(Cell(int(rng.integers(1, 4)), rle=text_rle(coco_mask.encode(np.asfortranarray(mask)))))
    field = annotate("field.png", HEIGHT, WIDTH, cells)
    pairs = touching_pairs(field)
    np.testing.assert_array_equal(pairs, dense_pairs(field))
    np.testing.assert_array_equal(touching(field), pairs.any(axis=1))
    nuclei, others = np.flatnonzero(field.labels == 2), np.flatnonzero(field.labels != 2)
    expected = np.zeros(count, bool)
    for rows in (nuclei, others):
        expected[rows] = pairs[np.ix_(rows, rows)].any(axis=1)
    np.testing.assert_array_equal(touching(field, nucleus=2), expected)


def dense_pairs(field: FieldAnnotations) -> np.ndarray:
    """Which two cells touch, by masks of the whole field."""
    kernel = np.ones((5, 5), np.uint8)
    grown = [np.asarray(cv2.dilate(coco_mask.decode(rle), kernel)) > 0 for rle in field.rles]
    pairs = [[i != j and bool((one & other).any()) for j, other in enumerate(grown)] for i, one in enumerate(grown)]
    return np.array(pairs, bool).reshape(len(grown), len(grown))
