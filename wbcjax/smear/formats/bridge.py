"""A cell's parts as one line: joined where they are nearest, by a line that runs there and back, and taken apart."""

from collections.abc import Sequence

import numpy as np
import shapely
from jaxtyping import Float

Ring = Float[np.ndarray, "_ 2"]  # (x, y), closed, without its first point again at the end
AT_ONCE = 2**20  # distances between points that are held in memory


def bridge(rings: Sequence[Ring]) -> Ring:
    """Rings as one, all in the direction of the first, each joined to those before it."""
    joined = rings[0]
    for ring in rings[1:]:
        if _clockwise(ring) != _clockwise(rings[0]):
            ring = ring[::-1]
        i, j = _nearest(joined, ring)
        joined = np.concatenate([joined[: i + 1], ring[j:], ring[: j + 1], joined[i:]])
    return _without_repeats(joined)


def take_apart(ring: Ring) -> list[Ring]:
    """The parts that a ring joins; the ring itself where it joins none, or where one lies within another: a hole."""
    loops = _loops(ring)
    if len(loops) < 2:
        return [ring]
    polygons = [shapely.Polygon(loop) for loop in loops]
    if not all(polygon.is_valid for polygon in polygons):
        return [ring]
    apart = sum(polygon.area for polygon in polygons)
    return loops if abs(shapely.union_all(polygons).area - apart) <= 1e-6 * apart else [ring]


def _loops(ring: Ring) -> list[Ring]:
    """The loops of a ring from one visit of a point to the next; those of fewer than 3 points are left out."""
    path: list[tuple[float, float]] = []
    places: dict[tuple[float, float], int] = {}
    found = []
    for point in map(tuple, ring.tolist()):
        if point in places:
            start = places[point]
            found.append(path[start:])
            for passed in path[start + 1 :]:
                del places[passed]
            del path[start + 1 :]
        else:
            places[point] = len(path)
            path.append(point)
    return [np.array(loop) for loop in (*found, path) if len(loop) > 2]


def _clockwise(ring: Ring) -> bool:
    x, y = (ring - ring[0]).T
    return bool(x @ np.roll(y, -1) - y @ np.roll(x, -1) > 0)


def _nearest(ring: Ring, other: Ring) -> tuple[int, int]:
    """The places of the two points that are nearest to each other."""
    step = max(1, AT_ONCE // len(other))
    best = (np.inf, 0, 0)
    for start in range(0, len(ring), step):
        squares = ((ring[start : start + step, None] - other) ** 2).sum(axis=2)  # (some, m)
        i, j = np.unravel_index(int(squares.argmin()), squares.shape)
        best = min(best, (float(squares[i, j]), start + int(i), int(j)))
    return best[1], best[2]


def _without_repeats(ring: Ring) -> Ring:
    """The ring without points that repeat the one before."""
    return ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)]
