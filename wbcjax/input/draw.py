"""Fields and their cells drawn on a canvas by a map."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

from wbcjax.input.sample import MIN_AREA, DrawnCell
from wbcjax.input.warp import Box, Region, Warp, area_scale, draw, fit_scale, pixels_before
from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.rle import CutOut


class ReadField(NamedTuple):
    """A field, read."""

    field: SmearField
    outlines: list[CutOut]  # of its outlined cells, in order
    # Where cells are pasted: its `open_ground`, and the rows of its `whole_cells` among the outlined ones
    ground: UInt8[np.ndarray, "h w"] | None = None
    whole: Sequence[int] = ()


class Drawn(NamedTuple):
    """A field on the canvas."""

    image: UInt8[np.ndarray, "h w 3"]  # RGB, zeros beside the field
    place: Box  # that it is drawn in
    cells: list[DrawnCell]
    warp: Warp


def fit(
    image: UInt8[np.ndarray, "h w 3"], canvas: tuple[int, int], scale: float | None = None
) -> tuple[UInt8[np.ndarray, "ch cw 3"], float]:
    """Place an image at the top left of a canvas (height, width), zeros beside it: as large as fits, or at `scale`.

    Returns the canvas and the scale: a point of the image lies at point * scale on the canvas, pixel edges being
    whole numbers on both. So x_canvas + 0.5 = (x + 0.5) * scale for pixel indices. Pixels beyond the canvas are cut
    off.
    """
    chosen = fit_scale(image.shape[0], image.shape[1], canvas) if scale is None else scale
    drawn, _ = draw_image(image, Warp(np.diag([chosen, chosen, 1.0]), canvas))
    return drawn, chosen


def draw_field(read: ReadField, warp: Warp, min_visible: float) -> Drawn:
    """A field on the canvas, see `draw_image` and `draw_cells`."""
    image, place = draw_image(read.field.image(), warp)
    return Drawn(image, place, draw_cells(read, warp, min_visible), warp)


def draw_image(image: UInt8[np.ndarray, "h w 3"], warp: Warp) -> tuple[UInt8[np.ndarray, "ch cw 3"], Box]:
    """The image on the canvas, zeros beside it, and the box that it is drawn in.

    In that box what lies beyond a turned or bent image is filled with the colours of its edge.
    """
    patch, place = draw(image, warp)
    if patch.shape[:2] == warp.canvas:
        return patch, place
    left, top, right, bottom = place
    drawn = np.zeros((*warp.canvas, 3), np.uint8)
    drawn[top:bottom, left:right] = patch
    return drawn, place


def draw_cells(read: ReadField, warp: Warp, min_visible: float) -> list[DrawnCell]:
    """The field's cells as drawn on the canvas, without those that lie off it.

    A cell of which the canvas leaves less than the share `min_visible` or MIN_AREA pixels is ignored.
    """
    field, of_outlined = read.field, iter(read.outlines)
    drawn = (
        _draw_box(cell, cell.box, warp, min_visible)
        if cell.box is not None
        else _draw_outlined(cell, next(of_outlined), field, warp, min_visible)
        for cell in field.cells
    )
    return [cell for cell in drawn if cell is not None]


def _draw_outlined(cell: Cell, outline: CutOut, field: SmearField, warp: Warp, min_visible: float) -> DrawnCell | None:
    """An outlined cell as drawn on the canvas; None where no pixel of it lies there."""
    (whole, x, y), (h, w) = outline, outline.mask.shape
    if not whole.size:
        return None
    # One pixel more on each side: outside the cell the mask must fall to zero within the drawn piece.
    above, below = min(y, 1), min(field.height - y - h, 1)
    before, behind = min(x, 1), min(field.width - x - w, 1)
    piece = cv2.copyMakeBorder(whole * np.uint8(255), above, below, before, behind, cv2.BORDER_CONSTANT, value=0)
    # Beside a turned field there is no cell
    border = cv2.BORDER_REPLICATE if warp.upright else cv2.BORDER_CONSTANT
    patch, (left, top, _, _) = draw(piece, warp, (x - before, y - above), border)
    mask = (patch >= 128).astype(np.uint8)
    visible = int(np.count_nonzero(mask))
    if not visible:
        return None
    right, down, across, high = cv2.boundingRect(mask)
    box = left + right, top + down, left + right + across, top + down + high
    if warp.upright:
        is_cut = _is_cut(warp.box((x, y, x + w, y + h)), warp.canvas)
    else:  # where its corners lie says little
        is_cut = min(box[:2]) == 0 or box[2] == warp.canvas[1] or box[3] == warp.canvas[0]
    least = min_visible * np.count_nonzero(whole) * area_scale(warp.matrix) if is_cut else 0.0
    mask = mask[down : down + high, right : right + across]
    return DrawnCell(cell, box, mask, bool(cell.crowd or visible < max(MIN_AREA, least)))


def _draw_box(cell: Cell, box: Region, warp: Warp, min_visible: float) -> DrawnCell | None:
    """A cell known by its box, drawn as a box; None when it is off the canvas."""
    left, top, right, bottom = warp.box(box)
    least = min_visible * (right - left) * (bottom - top) if _is_cut((left, top, right, bottom), warp.canvas) else 0.0
    left, top, right, bottom = max(left, 0.0), max(top, 0.0), min(right, warp.canvas[1]), min(bottom, warp.canvas[0])
    if right <= left or bottom <= top:
        return None
    thin = min(right - left, bottom - top) < 1  # pixel: such a box has no features to learn from
    ignored = cell.crowd or thin or (right - left) * (bottom - top) < max(MIN_AREA, least)
    return DrawnCell(cell, (left, top, right, bottom), None, ignored)


def _is_cut(place: Region, canvas: tuple[int, int]) -> bool:
    """Whether pixels of a place x1, y1, x2, y2 lie beyond the canvas.

    A cell that is not cut is wholly visible, even where it has fewer pixels than its area.
    """
    left, top, right, bottom = map(pixels_before, place)
    return left < 0 or top < 0 or right > canvas[1] or bottom > canvas[0]
