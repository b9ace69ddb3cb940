"""Small slides as files: tiled pyramids as microscopes and scanners write them."""

import io
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image

TILE = 64


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth colours with a grain, so that a shift by a pixel shows."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3), np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    return np.clip(smooth + rng.integers(-9, 10, smooth.shape), 0, 255).astype(np.uint8)


def halves(image: np.ndarray, levels: int) -> list[np.ndarray]:
    """The image and its halves, each the mean of four pixels of the one before."""
    found = [image]
    for _ in range(levels - 1):
        height, width = (side // 2 for side in found[-1].shape[:2])
        found.append(cv2.resize(found[-1][: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA))
    return found


def ome_pyramid(path: Path, images: list[np.ndarray], micrometres: float = 0.25) -> Path:
    """An OME-TIFF with its lower levels in SubIFDs."""
    options = {"tile": (TILE, TILE), "photometric": "rgb", "compression": "zlib"}
    said = {"axes": "YXS", "PhysicalSizeX": micrometres, "PhysicalSizeY": micrometres}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(images[0], subifds=len(images) - 1, metadata=said, **options)
        for image in images[1:]:
            tiff.write(image, subfiletype=1, **options)
    return path


def pages_pyramid(path: Path, images: list[np.ndarray]) -> Path:
    """A TIFF with its lower levels in further pages."""
    options = {"tile": (TILE, TILE), "photometric": "rgb", "compression": "zlib", "metadata": None}
    with tifffile.TiffWriter(path) as tiff:
        for number, image in enumerate(images):
            tiff.write(image, subfiletype=int(number > 0), **options)
    return path


def aperio(path: Path, images: list[np.ndarray], colours: str = "ycbcr") -> Path:
    """An SVS as Aperio's scanners write it: tiles of JPEG, a thumbnail behind the first level, label and macro."""
    height, width = images[0].shape[:2]
    said = f"Aperio Image Library v11.2.1\r\n{width}x{height} (64x64) JPEG/RGB Q=90|AppMag = 40|MPP = 0.2525"
    with tifffile.TiffWriter(path) as tiff:
        for number, image in enumerate(images):
            tiff.write(
                jpeg_tiles(image, colours),
                shape=image.shape,
                dtype=np.uint8,
                tile=(TILE, TILE),
                photometric=colours,
                subsampling=(1, 1) if colours == "ycbcr" else None,
                compression="jpeg",
                compressionargs={"outcolorspace": colours},
                description=said,
                metadata=None,
            )
            if number == 0:
                tiff.write(images[-1], photometric="rgb", rowsperstrip=16, description=said, metadata=None)
        tiff.write(images[-1][:20, :30], photometric="rgb", rowsperstrip=4, subfiletype=1, metadata=None)
    return path


def jpeg_tiles(image: np.ndarray, colours: str) -> Iterator[bytes]:
    """Tiles of JPEG of the best quality, row by row; the last ones are filled up."""
    padded = np.pad(image, (*((0, -side % TILE) for side in image.shape[:2]), (0, 0)), mode="edge")
    for top in range(0, image.shape[0], TILE):
        for left in range(0, image.shape[1], TILE):
            tile = padded[top : top + TILE, left : left + TILE]
            yield _stored_rgb(tile) if colours == "rgb" else _stored_ycbcr(tile)


def _stored_ycbcr(tile: np.ndarray) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, 100, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
    return cv2.imencode(".jpg", cv2.cvtColor(tile, cv2.COLOR_RGB2BGR), options)[1].tobytes()


def _stored_rgb(tile: np.ndarray) -> bytes:
    """RGB as it is, without a word of it: no marker of Adobe's, and components 1, 2 and 3 as those of YCbCr."""
    stream = io.BytesIO()
    Image.fromarray(tile).save(stream, "jpeg", quality=100, keep_rgb=True)
    data = stream.getvalue()
    marker = data.index(b"\xff\xee\x00\x0eAdobe")
    data = data[:marker] + data[marker + 16 :]
    data = data.replace(b"\x03R\x11\x00G\x11\x00B\x11\x00", b"\x03\x01\x11\x00\x02\x11\x00\x03\x11\x00")
    return data.replace(b"\x03R\x00G\x00B\x00", b"\x03\x01\x00\x02\x00\x03\x00")
