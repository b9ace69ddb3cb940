"""Numbers of a set against sets small enough to count by hand, and touching cells against `overlap.touching`."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from tests.evaluate.make import HEIGHT, WIDTH, rle
from wbcjax.evaluate.overlap import touching
from wbcjax.evaluate.set_statistics import measure, nested_classes, nested_pairs, tabulate
from wbcjax.smear.field import Cell, SmearField, text_rle

PIXELS = np.zeros((HEIGHT, WIDTH, 3), np.uint8)


def field(*cells: Cell, name="a.png") -> SmearField:
    return SmearField(name, HEIGHT, WIDTH, cells, pixels=PIXELS)


def cell(x1: int, y1: int, x2: int, y2: int, label=1, crowd=False) -> Cell:
    return Cell(label, rle=rle((x1, y1, x2, y2)), crowd=crowd)


def parts(*rectangles: tuple[int, int, int, int]) -> Cell:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    for x1, y1, x2, y2 in rectangles:
        mask[y1:y2, x1:x2] = 1
    return Cell(1, rle=text_rle(coco_mask.encode(mask)))


def test_every_cell_is_counted_with_its_field_class_size_and_area():
    fields = [
        field(cell(10, 10, 20, 30), cell(30, 10, 36, 16, label=2)),
        field(),
        field(Cell(1, box=(5.5, 4.0, 15.5, 14.0)), cell(20, 20, 40, 30, crowd=True)),
    ]
    table = tabulate([measure(each) for each in fields])
    assert len(table) == 4
    assert table.field.tolist() == [0, 0, 2, 2]
    assert table.row.tolist() == [0, 1, 0, 1]
    assert table.label.tolist() == [1, 2, 1, 1]
    assert table.boxes[2].tolist() == [5.5, 4, 15.5, 14]
    assert table.area.tolist()[:2] == [200, 36]
    assert table.outlined.tolist() == [True, True, False, True]
    assert table.crowd.tolist() == [False, False, False, True]
    assert table.size == pytest.approx([200**0.5, 6, 10, 200**0.5])
    assert table.aspect == pytest.approx([2, 1, 1, 0.5])
    assert len(table.select(table.label == 1)) == 3


def test_a_set_without_cells_has_an_empty_table():
    table = tabulate([measure(field()), measure(field())])
    assert len(table) == 0
    assert table.boxes.shape == (0, 4)
    assert table.size.shape == (0,)
    assert nested_classes([measure(field())]) == {}


@pytest.mark.parametrize(
    ("rectangle", "cut"),
    [
        ((0, 10, 9, 19), True),
        ((10, 0, 19, 9), True),
        ((WIDTH - 9, 10, WIDTH, 19), True),
        ((10, HEIGHT - 9, 19, HEIGHT), True),
        ((1, 1, WIDTH - 1, HEIGHT - 1), False),
    ],
)
def test_a_cell_is_cut_by_the_border_that_it_reaches(rectangle, cut):
    assert tabulate([measure(field(cell(*rectangle)))]).cut.tolist() == [cut]


@given(
    rectangles=st.lists(
        st.tuples(st.integers(0, 45), st.integers(0, 25), st.integers(1, 14), st.integers(1, 14)), max_size=6
    )
)
def test_cells_touch_as_they_do_on_the_whole_field(rectangles):
    cells = [cell(x, y, x + width, y + height) for x, y, width, height in rectangles]
    m = measure(field(*cells))
    assert tabulate([m]).touching.tolist() == touching(m.annotations).tolist()
    assert not m.meets.diagonal().any()
    assert (m.meets == m.meets.T).all()


def test_overlaps_are_of_masks_and_of_boxes_where_there_is_no_mask():
    corner = parts((10, 10, 20, 12), (10, 10, 12, 20))  # 36 pixels in a box of 100
    m = measure(field(cell(10, 10, 20, 20), corner, Cell(1, box=(10.0, 10.0, 20.0, 20.0))))
    assert m.iou[0, 1] == pytest.approx(0.36)
    assert m.iou[1, 2] == pytest.approx(1)  # boxes: nothing is known of the second's mask
    assert m.inside[1, 0] == pytest.approx(1)
    assert m.inside[0, 1] == pytest.approx(0.36)
    assert m.iou.diagonal().tolist() == m.inside.diagonal().tolist() == [0, 0, 0]


def test_the_farthest_part_of_a_cell_is_measured_from_its_largest():
    m = measure(field(parts((10, 10, 20, 20), (22, 10, 24, 12), (40, 10, 43, 13)), cell(1, 30, 4, 33)))
    assert m.gap == pytest.approx([21, 0])  # from column 19 to column 40
    assert m.main_area.tolist() == [100, 9]


def test_nuclei_in_cells_are_told_as_nested_classes():
    """Cells with their nuclei do not touch them and the classes are told as nested."""
    fields = [
        field(cell(5, 5, 25, 25), cell(10, 10, 20, 20, label=2)),
        field(cell(5, 5, 25, 25), cell(10, 10, 20, 20, label=2), cell(24, 5, 40, 25)),
    ]
    measures = [measure(fields[number]) for number in (0, 1, 0, 0, 0)]
    assert nested_classes(measures) == {(2, 1): 1.0}
    assert nested_pairs(measures[1], {(2, 1): 1.0}).tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    assert tabulate(measures[:3]).touching.tolist() == [True] * 7  # three nested cells are too few to tell
    assert tabulate(measures).touching.tolist() == [False, False, True, False, True] + [False] * 6


def test_classes_that_are_seldom_nested_are_not_told_and_touch():
    nested, alone = field(cell(5, 5, 25, 25), cell(10, 10, 20, 20, label=2)), field(cell(5, 5, 9, 9, label=2))
    measures = [measure(each) for each in (*[nested] * 5, *[alone] * 6)]
    assert nested_classes(measures) == {}
    assert tabulate(measures).touching.tolist() == [True] * 10 + [False] * 6
