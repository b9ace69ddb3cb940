"""Reader of label images: for each image one file of its name, whose pixels hold 0 or the number of their cell.

StarDist, CellProfiler, ilastik and QuPath write such files: PNG or TIFF with one channel of whole numbers.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer
from pycocotools import mask as coco_mask
from skimage import measure

from wbcjax.smear.field import Cell, SmearField, text_rle
from wbcjax.smear.formats import folders, mask_files
from wbcjax.smear.formats.checks import Fault, Reading
from wbcjax.smear.formats.format import Format, Place

SAVE_EMPTY = "add its label image, one of zeros if it shows no cell"


def fields(reading: Reading) -> list[SmearField]:
    """The fields of a folder of label images, by name; those of zeros are without cells. All cells are of class "cell".

    Pixels of one number are one cell, touching or not. Noted as suspect: images without a label image, and numbers
    whose pixels lie apart.
    """
    names_of = folders.images_by_stem(reading.images)
    files = folders.annotation_files(reading.annotations, folders.IMAGES)
    if files[0].parent.resolve() == reading.images.resolve():
        raise Fault("label images and images lie in one folder", "put the label images in a folder of their own")
    found = []
    for file in files:
        with reading.at(file.name):
            found.append(_field(reading, file, folders.image_of_stem(reading, file, file.stem)))
    folders.suspect_images_without(reading, names_of, set(), {file.stem for file in files}, SAVE_EMPTY)
    return [field for field in found if field is not None]


def _field(reading: Reading, file: Path, name: str) -> SmearField | None:
    path, size, labels = None, None, None
    with reading.at(name):
        path, size = reading.image(name)
    with reading.at(name):
        labels = _labels(file, size, reading.max_pixels)
    if path is None or size is None or labels is None:
        return None
    return SmearField(name, *size, _cells(reading, name, labels), path, max_pixels=reading.max_pixels)


def _labels(file: Path, size: tuple[int, int] | None, max_pixels: int) -> Integer[np.ndarray, "h w"]:
    """The number of the cell at each pixel. Faults: another size, colours, a number below 0, or unreadable."""
    labels = mask_files.read_values(file, "the label image", max_pixels)
    if size is not None:
        folders.check_size("the label image has", (labels.shape[0], labels.shape[1]), size)
    if labels.ndim != 2:
        found = f"the label image has {labels.shape[2]} channels ({file.name})"
        raise Fault(found, "export it with the cells' numbers as grey values (a palette's are colours), 8 or 16 bits")
    if labels.min() < 0:
        raise Fault(f"the label image holds {labels.min()} ({file.name})", "number the cells from 1 on")
    return labels


def _cells(reading: Reading, name: str, labels: Integer[np.ndarray, "h w"]) -> tuple[Cell, ...]:
    # All cells at once: an image may hold a number for each of its pixels.
    flat = labels.ravel(order="F")  # (h w,) down the columns, as in RLE
    places = np.flatnonzero(flat)
    if not len(places):
        return ()
    places = places[np.argsort(flat[places], kind="stable")]  # (n,) by cell, and downwards in each
    numbers, starts = np.unique(flat[places], return_index=True)  # (cells,), (cells,)
    in_parts = set(_numbers_in_parts(labels).tolist())
    cells, apart = [], []
    for number, pixels in zip(numbers.tolist(), np.split(places, starts[1:]), strict=True):
        with reading.at(name, f"value {number}"):
            label = reading.label(mask_files.CLASS_NAME)
            if label == 0:
                continue
            cells.append(Cell(label, rle=_rle_of_places(pixels, labels.shape)))
            if number in in_parts:
                apart.append(f"value {number}")
    mask_files.suspect_parts(reading, name, apart, len(cells), "give each cell a number of its own")
    return tuple(cells)


def _rle_of_places(places: Integer[np.ndarray, " n"], shape: tuple[int, ...]) -> dict:
    """The pixels at places counted down the columns, in ascending order, as COCO compressed RLE."""
    breaks = np.flatnonzero(np.diff(places) > 1)  # behind which a run ends
    begins = places[np.concatenate([[0], breaks + 1])]
    ends = places[np.concatenate([breaks, [len(places) - 1]])] + 1
    turns = np.stack([begins, ends], axis=1).ravel()
    counts = np.diff(turns, prepend=0, append=math.prod(shape))
    uncompressed: Any = {"size": list(shape), "counts": counts.tolist()}
    return text_rle(coco_mask.frPyObjects(uncompressed, *shape))


def _numbers_in_parts(labels: Integer[np.ndarray, "h w"]) -> Integer[np.ndarray, " n"]:
    """The numbers of which two parts, of PART_PIXELS or more, do not touch."""
    parts: Any = measure.label(labels, background=0, connectivity=2)  # (h, w)
    pixels = np.bincount(parts.ravel())  # of each part
    number_of = np.zeros(len(pixels), labels.dtype)
    number_of[parts.ravel()] = labels.ravel()
    large = np.flatnonzero(pixels >= mask_files.PART_PIXELS)
    numbers, parts_of = np.unique(number_of[large[large > 0]], return_counts=True)
    return numbers[parts_of > 1]


def _recognises(place: Place) -> bool:
    labels, masks = place.named_after_images
    return labels > masks


FORMAT = Format(
    name="label_images",
    tools="label images",
    content="PNG or TIFF named after its image, 8, 16 or 32 bits, a number for each cell",
    recognises=_recognises,
    fields=fields,
)
