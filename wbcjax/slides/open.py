"""A file opened as a slide, by what can read it; and which files are slides."""

import math
from pathlib import Path

from wbcjax.slides.image_slide import ImageSlide
from wbcjax.slides.library_slide import LibrarySlide
from wbcjax.slides.slide import Slide
from wbcjax.slides.tiff_slide import TiffSlide
from wbcjax.smear.formats.image_files import SCANNERS
from wbcjax.smear.formats.image_names import IMAGES
from wbcjax.smear.image_header import MAX_PIXELS, claimed_size_of
from wbcjax.smear.tiff import is_tiff
from wbcjax.system.files import open_regular

LARGEST_SIDE = 2**15 - 1  # pixels of an image that is searched whole; a larger one is a slide


def is_slide(path: Path, max_pixels: int = MAX_PIXELS) -> bool:
    """Whether a file is to be read by regions: one of a scanner, or a TIFF too large to be held in memory."""
    if SCANNERS.fullmatch(path.suffix):
        return True
    if path.suffix.lower() not in IMAGES or not _is_tiff(path):
        return False
    size = claimed_size_of(path)
    return size is not None and (max(size) > LARGEST_SIDE or math.prod(size) > max_pixels)


def open_slide(path: Path, max_pixels: int = MAX_PIXELS) -> Slide:
    """A slide of any kind; an image that has no tiles is read whole, where it has at most `max_pixels`.

    Raises ValueError, naming the file, for one that cannot be read by regions, with the remedy; OSError.
    """
    if _is_tiff(path):
        try:
            return TiffSlide(path)
        except ValueError:
            if path.suffix.lower() not in IMAGES:
                return LibrarySlide(path)  # a scanner's own
            if is_slide(path, max_pixels):
                raise
    if path.suffix.lower() in IMAGES:
        return ImageSlide(path, max_pixels)
    return LibrarySlide(path)


def _is_tiff(path: Path) -> bool:
    with open_regular(path) as file:
        return is_tiff(file.read(4))
