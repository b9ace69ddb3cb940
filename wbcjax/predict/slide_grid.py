"""How a slide is divided into tiles for a network: as an image is, at the scale of the training."""

import math
from dataclasses import dataclass
from functools import cached_property

from wbcjax.predict.search import Search
from wbcjax.predict.tiles import CUT_MARGIN, OVERLAP, View, tiles
from wbcjax.slides.slide import Slide, scaled


@dataclass(frozen=True)
class Grid:
    """The tiles of a slide, row by row, in pixels of the level that is read."""

    scale: float  # of that level: its pixels per pixel at full resolution
    width: int  # of the slide at that scale, pixels
    height: int
    tile: tuple[int, int]  # height, width of a tile, pixels
    drawn: float  # canvas pixels for a pixel of the level

    @cached_property
    def tops(self) -> list[int]:
        return sorted({top for top, _ in self._corners})

    @cached_property
    def lefts(self) -> list[int]:
        return sorted({left for _, left in self._corners})

    @cached_property
    def _corners(self) -> list[tuple[int, int]]:
        return tiles(self.height, self.width, self.tile, math.ceil(OVERLAP * min(self.tile)))

    @property
    def margin(self) -> float:
        """Pixels from a tile's edge within which a box may be of a cell that continues beyond it."""
        return CUT_MARGIN / self.drawn

    def view(self, row: int, column: int) -> View:
        """The part of the slide in a tile."""
        left, top = self.lefts[column], self.tops[row]
        right, bottom = min(left + self.tile[1], self.width), min(top + self.tile[0], self.height)
        return float(left), float(top), float(right), float(bottom)

    def seen_after(self, row: int) -> int:
        """The first row of pixels that a row of tiles after this one sees; those before it are final."""
        return self.tops[row + 1] if row + 1 < len(self.tops) else self.height


def grid_of(slide: Slide, model: Search, pixel_size: float = 0.0) -> Grid:
    """The tiles in which a model sees a slide: read from its coarsest level that is as fine as the model sees it.

    pixel_size: of the slide, in micrometres; 0: not known, and taken to be the training's.

    Raises ValueError for a model that does not know the scale of its training.
    """
    shown = model.shown_large(pixel_size)
    level = slide.levels[slide.level_for(min(shown.scale, 1.0))]
    scale = level.width / slide.width
    width, height = scaled(slide, scale)
    drawn = shown.scale / scale
    tile = max(int(shown.canvas[0] / drawn), 1), max(int(shown.canvas[1] / drawn), 1)
    return Grid(scale, width, height, tile, drawn)
