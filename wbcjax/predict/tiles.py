"""A field larger than the network's canvas: divided into overlapping tiles, whose detections are merged.

A cell on a seam is in two tiles or four, whole in some of them or in none. It is reported once, and whole.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from pycocotools import mask as coco_mask

from wbcjax.evaluate.detections import FieldDetections
from wbcjax.smear.field import text_rle

View = tuple[float, float, float, float]  # the part of the field in a tile: x1, y1, x2, y2 in field pixels

OVERLAP = 0.25  # of neighbouring tiles, at least, relative to a tile's shorter side
CUT_MARGIN = 4.0  # canvas pixels: a box that ends this near to a tile's edge may be of a cell that continues beyond it
SAME_CELL = 0.5  # masks that overlap by more, in the area of both tiles, are of one cell
# Share of a cell's score: a detection that scores less does not change the cell. It is the highest that costs no mask
# AP: on 75 drawn fields in tiles of two sizes 0.33 to 0.6 differ by 0.1 points, 0.7 and 0.75 lose up to 0.8.
COMPARABLE = 0.6
# Share of a cut view from which on a whole one may cover it together with others; of cells that only touch it is less.
PARTLY = 0.1


def tiles(height: int, width: int, canvas: tuple[int, int], overlap: int) -> list[tuple[int, int]]:
    """(top, left) of tiles of the canvas's size (height, width) that cover an image of `height` x `width` pixels.

    They are spread evenly, row by row, and neighbours share at least `overlap` pixels. An image that fits the canvas is
    one tile, at (0, 0). Raises ValueError unless the overlap is smaller than the canvas.
    """
    if not 0 <= overlap < min(canvas):
        raise ValueError(f"tiles of {canvas} cannot overlap by {overlap} pixels; give less than {min(canvas)}")
    return [(top, left) for top in _starts(height, canvas[0], overlap) for left in _starts(width, canvas[1], overlap)]


def merge(found: Sequence[FieldDetections], views: Sequence[View], margin: float, nucleus: int) -> FieldDetections:
    """The cells of a field, highest score first, from the detections in each of its tiles.

    A view of a cell, its detection in one tile, is cut when its box comes within `margin` of an edge of the tile that
    is not the field's.

    - Of a cell that is whole in several tiles, the detection of the highest score of each class stays.
    - A cut view of a cell that is whole in another tile is dropped, whatever its class, where most of it lies in the
      whole view.
    - So is a cut view of which most lies in several cells together that are whole in other tiles, of higher score: an
      edge that cuts neighbours makes one of them.
    - Cut views of a cell that is whole in no tile are united. Class, score and outputs of further heads are those of
      the view of the highest score.

    A view with less than `COMPARABLE` of a cell's score does not change it: where most of the view lies in the cell it
    is dropped, and elsewhere it is a cell by itself. So detections of low score never hide, cut or alter those of high
    score: a detection of score s changes no cell that scores more than s / `COMPARABLE`. And leaving out all detections
    below some score brings no cell back: where one is then found there was one before, of comparable score.

    Two tiles' detections are of one cell when their masks agree in the area of both tiles (`SAME_CELL`), whatever their
    classes; but a nucleus is never the cell around it. Detections of one tile are never compared: the network's NMS has
    done so.

    Args:
        found: the detections of each tile, in pixels of the field.
        views: the part of the field in each tile.
        margin: field pixels.
        nucleus: the label of nuclei, where they are detections of their own within cells; 0 where there is no such
            class.
    """
    if len(found) == 1:
        return found[0]
    tile = np.repeat(np.arange(len(found)), [len(one.rles) for one in found])
    every = together(found)
    size = every.height, every.width
    cut = np.concatenate([cut_by(one.boxes, view, margin, size) for one, view in zip(found, views, strict=True)])
    return merged(every, cut, linked(every, tile, cut, views, every.labels == nucleus))


class Links(NamedTuple):
    """Of each detection, detections in other tiles."""

    same: list[list[int]]  # of the same cell
    partly: list[list[int]]  # of a cut one, whole ones that cover a part of it


def merged(every: FieldDetections, cut: Bool[np.ndarray, " d"], links: Links) -> FieldDetections:
    """The cells of all tiles' detections, by which are cut and how they are `linked`: the rule of `merge`."""
    cell_of: dict[int, _Cell] = {}  # of each view that counts
    for new in np.argsort(-every.scores, kind="stable").tolist():
        covering = [other for other in links.partly[new] if other in cell_of]
        if len(covering) > 1 and _within(every, [new], covering):
            continue
        known = {id(cell): cell for cell in (cell_of.get(other) for other in links.same[new]) if cell}
        cell = _with_known(every, new, not cut[new], list(known.values()))
        if cell:
            cell_of |= dict.fromkeys(cell.views, cell)
    distinct = {id(cell): cell for cell in cell_of.values()}.values()
    return _outlined(every, sorted(distinct, key=lambda cell: -every.scores[cell.named_by]))


@dataclass(frozen=True)
class _Cell:
    """A cell by its views, which are rows of all tiles' detections."""

    views: list[int]  # highest score first
    outline: list[int]  # the views whose masks make its own: one whole view, or all cut ones
    whole: bool

    @property
    def named_by(self) -> int:
        """The view that gives its class and score."""
        return self.outline[0] if self.whole else self.views[0]


def _with_known(every: FieldDetections, new: int, whole: bool, known: Sequence[_Cell]) -> _Cell | None:
    """The cell of a view, alone or united with cells of views of higher score; None where the view adds nothing."""
    if whole:
        repeated = any(cell.whole and every.labels[new] == every.labels[cell.named_by] for cell in known)
    else:
        repeated = any(cell.whole and _within(every, [new], cell.outline) for cell in known)
    if repeated:
        return None
    cut = [cell for cell in known if not cell.whole]
    joined = [cell for cell in cut if every.scores[new] >= COMPARABLE * every.scores[cell.views[0]]]
    if whole:
        joined = [cell for cell in joined if all(_within(every, [view], [new]) for view in cell.outline)]
    if not joined and any(_within(every, [new], cell.outline) for cell in cut):
        return None
    views = sorted([new, *(view for cell in joined for view in cell.views)], key=lambda view: -every.scores[view])
    outline = [new, *(view for cell in joined for view in cell.outline if not whole)]
    return _Cell(views, outline, whole)


def _within(every: FieldDetections, inner: list[int], outer: list[int]) -> bool:
    """Whether most of the inner detections' pixels are the outer ones'."""
    masks = [coco_mask.merge([every.rles[row] for row in rows]) for rows in (inner, outer)]
    # COCO's overlap with a "crowd" region is the share of the other that lies in it.
    return float(np.asarray(coco_mask.iou(masks[:1], masks[1:], [1]))[0, 0]) > SAME_CELL


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    if length <= tile:
        return [0]
    steps = math.ceil((length - tile) / (tile - overlap))
    return [round(step * (length - tile) / steps) for step in range(steps + 1)]


def cut_by(boxes: Float[np.ndarray, "d 4"], view: View, margin: float, size: tuple[int, int]) -> Bool[np.ndarray, " d"]:
    """Which boxes of a tile come near an edge beyond which the field, of this height and width, continues."""
    x1, y1, x2, y2 = view
    inner = np.array([x1 > 0, y1 > 0, x2 < size[1], y2 < size[0]])
    distance = (boxes - view) * [1, 1, -1, -1]  # inwards
    return np.any((distance < margin) & inner, axis=1)


def together(found: Sequence[FieldDetections]) -> FieldDetections:
    """All tiles' detections, one after the other."""
    return FieldDetections(
        name=found[0].name,
        height=found[0].height,
        width=found[0].width,
        boxes=np.concatenate([one.boxes for one in found]),
        labels=np.concatenate([one.labels for one in found]),
        scores=np.concatenate([one.scores for one in found]),
        rles=[rle for one in found for rle in one.rles],
        said={name: np.concatenate([one.said[name] for one in found]) for name in found[0].said},
    )


def linked(
    every: FieldDetections,
    tile: Int[np.ndarray, " d"],
    cut: Bool[np.ndarray, " d"],
    views: Sequence[View],
    nuclear: Bool[np.ndarray, " d"],
) -> Links:
    """The links between the detections of different tiles; of a nucleus and a cell there are none."""
    links = Links([[] for _ in tile], [[] for _ in tile])
    for one, other, shared in _neighbours(views):
        area = coco_mask.frPyObjects(np.array([shared]), every.height, every.width)[0]
        rows, masks = _inside(every, np.flatnonzero(tile == one), area)
        other_rows, other_masks = _inside(every, np.flatnonzero(tile == other), area)
        if not masks or not other_masks:
            continue
        within, around = _shares(masks, other_masks)
        alike = nuclear[rows][:, None] == nuclear[other_rows]
        for i, j in np.argwhere(_agree(within, around, cut[rows], cut[other_rows]) & alike).tolist():
            links.same[rows[i]].append(int(other_rows[j]))
            links.same[other_rows[j]].append(int(rows[i]))
        for i, j in np.argwhere((within > PARTLY) & alike & cut[rows][:, None] & ~cut[other_rows]).tolist():
            links.partly[rows[i]].append(int(other_rows[j]))
        for i, j in np.argwhere((around > PARTLY) & alike & ~cut[rows][:, None] & cut[other_rows]).tolist():
            links.partly[other_rows[j]].append(int(rows[i]))
    return links


def _neighbours(views: Sequence[View]) -> Iterator[tuple[int, int, View]]:
    """Pairs of tiles that share pixels, by the pixels' centres, and their common area (x, y, width, height)."""
    corners = np.ceil(np.array(views) - 0.5)
    low, high = corners[:, :2], corners[:, 2:]
    for one in range(len(views)):
        start, end = np.maximum(low[one], low), np.minimum(high[one], high)  # (tiles, 2)
        for other in np.flatnonzero((start < end).all(axis=1)):
            if one < other:
                yield one, int(other), (*start[other].tolist(), *(end - start)[other].tolist())


def _inside(every: FieldDetections, rows: Int[np.ndarray, " d"], area: Any) -> tuple[Int[np.ndarray, " k"], list[Any]]:
    """Of these detections those with pixels in an area, given as RLE, and the parts of their masks in it."""
    parts = [coco_mask.merge([every.rles[row], area], intersect=True) for row in rows]
    seen = [i for i, part in enumerate(parts) if coco_mask.area(part)]
    return rows[seen], [parts[i] for i in seen]


def _shares(masks: list[Any], other_masks: list[Any]) -> tuple[Float[np.ndarray, "a b"], Float[np.ndarray, "a b"]]:
    """The share of each mask of one tile in each of another's, and the share of the latter in the former."""
    within = np.asarray(coco_mask.iou(masks, other_masks, [1] * len(other_masks)))
    return within, np.asarray(coco_mask.iou(other_masks, masks, [1] * len(masks))).T


def _agree(
    within: Float[np.ndarray, "a b"],
    around: Float[np.ndarray, "a b"],
    cut: Bool[np.ndarray, " a"],
    other_cut: Bool[np.ndarray, " b"],
) -> Bool[np.ndarray, "a b"]:
    """Which masks of one tile and of another, both within their common area, are of one cell, by their `_shares`.

    They are compared by their IoU; a cut and a whole view by the share of the cut mask that lies in the whole one. A
    cell that reaches a few pixels into a tile is a sliver there, whose IoU with the true sliver depends on a pixel.
    """
    both = within + around - within * around
    compared = np.divide(within * around, both, out=np.zeros_like(both), where=both > 0)
    compared = np.where(cut[:, None] & ~other_cut, within, compared)
    compared = np.where(~cut[:, None] & other_cut, around, compared)
    return compared > SAME_CELL


def _outlined(every: FieldDetections, cells: list[_Cell]) -> FieldDetections:
    """The cells as detections of the field, in their order."""
    found = every.select(np.array([cell.named_by for cell in cells], np.int32))
    for i, cell in enumerate(cells):
        boxes = every.boxes[cell.outline]
        found.boxes[i] = *boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)
        masks = [every.rles[view] for view in cell.outline]
        found.rles[i] = masks[0] if len(masks) == 1 else text_rle(coco_mask.merge(masks))
    return found
