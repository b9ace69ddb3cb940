"""The set that issues are told by: an image of 160 x 120 with two discs, and files that annotate it."""

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from jaxtyping import Shaped, UInt8
from PIL import Image

HEIGHT, WIDTH = 120, 160
DISCS = ((40, 40, 18), (110, 70, 24))  # x, y, radius


def labels(*values: int) -> UInt8[np.ndarray, "h w"]:
    """The two discs with these values, by default 1 and 2."""
    drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
    for (x, y, radius), value in zip(DISCS, values or (1, 2), strict=True):
        cv2.circle(drawn, (x, y), radius, value, -1)
    return drawn


def image() -> UInt8[np.ndarray, "h w 3"]:
    """RGB: bright ground, and discs of two colours."""
    drawn = np.full((HEIGHT, WIDTH, 3), (230, 220, 210), np.uint8)
    drawn[labels() == 1] = (120, 60, 160)
    drawn[labels() == 2] = (90, 30, 140)
    return drawn


def tiff(values: Shaped[np.ndarray, "..."], **options: Any) -> bytes:
    """The bytes of a TIFF, as tifffile writes it."""
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def with_palette(indices: UInt8[np.ndarray, "h w"], palette: UInt8[np.ndarray, "n 3"], kind: str = "PNG") -> bytes:
    """An image file of indices into a palette, as Pillow writes it."""
    file, shown = io.BytesIO(), Image.fromarray(indices)
    shown.putpalette(palette.tobytes())
    shown.save(file, kind)
    return file.getvalue()


def folder_of(folder: Path, names: tuple[str, ...] = ("a.png",)) -> Path:
    """A new folder with the image under these names."""
    folder.mkdir()
    for name in names:
        cv2.imwrite(str(folder / name), image()[..., ::-1])
    return folder
