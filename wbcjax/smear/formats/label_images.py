"""Reader of label images: for each image one file of its name, whose pixels hold 0 or the number of their cell.

StarDist, CellProfiler, ilastik, QuPath, Fiji and cellpose write such files: PNG or TIFF with one channel of whole
numbers or a palette, NumPy's .npy. CVAT and LabelMe write a colour for each cell. A file is named as its image, with or
without a word such as "_mask" or "_cp_masks", and may then lie beside it.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer
from pycocotools import mask as coco_mask
from skimage import measure

from wbcjax.smear.field import Cell, SmearField, text_rle
from wbcjax.smear.formats import folders, mask_files, semantic
from wbcjax.smear.formats.checks import Fault, Reading
from wbcjax.smear.formats.format import Format, Place
from wbcjax.smear.formats.image_files import LABELS, masks_beside
from wbcjax.smear.formats.label_values import SEG_NPY, Labels, read_labels

SAVE_EMPTY = "add its label image, one of zeros if it shows no cell"
COLOURS = 1000  # of an image, at most, that are taken for cells
SCATTERED = 4  # parts of each value, on average: more are no cells but the noise of a lossy format
MANY_VALUES = 9  # from which on that is looked at
WHAT = "the label image"


def fields(reading: Reading) -> list[SmearField]:
    """The fields of a folder of label images, by name; those of zeros are without cells. All cells are of class "cell".

    Pixels of one number are one cell, touching or not. With `reading.semantic` numbers are classes, and each of their
    connected parts is a cell. Noted as suspect: images without a label image, numbers whose pixels lie apart, colours
    taken for numbers, and what is left out. Fault: the same few numbers are in every file, and `semantic` is None.
    """
    names_of = folders.images_by_stem(reading.images)
    stem_of = _files(reading)
    known = _Known(_class_values(reading, list(stem_of)) if reading.semantic else [])
    found = []
    for file, stem in stem_of.items():
        with reading.at(file.name):
            found.append(_field(reading, file, folders.image_of_stem(reading, file, stem), known))
    folders.suspect_images_without(reading, names_of, set(), set(stem_of.values()), SAVE_EMPTY)
    if reading.semantic is None:
        semantic.check_cells(known.tallies)
    return [field for field in found if field is not None]


def _files(reading: Reading) -> dict[Path, str]:
    """The label files, each with its image's name without suffix. Of cellpose's two files for an image, the .npy."""
    files = folders.annotation_files(reading.annotations, LABELS)
    beside = files[0].parent.resolve() == reading.images.resolve()
    if beside:
        files = masks_beside(files, reading.images)
        if not files:
            raise Fault("label images and images lie in one folder", "put the label images in a folder of their own")
    stem_of = {file: folders.stem_of_label(reading, file, file.stem, beside) for file in files}
    saved = {stem_of[file]: file for file in files if file.name.endswith(SEG_NPY)}
    for file, stem in list(stem_of.items()):
        if stem in saved and not file.name.endswith(SEG_NPY):
            found = f"{saved[stem].name} lies beside it, and is read in its place"
            reading.suspect(file.name, "", found, "delete the one that is older")
            del stem_of[file]
    return stem_of


def _class_values(reading: Reading, files: Sequence[Path]) -> list[int]:
    """The values of a set whose values are classes. What is wrong with a file is told when it is read again."""

    def images() -> Any:
        for file in files:
            try:
                labels = read_labels(file, WHAT, reading.max_pixels, lossy=True)
            except Fault:
                continue
            if not labels.colours:
                yield labels.numbers

    return semantic.class_values(images())


def _field(reading: Reading, file: Path, name: str, known: "_Known") -> SmearField | None:
    path, size, cells = None, None, None
    with reading.at(name):
        path, size = reading.image(name)
    with reading.at(name):
        labels = read_labels(file, WHAT, reading.max_pixels, lossy=bool(reading.semantic))
        if size is not None:
            folders.check_size(f"{WHAT} has", labels.numbers.shape, size, path)
        if labels.void:
            found = f"{labels.void} pixels of the colour 224,224,192, the border of Pascal VOC, are taken for ground"
            reading.suspect(name, "", found, "export it without that border if it belongs to the cells")
        read = _parts if reading.semantic else _cells
        cells = read(reading, name, labels, known)
    if path is None or size is None or cells is None:
        return None
    return SmearField(name, *size, cells, path, max_pixels=reading.max_pixels)


class _Known:
    """What is known of a set's values."""

    def __init__(self, classes: list[int]) -> None:
        self.classes = classes  # of a semantic set
        self.tallies: list[semantic.Tally] = []  # of each image of any other


def _cells(reading: Reading, name: str, labels: Labels, known: _Known) -> tuple[Cell, ...]:
    """A cell of each number."""
    numbers = labels.numbers
    present, in_parts, parts = _present(numbers)
    if labels.colours and len(present) > COLOURS:
        raise Fault(
            f"{WHAT} has {len(present)} colours, as a photograph has", "export the cells' numbers as grey values"
        )
    if len(present) >= MANY_VALUES and parts > SCATTERED * len(present):
        found = f"{WHAT} has {len(present)} values, scattered over {parts} parts, as compression with loss leaves them"
        raise Fault(found, "export it as PNG or TIFF; --semantic reads masks of classes that were so compressed")
    known.tallies.append(semantic.tally(present, in_parts))
    if labels.colours and present:
        found = f"its {len(present)} colours are taken for cells, one for each colour; black is the ground"
        reading.suspect(name, "", found, "export the cells' numbers as grey values if a colour is a class")
    cells = _drawn(reading, name, numbers, lambda number: (f"value {labels.name(number)}", mask_files.CLASS_NAME))
    apart = [f"value {labels.name(number)}" for number in sorted(in_parts) if number in cells]
    mask_files.suspect_parts(reading, name, apart, len(cells), "give each cell a number of its own")
    return tuple(cells.values())


def _parts(reading: Reading, name: str, labels: Labels, known: _Known) -> tuple[Cell, ...]:
    """A cell of each connected part of a number, which is its class."""
    numbers = labels.numbers
    if not labels.colours:
        numbers, changed = semantic.without_loss(numbers, known.classes, WHAT)
        if changed:
            found = f"{changed} pixels hold values between those of the classes, and were taken to the nearest"
            reading.suspect(name, "", found, "export it as PNG or TIFF, without loss")
    parts, value_of, specks = semantic.parts(numbers)
    if labels.colours and len(set(value_of.values())) > semantic.CLASSES:
        raise Fault(f"{WHAT} has too many colours for classes", "export it as PNG or TIFF, without loss")
    if specks:
        found = f"{specks} specks of fewer than {mask_files.PART_PIXELS} pixels are left out"
        reading.suspect(name, "", found, "clean the mask if they are cells")
    cells = _drawn(reading, name, parts, lambda part: (f"part {part}", labels.name(value_of[part])))
    return tuple(cells.values())


def _drawn(
    reading: Reading, name: str, numbers: Integer[np.ndarray, "h w"], told: Callable[[int], tuple[str, str]]
) -> dict[int, Cell]:
    """The cell of each number whose class is not left out; `told` gives a number's place and its class."""
    # All cells at once: an image may hold a number for each of its pixels.
    flat = numbers.ravel(order="F")  # (h w,) down the columns, as in RLE
    places = np.flatnonzero(flat)
    if not len(places):
        return {}
    places = places[np.argsort(flat[places], kind="stable")]  # (n,) by cell, and downwards in each
    present, starts = np.unique(flat[places], return_index=True)  # (cells,), (cells,)
    cells = {}
    for number, pixels in zip(present.tolist(), np.split(places, starts[1:]), strict=True):
        where, class_name = told(number)
        with reading.at(name, where):
            label = reading.label(class_name)
            if label:
                cells[number] = Cell(label, rle=_rle_of_places(pixels, numbers.shape))
    return cells


def _rle_of_places(places: Integer[np.ndarray, " n"], shape: tuple[int, ...]) -> dict:
    """The pixels at places counted down the columns, in ascending order, as COCO compressed RLE."""
    breaks = np.flatnonzero(np.diff(places) > 1)  # behind which a run ends
    begins = places[np.concatenate([[0], breaks + 1])]
    ends = places[np.concatenate([breaks, [len(places) - 1]])] + 1
    turns = np.stack([begins, ends], axis=1).ravel()
    counts = np.diff(turns, prepend=0, append=math.prod(shape))
    uncompressed: Any = {"size": list(shape), "counts": counts.tolist()}
    return text_rle(coco_mask.frPyObjects(uncompressed, *shape))


def _present(numbers: Integer[np.ndarray, "h w"]) -> tuple[list[int], set[int], int]:
    """The numbers above 0; those of which two parts, of PART_PIXELS or more, do not touch; the number of all parts."""
    parts: Any = measure.label(numbers, background=0, connectivity=2)  # (h, w)
    pixels = np.bincount(parts.ravel())  # of each part
    number_of = np.zeros(len(pixels), numbers.dtype)
    number_of[parts.ravel()] = numbers.ravel()
    large = np.flatnonzero(pixels >= mask_files.PART_PIXELS)
    of_large, parts_of = np.unique(number_of[large[large > 0]], return_counts=True)
    return np.unique(number_of[1:]).tolist(), set(of_large[parts_of > 1].tolist()), len(pixels) - 1


def _recognises(place: Place) -> bool:
    labels, masks = place.named_after_images
    return labels > masks


FORMAT = Format(
    name="label_images",
    tools="label images, cellpose",
    content="PNG, TIFF or `.npy` named after its image, 8, 16 or 32 bits, a palette, or a colour for each cell; "
    "`_cp_masks`, `_seg.npy`; masks of classes with `--semantic`",
    recognises=_recognises,
    fields=fields,
)
