"""Training batches of crops, balanced or not, augmented, sharded and resumable; and crops on a canvas."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import grain
import numpy as np
from jaxtyping import UInt8

from wbcjax.batch import CropBatch
from wbcjax.input.appearance import change_appearance
from wbcjax.input.augment import Augment, random_warp
from wbcjax.input.crop_set import CropSource
from wbcjax.input.kept import Kept
from wbcjax.input.mix import Mix, mix_crops
from wbcjax.input.pipeline import Stream, batched
from wbcjax.input.sample import augment_image
from wbcjax.input.settings import CropSetSettings
from wbcjax.input.warp import Warp, draw, draw_in, extent, fit_scale


def crop_batches(
    source: CropSource, dataset: CropSetSettings, augment: Augment, mix: Mix, wanted: Stream
) -> grain.DatasetIterator[CropBatch]:
    """Endless shuffled, augmented batches: this process's part of each global batch of `wanted.batch_size`.

    An epoch is `len(source)` draws: of each crop once or, with `dataset.balance`, equally many of each class, see
    `_balanced`. Crop and augmentation depend on the seed and the position in the stream alone: neither threads nor the
    number of processes change the global batch of a step, and `get_state` / `set_state` resume at exactly the next one.
    Call `close()` when done.

    With `mix.on` each crop is mixed with another, drawn uniformly from all; `index` is the first one's.

    Raises ValueError when the processes cannot share the batch equally.
    """
    canvas = dataset.canvas
    targets = np.eye(len(source.classes), dtype=np.float32)[source.labels]  # (n, c)

    images = Kept(source.image, lambda image: image.nbytes, dataset.input.keep_megabytes)

    def draw_augmented(index: int, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        image = images[index]
        height, width = image.shape[:2]
        warp = _centred(random_warp(augment, height, width, canvas, rng), image)
        return augment_image(change_appearance(_draw(image, warp), augment, rng), augment.more, rng)

    def sample(index: int, rng: np.random.Generator) -> CropBatch:
        image, target = draw_augmented(index, rng), targets[index]
        if mix.on:
            other = int(rng.integers(len(source)))
            image, share = mix_crops(image, draw_augmented(other, rng), mix, rng)
            target = np.float32(share) * target + np.float32(1 - share) * targets[other]
        return CropBatch(image[None], target[None], np.array([index], np.int32))

    stream = grain.MapDataset.range(len(source)).seed(wanted.seed)
    if dataset.balance:
        draw = _balanced(source, wanted.seed)
        stream = stream.repeat().map_with_index(lambda position, _: draw(position))
    else:
        stream = stream.shuffle().repeat()
    return batched(stream.random_map(sample), wanted, dataset.input)


def fit_crop(image: UInt8[np.ndarray, "h w 3"], canvas: tuple[int, int]) -> UInt8[np.ndarray, "ch cw 3"]:
    """A crop as large as fits on a canvas (height, width), in its middle; the rest is filled by reflection.

    Evaluation and prediction give a classifier this; so does training without augmentation.
    """
    scale = fit_scale(image.shape[0], image.shape[1], canvas)
    return _draw(image, _centred(Warp(np.diag([scale, scale, 1.0]), canvas), image))


def _balanced(source: CropSource, seed: int) -> Callable[[int], int]:
    """The crop to draw at each position of an endless stream.

    Each c draws in a row, for c classes, are one of each class, in random order. Each class's crops are drawn in random
    order, all before any is drawn again.
    """
    labels = np.unique(source.labels)
    streams = [
        grain.MapDataset.source(np.flatnonzero(source.labels == label).tolist()).shuffle(seed + int(label)).repeat()
        for label in labels
    ]

    def draw(position: int) -> int:
        turn, place = divmod(position, len(streams))
        order = np.random.default_rng([seed, turn]).permutation(len(streams))
        return streams[order[place]][turn]

    return draw


def _centred(warp: Warp, image: UInt8[np.ndarray, "h w 3"]) -> Warp:
    """A map of `random_warp` that puts crops smaller than the canvas in its middle and not at its upper left."""
    left, top, right, bottom = extent(warp.matrix, (0, 0, image.shape[1], image.shape[0]))
    moved = warp.matrix.copy()
    moved[0, 2] += max(int(warp.canvas[1] - (right - left)) // 2, 0)
    moved[1, 2] += max(int(warp.canvas[0] - (bottom - top)) // 2, 0)
    return replace(warp, matrix=moved)


def _draw(image: UInt8[np.ndarray, "h w 3"], warp: Warp) -> UInt8[np.ndarray, "ch cw 3"]:
    """The image on the canvas; beyond its edges it is reflected, again and again, about its outermost pixels.

    Black there would give away the crop's shape and scale. A crop too thin to cover a pixel gives its mean colour.
    """
    height, width = warp.canvas
    if not warp.upright:
        return draw_in((0, 0, width, height), image, warp, border=cv2.BORDER_REFLECT_101)
    patch, (left, top, right, bottom) = draw(image, warp)
    if not patch.size:
        return np.full((height, width, 3), np.rint(image.mean(axis=(0, 1))), np.uint8)
    around = top, height - bottom, left, width - right
    return cv2.copyMakeBorder(patch, *around, cv2.BORDER_REFLECT_101)
