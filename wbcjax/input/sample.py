"""A training sample on its canvas, as augmentations of a lab's own see it (`config.augment.more`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Int, UInt8

from wbcjax.smear.field import Cell

MIN_AREA = 16  # pixels on the canvas: a cell with fewer is ignored, as too small to have a shape


class DrawnCell(NamedTuple):
    """A cell on the canvas."""

    cell: Cell
    box: tuple[float, float, float, float]  # x1, y1, x2, y2, pixels; in whole ones where there is a mask
    mask: UInt8[np.ndarray, "ph pw"] | None  # 0 or 1, cut to the box; None when only the box is known
    ignored: bool  # neither positive nor negative: a crowd, or too small a part of a cell


@dataclass(frozen=True)
class Sample:
    """An input of the network: a field, black beside it, or a crop, which has no masks."""

    image: UInt8[np.ndarray, "h w 3"]  # RGB
    masks: Bool[np.ndarray, "m h w"]  # of the cells; the filled box where the outline is not known
    labels: Int[np.ndarray, " m"]  # classes 1, 2, ...


# An element of `config.augment.more`. It is called with a generator that depends on the seed and the place in the
# stream alone. It may change pixels, displace pixels and masks alike, and empty a mask, which removes the cell.
Augmentation = Callable[[np.random.Generator, Sample], Sample]


def augment_image(
    image: UInt8[np.ndarray, "h w 3"], more: Sequence[Augmentation], rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """A crop on its canvas, changed by `more` one after the other. Raises ValueError as `augment_field`."""
    changed, _ = augment_field(image, [], more, rng)
    return changed


def augment_field(
    image: UInt8[np.ndarray, "h w 3"],
    cells: list[DrawnCell],
    more: Sequence[Augmentation],
    rng: np.random.Generator,
    min_visible: float = 0.0,
) -> tuple[UInt8[np.ndarray, "h w 3"], list[DrawnCell]]:
    """A field and its cells on the canvas, changed by `more` one after the other; boxes follow the masks.

    A cell of which less than `min_visible` or MIN_AREA pixels are left is ignored. Raises ValueError for an
    augmentation that returns a sample of other shapes.
    """
    if not more:
        return image, cells
    before = Sample(image, _masks(cells, image.shape[:2]), np.array([drawn.cell.label for drawn in cells], np.int32))
    after = before
    for number, augmentation in enumerate(more):
        after = augmentation(rng, after)
        _check(after, before, f"config.augment.more[{number}]")
    if after.masks is before.masks:
        return after.image, cells
    moved = [_moved(*of, min_visible) for of in zip(cells, before.masks, after.masks, strict=True)]
    return after.image, [drawn for drawn in moved if drawn is not None]


def _masks(cells: Sequence[DrawnCell], canvas: tuple[int, int]) -> Bool[np.ndarray, "m h w"]:
    masks = np.zeros((len(cells), *canvas), bool)
    for mask, drawn in zip(masks, cells, strict=True):
        x1, y1, x2, y2 = np.rint(drawn.box).astype(int)
        mask[y1:y2, x1:x2] = True if drawn.mask is None else drawn.mask
    return masks


def _check(after: Sample, before: Sample, where: str) -> None:
    for name in ("image", "masks"):
        found, wanted = getattr(after, name), getattr(before, name)
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            raise ValueError(
                f"{where} gives {name} of {found.shape} {found.dtype}: give them as they came, {wanted.shape} "
                f"{wanted.dtype}"
            )


def _moved(
    drawn: DrawnCell, before: Bool[np.ndarray, "h w"], after: Bool[np.ndarray, "h w"], min_visible: float
) -> DrawnCell | None:
    """A cell whose mask has changed; None where nothing is left of it."""
    moved = part_left(drawn, after, (0, 0), int(np.count_nonzero(before)), min_visible)
    return moved._replace(mask=None) if moved is not None and drawn.mask is None else moved


def part_left(
    drawn: DrawnCell, left: Bool[np.ndarray, "h w"], corner: tuple[int, int], whole: int, min_visible: float
) -> DrawnCell | None:
    """A cell of which the pixels `left` are left, from the canvas's pixel `corner` (x, y) on; None where none is.

    It is ignored where they are fewer than MIN_AREA, or than the share `min_visible` of `whole`, its pixels before.
    """
    count = int(np.count_nonzero(left))
    if not count:
        return None
    x, y, width, height = cv2.boundingRect(left.astype(np.uint8))
    mask = left[y : y + height, x : x + width].astype(np.uint8)
    x, y = x + corner[0], y + corner[1]
    few = count < max(MIN_AREA, min_visible * whole)
    return DrawnCell(drawn.cell, (x, y, x + width, y + height), mask, drawn.ignored or bool(few))
