"""Square crops of a field: of its annotated cells, and of places without one.

A crop is as wide as its cell's box is long, plus a margin. Where it would leave the image it is moved inside, so that
no pixel is invented; one larger than the image is filled by reflection.

A crop without an annotated cell copies the size and the nearness to the border of a cell of its own field, and its
outline where the background is masked. So neither scale, stain, camera nor border gives its class away. There are two
kinds:

- "nucleus": a nucleus that shares no pixel with an annotated cell, in the middle of the crop
- "background": a window without any part of an annotated cell and with next to no nucleus, used when nuclei run out

What a detector makes of the field adds three more: "found" is its outline of an annotated cell, "missed" an annotated
cell that it did not find, and "false alarm" a cell that it made up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Int, UInt8
from pycocotools import mask as coco_mask

from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.nuclei import boxes_of, find_nuclei

ANNOTATED, NUCLEUS, BACKGROUND, FOUND, MISSED, FALSE_ALARM = RULES = (
    "annotated",
    "nucleus",
    "background",
    "found",
    "missed",
    "false alarm",
)
TABLE, SETTINGS = "crops.csv", "crops.json"  # in a folder of crops: where each is from, and how they were cut
BACKGROUND_NUCLEI = 0.05  # of the pixels of a background window may be a nucleus's

Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels


class Window(NamedTuple):
    """A square of a field, in pixels; it may reach beyond the image."""

    left: int
    top: int
    side: int

    def moved(self, right: int, down: int) -> "Window":
        return Window(self.left + right, self.top + down, self.side)

    def inside(self, height: int, width: int) -> "Window":
        """The window moved into an image; along an axis where it is larger than the image, centred on it."""
        left, top = (
            min(max(at, 0), length - self.side) if self.side <= length else (length - self.side) // 2
            for at, length in ((self.left, width), (self.top, height))
        )
        return Window(left, top, self.side)


@dataclass(frozen=True)
class Crop:
    """A place of a field to be cut out."""

    rule: str  # one of RULES
    cell: int  # row in the field's cells: of the one shown, or of the one whose size and outline are copied
    aim: Window  # with what is shown in the middle
    window: Window  # that inside the image
    stencil: Window  # where the outline of `cell` is cut, so that it lies on the window as it does on the aim

    @property
    def shift(self) -> float:
        """How far the border has moved the window off its aim; 1 is the crop's side."""
        return max(abs(self.window.left - self.aim.left), abs(self.window.top - self.aim.top)) / self.aim.side


def square_window(box: Box, margin: float) -> Window:
    """The square around the middle of a box, its side the box's longer one and `margin` of that on either side."""
    x1, y1, x2, y2 = box
    side = max(1, round(max(x2 - x1, y2 - y1) * (1 + 2 * margin)))
    return Window(round((x1 + x2 - side) / 2), round((y1 + y2 - side) / 2), side)


def cut(image: UInt8[np.ndarray, "h w 3"], window: Window) -> UInt8[np.ndarray, "side side 3"]:
    """The pixels of a window; beyond the image it is reflected, again and again, about its outermost pixels."""
    rows, columns = _rows_columns(window)
    return image[_reflected(rows, image.shape[0])[:, None], _reflected(columns, image.shape[1])]


def cut_crop(
    field: SmearField, image: UInt8[np.ndarray, "h w 3"], crop: Crop, mask_background: bool
) -> UInt8[np.ndarray, "side side 3"]:
    """The pixels of a crop of a field's image; with `mask_background` black outside the outline of its cell."""
    pixels = cut(image, crop.window)
    if mask_background:
        rows, columns = _rows_columns(crop.stencil)
        mask = field.cells[crop.cell].mask(field.height, field.width)
        mask = mask[rows.clip(0, field.height - 1)[:, None], columns.clip(0, field.width - 1)]  # (side, side)
        mask[(rows < 0) | (rows >= field.height)] = 0
        mask[:, (columns < 0) | (columns >= field.width)] = 0
        pixels[mask == 0] = 0
    return pixels


def resize(crop: UInt8[np.ndarray, "side side 3"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    """A crop at another size: averaged when it shrinks, cubic when it grows."""
    smooth = cv2.INTER_AREA if size < crop.shape[0] else cv2.INTER_CUBIC
    return cv2.resize(crop, (size, size), interpolation=smooth)


def cell_box(field: SmearField, cell: Cell) -> Box:
    """The box around a cell, as annotated or tight around its outline."""
    if cell.box is not None:
        return cell.box
    if cell.polygons:
        points = np.concatenate(cell.polygons)
        x1, y1, x2, y2 = (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())
        return x1, y1, x2, y2
    x, y, width, height = coco_mask.toBbox(cell.to_rle(field.height, field.width)).tolist()  # pyright: ignore
    return x, y, x + width, y + height


def annotated_crops(field: SmearField, margin: float) -> list[Crop]:
    """A crop of each annotated cell of a field, crowd regions apart."""
    crops = []
    for row, cell in enumerate(field.cells):
        if not cell.crowd:
            aim = square_window(cell_box(field, cell), margin)
            window = aim.inside(field.height, field.width)
            crops.append(Crop(ANNOTATED, row, aim, window, window))
    return crops


def other_crops(
    field: SmearField,
    image: UInt8[np.ndarray, "h w 3"],
    annotated: Sequence[Crop],
    cell_size: float,
    rng: np.random.Generator,
    balance: bool,
) -> list[Crop]:
    """Crops of a field without an annotated cell or a crowd region, matched to its `annotated` ones.

    For each annotated cell one crop copies its size. It shows the nucleus whose distance from the border is nearest to
    the cell's, or a background window when no nucleus is left, if there is room for one. With `balance`, nuclei left
    over are dropped. Around a nucleus parts of annotated cells may be seen, as they are around annotated cells.
    A field without annotated cells gives none: its stain would give the class away.

    Args:
        image: the field's.
        annotated: the field's `annotated_crops`.
        cell_size: see `find_nuclei`.
    """
    if not annotated:
        return []
    taken = annotated_pixels(field)  # (h, w)
    labels = find_nuclei(image, cell_size)  # (h, w)
    boxes = boxes_of(labels)
    free = np.setdiff1d(np.arange(len(boxes)), labels[taken] - 1)
    nuclei = ((boxes[:, :2] + boxes[:, 2:]) / 2)[rng.permutation(free)].tolist()  # centres (x, y)
    crops, unmatched = [], []
    for model in (annotated[row] for row in rng.permutation(len(annotated)).tolist()):
        if nuclei:
            copies = [_copy(field, model, NUCLEUS, x, y) for x, y in nuclei]
            nearest = min(range(len(copies)), key=lambda row: abs(copies[row].shift - model.shift))
            crops.append(copies[nearest])
            del nuclei[nearest]
        else:
            unmatched.append(model)
    if not balance:
        crops += [_copy(field, annotated[int(rng.integers(len(annotated)))], NUCLEUS, x, y) for x, y in nuclei]
    return crops + _background(field, unmatched, taken, labels > 0, rng)


def _rows_columns(window: Window) -> tuple[Int[np.ndarray, " side"], Int[np.ndarray, " side"]]:
    return np.arange(window.top, window.top + window.side), np.arange(window.left, window.left + window.side)


def _reflected(at: Int[np.ndarray, " n"], length: int) -> Int[np.ndarray, " n"]:
    """Places on a line of `length` pixels and beyond its ends, as the pixels that are seen there."""
    if length == 1:
        return np.zeros_like(at)
    period = 2 * (length - 1)
    return np.minimum(at % period, period - at % period)


def annotated_pixels(field: SmearField) -> Bool[np.ndarray, "h w"]:
    """The pixels of annotated cells and crowd regions."""
    taken = np.zeros((field.height, field.width), bool)
    for cell in field.cells:
        taken |= cell.mask(field.height, field.width).astype(bool)
    return taken


def _copy(field: SmearField, model: Crop, rule: str, x: float, y: float) -> Crop:
    """The crop of a cell, moved to another place."""
    aim = Window(round(x - model.aim.side / 2), round(y - model.aim.side / 2), model.aim.side)
    window = aim.inside(field.height, field.width)
    stencil = model.aim.moved(window.left - aim.left, window.top - aim.top)
    return Crop(rule, model.cell, aim, window, stencil)


def _background(
    field: SmearField,
    models: Sequence[Crop],
    taken: Bool[np.ndarray, "h w"],
    nuclear: Bool[np.ndarray, "h w"],
    rng: np.random.Generator,
) -> list[Crop]:
    """Background windows, none overlapping another, for as many of the models as there is room for."""
    crops = []
    blocked = taken.copy()
    for model in models:
        side = model.aim.side
        if side > min(field.height, field.width):
            continue
        room = (_sums(blocked, side) == 0) & (_sums(nuclear, side) <= BACKGROUND_NUCLEI * side**2)
        places = np.flatnonzero(room)
        if len(places):
            top, left = divmod(int(rng.choice(places)), room.shape[1])
            crops.append(_copy(field, model, BACKGROUND, left + side / 2, top + side / 2))
            blocked[top : top + side, left : left + side] = True
    return crops


def _sums(mask: Bool[np.ndarray, "h w"], side: int) -> Int[np.ndarray, "places_down places_right"]:
    """How many pixels of a mask each window of this side holds, by its top and left."""
    table = cv2.integral(mask.astype(np.uint8))
    return table[side:, side:] - table[:-side, side:] - table[side:, :-side] + table[:-side, :-side]
