"""Writing files so that they are there whole or not at all."""

import os
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Shaped


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` into a file that appears whole or not at all, making its folder when needed.

    Raises OSError when it cannot be written; a file of that name that was there before is then unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_png(path: Path, image: Shaped[np.ndarray, "*image"]) -> None:
    """Write an image of 8 or 16 bits to a PNG file, whole or not at all: h x w grey, or h x w x 3 or 4 RGB(A)."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".png", image)
    write_atomically(path, data.tobytes())
