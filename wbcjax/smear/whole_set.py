"""What a set as a whole may be instead of what it seems: crowd regions, boxes drawn as outlines, no cells at all."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from pycocotools import mask as coco_mask

from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.formats.checks import Problem

NEARLY_ALL = 0.9
FEWEST_RECTANGLES = 2  # a person's outline of a cell is no upright rectangle, not by chance either
SMALLEST_RECTANGLE = 8  # pixels of the shorter side of a mask: smaller ones may be rectangles by chance
AS_CELLS = "take them as cells by config.dataset.crowd_as_cells = True (--crowd-as-cells)"
AS_BOXES = "read them as boxes by config.dataset.rectangles_as_boxes = True (--rectangles-as-boxes)"


def cells_of_crowds(fields: Sequence[SmearField]) -> list[SmearField]:
    """The fields with every crowd region taken for a cell."""
    return [replace(field, cells=tuple(replace(cell, crowd=False) for cell in field.cells)) for field in fields]


def boxes_of_rectangles(fields: Sequence[SmearField]) -> list[SmearField]:
    """The fields with every outline that is an upright rectangle taken for a box, so that it trains no mask."""
    return [replace(field, cells=tuple(_as_box(cell, field) for cell in field.cells)) for field in fields]


def relabelled(fields: Sequence[SmearField], label_of: Mapping[int, int]) -> list[SmearField]:
    """The fields with the cells and points of these labels alone, each with its new label."""
    return [
        replace(
            field,
            cells=tuple(replace(cell, label=label_of[cell.label]) for cell in field.cells if cell.label in label_of),
            points=field.points[[label in label_of for label in field.point_labels]],
            point_labels=tuple(label_of[label] for label in field.point_labels if label in label_of),
        )
        for field in fields
    ]


def mostly_crowd(fields: Sequence[SmearField]) -> bool:
    """Whether nearly all cells are crowd regions."""
    crowd = [cell.crowd for field in fields for cell in field.cells]
    return any(crowd) and sum(crowd) >= NEARLY_ALL * len(crowd)


def uncounted(crowd: int) -> str:
    """Why fields have no cell that counts; `crowd` is the number of their crowd regions."""
    if not crowd:
        return "no cell is annotated"
    are = "the only cell is a crowd region" if crowd == 1 else f"all {crowd} cells are crowd regions"
    return f"no cell counts: {are} (CVAT marks brush masks so)"


def suspects_of_set(name: str, fields: Sequence[SmearField]) -> Iterator[Problem]:
    """What looks like a mistake of the set of this name as a whole."""
    cells = [(cell, field) for field in fields for cell in field.cells]
    if not cells and not any(len(field.points) for field in fields):
        found = f"it has no cell in {len(fields)} field{'s' * (len(fields) > 1)}"
        yield Problem(name, "", found, "look whether its export holds the annotations")
    if mostly_crowd(fields):
        crowd = sum(cell.crowd for cell, _ in cells)
        share = f"all {crowd} cells" if crowd == len(cells) else f"{crowd} of {len(cells)} cells"
        found = f"{share} are crowd regions (CVAT marks brush masks so): they train nothing"
        yield Problem(name, "", found, AS_CELLS)
    drawn = [(cell, field) for cell, field in cells if cell.outlined and not cell.crowd]
    boxes = sum(_rectangle(cell, field) is not None for cell, field in drawn)
    if boxes >= max(FEWEST_RECTANGLES, NEARLY_ALL * len(drawn)):
        found = f"{boxes} of {len(drawn)} outlines are upright rectangles, as boxes are: masks would learn rectangles"
        yield Problem(name, "", found, AS_BOXES)


def _as_box(cell: Cell, field: SmearField) -> Cell:
    box = _rectangle(cell, field)
    return cell if box is None else Cell(cell.label, box=box, crowd=cell.crowd)


def _rectangle(cell: Cell, field: SmearField) -> tuple[float, float, float, float] | None:
    """The box (x1, y1, x2, y2) that an outlined cell's outline is: four corners, or a mask that fills its bounds."""
    if cell.rle is not None:
        rle = cell.to_rle(field.height, field.width)
        x, y, width, height = coco_mask.toBbox(rle).tolist()  # pyright: ignore[reportArgumentType]
        fills = int(coco_mask.area(rle)) == width * height  # pyright: ignore[reportArgumentType]
        return (x, y, x + width, y + height) if fills and min(width, height) >= SMALLEST_RECTANGLE else None
    if len(cell.polygons) != 1:
        return None
    corners = np.unique(cell.polygons[0], axis=0)  # (n, 2), by x and then y
    if len(corners) != 4:
        return None
    (x1, y1), (x2, y2) = corners[0].tolist(), corners[3].tolist()
    upright = x1 < x2 and y1 < y2 and corners.tolist() == [[x1, y1], [x1, y2], [x2, y1], [x2, y2]]
    return (x1, y1, x2, y2) if upright else None
