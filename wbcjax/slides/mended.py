"""A slide with damaged places, to be looked at: these are of one colour."""

import numpy as np
from jaxtyping import UInt8

from wbcjax.slides.slide import DamagedTile, Slide

# Of damaged places: a yellow, which no stain has. Its channels differ by more than any threshold of `find_tissue`, so
# that what lies there at full resolution is looked at although the overview is damaged.
DAMAGED = (200, 200, 150)
LEAST_SIDE = 16  # pixels: of a part of this size that touches a damaged tile all is damaged


class Mended(Slide):
    """A slide whose damaged tiles are read as the colour `DAMAGED`, to within `LEAST_SIDE` pixels."""

    def __init__(self, slide: Slide) -> None:
        self.name, self.levels, self.pixel_size = slide.name, slide.levels, slide.pixel_size
        self._slide = slide

    def read(self, level: int, x: int, y: int, width: int, height: int) -> UInt8[np.ndarray, "height width 3"]:
        try:
            return self._slide.read(level, x, y, width, height)
        except DamagedTile:
            pass
        if max(width, height) <= LEAST_SIDE:
            return np.full((height, width, 3), DAMAGED, np.uint8)
        if width >= height:
            half = width // 2
            parts = [self.read(level, x, y, half, height), self.read(level, x + half, y, width - half, height)]
            return np.concatenate(parts, axis=1)
        half = height // 2
        return np.concatenate(
            [self.read(level, x, y, width, half), self.read(level, x, y + half, width, height - half)]
        )


def undamaged(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "n 1 3"]:
    """The pixels of a picture that are not of the colour `DAMAGED`; of a picture that has no others, one that is."""
    pixels = picture.reshape(-1, 1, 3)
    known = pixels[(pixels != DAMAGED).any(axis=(1, 2))]
    return known if len(known) else pixels[:1]
