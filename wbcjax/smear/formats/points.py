"""Points of outlines as annotation files list them."""

from typing import Any

import numpy as np
from jaxtyping import Float

from wbcjax.smear.formats.checks import Fault, brief, numbers, polygon_points


def listed_points(points: list[Any], remedy: str) -> Float[np.ndarray, "n 2"]:
    """The points of a polygon from a list of [x, y], or of [x, y, z] in one plane.

    Faults: one is neither, or not of numbers; points of several planes.
    """
    dimensions = len(points[0]) if points and isinstance(points[0], list) else 2
    for point in points:
        if not isinstance(point, list) or len(point) != dimensions or dimensions not in (2, 3):
            raise Fault(f"found {brief(point)} where a point [x, y] belongs", remedy)
    if dimensions == 3 and len(set(numbers([point[2] for point in points]))) > 1:
        raise Fault("its points lie in several planes (their third coordinates differ)", remedy)
    return polygon_points([point[0] for point in points], [point[1] for point in points])
