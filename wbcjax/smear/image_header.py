"""The number of pixels that an image file's header claims, so that a few bytes never decode to gigabytes.

The headers are read here as the decoder, OpenCV, reads them. It takes the size of JPEG 2000 from the codestream, for
example, and not from the boxes around it. OpenCV has a limit of its own beside this one: 2^30 pixels
(OPENCV_IO_MAX_IMAGE_PIXELS in the environment).
"""

import io
import math
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wbcjax.system.files import open_regular, read_whole

# 23170 x 23170, more than any camera's field. Decoded, 8 bits a channel, that is 1.6 GB.
MAX_PIXELS = 2**29
MAX_BYTES = 2**31 - 1  # of an image file, which is as many as OpenCV takes

LARGEST = 2**30  # pixels that OpenCV decodes: the limit of those whose header was looked at before
NO_IMAGE = "not an image that OpenCV can decode; replace the file or leave it out"

Size = tuple[int, int]  # width, height


def image_bytes(path: Path, max_pixels: int = MAX_PIXELS) -> bytes:
    """The bytes of an image file of at most `max_pixels`; the header is read and checked first.

    Raises OSError when the file cannot be read, is a pipe or a device, or has more than MAX_BYTES; ValueError naming it
    when it is no image or a larger one.
    """
    with open_regular(path) as file:
        _check(file, str(path), max_pixels)
        return read_whole(file, MAX_BYTES)


def check_pixels(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> None:
    """The check of `image_bytes` on an image in memory. Raises ValueError with its `name`."""
    _check(io.BytesIO(data), name, max_pixels)


def claimed_size(data: bytes) -> Size | None:
    """The width and height that the header of an image claims, before any EXIF rotation; None when it has none."""
    sizes = _sizes(io.BytesIO(data))
    return sizes[0] if sizes else None


def claimed_size_of(path: Path) -> Size | None:
    """The same of an image file, of which only the header is read. Raises OSError when it cannot be read."""
    with open_regular(path) as file:
        sizes = _sizes(file)
    return sizes[0] if sizes else None


def _check(file: io.BufferedIOBase, name: str, max_pixels: int) -> None:
    sizes = _sizes(file)
    if not sizes:
        raise ValueError(f"{name}: {NO_IMAGE}")
    width, height = max(sizes, key=math.prod)
    if width * height > max_pixels:
        raise ValueError(
            f"{name}: claims {width} x {height} pixels, and {max_pixels} are allowed; if that is its true size, raise "
            "the limit (config.dataset.max_pixels, --max-pixels), or cut the image up"
        )


def _sizes(file: io.BufferedIOBase) -> list[Size]:
    """The size of an image, and those of all else that is decoded with it: further pages, and larger tiles."""
    start = file.read(32)
    try:
        return next((read(file, start) for magic, read in _FORMATS if re.match(magic, start, re.DOTALL)), [])
    except (struct.error, ValueError, OverflowError):  # cut short, or with an offset that leads nowhere
        return []


def _unpack(file: io.BufferedIOBase, form: str, place: int | None = None) -> tuple[Any, ...]:
    """The bytes at the file's position, or at a place, unpacked by `struct`. Raises struct.error at the file's end."""
    if place is not None:
        file.seek(place)
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _png(file: io.BufferedIOBase, start: bytes) -> list[Size]:
    """From the first chunk; none when a chunk claims more bytes than the file has: OpenCV would allocate them."""
    width, height = struct.unpack_from(">II", start, 16)
    end = file.seek(0, io.SEEK_END)
    place = 8
    for _ in range(_CHUNKS):
        if place + 8 > end:
            return [(width, height)]
        (length,) = _unpack(file, ">I", place)
        if length > end:
            return []
        place += 12 + length
    return []


_CHUNKS = 2**20  # of a PNG file, at most: they hold 8 KiB or more, as programs write them


def _bmp(file: io.BufferedIOBase, start: bytes) -> list[Size]:
    (header,) = struct.unpack_from("<I", start, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", start, 18)
    return [(abs(width), abs(height))]  # rows from the top down count below 0


def _gif(file: io.BufferedIOBase, start: bytes) -> list[Size]:
    width, height = struct.unpack_from("<HH", start, 6)
    return [(width, height)]


def _jpeg(file: io.BufferedIOBase, start: bytes) -> list[Size]:
    """From the frame header: ITU-T T.81, B.2.2. What lies between segments is passed over, as decoders do."""
    file.seek(2)
    for _ in range(_STEPS):
        if file.read(1) != b"\xff":
            continue
        marker = file.read(1)
        if marker == b"\xff":
            file.seek(-1, io.SEEK_CUR)  # fill
        elif marker in _FRAMES:
            _, _, height, width = _unpack(file, ">HBHH")
            return [(width, height)]
        elif marker == b"\xda":
            return []  # pixels before any size
        elif marker not in _ALONE:
            (length,) = _unpack(file, ">H")
            file.seek(max(length, 2) - 2, io.SEEK_CUR)
    return []


_STEPS = 2**16  # that a search for a header takes at most
_FRAMES = tuple(bytes([marker]) for marker in range(0xC0, 0xD0) if marker not in (0xC4, 0xC8, 0xCC))
_ALONE = tuple(bytes([marker]) for marker in (0x00, 0x01, *range(0xD0, 0xDA)))  # no length follows


def _tiff(file: io.BufferedIOBase, start: bytes) -> list[Size]:
    """Of each page, from its directory: TIFF 6.0, section 2; BigTIFF has the same with wider numbers."""
    order = "<" if start[:1] == b"I" else ">"
    big = struct.unpack_from(f"{order}H", start, 2) == (43,)
    offset, count_of, entry = (f"{order}{form}" for form in (("Q", "Q", "HHQ8s") if big else ("I", "H", "HHI4s")))
    (directory,) = struct.unpack_from(offset, start, 8 if big else 4)
    sizes: list[Size] = []
    steps = 0
    while directory and steps < _STEPS:
        sides = dict.fromkeys((256, 257, 322, 323), 0)  # width, height, and a tile's
        try:
            (count,) = _unpack(file, count_of, directory)
            for _ in range(min(count, _STEPS)):
                tag, kind, _, value = _unpack(file, entry)
                if tag in sides and kind in _WHOLE:
                    (sides[tag],) = struct.unpack_from(f"{order}{_WHOLE[kind]}", value)
            (directory,) = _unpack(file, offset)
        except (struct.error, ValueError, OverflowError):  # after a good page; the decoder stops here too
            directory = count = 0
        width, height, tile_width, tile_height = sides.values()
        sizes += [(width, height), (tile_width, tile_height)]
        steps += 1 + count
    return sizes


_WHOLE = {1: "B", 3: "H", 4: "I", 16: "Q"}


def _webp(file: io.BufferedIOBase, start: bytes) -> list[Size]:
    """By the kind of its first chunk: RFC 9649."""
    if start[12:16] == b"VP8X":
        width, height = (int.from_bytes(start[at : at + 3], "little") + 1 for at in (24, 27))
        return [(width, height)]
    if start[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", start, 21)
        return [((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)]
    width, height = struct.unpack_from("<HH", start, 26)
    return [(width & 0x3FFF, height & 0x3FFF)]


def _jpeg2000(file: io.BufferedIOBase, start: bytes) -> list[Size]:
    """From the codestream, in its box: ITU-T T.800, A.5.1 and I.4."""
    place = 0
    for _ in range(0 if start.startswith(_CODESTREAM) else _STEPS):
        (length, kind), header = _unpack(file, ">I4s", place), 8
        if length == 1:
            (length,), header = _unpack(file, ">Q"), 16
        if kind == b"jp2c":
            place += header
            break
        if length < header:
            return []
        place += length
    marker, _, _, width, height, left, top = _unpack(file, ">4sHHIIII", place)
    return [(width - left, height - top)] if marker == _CODESTREAM else []


_CODESTREAM = b"\xff\x4f\xff\x51"


def _netpbm(file: io.BufferedIOBase, start: bytes) -> list[Size]:
    file.seek(0)
    found = re.match(rb"P[1-6]\s(?:\s|#[^\n]*\n)*(\d{1,9})\s(?:\s|#[^\n]*\n)*(\d{1,9})\s", file.read(4096))
    return [(int(found[1]), int(found[2]))] if found else []


_FORMATS: tuple[tuple[bytes, Callable[[io.BufferedIOBase, bytes], list[Size]]], ...] = (
    (rb"\x89PNG\r\n\x1a\n", _png),
    (rb"\xff\xd8\xff", _jpeg),
    (rb"II[*+]\0|MM\0[*+]", _tiff),
    (rb"BM", _bmp),
    (rb"RIFF....WEBP", _webp),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", _jpeg2000),
    (rb"GIF8[79]a", _gif),
    (rb"P[1-6]", _netpbm),
)
