"""Images that look like mistakes beside the others of their set: dark, blurred, there twice, not annotated, ..."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from wbcjax.evaluate.suspects import Suspect
from wbcjax.smear.formats.checks import Problem
from wbcjax.smear.formats.image_files import image_files, of_unread, unread_images

DARK = 0.5  # of the set's median brightness
BRIGHT = 245.0  # of 255
BLANK = 4.0  # standard deviation of brightness, below which there is nothing to see
BLURRED = 1 / 3  # of the set's median sharpness
LOOKED_AT = "look at the image; replace it or leave it out if cells cannot be told in it"


@dataclass(frozen=True)
class ImageLook:
    """Measures of one image."""

    digest: str  # of its pixels
    brightness: float  # mean of the grey image, 0..255
    contrast: float  # standard deviation of it
    sharpness: float  # variance of the Laplacian over the variance of the grey image


def look_at(image: UInt8[np.ndarray, "h w 3"]) -> ImageLook:
    """Measures of one RGB image. Sharpness as by Pech-Pacheco et al., ICPR 2000, freed from contrast."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    mean, deviation = (float(value.item()) for value in cv2.meanStdDev(grey))
    edges = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))[1].item()
    digest = hashlib.sha256(f"{image.shape}".encode() + np.ascontiguousarray(image).data).hexdigest()
    return ImageLook(digest, mean, deviation, float(edges / deviation) ** 2 if deviation else 0.0)


def suspects_of_images(names: Sequence[str], looks: Sequence[ImageLook]) -> list[Suspect]:
    """Odd images by kind; `names` are the fields'."""
    found = []
    median_brightness = float(np.median([look.brightness for look in looks])) if looks else 0.0
    median_sharpness = float(np.median([look.sharpness for look in looks])) if looks else 0.0
    for name, look in zip(names, looks, strict=True):
        if look.contrast < BLANK:
            found.append(_odd("blank images", name, f"is of one colour (standard deviation {look.contrast:.1f})"))
        elif look.brightness < DARK * median_brightness:
            found.append(_odd("dark images", name, _beside("brightness", look.brightness, median_brightness)))
        elif look.brightness > BRIGHT:
            found.append(_odd("bright images", name, _beside("brightness", look.brightness, median_brightness)))
        elif look.sharpness < BLURRED * median_sharpness:
            found.append(_odd("blurred images", name, _beside("sharpness", look.sharpness, median_sharpness)))
    return sorted(found, key=lambda suspect: suspect.kind) + _copies(names, looks)


def suspects_of_folder(images: Path, paths: Iterable[Path], named: Iterable[str]) -> list[Suspect]:
    """Images that lie beside annotated ones, or in the folder `images` itself, and are not annotated.

    `paths` are the fields' image files; `named` are names, relative to the folder, that are reported elsewhere.
    """
    known = {_resolved(path) for path in (*paths, *(images / name for name in named))}
    beside = {images.resolve(), *(path.parent for path in known if _is_file(path))}
    remedy = "annotate it, or list it without cells if it has none"
    lone = [
        Suspect("images without annotations", Problem(_relative(path, images), "", "no annotation names it", remedy))
        for folder in sorted(beside)
        for path in image_files(folder)[0]
        if path not in known
    ]
    unread = [path for folder in sorted(beside) for path in unread_images(folder) if path not in known]
    return lone + [
        Suspect("images that are not read", Problem(_relative(path, images), "", *of_unread(path))) for path in unread
    ]


def _resolved(path: Path) -> Path:
    """The path with its links resolved; the path itself where its name cannot be used."""
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL character, a loop of links
        return path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # too long a name
        return False


def _copies(names: Sequence[str], looks: Sequence[ImageLook]) -> list[Suspect]:
    first: dict[str, str] = {}
    found = []
    for name, look in zip(names, looks, strict=True):
        other = first.setdefault(look.digest, name)
        if other != name:
            remedy = "keep one: a copy in the validation split makes scores too good"
            found.append(Suspect("images there twice", Problem(name, "", f"is the same image as {other}", remedy)))
    return found


def _odd(kind: str, name: str, found: str) -> Suspect:
    return Suspect(kind, Problem(name, "", found, LOOKED_AT))


def _beside(measure: str, value: float, median: float) -> str:
    return f"{measure} is {value:.3g}; the set's median is {median:.3g}"


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder.resolve()).as_posix() if path.is_relative_to(folder.resolve()) else str(path)
