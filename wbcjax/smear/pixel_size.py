"""The size of a pixel as an image file states it.

- OME-TIFF: PhysicalSizeX and Y of the first image (https://docs.openmicroscopy.org/ome-model, OME-XML)
- ImageJ's TIFF: the resolution in its own unit, "unit=micron"
- TIFF: XResolution and YResolution in pixels per inch or centimetre (TIFF 6.0, section 8)
- PNG: pHYs in pixels per metre (PNG specification, 11.3.4.3)

A file's size for print, such as 72 or 300 dots per inch, is no size that a microscope has, and is not taken for one.
"""

import html
import io
import re
import struct
from pathlib import Path
from typing import Any

from wbcjax.system.files import open_regular

PLAUSIBLE = (0.02, 10.0)  # micrometres of a pixel under a microscope
SQUARE = 0.01  # a pixel's sides differ by a smaller share
MICROMETRES_OF = {
    **dict.fromkeys(("micron", "microns", "um", "\N{MICRO SIGN}m", "\N{GREEK SMALL LETTER MU}m", r"\u00B5m"), 1.0),
    "nm": 1e-3,
    "mm": 1e3,
    "cm": 1e4,
    "inch": 25400.0,
    "m": 1e6,
}
MOST_TEXT = 2**20  # bytes of a description that are looked through
MOST_CHUNKS, MOST_ENTRIES = 2**10, 2**12
DESCRIPTION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 270, 282, 283, 296  # tags
OF_TIFF_UNIT = {2: 25400.0, 3: 1e4}

Sides = tuple[float, float]  # of a pixel, in micrometres


def stated_pixel_size(path: Path) -> float:
    """Micrometres per pixel that an image file states; 0 where it states none, or none that a microscope has.

    Raises OSError when the file cannot be read.
    """
    with open_regular(path) as file:
        start = file.read(16)
        try:
            if re.match(rb"II[*+]\0|MM\0[*+]", start):
                sides = _tiff(file, start)
            else:
                sides = _png(file) if start.startswith(b"\x89PNG\r\n\x1a\n") else None
        except (struct.error, ValueError, OverflowError, ZeroDivisionError):  # a broken file is told when it is decoded
            return 0.0
    if sides is None or not all(PLAUSIBLE[0] <= side <= PLAUSIBLE[1] for side in sides):
        return 0.0
    return sides[0] if abs(sides[0] - sides[1]) < SQUARE * sides[0] else 0.0


def _png(file: io.BufferedIOBase) -> Sides | None:
    place = 8
    for _ in range(MOST_CHUNKS):
        length, kind = _unpack(file, ">I4s", place)
        if kind == b"pHYs":
            across, down, unit = _unpack(file, ">IIB", place + 8)
            return (1e6 / across, 1e6 / down) if unit == 1 else None
        if kind == b"IDAT":  # it stands before these
            return None
        place += 12 + length
    return None


def _tiff(file: io.BufferedIOBase, start: bytes) -> Sides | None:
    tags = _tags(file, start)
    text = _text(tags.get(DESCRIPTION, b""))
    if "<OME" in text and (sides := _ome(text)):
        return sides
    across, down = tags.get(X_RESOLUTION), tags.get(Y_RESOLUTION)
    if text.startswith("ImageJ="):
        unit = re.search(r"^unit=(.*)$", text, re.MULTILINE)
        of_unit = MICROMETRES_OF.get(unit[1].strip(" \r\0")) if unit else None
    else:
        of_unit = OF_TIFF_UNIT.get(tags.get(RESOLUTION_UNIT, 2))  # inch unless the file says otherwise
    return (of_unit / across, of_unit / down) if of_unit and across and down else None


def _ome(text: str) -> Sides | None:
    """By the attributes alone: XML of others is not parsed."""
    pixels = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", text)
    sides = [_ome_side(pixels[0], axis) for axis in "XY"] if pixels else []
    return (sides[0], sides[1]) if sides and all(sides) else None


def _ome_side(pixels: str, axis: str) -> float:
    size = re.search(rf"""\bPhysicalSize{axis}\s*=\s*["']([^"']*)["']""", pixels)
    unit = re.search(rf"""\bPhysicalSize{axis}Unit\s*=\s*["']([^"']*)["']""", pixels)
    of_unit = MICROMETRES_OF.get(html.unescape(unit[1]) if unit else "um", 0.0)
    return float(size[1]) * of_unit if size else 0.0


def _text(description: bytes) -> str:
    """UTF-8, or Latin-1 as older ImageJ writes it."""
    try:
        return description.decode()
    except UnicodeDecodeError:
        return description.decode("latin-1")


def _tags(file: io.BufferedIOBase, start: bytes) -> dict[int, Any]:
    """The description and resolutions of the first page: TIFF 6.0, section 2; BigTIFF has the same, wider."""
    order = "<" if start[:1] == b"I" else ">"
    big = struct.unpack_from(f"{order}H", start, 2) == (43,)
    offset, count_of, entry = (f"{order}{form}" for form in (("Q", "Q", "HHQ8s") if big else ("I", "H", "HHI4s")))
    (directory,) = struct.unpack_from(offset, start, 8 if big else 4)
    (entries,) = _unpack(file, count_of, directory)
    listed = [_unpack(file, entry) for _ in range(min(entries, MOST_ENTRIES))]
    found = {}
    for tag, kind, count, value in listed:
        if tag == DESCRIPTION and kind == 2:
            inline = count <= len(value)
            file.seek(0 if inline else struct.unpack(offset, value)[0])
            found[tag] = value[:count] if inline else file.read(min(count, MOST_TEXT))
        elif tag in (X_RESOLUTION, Y_RESOLUTION) and kind == 5:
            pair = value if big else _read(file, struct.unpack(offset, value)[0], 8)
            numerator, denominator = struct.unpack(f"{order}II", pair)
            found[tag] = numerator / denominator
        elif tag == RESOLUTION_UNIT and kind == 3:
            (found[tag],) = struct.unpack_from(f"{order}H", value)
    return found


def _read(file: io.BufferedIOBase, place: int, size: int) -> bytes:
    file.seek(place)
    return file.read(size)


def _unpack(file: io.BufferedIOBase, form: str, place: int | None = None) -> tuple[Any, ...]:
    """The bytes at the file's position, or at a place, unpacked by `struct`. Raises struct.error at the file's end."""
    if place is not None:
        file.seek(place)
    return struct.unpack(form, file.read(struct.calcsize(form)))
