"""An image of a camera's size, which is in memory, as a slide."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from wbcjax.slides.slide import Level, Slide
from wbcjax.smear.field import read_image
from wbcjax.smear.image_header import MAX_PIXELS
from wbcjax.smear.pixel_size import stated_pixel_size


class ImageSlide(Slide):
    """An image file of any kind that `read_image` reads; raises as it does."""

    def __init__(self, path: Path, max_pixels: int = MAX_PIXELS) -> None:
        self._image = read_image(path, max_pixels)
        height, width = self._image.shape[:2]
        self.name, self.levels, self.pixel_size = path.name, (Level(width, height),), stated_pixel_size(path)

    def read(self, level: int, x: int, y: int, width: int, height: int) -> UInt8[np.ndarray, "height width 3"]:
        return self._image[y : y + height, x : x + width]
