"""The contents of an annotated set, as tables and histograms."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from wbcjax.evaluate.set_statistics import CellTable
from wbcjax.report.histogram import Histogram, histogram
from wbcjax.smear.field import SmearField
from wbcjax.system.terminal import Table

SIZES_LISTED = 6
QUANTILES = {"min": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "max": 1.0}
ALL = "all"


def field_table(fields: Sequence[SmearField], first: Sequence[tuple[str, str]]) -> Table:
    """The number of fields, their sizes and groups; `first` are rows above these."""
    sizes = Counter(f"{field.width} x {field.height}" for field in fields).most_common()
    listed = ", ".join(f"{size} ({count})" for size, count in sizes[:SIZES_LISTED])
    if len(sizes) > SIZES_LISTED:
        listed += f", and {len(sizes) - SIZES_LISTED} more sizes"
    rows = [
        ("fields", f"{len(fields)}"),
        ("without cells", f"{sum(not field.cells for field in fields)}"),
        ("width x height (fields)", listed),
    ]
    groups = Counter(field.group for field in fields if field.group is not None)
    if groups:
        rows.append(("groups", f"{len(groups)}, of {min(groups.values())} to {max(groups.values())} fields"))
    return Table("Fields", (), (*first, *rows))


def class_table(cells: CellTable, classes: Sequence[str]) -> Table:
    """Cells by class: their number, their fields, and how many are touching, cut, without outline, or crowd regions."""
    rows = [_class_row(name, cells.select(chosen), len(cells)) for name, chosen in _by_class(cells, classes)]
    head = ("class", "cells", "fields", "touching", "cut", "box only", "crowds")
    note = (
        "Touching: at most 3 pixels of background lie between the cell and another. Cut: by the border of the field. "
        "Crowds: regions of uncounted cells, each of which counts as a cell."
    )
    return Table("Cells", head, tuple(rows), note)


def point_table(fields: Sequence[SmearField], classes: Sequence[str]) -> Table:
    """Cells of which only a point is known, by class, and the fields that have some."""
    counts = [Counter(field.point_labels) for field in fields]
    rows = tuple(
        (name, f"{sum(count[label] for count in counts)}", f"{sum(count[label] > 0 for count in counts)}")
        for label, name in enumerate(classes, start=1)
    )
    return Table("Points", ("class", "points", "fields"), rows, "Points are counted here alone, and train nothing.")


def size_tables(cells: CellTable, classes: Sequence[str]) -> list[Table]:
    """Sizes, areas and shapes of the cells of each class, crowd regions left out."""
    counted = cells.select(~cells.crowd)
    size = "Square root of the area of the cell's box, in pixels of the field: what anchors are chosen by."
    area = "Area of the cell's mask (of its box where it has no outline), in pixels of the field."
    return [
        _quantile_table("Sizes", counted, classes, counted.size, ".0f", size),
        _quantile_table("Areas", counted, classes, counted.area, ".0f", area),
        _quantile_table("Shapes", counted, classes, counted.aspect, ".2f", "Height / width of the cell's box."),
    ]


def crowding_table(fields: Sequence[SmearField]) -> Table:
    """Cells per field."""
    row = _quantiles(np.array([len(field.cells) for field in fields], float), ".0f")
    return Table("Cells per field", tuple(QUANTILES), (row,))


def crowding_histogram(fields: Sequence[SmearField]) -> Histogram:
    """Fields by the number of their cells."""
    counts = np.array([len(field.cells) for field in fields], float)
    return histogram("Fields by number of cells", "cells in a field", counts, whole=True)


def size_histograms(cells: CellTable, classes: Sequence[str]) -> list[Histogram]:
    """Cells of each class by size, the classes without cells left out."""
    counted = cells.select(~cells.crowd)
    return [
        histogram(f"Sizes: {name}", "pixels across", counted.size[counted.label == label])
        for label, name in enumerate(classes, start=1)
        if (counted.label == label).any()
    ]


def _by_class(cells: CellTable, classes: Sequence[str]) -> list[tuple[str, Bool[np.ndarray, " c"]]]:
    """Each class with its rows of the table, and all classes together where there are several."""
    chosen = [(name, cells.label == label) for label, name in enumerate(classes, start=1)]
    return [*chosen, (ALL, np.ones(len(cells), bool))] if len(classes) > 1 else chosen


def _class_row(name: str, cells: CellTable, total: int) -> tuple[str, ...]:
    return (
        name,
        _with_share(len(cells), total),
        f"{len(np.unique(cells.field))}",
        _with_share(int(cells.touching.sum()), len(cells)),
        _with_share(int(cells.cut.sum()), len(cells)),
        f"{(~cells.outlined).sum()}",
        f"{cells.crowd.sum()}",
    )


def _with_share(part: int, whole: int) -> str:
    return f"{part} ({100 * part / whole:.0f} %)" if whole else f"{part}"


def _quantile_table(
    title: str, cells: CellTable, classes: Sequence[str], values: Float[np.ndarray, " c"], form: str, note: str
) -> Table:
    rows = tuple((name, *_quantiles(values[chosen], form)) for name, chosen in _by_class(cells, classes))
    return Table(title, ("class", *QUANTILES), rows, note)


def _quantiles(values: Float[np.ndarray, " n"], form: str) -> tuple[str, ...]:
    if not len(values):
        return ("",) * len(QUANTILES)
    return tuple(f"{value:{form}}" for value in np.quantile(values, tuple(QUANTILES.values())).tolist())
