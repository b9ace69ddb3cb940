"""Masks as polygons: along the edges of their pixels, exactly, or simplified so that a person can move the points."""

from typing import Any

import cv2
import numpy as np
import shapely
from jaxtyping import Float, UInt8
from pycocotools import mask as coco_mask
from shapely import LinearRing, Polygon

TOLERANCE = 0.5  # pixels
MIN_IOU = 0.97
SPECKS = 0.005  # share of a mask's area that may be in parts too small for a person to keep as polygons of their own

Outlines = list[Float[np.ndarray, "_ 2"]]


def outline_mask(mask: UInt8[np.ndarray, "h w"], tolerance: float = TOLERANCE) -> Outlines:
    """The polygons (x, y), in pixels, that together enclose a mask of 0 and 1; none for an empty mask.

    With tolerance 0 they run along the edges of the pixels, and pycocotools rasterises them to this mask again.
    Otherwise they follow the line halfway between the centres of the outermost pixels and of their neighbours, to
    within `tolerance` pixels (twice that where a line begins). A connected part, rasterised again, has an IoU of at
    least MIN_IOU with itself. Where the simpler line falls short of that, as at some parts below 200 pixels, the exact
    one is kept. The smallest parts, such as pixels that touch a cell by a corner only, are dropped, up to SPECKS of the
    area.

    No polygon crosses or touches itself, and none has a hole. A part with a hole is cut through it into two polygons,
    unless the tolerance is above 0 and MIN_IOU allows for the hole to be filled.
    """
    left, top, width, height = cv2.boundingRect(mask)
    x, y = max(left - 1, 0), max(top - 1, 0)  # a pixel more on each side, where the image has one: its border clips
    patch = mask[y : top + height + 1, x : left + width + 1]
    parts = _parts(patch) if tolerance == 0 else _without_specks(_parts(patch))
    return [np.add(points, (x, y)) for part in parts for points in _outline_part(part, tolerance, *patch.shape)]


def exact_polygons(mask: UInt8[np.ndarray, "h w"]) -> list[Polygon]:
    """The 4-connected parts of a mask of 0 and 1, (x, y) in pixels, as polygons with holes along the pixels' edges."""
    left, top, width, height = cv2.boundingRect(mask)
    parts: Any = _parts(mask[top : top + height, left : left + width])
    return shapely.transform(parts, lambda points: np.add(points, (left, top))).tolist() if parts else []


def _parts(mask: UInt8[np.ndarray, "h w"]) -> list[Polygon]:
    """The 4-connected parts of a mask, as polygons with holes along the pixels' edges."""
    steps = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)  # (h, w + 1)
    rows, starts = np.nonzero(steps == 1)
    _, ends = np.nonzero(steps == -1)
    union = shapely.union_all(shapely.box(starts, rows, ends, rows + 1))
    return shapely.get_parts(shapely.simplify(union, 0)).tolist()  # without the points where pixels of a side meet


def _without_specks(parts: list[Polygon]) -> list[Polygon]:
    """The parts without the smallest, as many as have SPECKS of the area together."""
    areas = np.array([part.area for part in parts])
    order = areas.argsort(kind="stable")
    specks = order[np.cumsum(areas[order]) <= SPECKS * areas.sum()]
    return [part for i, part in enumerate(parts) if i not in specks]


def _outline_part(part: Polygon, tolerance: float, height: int, width: int) -> Outlines:
    exact = _without_holes(part)
    if tolerance > 0:
        for simpler in ([_simplify(part, tolerance)], [_simplify(piece, tolerance) for piece in exact]):
            if _iou(simpler, exact, height, width) >= MIN_IOU:
                return [_points(polygon.exterior) for polygon in simpler]
    return [_points(polygon.exterior) for polygon in exact]


def _without_holes(part: Polygon) -> list[Polygon]:
    """The part in pieces, cut from top to bottom through a hole as long as one is left."""
    if not part.interiors:
        return [part]
    hole = part.interiors[len(part.interiors) // 2]  # one in the middle, so that the halves have some each
    left, _, right, _ = hole.bounds
    middle = (left + right) // 2  # a whole number: along the pixels' edges
    x1, y1, x2, y2 = part.bounds
    halves = [part.intersection(shapely.box(*sides)) for sides in ((x1, y1, middle, y2), (middle, y1, x2, y2))]
    pieces = [piece for piece in shapely.get_parts(halves) if isinstance(piece, Polygon)]
    return [whole for piece in pieces for whole in _without_holes(shapely.simplify(piece, 0))]


def _simplify(part: Polygon, tolerance: float) -> Polygon:
    """The part's outer line through the middles of the pixels' sides, simplified.

    A slanted line is a staircase along the pixels' edges, but straight through their middles.
    """
    corners = shapely.get_coordinates(shapely.segmentize(part.exterior, 1.0))  # a point at each pixel's corner
    return shapely.simplify(Polygon((corners[:-1] + corners[1:]) / 2), tolerance)


def _iou(polygons: list[Polygon], others: list[Polygon], height: int, width: int) -> float:
    return coco_mask.iou(*([_rle(these, height, width)] for these in (polygons, others)), [0]).item()  # pyright: ignore


def _rle(polygons: list[Polygon], height: int, width: int) -> Any:
    points = [_points(polygon.exterior).ravel().tolist() for polygon in polygons]
    return coco_mask.merge(coco_mask.frPyObjects(points, height, width))


def _points(ring: LinearRing) -> Float[np.ndarray, "n 2"]:
    return shapely.get_coordinates(ring)[:-1]  # the last repeats the first
