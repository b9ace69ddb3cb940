"""The windows that masks travel in: large enough for every cell, small enough to send, and within the canvas."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from tests.input.painted import on_canvas, open_batches, settings, source_of
from wbcjax.input.augment import Augment
from wbcjax.input.field_set import Measures, measures
from wbcjax.input.windows import window_corner, window_size
from wbcjax.smear.field import Cell, SmearField, text_rle

CANVAS = (512, 256)


def squares(side: int, corners: list[tuple[int, int]], size: int = 256, **changes) -> SmearField:
    """A square field of so many pixels with square cells."""
    cells = []
    for x, y in corners:
        mask = np.zeros((size, size), np.uint8, order="F")
        mask[y : y + side, x : x + side] = 1
        cells.append(Cell(label=1, rle=text_rle(coco_mask.encode(mask)), **changes))
    return SmearField("a.png", size, size, tuple(cells), pixels=np.zeros((size, size, 3), np.uint8))


def enlarged(rng, sample):
    """An augmentation that lengthens the cells by twenty pixels."""
    return replace(sample, masks=sample.masks | np.roll(sample.masks, 20, axis=2))


def the_first(field: SmearField, canvas: tuple[int, int], batch_size: int = 1, max_cells: int = 4, **augment):
    batches = open_batches(source_of([field]), settings(canvas, batch_size, max_cells, **augment), seed=0)
    try:
        return next(batches)
    finally:
        batches.close()


def moved(rng, sample):
    return replace(sample, image=sample.image + 1)


@pytest.mark.parametrize(
    ("longest", "augment", "expected"),
    [
        (0, Augment(), (16, 16)),  # nothing is outlined
        (13, Augment(), (16, 16)),
        (14, Augment(), (32, 32)),
        (93, Augment(), (96, 96)),
        (94, Augment(scale=(0.1, 1.0)), (112, 112)),
        (30, Augment(scale=(0.5, 2.0)), (64, 64)),
        (30, Augment(more=(moved,)), (80, 80)),
        (30, Augment(more=(moved,), room=10), (48, 48)),
        (300, Augment(), (304, 256)),  # within the canvas
        (900, Augment(), CANVAS),
    ],
)
def test_a_window_is_the_least_that_holds_the_largest_cell(longest, augment, expected):
    half, other = Measures(1024, 512, 9, 2 * longest), Measures(512, 200, 9, 7)
    assert window_size([other, half], CANVAS, augment) == expected


def test_crowd_regions_and_boxes_need_no_window():
    field = squares(40, [(3, 4)], crowd=True)
    boxed = replace(field, cells=(*field.cells, Cell(label=1, box=(0.0, 0.0, 200.0, 200.0))))
    assert measures(boxed) == Measures(256, 256, 2, 0, [200.0])
    assert measures(squares(40, [(3, 4), (210, 216)])) == Measures(256, 256, 2, 40, [40.0, 40.0])


@given(st.tuples(*[st.tuples(st.integers(0, 90), st.integers(1, 40))] * 2), st.sampled_from([32, 48]))
def test_a_window_has_background_around_its_cell(sides, window):
    """But for sides that lie on the canvas's; None where it is too small."""
    canvas = (112, 96)
    (x, width), (y, height) = sides
    x2, y2 = min(x + width, canvas[1]), min(y + height, canvas[0])
    corner = window_corner((x, y, x2, y2), (window, window), canvas)
    if max(x2 - x, y2 - y) > window - 2:
        return
    assert corner is not None
    for first, last, start, end in ((x, x2, corner[0], canvas[1]), (y, y2, corner[1], canvas[0])):
        assert 0 <= start <= end - window
        assert start < first or start == first == 0
        assert last < start + window or last == start + window == end


def test_a_cell_too_large_for_its_window_has_no_corner():
    assert window_corner((10, 10, 41, 20), (32, 32), (112, 96)) is None
    assert window_corner((10, 10, 20, 41), (32, 32), (112, 96)) is None


def test_a_cell_enlarged_beyond_its_window_is_refused_by_name():
    field = squares(25, [(30, 40), (90, 17)])
    batch = the_first(field, (256, 256), more=(enlarged,))
    assert batch.masks.shape[2:] == (64, 64)
    assert on_canvas(batch)[0, 1, 17:42, 90:135].all()
    with pytest.raises(ValueError, match=r"a\.png: cell 0 \(from 0\) is 45 x 25 .*windows of 32 x 32.*augment\.room"):
        the_first(field, (256, 256), more=(enlarged,), room=2)


def test_a_batch_of_two_with_a_hundred_cells_is_under_12_mb():
    corners = [(101 * i, 101 * j) for i in range(10) for j in range(10)]
    batch = the_first(squares(100, corners, size=1024), (1024, 1024), batch_size=2, max_cells=100, rotate=True)
    assert batch.masks.sum() == 2 * 100 * 100**2
    assert batch.masks.nbytes <= 2 * 2e6
    assert sum(array.nbytes for array in batch) < 12e6
