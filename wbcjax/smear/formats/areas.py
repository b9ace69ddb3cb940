"""Areas of polygons whose line may meet itself: at a hole that is joined to it, or where it crosses itself."""

from typing import NamedTuple

import numpy as np
import shapely
from jaxtyping import Float
from shapely.validation import explain_validity


class Areas(NamedTuple):
    """Areas of a polygon, in square pixels."""

    covered: float  # that its line goes around, holes apart
    unclear: float  # of that: it goes around it twice, or the other way round


def shoelace_area(points: Float[np.ndarray, "n 2"]) -> float:
    """Area enclosed by a polygon, in square pixels; loops of an outline that crosses itself may cancel."""
    return abs(_signed_area(points))


def areas(points: Float[np.ndarray, "n 2"]) -> Areas:
    """The areas of a polygon; none is unclear if its line does not cross itself.

    A hole that a bridge joins to the outer ring, drawn the other way round than it, is not covered: a keyhole. All
    rules of filling (even-odd, as pycocotools has, non-zero, signed area) agree on what is clear.
    """
    polygon = shapely.Polygon(points)
    if polygon.is_valid:
        return Areas(polygon.area, 0.0)
    faces = shapely.get_parts(shapely.polygonize([shapely.node(polygon.exterior)]))
    if not len(faces):
        return Areas(0.0, 0.0)
    sign = np.sign(_signed_area(points)) or 1.0
    inside = shapely.get_coordinates(shapely.point_on_surface(faces))  # (faces, 2)
    turns = sign * np.array([_turns(points, place) for place in inside])  # (faces,)
    area = shapely.area(faces)
    covered = turns != 0
    return Areas(float(area[covered].sum()), float((area * abs(turns - 1))[covered].sum()))


def crossing(points: Float[np.ndarray, "n 2"]) -> tuple[float, float] | None:
    """A point (x, y) where a polygon's line meets itself, None where it does not."""
    reason = explain_validity(shapely.Polygon(points))  # such as "Self-intersection[12.5 3]"
    x, y = reason.partition("[")[2].rstrip("]").split() if "[" in reason else (None, None)
    return None if x is None or y is None else (float(x), float(y))


def _signed_area(points: Float[np.ndarray, "n 2"]) -> float:
    x, y = (points - points[0]).T  # (n,), (n,)
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _turns(points: Float[np.ndarray, "n 2"], place: Float[np.ndarray, "2"]) -> int:
    """How often a polygon's line goes around a place that does not lie on it; below 0 the other way round."""
    (x, y), (x2, y2) = (points - place).T, (np.roll(points, -1, axis=0) - place).T
    side = x * y2 - x2 * y  # of the line from each point to the next that the place lies on
    return int(((y <= 0) & (y2 > 0) & (side > 0)).sum()) - int(((y > 0) & (y2 <= 0) & (side < 0)).sum())
