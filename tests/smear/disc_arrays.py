"""The two discs of `two_discs` as arrays, images of them in folders below each other, and their pixels."""

from pathlib import Path

import numpy as np

from tests.smear import two_discs
from tests.smear.two_discs import HEIGHT, WIDTH
from wbcjax.smear.field import Cell

L1, L2 = two_discs.DISCS.values()  # x, y and radius in pixels
P1, P2 = np.array(two_discs.P1), np.array(two_discs.P2)  # (24, 2)


def image_folder(folder: Path, *names: str) -> Path:
    """A folder with images of both discs, by default one, `a.png`; names may lead into folders below."""
    for name in names or ("a.png",):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        passed = two_discs.images(path.parent / f"new {path.name}", "one.png")
        (passed / "one.png").rename(path)
        passed.rmdir()
    return folder


def mask(*polygons: np.ndarray) -> np.ndarray:
    """The pixels of polygons as pycocotools draws them, 0 or 1."""
    return Cell(1, polygons).mask(HEIGHT, WIDTH)


def pixels(x: float, y: float, radius: float) -> np.ndarray:
    """The pixels of a disc, by their centres, 0 or 1."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return (np.hypot(columns - x, rows - y) < radius).astype(np.uint8)
