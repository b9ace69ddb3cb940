"""TIFF files as one image: which of their planes are its colours, and the values of those as they are stored.

tifffile reads what a file says of itself, OpenCV its pixels. OpenCV alone turns some files wrongly: it takes the first
plane of several for the image, mixes planes of 16 bits, expands palettes, and turns "white is zero" at 8 bits only. So
each plane is given to it in a TIFF of its own: the same bytes, behind a directory that says no more than grey or RGB.
Its decoder reads more compressions than tifffile does alone, and takes no more memory than the directory's size.

TIFF 6.0, https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf; ImageJ's and OME's descriptions of stacks:
https://imagej.net/ij/docs/guide, https://docs.openmicroscopy.org/ome-model/6.2.2/ome-tiff/specification.html.
"""

import io
import logging
import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8
from tifffile import TiffFile, TiffPage

from wbcjax.smear.image_header import LARGEST, NO_IMAGE

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE = range(4)  # PhotometricInterpretation
CMYK = 5
CONVERTED = {CMYK: "CMYK", 6: "YCbCr", 8: "CIE L*a*b*"}  # and those of which OpenCV makes RGB of 8 bits
PAGES = 64  # that are looked at, at most: a file of more is a stack, whatever they are
LONGEST_DESCRIPTION = 2**24  # characters
PRIMARIES = ((255, 0, 0), (0, 255, 0), (0, 0, 255))

Colour = tuple[int, int, int]

# By orientation: quarter turns against the clock, and whether it is mirrored then
_TURNS = {
    1: (0, False),
    2: (0, True),
    3: (2, False),
    4: (2, True),
    5: (3, True),
    6: (3, False),
    7: (1, True),
    8: (1, False),
}

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong with a file is told as an error


@dataclass(frozen=True, eq=False)
class Tiff:
    """The one image of a TIFF file."""

    values: Shaped[np.ndarray, "h w *samples"]  # as stored: grey, indices, RGB, and each of them with alpha behind it
    photometric: int  # WHITE_IS_ZERO, ..., PALETTE, or one of CONVERTED, of which the values are made RGB
    palette: UInt8[np.ndarray, "n 3"] | None  # the colour of each index
    bits: int  # of a sample
    orientation: int  # 1 to 8, as in EXIF

    def shown(self) -> Shaped[np.ndarray, "h w *samples"]:
        """The image as it is meant: upright, with the palette's colours, white as the largest value; of 8 bits or more.

        Grey, RGB, or one of them with alpha behind it.
        """
        values = self.values
        if self.palette is not None:
            values = self.palette[np.minimum(values, len(self.palette) - 1)]
        elif self.bits < 8:
            values = values * np.uint8(255 // (2**self.bits - 1))
        if self.photometric == WHITE_IS_ZERO and values.dtype.kind == "u":
            values = np.iinfo(values.dtype).max - values
        turned, mirrored = _TURNS[self.orientation]
        values = np.rot90(values, turned)
        return np.ascontiguousarray(values[:, ::-1] if mirrored else values)


def is_tiff(data: bytes) -> bool:
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_tiff(data: bytes, name: str, max_pixels: int = LARGEST) -> Tiff:
    """The image of a TIFF: a grey or coloured page, or three planes of one type that are its red, green and blue.

    Pages of lower resolution and masks of transparency beside it are passed over. Raises ValueError, naming the file,
    for a stack of any other kind with its axes and how to take one page of it; for a page of more pixels or of a kind
    that is not read; and for a damaged file.
    """
    try:
        # Never other files of a set that an OME-TIFF names.
        with TiffFile(io.BytesIO(data), _multifile=False) as tiff:
            pages = _pages(tiff, name)
            first = pages[0]
            axes = _axes(tiff, pages)
            colours = _colours(tiff, axes) if "C" in axes else PRIMARIES
            orientation = first.tags.valueof(274, 1)
            palette = _palette(first)
            planes = _planes(pages, axes, name)
            for page in pages[: len(planes)]:
                _check(page, name, max_pixels)
            decoded = [_decode(data, page, plane, name) for page, plane in planes]
    except _Refused:
        raise
    except Exception as error:  # tifffile raises whatever a damaged file leads to
        raise _Refused(f"{name}: {NO_IMAGE} ({error})") from error
    values = decoded[0] if len(decoded) == 1 else _composed(decoded, colours, name)
    orientation = int(orientation) if orientation in range(1, 9) else 1
    return Tiff(values, int(first.photometric), palette, first.bitspersample, orientation)


class _Refused(ValueError):
    """What `read_tiff` raises; tifffile's own ValueErrors are none of these."""


class Stack(_Refused):
    """A file holds several images, or channels that are no colours: what was `found`, and the `remedy`."""

    def __init__(self, name: str, found: str, remedy: str) -> None:
        super().__init__(f"{name}: {found}; {remedy}")
        self.found, self.remedy = found, remedy


def _pages(tiff: TiffFile, name: str) -> list[TiffPage]:
    """The pages at full resolution, the first PAGES + 1 at most."""
    pages: list[Any] = []
    while len(pages) <= PAGES:
        try:
            pages.append(tiff.pages[len(pages)])
        except IndexError:
            break
    if not pages:
        raise _Refused(f"{name}: {NO_IMAGE} (it has no page)")
    return [page for page in pages if not (page.is_reduced or page.is_mask)] or pages[:1]


def _axes(tiff: TiffFile, pages: list[TiffPage]) -> dict[str, int]:
    """The axes of a file's planes beside x, y and a pixel's samples, the outermost first, and their sizes above 1.

    "T", "Z" and "C" are time, depth and channels; "Q" pages of which the file says nothing more.
    """
    first, count = pages[0], len(pages)
    said = {"Z": first.imagedepth}
    if len(first.description) > LONGEST_DESCRIPTION:
        raise ValueError("its description is too long")
    if tiff.is_imagej:
        numbers = tiff.imagej_metadata or {}
        said = {
            axis: int(numbers.get(key, 1)) for axis, key in zip("TZC", ("frames", "slices", "channels"), strict=True)
        }
        planes = int(numbers.get("images", 1))  # those behind the first may have no page of their own
        if count == 1 and planes > 1:
            if not _holds(first, planes):
                return {}  # a page that was taken from a stack, with the stack's description
            count = planes
    elif tiff.is_ome:
        said = _ome_axes(first)
    elif count > 1 and (shaped := re.search(r'"axes": ?"([A-Z]+)YXS?"', first.description)):
        shape = re.search(r'"shape": ?\[([\d, ]+)\]', first.description)  # as tifffile notes it
        said = dict(zip(shaped[1], (int(size) for size in shape[1].split(",")), strict=False)) if shape else {}
    axes = {axis: size for axis, size in said.items() if size != 1}
    if math.prod(axes.values()) == count or tiff.is_ome or count == 1:
        return axes
    return {"Q": count}


def _holds(page: TiffPage, planes: int) -> bool:
    """Whether there is room for so many planes behind the page's first."""
    end = page.dataoffsets[0] + planes * sum(page.databytecounts)
    return page.is_contiguous and end <= page.parent.filehandle.size


def _ome_axes(page: TiffPage) -> dict[str, int]:
    images = _ome_images(page)
    if len(images) != 1:
        return {"Q": len(images)}
    (pixels,) = images
    order = pixels.get("DimensionOrder", "XYZCT")[:1:-1]
    sizes = {axis: int(pixels.get(f"Size{axis}", 1)) for axis in order}
    if sizes.get("C") == page.samplesperpixel:
        sizes["C"] = 1
    return sizes


def _ome_images(page: TiffPage) -> list[ElementTree.Element]:
    if "<!" in page.description.replace("<!--", ""):  # entities, which may grow without end
        raise ValueError("its OME description has a DOCTYPE")
    return ElementTree.fromstring(page.description).findall("{*}Image/{*}Pixels")


def _colours(tiff: TiffFile, axes: dict[str, int]) -> Sequence[Colour]:
    """The colour of each of three channels: by ImageJ's lookup tables or OME's attributes, else red, green and blue."""
    found: list[Colour] = []
    if tiff.is_imagej and (tiff.imagej_metadata or {}).get("mode") in ("composite", "color"):
        tables = (tiff.imagej_metadata or {}).get("LUTs", [])
        found = [_colour(table[:, -1]) for table in tables if np.shape(table) == (3, 256)]
    if tiff.is_ome:
        channels = _ome_images(tiff.pages.first)[0].findall("{*}Channel")
        numbers = [int(channel.get("Color", -1)) & 0xFFFFFFFF for channel in channels]
        found = [_colour((number >> 24, number >> 16 & 255, number >> 8 & 255)) for number in numbers]
    distinct = len(set(found)) == axes["C"] == len(found)
    return found if distinct else PRIMARIES


def _colour(values: Any) -> Colour:
    red, green, blue = (int(value) for value in values)
    return red, green, blue


def _palette(page: TiffPage) -> UInt8[np.ndarray, "n 3"] | None:
    if page.photometric != PALETTE:
        return None
    table = np.asarray(page.colormap, np.uint16)  # (3, n)
    return (table >> 8 if table.max() > 255 else table).astype(np.uint8).T


def _planes(pages: list[TiffPage], axes: dict[str, int], name: str) -> list[tuple[TiffPage, int | None]]:
    """The planes that make the image: each a page and, where its samples lie apart, which of them; None for all."""
    first, samples = pages[0], pages[0].samplesperpixel
    apart = first.planarconfig == 2 and samples > 1
    grey_alpha = samples == 2 and first.extrasamples in ((1,), (2,))
    image = samples in (1, 3) or grey_alpha or (samples == 4 and first.photometric in (RGB, CMYK))
    if axes == {"C": 3} and samples == 1:
        if len(pages) == 3 and len({(page.shape, page.dtype, page.photometric) for page in pages}) == 1:
            return [(page, None) for page in pages]
        if len(pages) == 1 and first.is_contiguous and first.dtype is not None:  # ImageJ's, larger than 4 GB
            return [(first, plane) for plane in range(3)]
    if axes or not image:
        raise _stack(pages, axes, name)
    return [(first, plane) for plane in range(1 if grey_alpha else samples)] if apart else [(first, None)]


def _stack(pages: list[TiffPage], axes: dict[str, int], name: str) -> Stack:
    """The error for a stack, with a command that writes one page or three channels of it to a file."""
    first = pages[0]
    samples = first.samplesperpixel
    letters = "".join(axes) + ("YX" if samples == 1 else "YXS" if first.planarconfig == 1 else "SYX")
    sizes = [*axes.values(), first.imagelength, first.imagewidth]
    if samples > 1:
        sizes.insert(len(sizes) if first.planarconfig == 1 else len(axes), samples)
    file = re.split(r"[/\\]", name)[-1]
    if "Q" in axes:
        taken, channels = f"t.imread({file!r}, key=0)", samples
    else:
        kept = {axis: ":3" if size >= 3 else "0" for axis, size in axes.items() if axis == "C"}
        channels = min(3, axes.get("C", 1)) if samples == 1 else samples
        index = [kept.get(axis, "0") for axis in axes]
        if samples not in (1, 3):
            last = ":3" if samples > 3 else "0"
            index += ["...", last] if first.planarconfig == 1 else [last]
            channels = min(samples, 3)
        taken = f"t.imread({file!r})[{', '.join(index)}]"
    kind = "rgb" if channels >= 3 else "minisblack"
    new = f"{file.rpartition('.')[0] or file}_page.tif"
    command = f"import tifffile as t; t.imwrite({new!r}, {taken}, photometric={kind!r})"
    more = "or more " if len(pages) > PAGES else ""
    return Stack(
        name,
        f"is a stack of {' x '.join(map(str, sizes))} {more}({letters}), not one image",
        f'write the page that was annotated to a file of its own, such as the first by: python -c "{command}"',
    )


def _check(page: TiffPage, name: str, max_pixels: int) -> None:
    """Refuse a page of more pixels, of a kind that is not read, or whose parts are not all there."""
    width, height = page.imagewidth, page.imagelength
    tile = page.tilewidth * page.tilelength if page.is_tiled else 0
    if max(width * height, tile) > max_pixels:
        raise _Refused(f"{name}: has {width} x {height} pixels, and {max_pixels} are allowed")
    if not width * height or page.imagedepth != 1 or page.tiledepth != 1 or page.samplesperpixel > 4:
        raise _Refused(f"{name}: {NO_IMAGE} (its size is {width} x {height} x {page.imagedepth})")
    if page.photometric in CONVERTED:
        if page.index or page.planarconfig != 1 or page.bitspersample != 8:
            kind = CONVERTED[int(page.photometric)]
            raise _Refused(f"{name}: has {kind} colours, and is not one page of 8 bits; save it as RGB")
    elif page.photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE):
        raise _Refused(f"{name}: has pixels of the kind {page.photometric!r}; save it as grey or RGB")
    bits = set(page.tags.valueof(258, (1,)) if page.samplesperpixel > 1 else (page.bitspersample,))
    if len(bits) != 1 or page.bitspersample not in (1, 2, 4, 8, 16, 32, 64):
        raise _Refused(f"{name}: has {page.bitspersample} bits a sample; save it with 8 or 16")
    if page.dtype is None or page.dtype == np.float16:
        raise _Refused(f"{name}: has pixels of {page.dtype or 'an unknown type'}; save it with 8 or 16 bits a channel")
    across, down = (
        (-(-width // page.tilewidth), -(-height // page.tilelength))
        if page.is_tiled
        else (1, -(-height // max(1, min(page.rowsperstrip, height))))
    )
    parts = across * down * (page.samplesperpixel if page.planarconfig == 2 else 1)
    counts, offsets = page.databytecounts, page.dataoffsets
    whole = page.is_contiguous or (len(counts) == len(offsets) == parts)
    end = max((offset + count for offset, count in zip(offsets, counts, strict=False)), default=0)
    if not whole or not all(counts) or not all(offsets) or end > page.parent.filehandle.size:
        raise _Refused(f"{name}: {NO_IMAGE} (parts of its pixels are missing)")


def _decode(data: bytes, page: TiffPage, plane: int | None, name: str) -> Shaped[np.ndarray, "h w *samples"]:
    """The values of a page, or of one of its planes, as they are stored; a page of CONVERTED becomes RGB."""
    converted = page.photometric in CONVERTED
    if page.is_tiled and page.compression == 1 and not converted:  # OpenCV 5.0 takes the tiles' length for another
        values = page.asarray(maxworkers=1)
        return values if plane is None else values[plane]
    alone = data if converted else _alone(data, page, plane)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION if converted else cv2.IMREAD_UNCHANGED
    try:
        values = cv2.imdecode(np.frombuffer(alone, np.uint8), flags)
    except cv2.error:  # a size or a type beyond what OpenCV takes
        values = None
    if values is None or values.shape[:2] != (page.imagelength, page.imagewidth):
        raise _Refused(f"{name}: {NO_IMAGE} ({page.compression!r})")
    if values.ndim == 3:
        values = np.ascontiguousarray(values[..., [2, 1, 0, 3][: values.shape[2]]])  # from BGR; of any type
    if page.bitspersample < 8:
        values = values // np.uint8(255 // (2**page.bitspersample - 1))
    return values


def _alone(data: bytes, page: TiffPage, plane: int | None) -> bytes:
    """A TIFF of one page, or of one of its planes, as grey or RGB: the file's bytes, and a directory behind them."""
    samples = page.samplesperpixel if plane is None else 1
    offsets, counts = list(page.dataoffsets), list(page.databytecounts)
    strip = min(page.rowsperstrip, page.imagelength) if not page.is_tiled else 0
    if page.planarconfig == 2 and plane is not None:
        each = len(offsets) // page.samplesperpixel
        if len(offsets) == 1:  # tifffile joins strips that follow each other
            offsets, counts, strip = _cut(page, plane)
        else:
            offsets, counts = (of_all[plane * each : (plane + 1) * each] for of_all in (offsets, counts))
    elif plane is not None or page.is_contiguous:
        offsets, counts, strip = _cut(page, plane or 0)
    photometric = RGB if samples >= 3 else BLACK_IS_ZERO
    entries: dict[int, tuple[int, Sequence[int]]] = {  # tag: type and values; types 3 and 4 are of 2 and 4 bytes
        256: (4, [page.imagewidth]),
        257: (4, [page.imagelength]),
        258: (3, [page.bitspersample] * samples),
        259: (3, [page.compression]),
        262: (3, [photometric]),
        266: (3, [page.fillorder]),
        277: (3, [samples]),
        284: (3, [1]),
        339: (3, [page.sampleformat] * samples),
    }
    if page.predictor != 1:
        entries[317] = (3, [page.predictor])
    if samples in (2, 4):
        entries[338] = (3, [1])  # alpha that the colours hold already, so that they are left as they are
    if page.is_tiled:
        entries |= {322: (4, [page.tilewidth]), 323: (4, [page.tilelength]), 324: (4, offsets), 325: (4, counts)}
    else:
        entries |= {273: (4, offsets), 278: (4, [strip]), 279: (4, counts)}
    if page.jpegtables:
        entries[347] = (7, page.jpegtables)
    return _with_directory(data, entries, "<" if page.parent.byteorder == "<" else ">")


def _cut(page: TiffPage, plane: int) -> tuple[list[int], list[int], int]:
    """The place of one plane of uncompressed samples that lie in one piece, as a single strip."""
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    size = sum(page.databytecounts) // planes
    return [page.dataoffsets[0] + plane * size], [size], page.imagelength


def _with_directory(data: bytes, entries: dict[int, tuple[int, Sequence[int]]], order: str) -> bytes:
    """A TIFF of these bytes and this directory."""
    behind = bytearray(len(data) % 2)  # directories begin at an even place
    start = len(data) + len(behind)
    place = start + 2 + 12 * len(entries) + 4  # of what does not fit into an entry
    directory, values_behind = bytearray(struct.pack(f"{order}H", len(entries))), bytearray()
    for tag, (kind, values) in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(values)}{ {3: 'H', 4: 'I', 7: 'B'}[kind] }", *values)
        if len(packed) > 4:
            at, packed = place + len(values_behind), packed + bytes(len(packed) % 2)
            values_behind += packed
            packed = struct.pack(f"{order}I", at)
        directory += struct.pack(f"{order}HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    header = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, start)
    return header + data[8:] + bytes(behind + directory) + bytes(4) + bytes(values_behind)


def _composed(
    planes: list[Shaped[np.ndarray, "h w"]], colours: Sequence[Colour], name: str
) -> Shaped[np.ndarray, "h w samples"]:
    """Planes as the channels of one image; three of the primary colours in another order are put in order."""
    if len(planes) == 3 and list(colours) != list(PRIMARIES):
        if sorted(colours) != sorted(PRIMARIES):
            raise _Refused(f"{name}: shows its three channels in the colours {colours}; save it as RGB")
        planes = [planes[colours.index(primary)] for primary in PRIMARIES]
    return np.dstack(planes)
