"""Whether images are of another magnification than in training.

There a model finds few of the cells, or parts of them, and of these the ones whose size is nearest to what it knows.
So the sizes found say in which direction to go, and less than how far. Where they say nothing and few cells are sure,
some of the images are looked at again, at half and at twice the scale.
"""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from wbcjax.evaluate.detections import FieldDetections
from wbcjax.input.cell_sizes import CellSides
from wbcjax.predict.search import Picture, Search

# Cells that tell a size. Of annotated cells of SegPC-2021, in fields apart from those that "trained", no group of 10 or
# more in 1253 was taken for another magnification; of 5 or more, 13 in 2035.
FEWEST = 10
LEAST = 1.4  # times larger or smaller; by less, patients differ
SURE = 0.9  # the least score of a sure cell
SURE_SHARE = 0.6  # of the cells: where so many are sure, the magnification is taken to be right
ZOOMS = (0.5, 2.0)  # at which images are looked at again
MOST_TILES = 100  # of these looks


class Magnified(NamedTuple):
    """What cells look like beside those of the training."""

    times: float  # larger; below 1: smaller
    scale: float  # canvas pixels per image pixel at which they would be alike

    def __str__(self) -> str:
        larger, times = ("larger", self.times) if self.times > 1 else ("smaller", 1 / self.times)
        return f"cells look {times:.1f} x {larger} than in training; try --scale {self.scale:.2g}"


def magnified(images: Iterable[tuple[Float[np.ndarray, "_ 4"], float]], trained: CellSides | None) -> Magnified | None:
    """What the cells of images look like; None where they are alike, or too few to tell.

    images: the boxes of the cells of each, x1, y1, x2, y2 in its pixels, and canvas pixels per image pixel.

    They are others when half of them are larger than 95 % of the training's, or smaller.
    """
    found = [((boxes[:, 2:] - boxes[:, :2]).max(axis=1), scale) for boxes, scale in images if len(boxes)]
    sides = np.concatenate([np.zeros(0), *(scale * longer for longer, scale in found)])
    if trained is None or len(sides) < FEWEST:
        return None
    middle = float(np.median(sides))
    times = middle / trained.middle
    if trained.low <= middle <= trained.high or 1 / LEAST < times < LEAST:
        return None
    return Magnified(times, float(np.median([scale for _, scale in found])) / times)


class Look(NamedTuple):
    """What was found in an image, and how it is read again."""

    picture: Callable[[], Picture]
    found: FieldDetections  # of any score
    scale: float  # canvas pixels per image pixel
    pixel_size: float  # micrometres, by which it was scaled; 0: not known


def looked_again(model: Search, looks: Sequence[Look], min_score: float) -> Magnified | None:
    """What cells look like where another scale finds at least twice as many sure ones, `FEWEST` or more; else None.

    Where most cells are sure already nothing is looked at. Images are taken from all over the set, as many as make
    `MOST_TILES` at the scale.
    """
    trained = model.cell_sides
    cells = sum(int(np.count_nonzero(look.found.scores >= min_score)) for look in looks)
    if trained is None or (cells and sum(_sure(look.found) for look in looks) >= SURE_SHARE * cells):
        return None
    best: tuple[int, Magnified] | None = None
    for zoom in ZOOMS:
        chosen = _chosen(model, looks, zoom)
        pictures = (look.picture()._replace(zoom=zoom) for look in chosen)
        with contextlib.closing(model.detect_each(pictures)) as each:
            found = list(each)
        sure, before = sum(map(_sure, found)), sum(_sure(look.found) for look in chosen)
        if sure < max(FEWEST, 2 * before) or (best is not None and sure <= best[0]):
            continue
        scales = [zoom * look.scale for look in chosen]
        times = _middle(found, scales) / trained.middle
        best = sure, Magnified(times / zoom, float(np.median(scales)) / times)
    return best[1] if best else None


def _chosen(model: Search, looks: Sequence[Look], zoom: float) -> list[Look]:
    """Images from all over the set that make `MOST_TILES` at most at this zoom."""
    chosen, tiles = [], 0
    for number in np.random.default_rng(0).permutation(len(looks)):
        look = looks[number]
        try:
            tiles += len(model.layout(look.found.height, look.found.width, look.pixel_size, zoom).tiles)
        except ValueError:  # too large at that scale
            continue
        if tiles > MOST_TILES:
            break
        chosen.append(look)
    return chosen


def _sure(found: FieldDetections) -> int:
    return int(np.count_nonzero(found.scores >= SURE))


def _middle(found: Sequence[FieldDetections], scales: Sequence[float]) -> float:
    """The median of the longer sides of sure cells, canvas pixels."""
    sides = [
        scale * (field.boxes[:, 2:] - field.boxes[:, :2])[field.scores >= SURE].max(axis=1, initial=0)
        for field, scale in zip(found, scales, strict=True)
    ]
    return float(np.median(np.concatenate(sides)))
