"""Annotations that can be used but look like mistakes: cells drawn twice, far too large, in parts apart, ..."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from pycocotools import mask as coco_mask

from wbcjax.evaluate.set_statistics import BORDER, INSIDE, CellTable, FieldMeasures, nested_classes, nested_pairs
from wbcjax.smear.formats.checks import Problem

WHILE_READING = "noticed while reading"  # the kind of the reader's own suspects
DUPLICATE_IOU = 0.8
SIZE_FACTOR = 2.0  # of the class's median size, and more where the class's sizes spread wider
SIZE_DEVIATIONS = 5.0  # standard deviations of log size, estimated from the median absolute one
SIZED_CELLS = 8  # of a class, from which on it has a usual size
FAR_PART = 0.5  # distance of a part from the largest one, over the square root of the largest one's area
COVERED = 0.5  # of a field, that no cell covers
FEW_CELLS = 10  # of a class


@dataclass(frozen=True)
class Suspect:
    """One thing worth a look."""

    kind: str  # a heading in the plural
    problem: Problem  # its `file` is the field's name, or the set's
    cells: tuple[int, ...] = ()  # positions in the field's cells; () for the whole field


def suspects_of_cells(measures: Sequence[FieldMeasures], cells: CellTable, classes: Sequence[str]) -> list[Suspect]:
    """Duplicate, nested, odd-sized and scattered cells, by kind and then in the fields' order."""
    return [
        *_duplicates(measures),
        *_nested(measures, classes),
        *_odd_sizes(measures, cells, classes),
        *_scattered(measures),
        *_covering(measures),
    ]


def suspects_of_classes(
    name: str, measures: Sequence[FieldMeasures], cells: CellTable, classes: Sequence[str]
) -> list[Suspect]:
    """Classes with few cells, with names that differ in case and spaces only, and classes nested in one another.

    `name` is the set's, for want of a field's.
    """
    found = []
    for label, class_name in enumerate(classes, start=1):
        count = int((cells.label == label).sum())
        if count < FEW_CELLS:
            has = f"has {count} cell{'s' * (count != 1)}"
            problem = Problem(name, f"class {class_name!r}", has, "annotate more, or join it to another class")
            found.append(Suspect("classes with few cells", problem))
    by_plain_name: dict[str, list[str]] = {}
    for class_name in classes:
        by_plain_name.setdefault("".join(class_name.split()).casefold(), []).append(class_name)
    for alike in by_plain_name.values():
        if len(alike) > 1:
            listed = ", ".join(map(repr, alike))
            problem = Problem(
                name, "", f"classes {listed} are told apart", "make them one name, or one by the class map"
            )
            found.append(Suspect("class names alike", problem))
    for (inner, outer), share in nested_classes(measures).items():
        problem = Problem(
            name,
            f"class {classes[inner - 1]!r}",
            f"{100 * share:.0f} % of its cells lie in a cell of class {classes[outer - 1]!r}",
            "leave it out unless it is to be found by itself",
        )
        found.append(Suspect("classes nested in another", problem))
    return found


def _duplicates(measures: Sequence[FieldMeasures]) -> list[Suspect]:
    nested = nested_classes(measures)
    found = []
    for m in measures:
        pairs = (m.iou > DUPLICATE_IOU) & _counted(m) & ~nested_pairs(m, nested)
        for i, j in np.argwhere(np.triu(pairs)).tolist():
            text = f"cover the same place (IoU {m.iou[i, j]:.2f})"
            found.append(_suspect("cells annotated twice", m, (i, j), text, "delete one"))
    return found


def _nested(measures: Sequence[FieldMeasures], classes: Sequence[str]) -> list[Suspect]:
    nested = nested_classes(measures)
    found = []
    for m in measures:
        pairs = (m.inside >= INSIDE) & (m.iou <= DUPLICATE_IOU) & _counted(m) & ~nested_pairs(m, nested)
        for i, j in np.argwhere(pairs).tolist():
            inner, outer = (repr(classes[m.annotations.labels[cell] - 1]) for cell in (i, j))
            text = f"{100 * m.inside[i, j]:.0f} % of the first ({inner}) lies in the second ({outer})"
            found.append(_suspect("cells nested in another", m, (i, j), text, "delete or redraw one"))
    return found


def _odd_sizes(measures: Sequence[FieldMeasures], cells: CellTable, classes: Sequence[str]) -> list[Suspect]:
    """Cells far from their class's median size, the farthest first. A cell cut by the border may be small."""
    odd = []
    for label, class_name in enumerate(classes, start=1):
        of_class = cells.select((cells.label == label) & ~cells.crowd)
        if len(of_class) < SIZED_CELLS:
            continue
        logs = np.log(of_class.size)
        median = float(np.median(logs))
        deviation = 1.4826 * float(np.median(abs(logs - median)))  # the standard deviation, of a normal distribution
        limit = max(np.log(SIZE_FACTOR), SIZE_DEVIATIONS * deviation)
        offset = logs - median
        for k in np.flatnonzero((offset > limit) | ((offset < -limit) & ~of_class.cut)):
            text = (
                f"is {of_class.size[k]:.0f} pixels across; the median of class {class_name!r} is {np.exp(median):.0f}"
            )
            kind = "cells far larger than their class" if offset[k] > 0 else "cells far smaller than their class"
            field, row = measures[of_class.field[k]], int(of_class.row[k])
            remedy = "redraw it, or correct its class"
            odd.append((kind, -abs(offset[k]), _suspect(kind, field, (row,), text, remedy)))
    return [suspect for _, _, suspect in sorted(odd, key=lambda entry: entry[:2])]


def _scattered(measures: Sequence[FieldMeasures]) -> list[Suspect]:
    found = []
    for m in measures:
        far = m.gap > FAR_PART * np.sqrt(m.main_area)
        for row in np.flatnonzero(far & m.annotations.outlined & ~m.annotations.crowd).tolist():
            text = f"has a part {m.gap[row]:.0f} pixels from the rest"
            remedy = "delete the part, or make it a cell of its own"
            found.append(_suspect("cells in parts that lie apart", m, (row,), text, remedy))
    return found


def _covering(measures: Sequence[FieldMeasures]) -> list[Suspect]:
    """Cells that cover most of their field, or reach from border to border both ways: an inverted mask, it may be."""
    found = []
    for m in measures:
        drawn, height, width = m.annotations, m.annotations.height, m.annotations.width
        areas = np.array([float(coco_mask.area(rle)) for rle in drawn.rles])
        x1, y1, x2, y2 = drawn.boxes.T
        across = (np.maximum(x1, y1) < BORDER) & (x2 > width - BORDER) & (y2 > height - BORDER)
        for row in np.flatnonzero((across | (areas > COVERED * height * width)) & ~drawn.crowd).tolist():
            text = f"covers {100 * areas[row] / (height * width):.0f} % of the field"
            text += ", from border to border" * bool(across[row])
            remedy = "delete it if it is the ground: the mask may be inverted, or the image a crop"
            found.append(_suspect("cells that cover their field", m, (row,), text, remedy))
    return found


def _counted(m: FieldMeasures) -> np.ndarray:
    """Pairs without a crowd region."""
    return ~m.annotations.crowd[:, None] & ~m.annotations.crowd


def _suspect(kind: str, m: FieldMeasures, rows: tuple[int, ...], found: str, remedy: str) -> Suspect:
    places = " and ".join(_centre(m.annotations.boxes[row]) for row in rows)
    where = f"cell{'s' * (len(rows) > 1)} at {places}"
    return Suspect(kind, Problem(m.annotations.name, where, found, remedy), rows)


def _centre(box: Float[np.ndarray, "4"]) -> str:
    x1, y1, x2, y2 = box.tolist()
    return f"({(x1 + x2) / 2:.0f}, {(y1 + y2) / 2:.0f})"
