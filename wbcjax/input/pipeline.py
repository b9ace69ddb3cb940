"""Training batches on a fixed canvas, shuffled, augmented, sharded and resumable."""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import cv2
import grain
import numpy as np

from wbcjax.batch import Batch
from wbcjax.input.appearance import change_appearance
from wbcjax.input.augment import Augment, random_warp
from wbcjax.input.copy_paste import open_ground, paste_into, whole_cells
from wbcjax.input.draw import Drawn, ReadField, draw_field
from wbcjax.input.field_set import Source
from wbcjax.input.kept import Kept
from wbcjax.input.sample import DrawnCell, augment_field
from wbcjax.input.settings import FieldSetSettings, InputSettings
from wbcjax.input.warp import pixels_of_field
from wbcjax.input.windows import Size, window_corner, window_size
from wbcjax.smear.field import SmearField
from wbcjax.smear.rle import cut_outs

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
    return batched(train_samples(source, dataset, augment, wanted.seed), wanted, dataset.input)


def train_samples(source: Source, dataset: FieldSetSettings, augment: Augment, seed: int) -> grain.MapDataset[Batch]:
    """The endless stream that `train_batches` is made of, as batches of one."""
    canvas, room = dataset.canvas, Room(dataset.max_cells, window_size(source.measures, dataset.canvas, augment))
    sides = [side for field in source.measures for side in field.sides]
    cell_size = float(np.median(sides)) if augment.paste.cells and sides else None

    def read(index: int) -> ReadField:
        field = source.field(index)
        outlines = cut_outs([cell.to_rle(field.height, field.width) for cell in field.cells if cell.outlined])
        if cell_size is None:
            return ReadField(field, outlines)
        return ReadField(field, outlines, open_ground(field, cell_size), whole_cells(field, outlines))

    fields = Kept(read, _bytes, dataset.input.keep_megabytes)

    def sample(index: int, rng: np.random.Generator) -> Batch:
        read = fields[index]
        warp = random_warp(augment, read.field.height, read.field.width, canvas, rng)
        drawn = draw_field(read, warp, augment.min_visible)
        if cell_size:
            most = min(augment.paste.cells, room.cells - len(drawn.cells))
            drawn = paste_into(drawn, read, fields[int(rng.integers(len(source)))], augment, most, rng)
        drawn = _changed(drawn, read.field, augment, rng)
        image, cells = augment_field(drawn.image, drawn.cells, augment.more, rng, augment.min_visible)
        return _example(index, read.field, drawn._replace(image=image, cells=cells), room)

    return grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat().random_map(sample)


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


def _bytes(read: ReadField) -> int:
    """The memory that a read field takes."""
    ground = 0 if read.ground is None else read.ground.nbytes
    return read.field.image().nbytes + sum(outline.mask.nbytes for outline in read.outlines) + ground


def _changed(drawn: Drawn, field: SmearField, augment: Augment, rng: np.random.Generator) -> Drawn:
    """A drawn field with another appearance, black on all that is not of it."""
    left, top, right, bottom = drawn.place
    image = drawn.image.copy()
    here = image[top:bottom, left:right]
    if here.size:  # a field a pixel high shrinks to nothing
        here[:] = change_appearance(here, augment, rng)
    if not drawn.warp.upright:
        here[~pixels_of_field(field.height, field.width, drawn.warp, drawn.place)] = 0
    return drawn._replace(image=image)


def _example(index: int, field: SmearField, drawn: Drawn, room: Room) -> Batch:
    """A batch of one: the cells padded to as many as there is room for. Raises ValueError as `train_batches`."""
    canvas, max_cells = drawn.warp.canvas, room.cells
    _, _, right, bottom = drawn.place
    batch = Batch(
        image=drawn.image[None],
        size=np.array([[bottom, right]], np.float32),
        boxes=np.zeros((1, max_cells, 4), np.float32),
        labels=np.zeros((1, max_cells), np.int32),
        valid=np.zeros((1, max_cells), bool),
        crowd=np.zeros((1, max_cells), bool),
        outlined=np.zeros((1, max_cells), bool),
        masks=np.zeros((1, max_cells, *room.window), np.uint8),
        corners=np.zeros((1, max_cells, 2), np.int32),
        index=np.array([index], np.int32),
    )
    for k, one in enumerate(drawn.cells):
        batch.boxes[0, k] = one.box
        batch.labels[0, k] = one.cell.label
        batch.valid[0, k] = True
        batch.crowd[0, k] = one.ignored
        if one.mask is not None and not one.cell.crowd:
            batch.outlined[0, k] = True
            corner = window_corner(one.box, room.window, canvas)
            if corner is None:
                raise ValueError(_too_large(field, one, room.window))
            batch.corners[0, k] = corner
            (x, y), (h, w) = one.box[:2] - batch.corners[0, k], one.mask.shape
            batch.masks[0, k, int(y) : int(y) + h, int(x) : int(x) + w] = one.mask
    return batch


def _too_large(field: SmearField, drawn: DrawnCell, window: Size) -> str:
    x1, y1, x2, y2 = map(int, drawn.box)
    numbers = [k for k, cell in enumerate(field.cells) if cell is drawn.cell]
    which = f"cell {numbers[0]} (from 0)" if numbers else "a pasted cell"
    return (
        f"{field.name}: {which} is {x2 - x1} x {y2 - y1} pixels on the canvas, and masks travel in "
        f"windows of {window[1]} x {window[0]}, a pixel of background around them: an augmentation of "
        "config.augment.more has enlarged it; raise config.augment.room by as many pixels"
    )


def _concatenate(batches: Sequence[Batches]) -> Batches:
    return type(batches[0])(*(np.concatenate(parts) for parts in zip(*batches, strict=True)))
