"""Every kind of suspect once, told by its place, and none where there is nothing to suspect."""

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

from wbcjax.evaluate.set_statistics import measure, tabulate
from wbcjax.evaluate.suspects import Suspect, suspects_of_cells, suspects_of_classes
from wbcjax.smear.field import Cell, SmearField, text_rle

SIDE = 400


def square(x: int, y: int, side: int, label=1, crowd=False) -> Cell:
    return parts((x, y, side), label=label, crowd=crowd)


def parts(*squares: tuple[int, int, int], label=1, crowd=False) -> Cell:
    mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
    for x, y, side in squares:
        mask[y : y + side, x : x + side] = 1
    return Cell(label, rle=text_rle(coco_mask.encode(mask)), crowd=crowd)


def row_of_cells(label=1, count=10, y=350) -> list[Cell]:
    return [square(5 + 30 * k, y, 20, label) for k in range(count)]


def found(*fields: Sequence[Cell], classes=("L1", "L2")) -> list[Suspect]:
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    measures = [
        measure(SmearField(f"{number}.png", SIDE, SIDE, tuple(cells), pixels=pixels))
        for number, cells in enumerate(fields)
    ]
    return suspects_of_cells(measures, tabulate(measures), classes)


def lines(suspects: list[Suspect]) -> list[str]:
    return [f"{suspect.kind}: {suspect.problem}" for suspect in suspects]


def of_classes(*fields: Sequence[Cell], classes: tuple[str, ...]) -> list[str]:
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    measures = [measure(SmearField("a.png", SIDE, SIDE, tuple(cells), pixels=pixels)) for cells in fields]
    return lines(suspects_of_classes("via.json", measures, tabulate(measures), classes))


def test_a_set_in_order_is_not_suspected():
    assert found(row_of_cells(), [], row_of_cells(label=2)) == []


def test_a_cell_annotated_twice_is_told_once_with_both_places_whatever_its_classes():
    suspects = found([square(50, 50, 20), *row_of_cells()], [square(100, 100, 20), square(101, 100, 20, label=2)])
    assert lines(suspects) == [
        "cells annotated twice: 1.png, cells at (110, 110) and (111, 110): cover the same place (IoU 0.90); delete one"
    ]
    assert suspects[0].cells == (0, 1)


def test_a_cell_inside_another_is_told():
    assert lines(found([square(100, 100, 30), square(105, 105, 20)])) == [
        "cells nested in another: 0.png, cells at (115, 115) and (115, 115): "
        "100 % of the first ('L1') lies in the second ('L1'); delete or redraw one"
    ]


def test_nested_nuclei_are_told_once_by_class():
    """Nuclei in their cells are told once of their class and not cell by cell."""
    fields = [[square(100, 100, 20), square(101, 101, 18, label=2)] for _ in range(10)]  # IoU 0.81
    assert found(*fields) == []
    assert of_classes(*fields, classes=("cell", "nucleus")) == [
        "classes nested in another: via.json, class 'nucleus': 100 % of its cells lie in a cell of class 'cell'; "
        "leave it out unless it is to be found by itself"
    ]


def test_crowd_regions_are_neither_duplicates_nor_hold_nested_cells_nor_have_a_size():
    assert (
        found(
            [*row_of_cells(), square(100, 100, 80, crowd=True), square(110, 110, 20), square(101, 101, 79, crowd=True)]
        )
        == []
    )


def test_outlying_sizes_are_suspect_the_farthest_first():
    """Cells far from the median size of their class are told the farthest first."""
    suspects = found([*row_of_cells(), square(100, 100, 41), square(200, 100, 80)], [square(100, 100, 8)])
    assert lines(suspects) == [
        "cells far larger than their class: 0.png, cell at (240, 140): is 80 pixels across; "
        "the median of class 'L1' is 20; redraw it, or correct its class",
        "cells far larger than their class: 0.png, cell at (120, 120): is 41 pixels across; "
        "the median of class 'L1' is 20; redraw it, or correct its class",
        "cells far smaller than their class: 1.png, cell at (104, 104): is 8 pixels across; "
        "the median of class 'L1' is 20; redraw it, or correct its class",
    ]
    assert [suspect.cells for suspect in suspects] == [(11,), (10,), (0,)]


def test_ordinary_sizes_are_not_suspect():
    """Sizes are not suspected of cut cells nor within twice the median nor of a class of few or of all sizes."""
    assert found([*row_of_cells(), square(0, 100, 8)]) == []
    assert found([*row_of_cells(), square(100, 100, 39), square(200, 100, 11)]) == []
    assert found([square(10, 10, 20), square(50, 50, 80)]) == []
    spread = [square(5 + 40 * (k % 9), 5 + 60 * (k // 9), int(5 * 1.15**k)) for k in range(18)]  # 5 to 54
    assert found(spread) == []


def test_a_far_part_of_a_cell_is_suspect():
    """A cell with a part far from the rest is reported; one with a crumb beside it is not."""
    suspects = found([parts((100, 100, 20), (140, 100, 3))], [parts((100, 100, 20), (125, 100, 3))])
    assert lines(suspects) == [
        "cells in parts that lie apart: 0.png, cell at (122, 110): has a part 21 pixels from the rest; "
        "delete the part, or make it a cell of its own"
    ]


def test_rare_classes_and_case_twins_are_suspect():
    """A class with few cells and names that differ in case only are told."""
    cells = [*row_of_cells(), *row_of_cells(label=2, count=9, y=300)]
    assert of_classes(cells, classes=("L1", "l 1")) == [
        "classes with few cells: via.json, class 'l 1': has 9 cells; annotate more, or join it to another class",
        "class names alike: via.json: classes 'L1', 'l 1' are told apart; make them one name, or one by the class map",
    ]
