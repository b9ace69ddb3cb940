"""A smear field: one microscope image and the cells outlined in it, read from files of any format."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8, UInt16
from pycocotools import mask as coco_mask

from wbcjax.smear.decode import decode_upright
from wbcjax.smear.image_header import LARGEST, MAX_PIXELS, image_bytes


class AnnotationError(ValueError):
    """Annotations that cannot be used. The message lists problems of every kind: file, region, found, the remedy."""

    def __init__(self, message: str, problems: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)  # all of them, each a `Problem`


# Compared by identity: arrays inside make `==` by value ambiguous.
@dataclass(frozen=True, eq=False)
class Cell:
    """One annotated cell: outlined by polygons, given as a mask, or known by its box alone.

    Raises ValueError unless exactly one of `polygons`, `rle` and `box` is given.
    """

    label: int  # class, 1..C
    polygons: tuple[Float[np.ndarray, "_ 2"], ...] = ()  # (x, y) in pixels; several when the cell is in parts
    rle: dict | None = None  # COCO compressed RLE {"size": [h, w], "counts": str}
    box: tuple[float, float, float, float] | None = None  # x1, y1, x2, y2 in pixels; nothing is known of the outline
    crowd: bool = False  # COCO iscrowd: a region of uncounted cells

    def __post_init__(self) -> None:
        if bool(self.polygons) + (self.rle is not None) + (self.box is not None) != 1:
            raise ValueError("a cell takes exactly one of polygons, an rle and a box")

    @property
    def outlined(self) -> bool:
        """Whether the cell's outline is known; if not, its mask is its filled box."""
        return self.box is None

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
        polygons: Any = [polygon.ravel().tolist() for polygon in self.polygons]
        if self.box is not None:
            x1, y1, x2, y2 = self.box
            polygons = [[x1, y1, x2, y1, x2, y2, x1, y2]]
        parts = coco_mask.frPyObjects(polygons, height, width)
        return text_rle(coco_mask.merge(parts))


@dataclass(frozen=True, eq=False)
class SmearField:
    """One image of a stained smear and the cells annotated in it; a field without cells is a valid field.

    Raises ValueError unless exactly one of `path` and `pixels` says where the image is, and each point has a label.
    """

    name: str  # file name relative to the image folder; unique in a set
    height: int  # pixels
    width: int
    cells: tuple[Cell, ...]
    path: Path | None = None  # image file; None when `pixels` holds the image
    pixels: UInt8[np.ndarray, "h w 3"] | None = None  # RGB
    group: str | None = None  # such as the patient: a group is never split between training and validation
    max_pixels: int = MAX_PIXELS  # of the image file: a larger one is not decoded
    # Cells of which only a point is known, (x, y) in pixels: they are counted, and train nothing.
    points: Float[np.ndarray, "n 2"] = field(default_factory=lambda: np.zeros((0, 2)))
    point_labels: Sequence[int] = ()  # their classes, 1..C
    pixel_size: float = 0.0  # micrometres, where no file of its own can state it; 0: not known

    def __post_init__(self) -> None:
        if (self.path is None) == (self.pixels is None):
            raise ValueError(f"{self.name}: a field takes either a path or pixels, not both and not neither")
        if len(self.points) != len(self.point_labels):
            counts = f"{len(self.points)} points and {len(self.point_labels)} labels"
            raise ValueError(f"{self.name}: has {counts} of points; give each its class")

    def image(self) -> UInt8[np.ndarray, "h w 3"]:
        """The field's RGB image.

        Raises as `read_image` does when it comes from a file, and ValueError when that has another size by now.
        """
        if self.pixels is not None:
            return self.pixels
        assert self.path is not None
        image = read_image(self.path, self.max_pixels)
        if image.shape[:2] != (self.height, self.width):
            found, was = (f"{width} x {height}" for height, width in (image.shape[:2], (self.height, self.width)))
            raise ValueError(
                f"{self.path}: has {found} pixels, and had {was} when its annotations were read: read again"
            )
        return image


def as_rgb(image: Any, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """`image` if it is RGB as NumPy or JAX has it. Raises ValueError, naming what else it is and the remedy."""
    shape, dtype = getattr(image, "shape", ()), getattr(image, "dtype", None)
    if dtype == np.uint8 and len(shape) == 3 and shape[2] == 3 and 0 not in shape:
        return np.asarray(image)
    found = type(image).__name__ if dtype is None else f"{tuple(shape)} {dtype}"
    if image is None:
        remedy = "was the file read? cv2.imread gives None where it could not"
    elif isinstance(image, (str, Path)):
        remedy = "read the file first, as by wbcjax.smear.field.read_image"
    elif not isinstance(dtype, np.dtype):
        remedy = 'give numpy.asarray of it: of a PIL image after .convert("RGB"), of a tensor with the channels last'
    elif dtype != np.uint8:
        remedy = "bring it to the values 0 to 255 of uint8"
    elif len(shape) == 2 or (len(shape) == 3 and shape[2] == 1):
        remedy = "repeat its one channel three times, as by numpy.dstack"
    elif len(shape) == 3 and shape[0] == 3:
        remedy = "put its channels last"
    elif len(shape) == 3 and shape[2] == 4:
        remedy = "drop its fourth channel"
    else:
        remedy = "give one image at a time, which has a pixel"
    raise ValueError(f"{name}: needs RGB as (height, width, 3) uint8, got {found}: {remedy}")


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> UInt8[np.ndarray, "h w 3"]:
    """Decode an image file as `decode_image` does. Raises also as `image_bytes`, before it decodes a larger image."""
    return decode_image(image_bytes(path, max_pixels), str(path), max_pixels)


def decode_image(data: bytes, name: str, max_pixels: int = LARGEST) -> UInt8[np.ndarray, "h w 3"]:
    """Decode the bytes of a trusted image file to RGB, 8 bits a channel, turned upright as its EXIF orientation says.

    Annotation tools that show images in a browser (VIA among them) draw on the upright image, so outlines fit it.
    Grey becomes RGB, an alpha channel is dropped, and 16-bit images are scaled by `_eight_bits`.
    Raises ValueError as `decode_upright`: the file is no image, a stack of several, or of floating-point numbers.
    """
    image = decode_upright(data, name, max_pixels)
    image = image if image.dtype == np.uint8 else _eight_bits(image)
    return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image


def _eight_bits(image: UInt16[np.ndarray, "h w *channels"]) -> UInt8[np.ndarray, "h w *channels"]:
    """A 16-bit image in 8 bits: the fewest of 8, 10, ... 16 bits that hold its brightest value become 0..255.

    12-bit cameras write 16-bit TIFFs without a note of it. The bright ground of a smear shows how many bits are in use.
    """
    bits = next(bits for bits in (8, 10, 12, 14, 16) if image.max() < 2**bits)
    return cv2.convertScaleAbs(image, alpha=255 / (2**bits - 1))


def text_rle(rle: Any) -> dict:
    """A pycocotools RLE with its counts as str instead of bytes, so that JSON takes it."""
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}
