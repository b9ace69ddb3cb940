"""Image files decoded: as they are meant to be looked at, and as they are stored, for those whose values are labels."""

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import BmpImagePlugin, Image, PngImagePlugin

from wbcjax.smear.image_header import LARGEST, NO_IMAGE, claimed_size
from wbcjax.smear.tiff import is_tiff, read_tiff

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what is wrong with a file is told as an error


@dataclass(frozen=True, eq=False)
class Stored:
    """The values of an image file as they are stored: not scaled, nor turned, nor looked up in a palette."""

    values: Shaped[np.ndarray, "h w *channels"]  # grey or indices; RGB or RGBA
    palette: UInt8[np.ndarray, "n 3"] | None = None  # the colour of each index
    pages: int = 1  # 2 where there are more, and these are the values of the first


def decode_upright(
    data: bytes, name: str, max_pixels: int = LARGEST, *, alpha: bool = False
) -> Shaped[np.ndarray, "h w *channels"]:
    """A trusted image file as it is meant: h x w grey or h x w x 3 RGB of 8 or 16 bits, upright by its orientation.

    With `alpha` h x w x 4, too, where there is one. A palette's colours are looked up; a TIFF whose white is 0 is
    turned. Raises ValueError with the file's `name` when it is no image, a stack (see `read_tiff`), or of other
    numbers.
    """
    if is_tiff(data):
        image = read_tiff(data, name, max_pixels).shown()
        image = image if alpha or image.ndim == 2 else image[..., :3]
    else:
        image = _upright(data, name, alpha)
    if image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{name}: has {image.dtype} pixels; save it with 8 or 16 bits a channel")
    return image


def decode_stored(data: bytes, name: str, max_pixels: int = LARGEST) -> Stored:
    """The values of a trusted image file. Raises ValueError as `decode_upright`, but takes numbers of any type."""
    if is_tiff(data):
        tiff = read_tiff(data, name, max_pixels)
        return Stored(tiff.values, tiff.palette)
    indexed = _indexed(data)
    if indexed is not None:
        return indexed
    _check_png(data, name)
    try:
        _, pages = cv2.imdecodemulti(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED, range=(0, 2))
    except cv2.error:  # a size beyond what OpenCV takes
        pages = []
    if not pages:
        raise ValueError(f"{name}: {NO_IMAGE}")
    return Stored(_rgb(pages[0]), pages=len(pages))


def exif_orientation(path: Path) -> int:
    """The EXIF orientation of an image file, 1 to 8: from 5 on it is turned by a quarter. 1 where it has none."""
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(path, formats=("JPEG", "PNG", "WEBP", "TIFF")) as image,
        ):
            return int(image.getexif().get(274, 1))
    except Exception:  # of a kind without EXIF, or larger than Pillow opens
        return 1


def _upright(data: bytes, name: str, alpha: bool) -> Shaped[np.ndarray, "h w *channels"]:
    _check_png(data, name)
    # Not cv2.imread: it takes no path with non-ASCII letters on Windows, and gives no reason when it fails.
    encoded = np.frombuffer(data, np.uint8)
    try:
        image = None
        if alpha:  # IMREAD_UNCHANGED alone keeps alpha, and alone ignores the EXIF orientation
            image = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
        if image is None or image.ndim == 2 or image.shape[2] == 3:
            image = cv2.imdecode(encoded, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:  # an empty file, or a size beyond what OpenCV takes
        image = None
    if image is None:
        raise ValueError(f"{name}: {NO_IMAGE}")
    return _rgb(image)


def _rgb(image: Shaped[np.ndarray, "h w *channels"]) -> Shaped[np.ndarray, "h w *channels"]:
    """OpenCV's BGR or BGRA as RGB or RGBA, grey as it is."""
    if image.ndim == 2:
        return image
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def _indexed(data: bytes) -> Stored | None:
    """A PNG or BMP with a palette, which OpenCV would look up; None of any other file, and of one that is damaged."""
    kinds = ((b"\x89PNG", PngImagePlugin.PngImageFile), (b"BM", BmpImagePlugin.BmpImageFile))
    for magic, opened in kinds:
        if data.startswith(magic):
            try:
                image = opened(io.BytesIO(data))
                if image.mode == "P" and image.size == claimed_size(data) and not getattr(image, "is_animated", False):
                    colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
                    return Stored(np.asarray(image), colours)
            except Exception:  # whatever a damaged file leads to: OpenCV has the last word on it
                return None
    return None


def _check_png(data: bytes, name: str) -> None:
    """Raises ValueError for a PNG that is cut short or damaged: libpng would write of it to the terminal."""
    place = 8
    while data.startswith(b"\x89PNG"):
        if place + 12 > len(data):
            raise ValueError(f"{name}: {NO_IMAGE} (it is cut short)")
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if end > len(data):
            raise ValueError(f"{name}: {NO_IMAGE} (it is cut short)")
        critical = kind[:1].isupper()
        if critical and zlib.crc32(memoryview(data)[place + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ValueError(f"{name}: {NO_IMAGE} (it is damaged)")
        if kind == b"IEND":
            return
        place = end
