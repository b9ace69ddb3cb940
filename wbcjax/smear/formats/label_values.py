"""The numbers in a label file: of a PNG, TIFF or BMP with grey values, a palette's indices, or colours, and of NumPy's.

cellpose's `_seg.npy` is a pickled dict; it is read as data, and nothing in it is executed:
https://cellpose.readthedocs.io/en/latest/outputs.html
"""

import ast
import math
import re
import struct
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from wbcjax.smear.decode import Stored
from wbcjax.smear.formats import mask_files
from wbcjax.smear.formats.checks import Fault, brief
from wbcjax.smear.formats.load import load_bytes
from wbcjax.system.pickle_arrays import PickledArray, read_arrays
from wbcjax.system.pickle_data import is_shape

VOID = (224, 224, 192)  # colour of Pascal VOC's borders, which belong to no object, and of index 255 in its palette
VOID_INDEX = 255
SEG_NPY = "_seg.npy"
LONGEST_HEADER = 2**16  # bytes
AGAIN = "save it again, or export the masks as PNG or TIFF"


@dataclass(frozen=True, eq=False)
class Labels:
    """The number at each pixel, 0 for the ground."""

    numbers: Integer[np.ndarray, "h w"]  # of a colour: 65536 red + 256 green + blue
    colours: bool = False  # whether they stand for colours
    void: int = 0  # pixels of VOC's border, which are 0 here

    def name(self, number: int) -> str:
        """The number as text, a colour as "red,green,blue"."""
        return ",".join(str(number >> shift & 255) for shift in (16, 8, 0)) if self.colours else str(number)


def read_labels(file: Path, what: str, max_pixels: int, lossy: bool = False) -> Labels:
    """The labels of a file. Faults, whose sentences begin with `what`: as `read_values`, or a number below 0.

    A file of a lossy format is read only where `lossy`.
    """
    npy = file.suffix.lower() == ".npy"
    stored = _of_npy(file, what, max_pixels) if npy else mask_files.decode(file, what, max_pixels, lossy)
    stored = replace(stored, values=mask_files.whole_numbers(stored.values, what, file))
    labels = _of_image(stored, what, file)
    if labels.numbers.size and labels.numbers.min() < 0:
        raise Fault(f"{what} holds {labels.numbers.min()} ({file.name})", "number the cells from 1 on")
    return labels


def _of_image(stored: Stored, what: str, file: Path) -> Labels:
    values, void = stored.values, None
    if values.ndim == 3 and values.shape[2] == 4:  # what is transparent is not to be seen
        values = values[..., :3] * (values[..., 3:] > 0).astype(values.dtype)
    if values.ndim == 2:
        if stored.palette is not None and len(stored.palette) > VOID_INDEX:
            void = VOID_INDEX if tuple(stored.palette[VOID_INDEX].tolist()) == VOID else None
        numbers, colours = values, False
    elif values.shape[2] == 3 and (values == values[..., :1]).all():
        numbers, colours = values[..., 0], False
    elif values.shape[2] == 3 and values.dtype == np.uint8:
        red, green, blue = (values[..., channel].astype(np.int32) for channel in range(3))
        numbers, colours = red << 16 | green << 8 | blue, True
        void = VOID[0] << 16 | VOID[1] << 8 | VOID[2]
    else:
        found = f"{what} has {values.shape[2]} channels of {values.dtype} ({file.name})"
        raise Fault(found, "export it with the cells' numbers as grey values, 8 or 16 bits")
    at = None if void is None else numbers == void
    if at is None or not at.any():
        return Labels(numbers, colours)
    return Labels(np.where(at, 0, numbers), colours, int(at.sum()))


def _of_npy(file: Path, what: str, max_pixels: int) -> Stored:
    """The array of a .npy file, or the masks of cellpose's. Faults: it is damaged, holds none, or larger ones."""
    try:
        found = _npy_array(load_bytes(file))
    except ValueError as error:
        raise Fault(f"{what} cannot be read ({file.name}: {error})", AGAIN) from error
    if found.ndim != 2 or 0 in found.shape:
        remedy = "save the plane of its image as a file of its own"
        raise Fault(f"{what} is an array of shape {found.shape}, not (height, width) ({file.name})", remedy)
    if found.size > max_pixels:
        raise Fault(f"{what} has {found.size} pixels, and {max_pixels} are allowed ({file.name})", "cut the image up")
    return Stored(found.astype(found.dtype.newbyteorder("=")))


def _npy_array(data: bytes) -> np.ndarray:
    """https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. Raises ValueError."""
    if data[:6] != b"\x93NUMPY" or len(data) < 12:
        raise ValueError("no .npy file")
    start, (length,) = (
        (12, struct.unpack_from("<I", data, 8)) if data[6] > 1 else (10, struct.unpack_from("<H", data, 8))
    )
    if length > LONGEST_HEADER or start + length > len(data):
        raise ValueError("its header is cut short")
    head, content = data[start : start + length], data[start + length :]
    try:
        header = ast.literal_eval(head.decode("latin-1").strip())
        kind, fortran, shape = (header[key] for key in ("descr", "fortran_order", "shape"))
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise ValueError("its header is damaged") from error
    if kind == "|O":
        return _cellpose_masks(content)
    if not (isinstance(kind, str) and re.fullmatch("[<>|][biuf][1248]", kind) and is_shape(shape)):
        raise ValueError(f"its header tells no array of numbers: {brief(header)}")
    dtype = np.dtype(kind)
    if math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"it has {len(content)} bytes for {brief(shape)} {dtype}")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _cellpose_masks(pickled: bytes) -> np.ndarray:
    """The array "masks" of the dict that cellpose pickles. Raises ValueError."""
    saved = read_arrays(pickled, "label arrays")
    inside = saved.objects() if isinstance(saved, PickledArray) else None
    found = inside[0] if inside and len(inside) == 1 else None
    masks = found.get("masks") if isinstance(found, dict) else None
    if not isinstance(masks, PickledArray):
        raise ValueError('it has no array "masks", as the files of cellpose have')
    return masks.array()
