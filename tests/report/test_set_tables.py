"""The tables of a small set, entry by entry."""

import numpy as np

from wbcjax.evaluate.set_statistics import measure, tabulate
from wbcjax.report import set_tables
from wbcjax.smear.field import Cell, SmearField


def field(name: str, *cells: Cell, height=100, width=200, group=None) -> SmearField:
    return SmearField(name, height, width, cells, pixels=np.zeros((height, width, 3), np.uint8), group=group)


def square(x: int, side: int, label=1, crowd=False) -> Cell:
    corners = [(x, 40), (x + side, 40), (x + side, 40 + side), (x, 40 + side)]
    return Cell(label, polygons=(np.array(corners, float),), crowd=crowd)


FIELDS = [
    field("a.png", square(10, 20), square(31, 20), Cell(2, box=(100.0, 0.0, 110.0, 40.0)), group="p1"),
    field("b.png", square(10, 40), square(100, 50, crowd=True), group="p2"),
    field("c.png", height=50, width=60, group="p2"),
]
CLASSES = ("L1", "L2")
CELLS = tabulate([measure(each) for each in FIELDS])


def test_fields_are_counted_with_their_sizes_and_groups():
    assert set_tables.field_table(FIELDS, [("annotations", "a.json")]).rows == (
        ("annotations", "a.json"),
        ("fields", "3"),
        ("without cells", "1"),
        ("width x height (fields)", "200 x 100 (2), 60 x 50 (1)"),
        ("groups", "2, of 1 to 2 fields"),
    )


def test_many_sizes_are_listed_in_part_and_the_rest_counted():
    fields = [field(f"{side}.png", height=side, width=9) for side in range(1, 10)]
    assert set_tables.field_table(fields, []).rows[-1][1].endswith("9 x 6 (1), and 3 more sizes")


def test_cells_are_counted_by_class_and_altogether():
    assert set_tables.class_table(CELLS, CLASSES).rows == (
        ("L1", "4 (80 %)", "2", "2 (50 %)", "0 (0 %)", "0", "1"),
        ("L2", "1 (20 %)", "1", "0 (0 %)", "1 (100 %)", "1", "0"),
        ("all", "5 (100 %)", "2", "2 (40 %)", "1 (20 %)", "1", "1"),
    )
    assert set_tables.class_table(CELLS.select(CELLS.label == 1), ("L1",)).rows == (
        ("L1", "4 (100 %)", "2", "2 (50 %)", "0 (0 %)", "0", "1"),
    )


def test_sizes_areas_and_shapes_leave_crowd_regions_out():
    sizes, areas, shapes = set_tables.size_tables(CELLS, CLASSES)
    assert sizes.rows[0] == ("L1", "20", "20", "20", "38", "40")
    assert areas.rows[1] == ("L2", "400", "400", "400", "400", "400")
    assert shapes.rows[1] == ("L2", "4.00", "4.00", "4.00", "4.00", "4.00")


def test_cells_per_field_count_fields_without_cells():
    assert set_tables.crowding_table(FIELDS).rows == (("0", "0", "2", "3", "3"),)
    assert set_tables.crowding_histogram(FIELDS).counts == (1, 0, 1, 1)
    assert [chart.title for chart in set_tables.size_histograms(CELLS, (*CLASSES, "L3"))] == ["Sizes: L1", "Sizes: L2"]


def test_a_set_without_cells_has_tables():
    cells = tabulate([measure(FIELDS[2])])
    assert set_tables.class_table(cells, ("L1",)).rows == (("L1", "0", "0", "0", "0", "0", "0"),)
    assert set_tables.class_table(cells, ()).rows == ()
    assert set_tables.size_tables(cells, ("L1",))[0].rows == (("L1", "", "", "", "", ""),)
    assert set_tables.size_histograms(cells, ("L1",)) == []
