"""Whether the cells found in images are of other sizes than in training: a sign of another magnification.

At another magnification a model finds few of the cells, and of these the ones whose size is nearest to what it knows.
So the sizes found say in which direction to go, and less than how far.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from wbcjax.evaluate.detections import FieldDetections
from wbcjax.input.cell_sizes import CellSides

# Cells that tell a size. Of annotated cells of SegPC-2021, in fields apart from those that "trained", no group of 10 or
# more in 1253 was taken for another magnification; of 5 or more, 13 in 2035.
FEWEST = 10
LEAST = 1.4  # times larger or smaller; by less, patients differ


class Magnified(NamedTuple):
    """What cells look like beside those of the training."""

    times: float  # larger; below 1: smaller
    scale: float  # canvas pixels per image pixel at which they would be alike

    def __str__(self) -> str:
        larger, times = ("larger", self.times) if self.times > 1 else ("smaller", 1 / self.times)
        return f"cells look {times:.1f} x {larger} than in training; try --scale {self.scale:.2g}"


def magnified(cells: Iterable[tuple[FieldDetections, float]], trained: CellSides | None) -> Magnified | None:
    """What the cells of images, each image at its scale, look like; None where they are alike, or too few to tell.

    They are others when half of them are larger than 95 % of the training's, or smaller.
    """
    images = [(field.boxes[:, 2:] - field.boxes[:, :2], scale) for field, scale in cells]
    sides = np.concatenate([np.zeros(0), *(scale * sides.max(axis=1) for sides, scale in images if len(sides))])
    if trained is None or len(sides) < FEWEST:
        return None
    middle = float(np.median(sides))
    times = middle / trained.middle
    if trained.low <= middle <= trained.high or 1 / LEAST < times < LEAST:
        return None
    return Magnified(times, float(np.median([scale for sides, scale in images if len(sides)])) / times)
