"""Image files that hold masks of cells, read as stored: neither scaled nor rotated."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Integer, UInt8
from pycocotools import mask as coco_mask

from wbcjax.smear.field import text_rle
from wbcjax.smear.formats.checks import Fault, Reading
from wbcjax.smear.formats.image_names import LOSSLESS
from wbcjax.smear.image_header import image_bytes

CLASS_NAME = "cell"  # of every cell: the files hold no class
PART_PIXELS = 16  # smaller parts, apart from the rest of their cell, are taken for specks


def read_values(file: Path, what: str, max_pixels: int) -> Integer[np.ndarray, "h w *channels"]:
    """The values of a lossless image, as stored. The faults' sentences begin with `what`.

    Faults: a lossy format, unreadable, more pixels, several pages, or values that are no whole numbers.
    """
    if file.suffix.lower() not in LOSSLESS:
        raise Fault(f"{what} is of a lossy format ({file.name})", "export it as PNG or TIFF")
    try:
        data = np.frombuffer(image_bytes(file, max_pixels), np.uint8)
        _, pages = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED, range=(0, 2))  # a third page changes nothing
    except OSError as error:
        raise Fault(f"{what} cannot be read ({error.strerror})", "correct the file's permissions") from error
    except ValueError as error:
        raise Fault(f"{what} cannot be read ({error})", "export or save it again") from error
    except cv2.error:  # a size beyond what OpenCV takes
        pages = []
    if not pages:
        raise Fault(f"{what} is not an image that OpenCV can decode ({file.name})", "export or save it again")
    if len(pages) > 1:
        raise Fault(f"{what} has several pages ({file.name})", "save the page of its image as a file of its own")
    if pages[0].dtype.kind not in "ui":
        raise Fault(f"{what} has {pages[0].dtype} values ({file.name})", "save it as whole numbers of 8 or 16 bits")
    return pages[0]


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
