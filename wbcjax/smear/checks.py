"""Checks on annotations as they are read: a failed check raises a `Fault`, and a `Reading` gathers those of a set.

A reader runs each check inside `with reading.at(file, where)`, goes on to the next, and at the end calls
`reading.finish()`, which refuses the set if anything was found. What it collected by then is what passed.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float

from wbcjax.smear.field import AnnotationError, Cell, read_image

logger = logging.getLogger(__name__)

BORDER_TOLERANCE = 1.0  # pixels a point may lie outside its image, from rounding: it is moved to the border
ZERO_AREA = 1e-3  # square pixels: above rounding noise, below any outline meant as one


class Fault(Exception):
    """One failed check: `Fault(found, remedy)`, both sentences without a capital or a full stop."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(found, remedy)
        self.found, self.remedy = found, remedy


@dataclass(frozen=True)
class Problem:
    """A fault and its place."""

    file: str  # image name, or the annotation file's when no image is meant
    where: str  # such as "region 3"; "" for the whole file
    found: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}{', ' * bool(self.where)}{self.where}: {self.found}; {self.remedy}"


class Reading:
    """One annotation file being read: the problems found in it and the regions left out of it, so far."""

    def __init__(self, annotations: Path, images: Path, class_of: Mapping[str, int]) -> None:
        self.annotations, self.images, self.class_of = annotations, images, class_of
        self.problems: list[Problem] = []
        self.left_out = Counter[str]()  # regions by class name
        self._image_names = set[str]()

    @contextmanager
    def at(self, file: str, where: str = "") -> Iterator[None]:
        """Note the fault that the enclosed check raises, if any, as a problem of this place."""
        try:
            yield
        except Fault as fault:
            self.problems.append(Problem(file, where, fault.found, fault.remedy))

    def image(self, name: str) -> tuple[Path, tuple[int, int]]:
        """An image file and its (height, width), upright. Faults: as `image_path` and `image_size`, or listed twice."""
        plain = str(PurePosixPath(name))  # "./a.png" is "a.png"
        if plain in self._image_names:
            raise Fault("the image is listed twice", "merge its two entries into one")
        self._image_names.add(plain)
        path = image_path(self.images, name)
        return path, image_size(path)

    def finish(self) -> None:
        """Log what was left out, or raise one AnnotationError that counts and lists every problem."""
        if self.problems:
            count = f"{len(self.problems)} problem{'s' * (len(self.problems) > 1)}"
            raise AnnotationError("\n  ".join([f"{self.annotations}: {count}", *map(str, self.problems)]))
        for name, count in self.left_out.items():
            logger.info("%s: left out %d regions of class %r, as the class map says", self.annotations, count, name)


def load_json(path: Path) -> Any:
    """The content of a UTF-8 JSON file. Faults: cannot be read, broken, or a key given twice in one object."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_object_without_repeats)
    except OSError as error:
        raise Fault(f"cannot be read ({error.strerror})", "correct the path or the file's permissions") from error
    except (ValueError, RecursionError) as error:  # ValueError: broken JSON, and bytes that are not UTF-8
        raise Fault(f"broken JSON ({error})", "export the annotations again or restore the file") from error


def need(record: Any, key: str, kind: type | tuple[type, ...]) -> Any:
    """`record[key]`. Faults: the record is no JSON object, lacks the key, or holds another type there."""
    if not isinstance(record, dict):
        raise Fault(f"found {brief(record)} where a JSON object belongs", "restore or delete it")
    if key not in record:
        raise Fault(f'"{key}" is missing', "restore or delete the record")
    if not isinstance(record[key], kind):
        kinds = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        raise Fault(f'"{key}" is {brief(record[key])}', f"it must be a {kinds}")
    return record[key]


def image_folder(folder: Path) -> None:
    """Fault: the folder is not there; told once instead of for each image."""
    if not folder.is_dir():
        raise Fault(f"the image folder {folder} is not a folder", "correct its path")


def image_path(folder: Path, name: str) -> Path:
    """The image file of this name. Faults: the name leads out of the folder, by its text or by a link; no such file."""
    remedy = "name a file inside the image folder, relative to it"
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise Fault(f"the file name {name!r} leads out of the image folder", remedy)
    path = folder / name
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
        exists = path.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL character, a loop of links
        raise Fault(f"the file name {name!r} is no usable path ({error})", remedy) from error
    if not inside:
        raise Fault(f"the file is a link out of the image folder, to {path.resolve()}", "put the image itself there")
    if not exists:
        raise Fault(f"there is no such image in {folder}", "add the image or delete its annotations")
    return path


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of an image file, in pixels, upright. Fault: it does not decode.

    The image is decoded whole (1 ms for 512 x 384): a header would not tell that the file was cut short.
    """
    try:
        height, width, _ = read_image(path).shape
    except (OSError, ValueError) as error:
        raise Fault(f"the image cannot be read ({error})", "replace the image or delete its annotations") from error
    return height, width


def class_label(name: str, class_of: Mapping[str, int]) -> int:
    """The class of an annotated name, 0 for one to leave out. Fault: `class_of` does not know it."""
    if name not in class_of:
        known = ", ".join(map(repr, class_of))
        raise Fault(f"unknown class {name!r}", f"correct it to one of {known}, or add it to the class map")
    return class_of[name]


def polygon_points(xs: Sequence[Any], ys: Sequence[Any]) -> Float[np.ndarray, "n 2"]:
    """The points (x, y) of a polygon from two lists. Faults: not numbers, or not of one length."""
    remedy = "redraw or delete the region"
    if len(xs) != len(ys):
        raise Fault(f"the polygon has {len(xs)} x but {len(ys)} y coordinates", remedy)
    for value in (*xs, *ys):
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise Fault(f"the coordinate {brief(value)} is not a number", remedy)
    try:
        return np.array([xs, ys], np.float64).T.copy()
    except OverflowError as error:
        raise Fault(f"a coordinate is not finite ({error})", remedy) from error


def outline(
    parts: Sequence[Float[np.ndarray, "_ 2"]], size: tuple[int, int] | None
) -> tuple[Float[np.ndarray, "_ 2"], ...]:
    """A cell's polygons, (x, y) in pixels, moved to the border where they stick out up to BORDER_TOLERANCE.

    `size` is the image's (height, width), None when the image is not usable: then only the points are checked.
    Faults: a point not finite, fewer than 3 points, a point outside the image, zero area or no pixel covered.
    """
    for points in parts:
        _check_points(points)
    if size is not None:
        parts = [_within(points, size) for points in parts]
    # Summed over the parts: a fragment too small to see is harmless beside the rest of its cell.
    area = sum(shoelace_area(points) for points in parts)
    if area < ZERO_AREA or (size is not None and not Cell(1, tuple(parts)).mask(*size).any()):
        raise Fault(f"the outline has zero area, or covers no pixel (area {area:.3g})", "redraw or delete the region")
    return tuple(parts)


def shoelace_area(points: Float[np.ndarray, "n 2"]) -> float:
    """Area enclosed by a polygon, in square pixels; loops of an outline that crosses itself may cancel."""
    x, y = (points - points[0]).T  # (n,), (n,)
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def brief(value: Any) -> str:
    """A value as an error message shows it: its start when it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _check_points(points: Float[np.ndarray, "n 2"]) -> None:
    if len(points) < 3:
        raise Fault(f"the polygon has {len(points)} points", "redraw it with at least 3 or delete the region")
    if not np.isfinite(points).all():
        x, y = points[~np.isfinite(points).all(axis=1)][0]
        raise Fault(f"the point ({x:g}, {y:g}) is not finite", "redraw or delete the region")


def _within(points: Float[np.ndarray, "n 2"], size: tuple[int, int]) -> Float[np.ndarray, "n 2"]:
    height, width = size
    inside = points.clip(0, (width, height))
    excess = abs(points - inside).max(axis=1)  # (n,)
    if excess.max() > BORDER_TOLERANCE:
        (x, y), count = points[excess.argmax()], int((excess > BORDER_TOLERANCE).sum())
        raise Fault(
            f"{count} of {len(points)} points lie outside the {width} x {height} image, farthest ({x:g}, {y:g})",
            "move them inside, or check that the outline was drawn on this image at this size",
        )
    return inside


def _object_without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # json keeps the last of repeated keys and drops the others without a word.
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {repeated!r} is given twice in one object")
    return record
