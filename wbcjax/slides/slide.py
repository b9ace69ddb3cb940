"""A whole slide: an image of any size of which only the regions that are asked for are in memory."""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

MOST_SOURCE = 2**21  # pixels of a level that are held at a time for a region at a smaller scale
SAME = 1e-9  # of a pixel: by less, edges are the same one


class DamagedTile(ValueError):
    """A tile of a slide's file cannot be decoded; others may be."""


class Level(NamedTuple):
    """One resolution of a slide."""

    width: int  # pixels
    height: int


class Slide(ABC):
    """A slide: its levels and its pixels, read by regions. Regions may be read in several threads at once.

    name: of its file.
    levels: its resolutions, full resolution first, each smaller than the one before.
    pixel_size: micrometres of a pixel at full resolution; 0: not known.
    """

    name: str
    levels: tuple[Level, ...]
    pixel_size: float

    @property
    def width(self) -> int:
        """Pixels at full resolution."""
        return self.levels[0].width

    @property
    def height(self) -> int:
        """Pixels at full resolution."""
        return self.levels[0].height

    def close(self) -> None:  # noqa: B027  what is in memory has nothing to close
        """Close its file. It cannot be read any more."""

    def __enter__(self) -> "Slide":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def read(self, level: int, x: int, y: int, width: int, height: int) -> UInt8[np.ndarray, "height width 3"]:
        """The RGB pixels of a part of a level, in its own pixels; all of it lies in the level.

        Raises DamagedTile where the file is damaged in this part, if its reader can tell; OSError.
        """

    def level_for(self, scale: float) -> int:
        """The coarsest level that has at least `scale` pixels for one at full resolution."""
        least = scale * self.width
        return max((i for i, level in enumerate(self.levels) if level.width > least - 1), default=0)

    def region(
        self, x: int, y: int, width: int, height: int, scale: float = 1.0
    ) -> UInt8[np.ndarray, "height width 3"]:
        """A part of the slide at a scale of at most 1, as RGB: x, y, width and height are pixels of the scaled slide.

        A pixel is the mean of the area that it covers on the coarsest level that is fine enough. So parts that are
        read apart fit together. Pixels beyond the scaled slide's edge repeat those of the edge.

        Raises ValueError for another scale, and for a region that has no pixel or lies off the slide; and as `read`.
        """
        if not 0 < scale <= 1:
            raise ValueError(f"{self.name}: the scale is {scale:g}; give one above 0 and at most 1")
        level = self.level_for(scale)
        across, down = self.levels[level].width, self.levels[level].height
        if scaled(self, scale) == (across, down):  # the level's own grid
            fx = fy = 1.0
        else:
            fx, fy = across / (self.width * scale), down / (self.height * scale)
        if width < 1 or height < 1 or x < 0 or y < 0 or x * fx > across - SAME or y * fy > down - SAME:
            raise ValueError(
                f"{self.name}: the region {width} x {height} at ({x}, {y}) has no pixel on the slide, which is "
                f"{self.width} x {self.height} at scale {scale:g} of it"
            )
        return self._part(level, (x, width, fx), (y, height, fy))

    def _part(
        self, level: int, of_x: tuple[int, int, float], of_y: tuple[int, int, float]
    ) -> UInt8[np.ndarray, "h w 3"]:
        """A region by its first pixel, number of pixels and level pixels for each, along both axes."""
        (x, width, fx), (y, height, fy) = of_x, of_y
        if width * fx * height * fy > MOST_SOURCE and max(width, height) > 1:
            half, rest = divmod(max(width, height), 2)
            if width >= height:
                parts = [(x, half, fx), (x + half, half + rest, fx)]
                return np.concatenate([self._part(level, part, of_y) for part in parts], axis=1)
            parts = [(y, half, fy), (y + half, half + rest, fy)]
            return np.concatenate([self._part(level, of_x, part) for part in parts])
        size = self.levels[level]
        left, right, columns = _window(x, width, fx, size.width)
        top, bottom, rows = _window(y, height, fy, size.height)
        pixels = self.read(level, left, top, right - left, bottom - top)
        if fx == fy == 1.0:
            return np.pad(pixels, ((0, height - len(pixels)), (0, width - pixels.shape[1]), (0, 0)), mode="edge")
        means = _means(_means(pixels.astype(np.float64), rows).swapaxes(0, 1), columns).swapaxes(0, 1)
        return np.ascontiguousarray(np.rint(means).astype(np.uint8))


def scaled(slide: Slide, scale: float) -> tuple[int, int]:
    """Width and height, in whole pixels, of a slide at a scale; those of a level that differ by a pixel at most."""
    width, height = (max(math.ceil(side * scale - 0.5), 1) for side in (slide.width, slide.height))
    level = slide.levels[slide.level_for(scale)]
    near = abs(level.width - width) <= 1 and abs(level.height - height) <= 1
    return (level.width, level.height) if near else (width, height)


def _window(first: int, count: int, times: float, length: int) -> tuple[int, int, Float[np.ndarray, " edges"]]:
    """The pixels of a level that hold a row of pixels, and where the edges of these lie among them."""
    edges = np.minimum(np.arange(first, first + count + 1) * times, length)
    start = min(math.floor(edges[0] + SAME), length - 1)
    end = min(max(math.ceil(edges[-1] - SAME), start + 1), length)
    return start, end, edges - start


def _means(values: Float[np.ndarray, "n m 3"], edges: Float[np.ndarray, " k1"]) -> Float[np.ndarray, "k m 3"]:
    """The mean of the values between each two edges along the first axis; of none, the value there."""
    sums = np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, axis=0)])
    low = np.minimum(edges.astype(np.int64), len(values) - 1)
    spans = np.diff(edges)[:, None, None]
    totals = np.diff(sums[low] + (edges - low)[:, None, None] * values[low], axis=0)
    return np.where(spans > SAME, totals / np.maximum(spans, SAME), values[low[:-1]])
