"""Image files and arrays of labels to attack readers with: of the kinds that tools write."""

import io
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image

HEIGHT, WIDTH = 10, 12
LABELS = np.zeros((HEIGHT, WIDTH), np.uint16)
LABELS[2:5, 2:6], LABELS[6:9, 1:4] = 1, 300


def encoded(image: np.ndarray, suffix: str) -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


IMAGES = tuple(
    encoded(LABELS.astype(kind), suffix) for suffix in (".png", ".tif", ".bmp") for kind in (np.uint8, np.uint16)
)
COLOURS = np.random.default_rng(0).integers(0, 256, (256, 3), np.uint8)
PLANES = np.stack([LABELS.astype(np.uint8)] * 3)


def _tiff(values: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def _indexed(kind: str) -> bytes:
    file, image = io.BytesIO(), Image.fromarray(LABELS.astype(np.uint8))
    image.putpalette(COLOURS.tobytes())
    image.save(file, kind)
    return file.getvalue()


def _saved(value: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, value)
    return file.getvalue()


STRANGE_IMAGES = (  # what OpenCV alone does not read as it is meant, and what holds more than one image
    *(_indexed(kind) for kind in ("PNG", "BMP", "TIFF")),
    encoded(COLOURS[LABELS % 256], ".png"),
    *(_tiff(LABELS.astype(kind), photometric="miniswhite") for kind in (np.uint8, np.float32, np.uint64)),
    *(_tiff(PLANES, photometric="rgb", planarconfig="separate", compression=name) for name in (None, "zlib")),
    *(_tiff(PLANES, imagej=True, metadata={"axes": axes}) for axes in ("CYX", "ZYX")),
    _tiff(PLANES, imagej=True, metadata={"axes": "CYX", "mode": "composite"}, truncate=True),
    *(_tiff(PLANES, ome=True, metadata={"axes": axes}) for axes in ("CYX", "TYX")),
    *(_tiff(LABELS, photometric="minisblack", tile=(16, 16), bigtiff=big, byteorder=">") for big in (False, True)),
)
NPYS = (
    *(_saved(LABELS.astype(kind)) for kind in (np.uint8, np.int32, np.float64)),
    _saved(np.array({"masks": LABELS, "flows": [PLANES, []], "filename": "a.png", "est_diam": np.float32(3)}, object)),
)
NPY_PIECES = (
    *(b"cos\nsystem\n", b"(S'ls'\ntR.", b"\x8c\x02os\x8c\x06system\x93", b"'|O'", b"(9999999, 9999999)", b"masks"),
    *(b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f", b"R", b"b", b"0", b"2" * 50, b"\x85" * 2000, b"h\0", b"(" * 2000, b"Q."),
)
