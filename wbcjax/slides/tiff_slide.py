"""Tiled TIFF files as slides: pyramids of pages or SubIFDs, OME-TIFF, Aperio's SVS. Only the tiles asked for are read.

tifffile says where the tiles of each level lie, and decodes them; JPEG, the usual one, is decoded by OpenCV, which is
always there. Other compressions, such as JPEG 2000, need imagecodecs, which the extra `slides` installs.

TIFF 6.0, https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf; JPEG in TIFF, Adobe's technical note 2;
SubIFDs of OME-TIFF, https://docs.openmicroscopy.org/ome-model/6.2.2/ome-tiff/specification.html;
Aperio, https://openslide.org/formats/aperio.
"""

import re
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from tifffile import TiffFile

from wbcjax.slides.slide import DamagedTile, Level, Slide
from wbcjax.smear.pixel_size import PLAUSIBLE, stated_pixel_size
from wbcjax.system.places import error_text

JPEG = 7  # Compression
GREY, RGB, YCBCR = 1, 2, 6  # PhotometricInterpretation
LARGEST_TILE = 2**24  # pixels
KEPT = 2**26  # bytes of decoded tiles, since regions that overlap share some
EMPTY = 255  # of pixels of tiles that the file leaves out: bare glass
DEEPEST = 32  # levels, at most


class TiffSlide(Slide):
    """A TIFF with tiles of 8 bits, grey or RGB.

    Raises ValueError, naming the file, for any other one and for a damaged one; OSError where it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.name, self.pixel_size = path.name, stated_pixel_size(path)
        self._reading, self._keeping = threading.Lock(), threading.Lock()
        self._kept: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._bytes = 0
        self._damaged: dict[tuple[int, int], str] = {}  # tiles, and what is said of them
        self._tiff = _opened(path)
        try:
            self._pages = _levels(self._tiff, path)
        except BaseException:
            self.close()
            raise
        first = self._pages[0]
        self.levels = tuple(Level(page.imagewidth, page.imagelength) for page in self._pages)
        said = re.search(r"\bMPP\s*=\s*([\d.]+)", first.description) if first.description.startswith("Aperio") else None
        if said and PLAUSIBLE[0] <= float(said[1]) <= PLAUSIBLE[1]:
            self.pixel_size = float(said[1])

    def close(self) -> None:
        self._tiff.close()

    def read(self, level: int, x: int, y: int, width: int, height: int) -> UInt8[np.ndarray, "height width 3"]:
        page = self._pages[level]
        tall, wide = page.tilelength, page.tilewidth
        across = -(-page.imagewidth // wide)
        found = np.empty((height, width, 3), np.uint8)
        for row in range(y // tall, (y + height - 1) // tall + 1):
            for column in range(x // wide, (x + width - 1) // wide + 1):
                tile = self._tile(level, row * across + column)
                top, left = row * tall - y, column * wide - x  # of the tile in the region
                inside = tile[max(-top, 0) : height - top, max(-left, 0) : width - left]
                place = found[max(top, 0) : top + len(tile), max(left, 0) : left + tile.shape[1]]
                place[...] = inside[: len(place), : place.shape[1]]
        return found

    def _tile(self, level: int, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """A decoded tile of a level, whole; those used last are kept."""
        with self._keeping:
            if (level, index) in self._kept:
                self._kept.move_to_end((level, index))
                return self._kept[level, index]
            if (level, index) in self._damaged:
                raise DamagedTile(self._damaged[level, index])
        tile = self._decoded(level, index)
        with self._keeping:
            if (level, index) not in self._kept:
                self._kept[level, index] = tile
                self._bytes += tile.nbytes
            while self._bytes > KEPT:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return tile

    def _decoded(self, level: int, index: int) -> UInt8[np.ndarray, "h w 3"]:
        page = self._pages[level]
        size = page.dataoffsets[index], page.databytecounts[index]
        if not all(size):
            return np.full((page.tilelength, page.tilewidth, 3), EMPTY, np.uint8)
        with self._reading:
            self._tiff.filehandle.seek(size[0])
            data = self._tiff.filehandle.read(size[1])
        whole = np.full((page.tilelength, page.tilewidth, 3), EMPTY, np.uint8)
        try:
            values = _jpeg(data, page) if page.compression == JPEG else _others(data, index, page)
            whole[: len(values), : values.shape[1]] = values  # the last ones may be cut to the image
        except Exception as error:  # whatever a damaged tile leads to
            said = (
                f"{self.name}: tile {index} of level {level} cannot be decoded ({error_text(error)}); replace the file"
            )
            self._damaged[level, index] = said
            raise DamagedTile(said) from error
        return whole


def _opened(path: Path) -> TiffFile:
    try:
        return TiffFile(path, _multifile=False)  # never other files of a set that an OME-TIFF names
    except OSError:
        raise
    except Exception as error:  # tifffile raises whatever a damaged file leads to
        raise ValueError(f"{path}: not a TIFF that can be read ({error_text(error)}); replace the file") from error


def _levels(tiff: TiffFile, path: Path) -> list[Any]:
    """The page of each level. Labels, macros and thumbnails of a slide are none."""
    try:
        series = tiff.series[0]
        pages: list[Any] = [level.keyframe for level in list(series.levels)[:DEEPEST]]
        count = len(series.pages)
    except Exception as error:  # likewise
        raise ValueError(f"{path}: not a TIFF that can be read ({error_text(error)}); replace the file") from error
    if count != 1:
        raise ValueError(f"{path}: holds a stack of {count} pages, not one image; save one of them")
    _check(pages[0], path)
    return [pages[0], *(page for page in pages[1:] if _alike(page, pages[0]))]


def _check(page: Any, path: Path) -> None:
    """Refuse a page of a kind that is not read."""
    if not page.is_tiled:
        raise ValueError(f"{path}: it has no tiles, so regions of it cannot be read alone; save it as a tiled TIFF")
    if page.tilewidth * page.tilelength > LARGEST_TILE:
        raise ValueError(
            f"{path}: its tiles are {page.tilewidth} x {page.tilelength} pixels; save it with smaller ones"
        )
    plain = page.samplesperpixel in (1, 3, 4) and page.planarconfig == 1 and page.imagedepth == 1
    if not plain or page.dtype != np.uint8 or page.photometric not in (GREY, RGB, YCBCR):
        raise ValueError(
            f"{path}: has {page.samplesperpixel} samples of {page.dtype} a pixel and the photometry "
            f"{page.photometric!r}; save it as RGB of 8 bits"
        )
    tiles = -(-page.imagewidth // page.tilewidth) * -(-page.imagelength // page.tilelength)
    if not len(page.dataoffsets) == len(page.databytecounts) == tiles:
        raise ValueError(f"{path}: tiles of it are missing; replace the file")


def _alike(page: Any, first: Any) -> bool:
    """Whether a page is a lower resolution that can be read as the first one is."""
    shape = page.is_tiled and page.imagewidth < first.imagewidth and page.imagelength < first.imagelength
    kind = (page.dtype, page.samplesperpixel, page.planarconfig)
    return shape and kind == (first.dtype, first.samplesperpixel, first.planarconfig)


def _jpeg(data: bytes, page: Any) -> UInt8[np.ndarray, "h w 3"]:
    """A tile of JPEG with the tables of its page, and its colours as the page says: by Adobe's marker, APP14."""
    tables = page.jpegtables[2:-2] if page.jpegtables else b""
    transform = b"\x01" if page.photometric == YCBCR else b"\x00"
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64" + bytes(4) + transform
    colours = adobe if page.samplesperpixel == 3 else b""
    whole = np.frombuffer(data[:2] + colours + tables + data[2:], np.uint8)
    values = cv2.imdecode(whole, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if values is None:
        raise ValueError("OpenCV finds no image in it")
    return cv2.cvtColor(values, cv2.COLOR_BGR2RGB)


def _others(data: bytes, index: int, page: Any) -> UInt8[np.ndarray, "h w 3"]:
    values, _, shape = page.decode(data, index)
    values = values[0, : shape[1], : shape[2]]  # one plane, without what lies beyond the image
    return np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values[..., :3]
