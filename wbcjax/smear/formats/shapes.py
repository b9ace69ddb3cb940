"""Outlines of the round shapes that annotation tools offer, as polygons: a cell is stored by its polygons."""

from typing import Any

import numpy as np
import shapely
from jaxtyping import Float

from wbcjax.smear.formats.checks import Fault, numbers

SAGITTA = 0.02  # pixels that the sides of the polygon may lie inside the curve
MAX_POINTS = 360
REDRAW = "redraw or delete the region"


def circle(cx: Any, cy: Any, r: Any) -> Float[np.ndarray, "n 2"]:
    """The points (x, y) of a circle, in pixels; values as they stand in a file. Faults: as for an `ellipse`."""
    return ellipse(cx, cy, r, r)


def ellipse(cx: Any, cy: Any, rx: Any, ry: Any, theta: Any = 0.0) -> Float[np.ndarray, "n 2"]:
    """The points (x, y) of an ellipse, in pixels, all on the curve; values as they stand in a file.

    `theta`: radians from the image's x axis to that of rx, towards its y axis (clockwise as seen).
    Faults: a value is not a number or not finite, or a radius is not above 0.
    """
    cx, cy, rx, ry, theta = values = numbers([cx, cy, rx, ry, theta])
    if not np.isfinite(values).all():
        raise Fault(f"the centre, radius or angle is not finite ({cx:g}, {cy:g}, {rx:g}, {ry:g}, {theta:g})", REDRAW)
    if min(rx, ry) <= 0:
        raise Fault(f"the radius is {min(rx, ry):g}: zero area", REDRAW)
    wanted = np.pi * np.sqrt(max(rx, ry) / (2 * SAGITTA))  # from sagitta = r (1 - cos(pi / n)), about r (pi / n)^2 / 2
    angle = np.arange(int(np.clip(np.ceil(wanted), 12, MAX_POINTS))) * 2 * np.pi
    angle /= len(angle)  # (n,)
    x, y = rx * np.cos(angle), ry * np.sin(angle)
    return np.stack([cx + x * np.cos(theta) - y * np.sin(theta), cy + x * np.sin(theta) + y * np.cos(theta)], axis=1)


def cut(points: Float[np.ndarray, "n 2"], size: tuple[int, int] | None) -> Float[np.ndarray, "_ 2"]:
    """A round outline cut off at the border of an image of (height, width), as a microscope cuts off a cell there.

    It is left as it is, for the checks to judge, when its centre is not in the image, or there is no image (None).
    """
    if size is None or not _inside(points.mean(axis=0, keepdims=True), size) or _inside(points, size):
        return points
    part = shapely.intersection(shapely.Polygon(points), shapely.box(0, 0, size[1], size[0]))
    return shapely.get_coordinates(part)[:-1]  # without the first point again


def _inside(points: Float[np.ndarray, "n 2"], size: tuple[int, int]) -> bool:
    return bool(((points >= 0) & (points <= (size[1], size[0]))).all())
