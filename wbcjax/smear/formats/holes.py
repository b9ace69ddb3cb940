"""Cells of several rings: outlines with holes as they are read, and as they are written.

A Cell has no place for the holes of its polygons. One with holes is kept as the mask that pycocotools draws of its
outer rings, without those of its holes.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import shapely
from jaxtyping import Float
from pycocotools import mask as coco_mask
from shapely import LinearRing, Polygon

from wbcjax.smear.field import Cell, text_rle
from wbcjax.smear.formats import checks
from wbcjax.smear.formats.checks import ZERO_AREA, Fault
from wbcjax.smear.formats.outline import exact_polygons
from wbcjax.smear.rle import run_lengths

Ring = Float[np.ndarray, "_ 2"]  # (x, y) in pixels; closed, without its first point again at the end
Size = tuple[int, int]  # (height, width)
Tell = Callable[[str, str], None]  # notes a suspect by what was found and the remedy
DROPPED = "a part of it has fewer than 3 points or no area, and is dropped", "look whether the rest is the cell"


class Part(NamedTuple):
    """A part of a cell, and the holes in it."""

    outer: Ring
    holes: Sequence[Ring] = ()


def cell_of_parts(parts: Sequence[Part], size: Size | None, tell: Tell) -> dict[str, Any]:
    """What a Cell takes: {"polygons": ...}, or {"rle": ...} where a part has holes. Faults: as `checks.outline`.

    A part that has no area, as a slip of the mouse leaves it, is left out beside one that has, and `tell` says so by
    what was found and the remedy. A hole that has none changes nothing.
    """
    whole = [part for part in parts if not _flat(part.outer)] or parts
    if len(whole) < len(parts):
        tell(*DROPPED)
    kept = [Part(part.outer, [hole for hole in part.holes if not _flat(hole)]) for part in whole]
    checked = iter(checks.outline([ring for part in kept for ring in (part.outer, *part.holes)], size))
    kept = [Part(next(checked), [next(checked) for _ in part.holes]) for part in kept]
    if size is None or not any(part.holes for part in kept):
        return {"polygons": tuple(part.outer for part in kept)}
    drawn: Any = [_without(_rle(part.outer, size), [_rle(hole, size) for hole in part.holes]) for part in kept]
    return _masked(coco_mask.merge(drawn))


def cell_of_nested(rings: Sequence[Ring], size: Size | None, tell: Tell) -> dict[str, Any]:
    """As `cell_of_parts`, of rings of which one that lies inside another is a hole, or an island in a hole."""
    whole = [ring for ring in rings if not _flat(ring)] or rings
    if len(whole) < len(rings):
        tell(*DROPPED)
    checked = checks.outline(sorted(whole, key=checks.shoelace_area, reverse=True), size)
    if size is None:
        return {"polygons": checked}
    covered, holes = None, False
    for rle in (_rle(ring, size) for ring in checked):
        inside = covered is not None and 2 * _area(_both(covered, rle)) > _area(rle) > 0
        covered = rle if covered is None else _without(covered, [rle]) if inside else coco_mask.merge([covered, rle])
        holes = holes or inside
    return _masked(covered) if holes else {"polygons": checked}


class Drawn(NamedTuple):
    """A cell as it is written."""

    polygons: list[Polygon]  # of which no two overlap
    joined: bool  # whether its own polygons overlap or cross, and were joined


def drawn_polygons(cell: Cell, height: int, width: int) -> Drawn:
    """A cell's polygons, with holes, in pixels; a mask's along its pixels' edges, exactly, and a box's corners."""
    if cell.box is not None:
        return Drawn([shapely.box(*cell.box)], joined=False)
    if cell.rle is not None:
        return Drawn(exact_polygons(cell.mask(height, width)), joined=False)
    polygons = [Polygon(points) for points in cell.polygons if not _flat(points)]
    if shapely.MultiPolygon(polygons).is_valid:
        return Drawn(polygons, joined=False)
    union = shapely.union_all([shapely.make_valid(polygon) for polygon in polygons])
    return Drawn([part for part in shapely.get_parts(union) if isinstance(part, Polygon)], joined=True)


def opened(ring: Ring) -> Ring:
    """A ring without its first point again at the end."""
    return ring[:-1] if len(ring) > 1 and (ring[0] == ring[-1]).all() else ring


def points_of(ring: LinearRing) -> Ring:
    """The points of a polygon's ring, the first not again at the end."""
    return shapely.get_coordinates(ring)[:-1]


def told_joined(count: int) -> list[str]:
    """The sentence for a writer to return of cells that were `joined`."""
    return [f"{count} cell(s) whose parts overlap or cross were written as the area that they cover"] if count else []


def _flat(ring: Ring) -> bool:
    """Whether all points lie on a line; one that is not finite is left for the checks to name."""
    return bool(np.isfinite(ring).all()) and (len(ring) < 3 or shapely.MultiPoint(ring).convex_hull.area < ZERO_AREA)


def _rle(ring: Ring, size: Size) -> Any:
    return Cell(1, (ring,)).to_rle(*size)


def _area(rle: Any) -> int:
    return int(coco_mask.area(rle))  # pyright: ignore[reportArgumentType]


def _both(one: Any, other: Any) -> Any:
    return coco_mask.merge([one, other], intersect=True)


def _without(rle: Any, holes: Sequence[Any]) -> Any:
    for hole in holes:
        rle = _both(rle, _inverse(hole))
    return rle


def _inverse(rle: Any) -> Any:
    """The pixels that a mask does not have."""
    runs = run_lengths(rle["counts"])
    turned: Any = {"size": rle["size"], "counts": runs[1:] if runs[0] == 0 else [0, *runs]}
    return coco_mask.frPyObjects(turned, *rle["size"])


def _masked(rle: Any) -> dict[str, Any]:
    if not _area(rle):
        raise Fault("its holes leave no pixel of it", "redraw or delete it")
    return {"rle": text_rle(rle)}
