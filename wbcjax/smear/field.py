"""What a smear field is: one microscope image and the cells outlined in it, whatever file format they came from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from pycocotools import mask as coco_mask


class AnnotationError(ValueError):
    """Annotations that cannot be used. The message lists every problem: file, region, what was found, the remedy."""


# Compared by identity: arrays inside make `==` by value ambiguous.
@dataclass(frozen=True, eq=False)
class Cell:
    """One annotated cell, outlined by polygons or given as a mask; exactly one of `polygons` and `rle` is set.

    Raises ValueError when both or neither are given.
    """

    label: int  # class, 1..C
    polygons: tuple[Float[np.ndarray, "_ 2"], ...] = ()  # (x, y) in pixels; several when the cell is in parts
    rle: dict | None = None  # COCO compressed RLE {"size": [h, w], "counts": str}
    crowd: bool = False  # COCO iscrowd: a region of uncounted cells

    def __post_init__(self) -> None:
        if bool(self.polygons) == (self.rle is not None):
            raise ValueError("a cell takes either polygons or an rle, not both and not neither")

    def mask(self, height: int, width: int) -> UInt8[np.ndarray, "h w"]:
        """The cell's pixels as 0 or 1 on an image of this size, rasterised as pycocotools does.

        Raises ValueError when the cell's RLE was made for another size.
        """
        rle: Any = self.to_rle(height, width)
        return np.ascontiguousarray(coco_mask.decode(rle))

    def to_rle(self, height: int, width: int) -> dict:
        """The cell's pixels as COCO compressed RLE, ready for JSON: {"size": [height, width], "counts": str}.

        Raises ValueError when the cell's RLE was made for another size.
        """
        if self.rle is not None:
            if list(self.rle["size"]) != [height, width]:
                raise ValueError(f"the cell's mask is for an image of {self.rle['size']}, asked for {[height, width]}")
            return self.rle
        parts = coco_mask.frPyObjects([polygon.ravel().tolist() for polygon in self.polygons], height, width)
        return text_rle(coco_mask.merge(parts))


@dataclass(frozen=True, eq=False)
class SmearField:
    """One image of a stained smear and the cells annotated in it; a field without cells is a valid field.

    Raises ValueError unless exactly one of `path` and `pixels` says where the image is.
    """

    name: str  # file name relative to the image folder; unique in a set
    height: int  # pixels
    width: int
    cells: tuple[Cell, ...]
    path: Path | None = None  # image file; None when `pixels` holds the image
    pixels: UInt8[np.ndarray, "h w 3"] | None = None  # RGB
    group: str | None = None  # such as the patient: a group is never split between training and validation

    def __post_init__(self) -> None:
        if (self.path is None) == (self.pixels is None):
            raise ValueError(f"{self.name}: a field takes either a path or pixels, not both and not neither")

    def image(self) -> UInt8[np.ndarray, "h w 3"]:
        """The field's RGB image. Raises as `read_image` does when it comes from a file."""
        if self.pixels is not None:
            return self.pixels
        assert self.path is not None
        return read_image(self.path)


def read_image(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """Decode an image file to RGB, 8 bits a channel, turned upright as its EXIF orientation says.

    Annotation tools that show images in a browser (VIA among them) draw on the upright image, so outlines fit it.
    Raises OSError when the file cannot be read, ValueError naming it when it is not an image.
    """
    data = np.frombuffer(path.read_bytes(), np.uint8)
    # Not cv2.imread: it takes no path with non-ASCII letters on Windows, and tells nothing of why it failed.
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:  # an empty file, or a size beyond what OpenCV takes
        image = None
    if image is None:
        raise ValueError(f"{path}: not an image that OpenCV can decode; replace the file or leave it out")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def text_rle(rle: Any) -> dict:
    """A pycocotools RLE with its counts as str instead of bytes, so that JSON takes it."""
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}
