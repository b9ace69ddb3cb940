"""Cells put together from what annotation tools draw: outlines, patches of mask, boxes that are turned, and points."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from pycocotools import mask as coco_mask

from wbcjax.smear.field import Cell, text_rle
from wbcjax.smear.formats import checks, mask_files
from wbcjax.smear.formats.checks import BORDER_TOLERANCE, Fault

REDRAW = "redraw or delete the region"
Size = tuple[int, int]  # height, width


class Point(NamedTuple):
    """A cell of which only a point is known."""

    label: int
    x: float  # pixels
    y: float


def joined(
    outlines: Sequence[Float[np.ndarray, "_ 2"]], masks: Sequence[Bool[np.ndarray, "h w"]], size: Size | None
) -> dict[str, Any]:
    """What a Cell takes for outlines and masks of one cell: {"polygons": ...}, or {"rle": ...} where there is a mask.

    The masks are of the image's `size`; without that (None) they are left out. Faults: as for `checks.outline`.
    """
    polygons = checks.outline(outlines, size) if outlines else ()
    if size is None or not masks:
        return {"polygons": polygons}
    rles: Any = [mask_files.rle_of(mask.astype(np.uint8)) for mask in masks]
    if polygons:
        rles.append(Cell(1, polygons).to_rle(*size))
    return {"rle": text_rle(coco_mask.merge(rles))}


def rectangle(x: float, y: float, width: float, height: float) -> Float[np.ndarray, "4 2"]:
    """The corners (x, y) of a rectangle from its top left one."""
    return np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], np.float64)


def turned(points: Float[np.ndarray, "n 2"], degrees: float, x: float, y: float) -> Float[np.ndarray, "n 2"]:
    """Points (x, y) turned around one of them or another, clockwise as seen."""
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return (points - (x, y)) @ np.array([(cosine, sine), (-sine, cosine)]) + (x, y)


def box_around(points: Float[np.ndarray, "n 2"], size: Size | None) -> tuple[float, float, float, float]:
    """The upright box around points, cut off at the image's border: a turned rectangle's corners may lie outside.

    Faults: as for `checks.box`.
    """
    if size is not None and np.isfinite(points).all():
        points = points.clip(0, (size[1], size[0]))
    (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return checks.box(x1, y1, x2, y2, size)


def point(label: int, x: float, y: float, size: Size | None) -> Point:
    """A point. Faults: not finite, or outside the image by more than BORDER_TOLERANCE, within which it is moved."""
    if not np.isfinite([x, y]).all():
        raise Fault(f"the point ({x:g}, {y:g}) is not finite", REDRAW)
    if size is None:
        return Point(label, x, y)
    height, width = size
    inside = min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height))
    if max(abs(x - inside[0]), abs(y - inside[1])) > BORDER_TOLERANCE:
        remedy = "move it inside, or check that it was set on this image at this size"
        raise Fault(f"the point ({x:g}, {y:g}) lies outside the {width} x {height} image", remedy)
    return Point(label, *inside)


def of_field(points: Sequence[Point]) -> dict[str, Any]:
    """What a SmearField takes for its points."""
    places = np.array([(point.x, point.y) for point in points], np.float64).reshape(-1, 2)
    return {"points": places, "point_labels": tuple(point.label for point in points)}
