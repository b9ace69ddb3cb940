"""Outlines as the page gets them: all points of an answer in one string, which a browser reads at once."""

import base64
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np

from wbcjax.commands.review.cells import Outline

UNITS = 100  # to a pixel, the grid of all outlines that the page makes


def packed(shapes: Iterable[Sequence[Outline]]) -> str:
    """The points of all parts of all shapes, one after the other, x before y.

    Base64 of little-endian 32-bit integers, in hundredths of a pixel. Of 180,000 points nested lists as JSON take ten
    times as long. How many points each part has is told beside it.
    """
    points = chain.from_iterable(chain.from_iterable(shapes))
    values = np.fromiter(chain.from_iterable(points), np.float64)
    return base64.b64encode(np.rint(UNITS * values).astype("<i4").tobytes()).decode()


def sizes(outlines: Sequence[Outline]) -> list[int]:
    """The numbers of points of a shape's parts."""
    return [len(points) for points in outlines]
