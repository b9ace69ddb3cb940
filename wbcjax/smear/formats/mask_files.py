"""Image files that hold masks of cells, read as stored: neither scaled nor rotated."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Integer, Shaped, UInt8
from pycocotools import mask as coco_mask

from wbcjax.smear.decode import Stored, decode_stored
from wbcjax.smear.field import text_rle
from wbcjax.smear.formats.checks import Fault, Reading
from wbcjax.smear.formats.image_names import LOSSLESS
from wbcjax.smear.image_header import image_bytes
from wbcjax.smear.tiff import Stack

CLASS_NAME = "cell"  # of every cell: the files hold no class
PART_PIXELS = 16  # smaller parts, apart from the rest of their cell, are taken for specks


def read_values(file: Path, what: str, max_pixels: int) -> Integer[np.ndarray, "h w *channels"]:
    """The values of a lossless image, as stored: whole numbers. The faults' sentences begin with `what`.

    Faults: as `decode`, or values that are no whole numbers.
    """
    return whole_numbers(decode(file, what, max_pixels).values, what, file)


def decode(file: Path, what: str, max_pixels: int, lossy: bool = False) -> Stored:
    """The values of an image of labels, as stored. Faults: a lossy format unless `lossy`, unreadable, more pixels,
    several pages."""
    if file.suffix.lower() not in LOSSLESS and not lossy:
        raise Fault(f"{what} is of a lossy format ({file.name})", "export it as PNG or TIFF")
    try:
        stored = decode_stored(image_bytes(file, max_pixels), file.name, max_pixels)
    except Stack as error:
        raise Fault(f"{what} {error.found} ({file.name})", error.remedy) from error
    except OSError as error:
        raise Fault(f"{what} cannot be read ({error.strerror})", "correct the file's permissions") from error
    except ValueError as error:
        raise Fault(f"{what} cannot be read ({error})", "export or save it again") from error
    if stored.pages > 1:
        raise Fault(f"{what} has several pages ({file.name})", "save the page of its image as a file of its own")
    return stored


def whole_numbers(
    values: Shaped[np.ndarray, "h w *channels"], what: str, file: Path
) -> Integer[np.ndarray, "h w *channels"]:
    """The values as integers. Fault: one is no whole number, or larger than a float of its type counts to."""
    if values.dtype == np.uint64 and values.max(initial=0) <= np.iinfo(np.int64).max:
        return values.astype(np.int64)
    if values.dtype.kind in "ui" and values.dtype != np.uint64:
        return values
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    largest = 0 if values.dtype.kind == "u" else 2 ** (np.finfo(values.dtype).nmant + 1)
    if not (np.isfinite(values).all() and (values == np.rint(values)).all() and abs(values).max() <= largest):
        remedy = "save it as whole numbers of 8 or 16 bits"
        raise Fault(f"{what} has {values.dtype} values ({file.name})", remedy)
    return values.astype(np.int64)


def rle_of(mask: UInt8[np.ndarray, "h w"]) -> dict:
    """A mask of 0 and 1 as COCO compressed RLE."""
    return text_rle(coco_mask.encode(np.asfortranarray(mask)))


def in_parts(mask: UInt8[np.ndarray, "h w"]) -> bool:
    """Whether two parts of a mask, of PART_PIXELS or more, do not touch."""
    left, top, width, height = cv2.boundingRect(mask)
    _, _, statistics, _ = cv2.connectedComponentsWithStats(mask[top : top + height, left : left + width].copy())
    return int((statistics[1:, cv2.CC_STAT_AREA] >= PART_PIXELS).sum()) > 1


def suspect_parts(reading: Reading, name: str, apart: list[str], cells: int, remedy: str) -> None:
    """Note that cells of a field, at the places `apart`, are in parts that do not touch."""
    if apart:
        found = f"{len(apart)} of {cells} cells are in parts that do not touch (the first: {apart[0]})"
        reading.suspect(name, "", found, remedy)
