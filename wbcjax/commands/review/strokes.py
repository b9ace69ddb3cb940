"""What a freehand line does: it draws a cell, outlines one anew, extends one, cuts cells, or joins two."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import shapely
from shapely import LineString, Polygon
from shapely.geometry.base import BaseGeometry

from wbcjax.commands.review.cells import Outline, Refused, ReviewCell

SMALLEST = 4.0  # square pixels of a cell, and of a part of one
SMOOTH = 0.3  # pixels that a drawn line is simplified by
GRID = 0.01  # pixels to which coordinates are rounded
CLOSED = 0.35  # a line is closed where its ends are this share of its length apart, or less
SAME = 0.5  # IoU of a drawn outline with a cell from which on it is that cell's
BRIDGE = 1.5  # pixels on both sides of the line that joins two cells which do not touch


class Stroke(NamedTuple):
    """What a line does, to which cells, and the cells' new outlines."""

    action: str  # "draw", "redraw", "extend", "cut" or "join"
    cells: tuple[ReviewCell, ...]  # that it changes; of "join" the first gives the class
    outlines: tuple[tuple[Outline, ...], ...]  # of "cut" two or more for each cell, in the cells' order
    cell_of: tuple[int, ...] = ()  # of each of `outlines` of a "cut", the place in `cells`


def stroke(cells: Sequence[ReviewCell], points: Outline, size: tuple[int, int]) -> Stroke:
    """What a line through `points` does to the `cells` of a field of this (height, width).

    - From one cell into another it joins them.
    - From outside through cells, it cuts each of them that it crosses.
    - Around a cell, more or less along its outline, it outlines the cell anew.
    - Out of a cell and back, it adds what it goes around to the cell.
    - Else it draws a cell.

    Raises Refused for a line that encloses nothing and crosses no cell.
    """
    if len(points) < 2:
        raise Refused("a line needs two points: drag to draw one")
    line = LineString(points)
    first, last = _at(cells, points[0]), _at(cells, points[-1])
    open_line = line.length > 0 and np.hypot(*np.subtract(points[0], points[-1])) > CLOSED * line.length
    if open_line and first and last and first is not last:
        return _joined(first, last, line, size)
    if open_line and not first and not last and (cut := _cut(cells, line, size)):
        return cut
    loop = _loop(points, size)
    if around := _same(cells, loop):
        return Stroke("redraw", (around,), (tidy([loop], size),))
    if first and first is last and not _polygon(first).buffer(1).contains(loop):
        return Stroke("extend", (first,), (tidy([_polygon(first), loop], size),))
    return Stroke("draw", (), (tidy([loop], size),))


def tidy(shapes: Iterable[BaseGeometry], size: tuple[int, int], smooth: float = SMOOTH) -> tuple[Outline, ...]:
    """The outlines of the shapes together: within the field, without holes, crossings and specks.

    Raises Refused where nothing is left.
    """
    height, width = size
    union = shapely.union_all([shapely.make_valid(shape) for shape in shapes])
    inside = shapely.intersection(union, shapely.box(0, 0, width, height))
    simple = shapely.make_valid(shapely.set_precision(shapely.simplify(inside, smooth), GRID))
    parts = [Polygon(part.exterior) for part in _polygons(simple)]
    largest = max((part.area for part in parts), default=0.0)
    if largest < SMALLEST:
        raise Refused("the line encloses no cell: draw around one, inside the image")
    kept = [part for part in _polygons(shapely.union_all(parts)) if part.area >= SMALLEST]
    return tuple(_outline(part) for part in kept)


def polygon_of(outlines: Iterable[Outline]) -> BaseGeometry:
    """The area of a cell by its outlines."""
    return shapely.union_all([shapely.make_valid(Polygon(points)) for points in outlines])


def iou(one: BaseGeometry, other: BaseGeometry) -> float:
    """Shared area over joint area; 0 where both are empty."""
    shared = one.intersection(other).area
    return shared / (one.area + other.area - shared) if shared else 0.0


def _polygon(cell: ReviewCell) -> BaseGeometry:
    return polygon_of(cell.outlines)


def _at(cells: Sequence[ReviewCell], place: tuple[float, float]) -> ReviewCell | None:
    """The smallest cell at a place."""
    point = shapely.Point(place)
    there = [cell for cell in cells if _may_hold(cell, place) and _polygon(cell).intersects(point)]
    return min(there, key=lambda cell: _polygon(cell).area, default=None)


def _may_hold(cell: ReviewCell, place: tuple[float, float]) -> bool:
    left, top, right, bottom = bounds(cell.outlines)
    return left <= place[0] <= right and top <= place[1] <= bottom


def bounds(outlines: Iterable[Outline]) -> tuple[float, float, float, float]:
    """The box (x1, y1, x2, y2) around a cell."""
    xs, ys = zip(*(point for points in outlines for point in points), strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _near(cells: Sequence[ReviewCell], shape: BaseGeometry) -> list[ReviewCell]:
    """The cells whose boxes meet the shape's."""
    left, top, right, bottom = shape.bounds
    boxes = [(cell, bounds(cell.outlines)) for cell in cells]
    return [cell for cell, (x1, y1, x2, y2) in boxes if x1 <= right and x2 >= left and y1 <= bottom and y2 >= top]


def _loop(points: Outline, size: tuple[int, int]) -> Polygon:
    if len(points) < 3:
        raise Refused("the line encloses no cell, and crosses none: draw around one, or through one")
    parts = _polygons(shapely.make_valid(Polygon(points)))
    loop = max(parts, key=lambda part: part.area, default=Polygon())
    if loop.area < SMALLEST or not loop.intersects(shapely.box(0, 0, size[1], size[0])):
        raise Refused("the line encloses no cell, and crosses none: draw around one, or through one")
    return Polygon(loop.exterior)


def _same(cells: Sequence[ReviewCell], loop: Polygon) -> ReviewCell | None:
    overlaps = [(iou(_polygon(cell), loop), cell) for cell in _near(cells, loop)]
    best, cell = max(overlaps, key=lambda pair: pair[0], default=(0.0, None))
    return cell if best >= SAME else None


def _joined(first: ReviewCell, last: ReviewCell, line: LineString, size: tuple[int, int]) -> Stroke:
    both = [_polygon(first), _polygon(last)]
    if not both[0].intersects(both[1]) or not isinstance(shapely.union_all(both), Polygon):
        between = line.difference(shapely.union_all(both))
        both.append(between.buffer(BRIDGE))
    return Stroke("join", (first, last), (tidy(both, size),))


def _cut(cells: Sequence[ReviewCell], line: LineString, size: tuple[int, int]) -> Stroke | None:
    """The cells that a line divides, None where it divides none."""
    changed, outlines, cell_of = [], [], []
    for cell in _near(cells, line):
        pieces = [piece for part in _polygons(_polygon(cell)) for piece in _divided(part, line)]
        pieces = [piece for piece in pieces if piece.area >= SMALLEST]
        if len(pieces) <= len(cell.outlines):
            continue
        cell_of += [len(changed)] * len(pieces)
        changed.append(cell)
        outlines += [tidy([piece], size, smooth=0.0) for piece in pieces]
    return Stroke("cut", tuple(changed), tuple(outlines), tuple(cell_of)) if changed else None


def _divided(part: Polygon, line: LineString) -> list[Polygon]:
    """The pieces of a polygon on the sides of a line, or the polygon."""
    edges = shapely.node(shapely.union_all([part.exterior, line]))
    faces = shapely.get_parts(shapely.polygonize(list(shapely.get_parts(edges)))).tolist()
    return [face for face in faces if part.contains(face.representative_point())]


def _polygons(shape: BaseGeometry) -> list[Polygon]:
    return [part for part in shapely.get_parts(shape, return_index=False).tolist() if isinstance(part, Polygon)]


def _outline(part: Polygon) -> Outline:
    corners = shapely.get_coordinates(part.exterior)[:-1]  # the last repeats the first
    return tuple((round(x, 2), round(y, 2)) for x, y in corners.tolist())
