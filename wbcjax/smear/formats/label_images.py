"""Reader of label images: for each image one file of its name, whose pixels hold 0 or the number of their cell.

So tools for the segmentation of cells write their results (StarDist, CellProfiler, ilastik, QuPath): PNG or TIFF with
one channel of whole numbers.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Integer

from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.formats import folders, mask_files
from wbcjax.smear.formats.checks import Fault, Reading

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
            found.append(_field(reading, file, folders.image_of_stem(file.stem, names_of)))
    folders.suspect_images_without(reading, names_of, set(), {file.stem for file in files}, SAVE_EMPTY)
    return [field for field in found if field is not None]


def _field(reading: Reading, file: Path, name: str) -> SmearField | None:
    path, size, labels = None, None, None
    with reading.at(name):
        path, size = reading.image(name)
    with reading.at(name):
        labels = _labels(file, size)
    if path is None or size is None or labels is None:
        return None
    return SmearField(name, *size, _cells(reading, name, labels), path)


def _labels(file: Path, size: tuple[int, int] | None) -> Integer[np.ndarray, "h w"]:
    """The number of the cell at each pixel. Faults: another size, colours, a number below 0, or unreadable."""
    labels = mask_files.read_values(file, "the label image")
    if size is not None:
        folders.check_size("the label image has", (labels.shape[0], labels.shape[1]), size)
    if labels.ndim != 2:
        found = f"the label image has {labels.shape[2]} channels ({file.name})"
        raise Fault(found, "export it with the cells' numbers as grey values (a palette's are colours), 8 or 16 bits")
    if labels.min() < 0:
        raise Fault(f"the label image holds {labels.min()} ({file.name})", "number the cells from 1 on")
    return labels


def _cells(reading: Reading, name: str, labels: Integer[np.ndarray, "h w"]) -> tuple[Cell, ...]:
    labels = np.asfortranarray(labels)  # the order of RLE, changed once instead of for each cell
    cells, apart = [], []
    for number in np.unique(labels[labels > 0]).tolist():
        with reading.at(name, f"value {number}"):
            label = reading.label(mask_files.CLASS_NAME)
            if label == 0:
                continue
            mask = (labels == number).view(np.uint8)  # (h, w)
            cells.append(Cell(label, rle=mask_files.rle_of(mask)))
            if mask_files.in_parts(mask):
                apart.append(f"value {number}")
    mask_files.suspect_parts(reading, name, apart, len(cells), "give each cell a number of its own")
    return tuple(cells)
