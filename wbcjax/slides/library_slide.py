"""Slides of scanners' own formats, by tiffslide or by OpenSlide's Python, which have the same interface.

tiffslide (github.com/Bayer-Group/tiffslide) reads those that are TIFF: SVS, NDPI, SCN and others. OpenSlide
(openslide.org) reads MRXS, VMS and more, and is taken where it is installed.
"""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from wbcjax.slides.slide import Level, Slide
from wbcjax.smear.pixel_size import PLAUSIBLE
from wbcjax.system.places import error_text

LIBRARIES = {"openslide": "OpenSlide", "tiffslide": "TiffSlide"}  # a module, and its class


class LibrarySlide(Slide):
    """A slide as a library reads it. Raises ValueError, naming the file, where none that is installed does."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._slide = _opened(path)
        self.levels = tuple(Level(*size) for size in self._slide.level_dimensions)
        library = type(self._slide).__module__.partition(".")[0]
        said = self._slide.properties.get(f"{library}.mpp-x") or 0.0
        self.pixel_size = float(said) if PLAUSIBLE[0] <= float(said) <= PLAUSIBLE[1] else 0.0

    def close(self) -> None:
        self._slide.close()

    def read(self, level: int, x: int, y: int, width: int, height: int) -> UInt8[np.ndarray, "height width 3"]:
        size = self.levels[level]
        place = round(x * self.width / size.width), round(y * self.height / size.height)  # of full resolution
        values = np.asarray(self._slide.read_region(place, level, (width, height)))
        if values.shape[2] == 3:
            return np.ascontiguousarray(values)
        # What was not scanned is transparent: it is bare glass.
        glass = np.full_like(values[..., :3], 255)
        return np.where(values[..., 3:] > 0, cv2.cvtColor(values, cv2.COLOR_RGBA2RGB), glass)


def _opened(path: Path) -> Any:
    failed = []
    for module, name in LIBRARIES.items():
        if importlib.util.find_spec(module) is None:
            failed.append(f"{module} is not installed")
            continue
        try:
            return getattr(importlib.import_module(module), name)(str(path))
        except Exception as error:  # each library has errors of its own
            failed.append(f"{module}: {error_text(error) or type(error).__name__}")
    raise ValueError(
        f"{path}: no slide that can be read ({'; '.join(failed)}); install the extra by pip install 'wbcjax[slides]', "
        "or OpenSlide by pip install openslide-python openslide-bin, or export it as OME-TIFF"
    )
