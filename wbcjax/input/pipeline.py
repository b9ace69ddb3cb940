"""Training batches on a fixed canvas, shuffled, augmented, sharded and resumable; and drawing an image on it."""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import cv2
import grain
import numpy as np
from jaxtyping import Float, UInt8

from wbcjax.batch import Batch
from wbcjax.input.augment import Augment, area_scale, extent, fit_scale, pixels_before, random_matrix, recolour, warp
from wbcjax.input.field_set import Source
from wbcjax.input.kept import Kept
from wbcjax.input.sample import MIN_AREA, DrawnCell, augment_field
from wbcjax.input.settings import FieldSetSettings, InputSettings
from wbcjax.input.windows import Size, window_corner, window_size
from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.rle import CutOut, cut_outs

AS_THE_MACHINE = InputSettings()
Batches = TypeVar("Batches", bound=tuple)  # a NamedTuple of arrays with the images first


class Room(NamedTuple):
    """The fixed sizes of a batch, for each image."""

    cells: int
    window: Size  # of each cell's mask


class Stream(NamedTuple):
    """The batches of a process."""

    batch_size: int  # of all processes together
    seed: int  # of the order and of the augmentations
    process_index: int = 0
    process_count: int = 1


def train_batches(
    source: Source, dataset: FieldSetSettings, augment: Augment, wanted: Stream
) -> grain.DatasetIterator[Batch]:
    """Endless shuffled, augmented batches: this process's part of each global batch of `wanted.batch_size`.

    Every epoch visits each field once in its own order, and a batch may span two epochs. Field and augmentation
    depend on the seed and the position in the stream alone: neither threads nor the number of processes change the
    global batch of a step, and `get_state` / `set_state` resume at exactly the next one. A cell of which the crop
    leaves less than `augment.min_visible` or `MIN_AREA` pixels is a region to ignore, as a crowd is: neither positive
    nor negative. Call `close()` when done.

    Masks travel in windows of one size, see `window_size`. Raises ValueError when the processes cannot share the batch
    equally, and, with the batch in which it happens, where `augment.more` makes a cell too large for its window.
    """
    canvas, room = dataset.canvas, Room(dataset.max_cells, window_size(source.measures, dataset.canvas, augment))

    def read(index: int) -> tuple[SmearField, list[CutOut]]:
        field = source.field(index)
        outlined = [cell.to_rle(field.height, field.width) for cell in field.cells if cell.outlined]
        return field, cut_outs(outlined)

    def size(kept: tuple[SmearField, list[CutOut]]) -> int:
        return kept[0].image().nbytes + sum(outline.mask.nbytes for outline in kept[1])

    fields = Kept(read, size, dataset.input.keep_megabytes)

    def sample(index: int, rng: np.random.Generator) -> Batch:
        field, outlines = fields[index]
        matrix = random_matrix(augment, field.height, field.width, canvas, rng)
        image = _draw_image(field.image(), matrix, canvas, augment, rng)
        cells = _draw_cells(field, outlines, matrix, canvas, augment.min_visible)
        image, cells = augment_field(image, cells, augment.more, rng, augment.min_visible)
        return _example(index, field, image, matrix, cells, room)

    stream = grain.MapDataset.range(len(source)).seed(wanted.seed).shuffle().repeat().random_map(sample)
    return batched(stream, wanted, dataset.input)


def batched(
    samples: grain.MapDataset[Batches], wanted: Stream, settings: InputSettings = AS_THE_MACHINE
) -> grain.DatasetIterator[Batches]:
    """Batches of an endless stream of batches of one: this process's rows of each of `wanted.batch_size`, made ahead.

    Of P processes the p-th has the p-th of P equal parts of the batch: the parts of all, in order, are the batch of one
    process alone. The state of the iterator is the number of batches: it does not depend on the process, nor on the
    number of processes.

    Raises ValueError when the processes cannot share the batch equally.
    """
    batch_size, _, process_index, process_count = wanted
    if batch_size % process_count:
        raise ValueError(f"train.batch_size is {batch_size}; make it a multiple of the {process_count} processes")
    cv2.setNumThreads(1)
    rows = batch_size // process_count

    def part(number: int) -> Batches:
        first = number * batch_size + process_index * rows
        read: list[Any] = [samples[place] for place in range(first, first + rows)]
        return _concatenate(read)

    parts = grain.MapDataset.range(sys.maxsize // batch_size).map(part)  # in practice endless
    return iter(parts.to_iter_dataset(settings.read_options()))


def fit(
    image: UInt8[np.ndarray, "h w 3"], canvas: tuple[int, int], scale: float | None = None
) -> tuple[UInt8[np.ndarray, "ch cw 3"], float]:
    """Place an image at the top left of a canvas (height, width), zeros beside it: as large as fits, or at `scale`.

    Returns the canvas and the scale: a point of the image lies at point * scale on the canvas, pixel edges being
    whole numbers on both. So x_canvas + 0.5 = (x + 0.5) * scale for pixel indices. Pixels beyond the canvas are cut
    off.
    """
    chosen = fit_scale(image.shape[0], image.shape[1], canvas) if scale is None else scale
    return _draw_image(image, np.diag([chosen, chosen, 1.0]), canvas), chosen


def _draw_image(
    image: UInt8[np.ndarray, "h w 3"],
    matrix: Float[np.ndarray, "3 3"],
    canvas: tuple[int, int],
    augment: Augment | None = None,
    rng: np.random.Generator | None = None,
) -> UInt8[np.ndarray, "ch cw 3"]:
    """The image on the canvas, its colours changed when `augment` and `rng` are given; zeros beside it."""
    patch, (x1, y1, x2, y2) = warp(image, matrix, canvas)
    if augment is not None and rng is not None and patch.size:  # a field a pixel high shrinks to nothing
        patch = recolour(patch, augment, rng)
    if patch.shape[:2] == canvas:
        return patch
    drawn = np.zeros((*canvas, 3), np.uint8)
    drawn[y1:y2, x1:x2] = patch
    return drawn


def _draw_cells(
    field: SmearField,
    outlines: Sequence[CutOut],
    matrix: Float[np.ndarray, "3 3"],
    canvas: Size,
    min_visible: float,
) -> list[DrawnCell]:
    """The field's cells as drawn on the canvas, without those that lie off it."""
    of_outlined = iter(outlines)
    drawn = (
        _draw_box(cell, cell.box, matrix, canvas, min_visible)
        if cell.box is not None
        else _draw_outlined(cell, next(of_outlined), field, matrix, canvas, min_visible)
        for cell in field.cells
    )
    return [cell for cell in drawn if cell is not None]


def _draw_outlined(
    cell: Cell,
    outline: CutOut,
    field: SmearField,
    matrix: Float[np.ndarray, "3 3"],
    canvas: Size,
    min_visible: float,
) -> DrawnCell | None:
    """An outlined cell as drawn on the canvas; None where no pixel of it lies there."""
    (whole, x, y), (h, w) = outline, outline.mask.shape
    if not whole.size:
        return None
    # One pixel more on each side: outside the cell the mask must fall to zero within the drawn piece.
    above, below = min(y, 1), min(field.height - y - h, 1)
    before, behind = min(x, 1), min(field.width - x - w, 1)
    piece = cv2.copyMakeBorder(whole * np.uint8(255), above, below, before, behind, cv2.BORDER_CONSTANT, value=0)
    patch, (left, top, _, _) = warp(piece, matrix, canvas, (x - before, y - above))
    mask = (patch >= 128).astype(np.uint8)
    visible = int(np.count_nonzero(mask))
    if not visible:
        return None
    is_cut = _is_cut(extent(matrix, (x, y, x + w, y + h)), canvas)
    least = min_visible * np.count_nonzero(whole) * area_scale(matrix) if is_cut else 0.0
    x, y, w, h = cv2.boundingRect(mask)
    box = left + x, top + y, left + x + w, top + y + h
    return DrawnCell(cell, box, mask[y : y + h, x : x + w], bool(cell.crowd or visible < max(MIN_AREA, least)))


def _draw_box(
    cell: Cell,
    box: tuple[float, float, float, float],
    matrix: Float[np.ndarray, "3 3"],
    canvas: tuple[int, int],
    min_visible: float,
) -> DrawnCell | None:
    """A cell known by its box, drawn as a box; None when it is off the canvas."""
    left, top, right, bottom = extent(matrix, box)
    least = min_visible * (right - left) * (bottom - top) if _is_cut((left, top, right, bottom), canvas) else 0.0
    left, top, right, bottom = max(left, 0.0), max(top, 0.0), min(right, canvas[1]), min(bottom, canvas[0])
    if right <= left or bottom <= top:
        return None
    thin = min(right - left, bottom - top) < 1  # pixel: such a box has no features to learn from
    ignored = cell.crowd or thin or (right - left) * (bottom - top) < max(MIN_AREA, least)
    return DrawnCell(cell, (left, top, right, bottom), None, ignored)


def _is_cut(place: tuple[float, float, float, float], canvas: tuple[int, int]) -> bool:
    """Whether pixels of a place x1, y1, x2, y2 lie beyond the canvas.

    A cell that is not cut is wholly visible, even where it has fewer pixels than its area.
    """
    left, top, right, bottom = map(pixels_before, place)
    return left < 0 or top < 0 or right > canvas[1] or bottom > canvas[0]


def _example(
    index: int,
    field: SmearField,
    image: UInt8[np.ndarray, "ch cw 3"],
    matrix: Float[np.ndarray, "3 3"],
    cells: list[DrawnCell],
    room: Room,
) -> Batch:
    """A batch of one: the cells padded to as many as there is room for. Raises ValueError as `train_batches`."""
    canvas, max_cells = image.shape[:2], room.cells
    _, _, right, bottom = extent(matrix, (0, 0, field.width, field.height))
    batch = Batch(
        image=image[None],
        size=np.array([[min(pixels_before(bottom), canvas[0]), min(pixels_before(right), canvas[1])]], np.float32),
        boxes=np.zeros((1, max_cells, 4), np.float32),
        labels=np.zeros((1, max_cells), np.int32),
        valid=np.zeros((1, max_cells), bool),
        crowd=np.zeros((1, max_cells), bool),
        outlined=np.zeros((1, max_cells), bool),
        masks=np.zeros((1, max_cells, *room.window), np.uint8),
        corners=np.zeros((1, max_cells, 2), np.int32),
        index=np.array([index], np.int32),
    )
    for k, drawn in enumerate(cells):
        batch.boxes[0, k] = drawn.box
        batch.labels[0, k] = drawn.cell.label
        batch.valid[0, k] = True
        batch.crowd[0, k] = drawn.ignored
        if drawn.mask is not None and not drawn.cell.crowd:
            batch.outlined[0, k] = True
            corner = window_corner(drawn.box, room.window, canvas)
            if corner is None:
                raise ValueError(_too_large(field, drawn, room.window))
            batch.corners[0, k] = corner
            (x, y), (h, w) = drawn.box[:2] - batch.corners[0, k], drawn.mask.shape
            batch.masks[0, k, int(y) : int(y) + h, int(x) : int(x) + w] = drawn.mask
    return batch


def _too_large(field: SmearField, drawn: DrawnCell, window: Size) -> str:
    x1, y1, x2, y2 = map(int, drawn.box)
    number = next(k for k, cell in enumerate(field.cells) if cell is drawn.cell)
    return (
        f"{field.name}: cell {number} (from 0) is {x2 - x1} x {y2 - y1} pixels on the canvas, and masks travel in "
        f"windows of {window[1]} x {window[0]}, a pixel of background around them: an augmentation of "
        "config.augment.more has enlarged it; raise config.augment.room by as many pixels"
    )


def _concatenate(batches: Sequence[Batches]) -> Batches:
    return type(batches[0])(*(np.concatenate(parts) for parts in zip(*batches, strict=True)))
