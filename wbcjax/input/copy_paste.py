"""Copy-paste of annotated cells between fields (Ghiasi et al. 2021): on free ground, and against other cells."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from wbcjax.input.augment import Augment, CopyPaste, random_linear
from wbcjax.input.draw import Drawn, ReadField
from wbcjax.input.sample import MIN_AREA, DrawnCell, part_left
from wbcjax.input.warp import Warp, area_scale, draw_in, extent, fit_scale
from wbcjax.smear.crops import annotated_pixels
from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.nuclei import find_nuclei
from wbcjax.smear.rle import CutOut

TRIES = 20  # places that are tried for a cell before it is left out
NEAREST, FARTHEST = 0.7, 1.05  # of the sum of two cells' radii: how far apart their middles are when they touch
FAINTEST = 1 / 510  # share of a pasted pixel that can be seen in 8 bits


class Scene(NamedTuple):
    """A field on the canvas."""

    image: UInt8[np.ndarray, "h w 3"]  # RGB
    cells: list[DrawnCell]
    ground: Bool[np.ndarray, "h w"]  # where a cell may be pasted: pixels that are wholly of `open_ground`


class Sticker(NamedTuple):
    """A cell cut out of a field."""

    cell: Cell
    pixels: UInt8[np.ndarray, "h w 3"]
    mask: Bool[np.ndarray, "h w"]
    cover: Float32[np.ndarray, "h w"]  # its share in a pixel: 1 inside, falling to 0 across the outline


def open_ground(field: SmearField, cell_size: float) -> UInt8[np.ndarray, "h w"]:
    """255 where a cell may be pasted into a field, 0 on cells that are there and have no outline.

    Those are crowd regions, cells known by their boxes alone, and nuclei that nobody annotated: found as `wbcjax crop`
    finds them, and less than half annotated. `cell_size`: see `find_nuclei`.
    """
    nuclei = find_nuclei(field.image(), cell_size)
    areas = np.bincount(nuclei.ravel())
    annotated = np.bincount(nuclei[annotated_pixels(field)], minlength=len(areas))
    unknown = 2 * annotated < areas
    unknown[0] = False  # no nucleus
    closed = unknown[nuclei]
    for cell in field.cells:
        if cell.crowd or not cell.outlined:
            closed |= cell.mask(field.height, field.width) > 0
    return np.where(closed, 0, 255).astype(np.uint8)


def whole_cells(field: SmearField, outlines: Sequence[CutOut]) -> list[int]:
    """The rows, among the outlined cells, of those that may be pasted elsewhere: with an outline that is all theirs.

    Those are no crowd regions, and neither cut by the border of the field nor touched by another cell, which may
    cover them.
    """
    outlined = [cell for cell in field.cells if cell.outlined]
    count = np.zeros((field.height, field.width), np.uint8)  # of the cells on each pixel
    for mask, left, top in outlines:
        count[top : top + mask.shape[0], left : left + mask.shape[1]] += mask
    rows = []
    for row, (cell, (mask, left, top)) in enumerate(zip(outlined, outlines, strict=True)):
        bottom, right = top + mask.shape[0], left + mask.shape[1]
        inside = left > 0 and top > 0 and right < field.width and bottom < field.height
        if not mask.size or not inside or cell.crowd:
            continue
        padded = np.pad(mask, 1)
        others = count[top - 1 : bottom + 1, left - 1 : right + 1] > padded
        if not others[cv2.dilate(padded, np.ones((3, 3), np.uint8)) > 0].any():
            rows.append(row)
    return rows


def paste_into(
    drawn: Drawn, field: ReadField, donor: ReadField, augment: Augment, most: int, rng: np.random.Generator
) -> Drawn:
    """A field on its canvas, with up to `most` cells of the field `donor` pasted into it, each flipped and turned.

    Both fields, as they fit the canvas, are magnified alike.
    """
    warp, (height, width) = drawn.warp, drawn.warp.canvas
    assert field.ground is not None
    ground = draw_in((0, 0, width, height), field.ground, warp, border=cv2.BORDER_CONSTANT) == 255
    fitted, of_donor = (fit_scale(one.field.height, one.field.width, warp.canvas) for one in (field, donor))
    scale = of_donor * math.sqrt(area_scale(warp.matrix)) / fitted
    chosen = rng.choice(donor.whole, int(rng.integers(most + 1))).tolist() if donor.whole else []
    feather = augment.paste.feather
    stickers = [cut_sticker(donor, row, random_linear(augment, scale, rng), feather) for row in chosen]
    image, cells = paste_cells(Scene(drawn.image, drawn.cells, ground), stickers, augment, rng)
    return drawn._replace(image=image, cells=cells)


def paste_cells(
    scene: Scene, stickers: Iterable[Sticker | None], augment: Augment, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "h w 3"], list[DrawnCell]]:
    """The image and the cells of a scene with the stickers in it; one that finds no place is left out.

    A cell below a pasted one keeps the part of its mask that is seen. It is ignored where that is less than
    `augment.min_visible` of it, or MIN_AREA pixels, and gone where nothing is seen.
    """
    image, taken = scene.image.copy(), np.zeros(scene.ground.shape, bool)
    for drawn in scene.cells:
        if drawn.mask is not None:
            taken[_slices(drawn)] |= drawn.mask > 0
    order = np.zeros(scene.ground.shape, np.int32)  # the number of the pasted cell that is seen; 0: none
    pasted: list[DrawnCell] = []
    for sticker in stickers:
        neighbours = [drawn for drawn in (*scene.cells, *pasted) if drawn.mask is not None and not drawn.cell.crowd]
        if sticker is None or (place := _place(sticker, scene.ground, taken, neighbours, augment.paste, rng)) is None:
            continue
        drawn, mask = _paste(image, sticker, place)
        pasted.append(drawn)
        taken[_slices(drawn)] |= mask
        order[_slices(drawn)][mask] = len(pasted)
    numbered = [*((0, drawn) for drawn in scene.cells), *enumerate(pasted, start=1)]
    left = [_uncovered(drawn, order, number, augment.min_visible) for number, drawn in numbered]
    return image, [drawn for drawn in left if drawn is not None]


def cut_sticker(donor: ReadField, row: int, linear: Float[np.ndarray, "3 3"], feather: float) -> Sticker | None:
    """The outlined cell `row` of a field under a linear map; None where it gets too small to have a shape.

    Its edge is as soft as a Gaussian of the standard deviation `feather`, pixels, makes it.
    """
    field, (whole, x, y) = donor.field, donor.outlines[row]
    height, width = whole.shape
    around = math.ceil((4 * feather + 2) / math.sqrt(area_scale(linear)))  # pixels of the field
    left, top = max(x - around, 0), max(y - around, 0)
    right, bottom = min(x + width + around, field.width), min(y + height + around, field.height)
    outline = np.zeros((bottom - top, right - left), np.uint8)
    outline[y - top : y - top + height, x - left : x - left + width] = 255 * whole

    x1, y1, x2, y2 = extent(linear, (left, top, right, bottom))
    warp = Warp(np.array([[1, 0, -x1], [0, 1, -y1], [0, 0, 1]]) @ linear, (math.ceil(y2 - y1), math.ceil(x2 - x1)))
    box = (0, 0, warp.canvas[1], warp.canvas[0])
    mask = draw_in(box, outline, warp, (left, top), cv2.BORDER_CONSTANT) >= 128
    if np.count_nonzero(mask) < MIN_AREA:
        return None
    cover = mask.astype(np.float32)
    if feather:
        cover = cv2.GaussianBlur(cover, (0, 0), feather)
    cover[cover < FAINTEST] = 0
    pixels = draw_in(box, field.image()[top:bottom, left:right], warp, (left, top))
    return Sticker([cell for cell in field.cells if cell.outlined][row], pixels, mask, cover)


def _place(
    sticker: Sticker,
    ground: Bool[np.ndarray, "h w"],
    taken: Bool[np.ndarray, "h w"],
    neighbours: Sequence[DrawnCell],
    paste: CopyPaste,
    rng: np.random.Generator,
) -> tuple[int, int] | None:
    """x, y of a sticker's first pixel on the canvas, on open ground; None where none of TRIES places will do.

    It lies against another cell, partly over it, or clear of all others.
    """
    height, width = sticker.mask.shape
    rooms = ground.shape[1] - width, ground.shape[0] - height
    if min(rooms) < 0:
        return None
    touching, seen = bool(neighbours) and rng.random() < paste.touching, sticker.cover > 0
    for _ in range(TRIES):
        if touching:
            x, y = _beside(neighbours[int(rng.integers(len(neighbours)))], sticker, rng)
        else:
            x, y = (int(rng.integers(room + 1)) for room in rooms)
        here = np.s_[y : y + height, x : x + width]
        inside = 0 <= x <= rooms[0] and 0 <= y <= rooms[1]
        if inside and ground[here][seen].all() and bool(taken[here][seen].any()) == touching:
            return x, y
    return None


def _beside(neighbour: DrawnCell, sticker: Sticker, rng: np.random.Generator) -> tuple[int, int]:
    """x, y of a sticker's first pixel so that it about touches a cell, from any side."""
    assert neighbour.mask is not None
    radii = sum(math.sqrt(np.count_nonzero(mask) / math.pi) for mask in (neighbour.mask, sticker.mask))
    distance, angle = radii * rng.uniform(NEAREST, FARTHEST), rng.uniform(0, 2 * math.pi)
    x1, y1, x2, y2 = neighbour.box
    height, width = sticker.mask.shape
    x, y = (x1 + x2) / 2 + distance * math.cos(angle), (y1 + y2) / 2 + distance * math.sin(angle)
    return round(x - width / 2), round(y - height / 2)


def _paste(
    image: UInt8[np.ndarray, "h w 3"], sticker: Sticker, place: tuple[int, int]
) -> tuple[DrawnCell, Bool[np.ndarray, "ph pw"]]:
    """Draw a sticker into an image: the cell as it lies there, and its mask."""
    (x, y), (height, width) = place, sticker.mask.shape
    below = image[y : y + height, x : x + width]
    change = (sticker.pixels.astype(np.float32) - below) * sticker.cover[..., None]
    image[y : y + height, x : x + width] = np.rint(below + change)
    left, top, w, h = cv2.boundingRect(sticker.mask.astype(np.uint8))
    mask = sticker.mask[top : top + h, left : left + w]
    box = (x + left, y + top, x + left + w, y + top + h)
    return DrawnCell(sticker.cell, box, mask.astype(np.uint8), ignored=False), mask


def _uncovered(drawn: DrawnCell, order: Int[np.ndarray, "h w"], number: int, min_visible: float) -> DrawnCell | None:
    """What is seen of a cell: nothing of a later number lies over that; `order`: the number of each pixel."""
    if drawn.mask is None or not (order[_slices(drawn)] > number).any():
        return drawn
    left = (drawn.mask > 0) & (order[_slices(drawn)] <= number)
    x, y = drawn.box[:2]
    return part_left(drawn, left, (int(x), int(y)), int(np.count_nonzero(drawn.mask)), min_visible)


def _slices(drawn: DrawnCell) -> tuple[slice, slice]:
    """The rows and columns of a drawn cell's mask."""
    left, top, right, bottom = map(int, drawn.box)
    return slice(top, bottom), slice(left, right)
