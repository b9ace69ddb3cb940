"""Checks on annotations as they are read: a failed check raises a `Fault`, and a `Reading` gathers those of a set.

A reader runs each check inside `with reading.at(file, where)` and goes on to the next. It returns what passed.
`wbcjax.smear.read` then refuses a set with problems, or leaves out the fields and cells that have them.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import shapely
from jaxtyping import Float
from pycocotools import mask as coco_mask

from wbcjax.smear.field import Cell, SmearField, read_image
from wbcjax.smear.formats.areas import areas, crossing, shoelace_area
from wbcjax.smear.formats.fault import Fault, brief
from wbcjax.smear.formats.image_names import ImageNames
from wbcjax.smear.image_header import MAX_PIXELS
from wbcjax.smear.tiff import Stack

BORDER_TOLERANCE = 1.0  # pixels a point may lie outside its image, from rounding: it is moved to the border
CROSSING_SHARE = 0.01  # of a cell's area, and
CROSSING_AREA = 1.0  # square pixels that an outline's crossings may make unclear: tools round and clip what was drawn
PARTS = 1000  # of a cell, at most, and
LONGEST_OUTLINE = 2**22  # pixels, at most: a longer one would take gigabytes to draw, and
CROSSINGS = 1_000  # of an outline with itself, at most: their number may be the square of that of its points
LONGEST_TEXT = 1000  # characters of a problem's text that may come from a file
GROUPS = "group(s), which --group-attribute would keep"  # of `Reading.unkept`, and
SCORES = "score(s), which no set that is read keeps"
ZERO_AREA = 1e-3  # square pixels: above rounding noise, below any outline meant as one


class UnknownClass(Fault):
    """A class name that the class map lacks. Noted once with the number of its cells, not once for each of them."""

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown class {name!r}", "add it to the class map")
        self.name = name


Tell = Callable[[str, str], None]  # notes a suspect by what was found and the remedy
Kind = Literal["field", "cell", "set"]  # what a problem leaves out; one of the set leaves out what refers to it


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
    """One set being read: its paths, its classes, and the problems found so far."""

    semantic: bool | None = None  # whether the values of label images are classes; None refuses what looks so

    def __init__(
        self,
        annotations: Path,
        images: Path,
        class_of: Mapping[str, int] | None = None,
        class_attribute: str = "cell",
        group_attribute: str | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.annotations, self.images, self.max_pixels = annotations, images, max_pixels
        self.class_attribute, self.group_attribute = class_attribute, group_attribute
        self.classes: dict[str, int] = {}  # and their labels 1, 2, ..., as they appear, when there is no class map
        self.class_order: list[str] = []  # in which the files list the classes, where they do
        self.left_out = Counter[str]()  # cells by class name, as the class map says
        self.unkept = Counter[str]()  # by their kind, such as scores: what the files say that no field holds
        self.problems: list[Problem] = []
        self.suspects: list[Problem] = []
        self._class_of = class_of
        self._unknown: dict[str, list[tuple[str, str]]] = {}  # places by class name
        self._kinds: dict[tuple[str, str], Kind] = {}  # of places
        self._often: dict[tuple[str, str], tuple[int, Problem]] = {}  # the number of each suspect, and the first
        self.names = ImageNames(images)
        self._renamed: dict[str, str] = {}  # the names of images that were found by another name
        self._listed_by: dict[str, str] = {}  # by image name
        self._listed_twice = set[str]()

    @contextmanager
    def at(self, file: str, where: str = "", kind: Kind | None = None) -> Iterator[None]:
        """Note the fault that the enclosed check raises, if any, as a problem of this place.

        `kind` is what is left out for it: by default a cell, or a field where the place is a whole file.
        A value that the JSON parser takes may still be nested too deeply for `repr`.
        """
        if kind is not None:
            self._kinds[_start(file), _start(where)] = kind
        try:
            yield
        except UnknownClass as unknown:
            self._unknown.setdefault(unknown.name, []).append((file, where))
        except Fault as fault:
            self.problems.append(Problem(_start(file), _start(where), _start(fault.found), _start(fault.remedy)))
        except RecursionError:
            found = "a value in it is nested too deeply"
            self.problems.append(Problem(_start(file), _start(where), found, "restore or delete it"))

    def suspect(self, file: str, where: str, found: str, remedy: str) -> None:
        """Note something worth a look that is no reason to refuse."""
        self.suspects.append(Problem(file, where, found, remedy))

    def often(self, file: str, where: str, found: str, remedy: str) -> None:
        """Note a suspect that many places may have: it is told once, with their number and the first of them."""
        count, first = self._often.get((found, remedy), (0, Problem(file, where, found, remedy)))
        self._often[found, remedy] = count + 1, first

    def label(self, name: str) -> int:
        """The class of an annotated name, 0 for one to leave out, which is counted. Fault: the class map lacks it."""
        if self._class_of is None:
            return self.classes.setdefault(name, len(self.classes) + 1)
        if name not in self._class_of:
            raise UnknownClass(name)
        if self._class_of[name] == 0:
            self.left_out[name] += 1
        return self._class_of[name]

    def image(self, name: str, listed_by: str = "") -> tuple[Path, tuple[int, int]]:
        """An image file and its (height, width), upright, by the rule of `ImageNames`.

        A field of this name, and its problems, get the name that the image has. `listed_by` is the annotation file of
        this image alone, where there is one.
        Faults: as `ImageNames.one_of` and `image_size`, or listed twice.
        """
        taken = self.names.one_of(self.names.by_name(name), name, name)
        if taken != name:
            self._renamed[name] = taken
        plain = str(PurePosixPath(taken))  # "./a.png" is "a.png"
        if plain in self._listed_by:
            self._listed_twice.add(plain)
            first, second = self._listed_by[plain], listed_by or repr(name)
            by = f", by {first} and {second}" * (first != second)
            raise Fault(f"the image is listed twice{by}", "merge its two entries into one")
        self._listed_by[plain] = listed_by or repr(name)
        return self.images / taken, image_size(self.images / taken, self.max_pixels)

    def has_taken(self, name: str) -> bool:
        """Whether `image` has given this image to an entry."""
        return name in self._listed_by

    def unambiguous(self, fields: Sequence[SmearField]) -> list[SmearField]:
        """The fields by the names of their images; not those listed twice, as it is not known which entry is right."""
        named = [replace(field, name=self._renamed.get(field.name, field.name)) for field in fields]
        return [field for field in named if str(PurePosixPath(field.name)) not in self._listed_twice]

    def number_as_listed(self) -> dict[int, int]:
        """Number the classes as the files list them, the others behind; returns the new label of each old one."""
        names = dict.fromkeys([name for name in self.class_order if name in self.classes] + list(self.classes))
        label_of = {self.classes[name]: label for label, name in enumerate(names, start=1)}
        self.classes = {name: label for label, name in enumerate(names, start=1)}
        return label_of

    def all_problems(self) -> list[Problem]:
        """Every problem noted; a class that the class map lacks is one, however many cells have it."""
        unknown = [self._unknown_class(name, places) for name, places in self._unknown.items()]
        return list(dict.fromkeys(map(self._with_name, [*self.problems, *unknown])))

    def all_suspects(self) -> list[Problem]:
        """Every suspect noted; one that was noted `often` is one, however many places have it."""
        ways = [Problem(self.annotations.name, *told) for told in self.names.told()]
        often = [self._of_many(count, first) for count, first in self._often.values()]
        return list(map(self._with_name, [*self.suspects, *often, *ways]))

    def refused(self) -> tuple[int, int]:
        """The numbers of files or fields and of cells that have a problem."""
        places = {(p.file, p.where) for p in self.problems} | {place for at in self._unknown.values() for place in at}
        kinds = Counter(self._kinds.get(place, "cell" if place[1] else "field") for place in places)
        return kinds["field"], kinds["cell"]

    def _of_many(self, count: int, first: Problem) -> Problem:
        if count == 1:
            return first
        place = f"{first.file}{', ' * bool(first.where)}{first.where}"
        found = f"{first.found} (first {place})"
        return Problem(self.annotations.name, f"{count} places", found, first.remedy)

    def _with_name(self, problem: Problem) -> Problem:
        return replace(problem, file=self._renamed.get(problem.file, problem.file))

    def _unknown_class(self, name: str, places: list[tuple[str, str]]) -> Problem:
        known = ", ".join(map(repr, self._class_of or ()))
        remedy = f"correct it to one of {known}, or add it to the class map"
        if len(places) == 1:
            return Problem(*places[0], f"unknown class {name!r}", remedy)
        first = ", ".join(places[0])
        return Problem(self.annotations.name, f"{len(places)} cells", f"unknown class {name!r} (first {first})", remedy)


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


def text(record: Mapping[str, Any], key: str, kind: str) -> str:
    """A text that a person filled in under `key`, a `kind` such as "region attribute". Faults: none, or no text."""
    value = record.get(key, "")
    if value is None or (isinstance(value, str) and not value.strip()):
        others = ", ".join(map(repr, record)) or "none"
        raise Fault(f"the {kind} {key!r} is missing or empty (there are: {others})", "fill it in, or correct its name")
    if not isinstance(value, str):
        raise Fault(f"the {kind} {key!r} is {brief(value)}", "make it a text")
    return value


def image_folder(folder: Path) -> None:
    """Fault: the folder is not there; reported once instead of for each image."""
    if not folder.is_dir():
        raise Fault(f"the image folder {folder} is not a folder", "correct its path")


def image_size(path: Path, max_pixels: int) -> tuple[int, int]:
    """Height and width of an image file, in pixels, upright. Fault: it does not decode, or has more pixels.

    The image is decoded whole (1 ms for 512 x 384): the header alone does not show that a file was cut short.
    """
    try:
        height, width, _ = read_image(path, max_pixels).shape
    except Stack as error:
        raise Fault(f"the image {error.found}", error.remedy) from error
    except (OSError, ValueError) as error:
        raise Fault(f"the image cannot be read ({error})", "replace the image or delete its annotations") from error
    return height, width


def numbers(values: Sequence[Any]) -> list[float]:
    """Coordinates from JSON as floats. Fault: one is not a number, or too large for a float."""
    for value in values:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise Fault(f"the coordinate {brief(value)} is not a number", "redraw or delete the region")
    try:
        return [float(value) for value in values]
    except OverflowError as error:
        raise Fault(f"a coordinate is not finite ({error})", "redraw or delete the region") from error


def polygon_points(xs: Sequence[Any], ys: Sequence[Any]) -> Float[np.ndarray, "n 2"]:
    """The points (x, y) of a polygon from two lists. Faults: not numbers, or not of one length."""
    if len(xs) != len(ys):
        raise Fault(f"the polygon has {len(xs)} x but {len(ys)} y coordinates", "redraw or delete the region")
    return np.array([numbers(xs), numbers(ys)], np.float64).T.copy()


def outline(
    parts: Sequence[Float[np.ndarray, "_ 2"]], size: tuple[int, int] | None, tell: Tell | None = None
) -> tuple[Float[np.ndarray, "_ 2"], ...]:
    """A cell's polygons, (x, y) in pixels, moved to the border where they stick out up to BORDER_TOLERANCE.

    `size` is the image's (height, width), None when the image is not usable: then only the points are checked. With
    `tell`, which notes a suspect by (found, remedy), parts of fewer than 3 points or without area beside a sound one
    are dropped. A hole that is joined to its outer ring, and drawn the other way round, stays one: see `areas`.
    Faults: a point not finite, fewer than 3 points, a point outside the image, zero area or no pixel covered, a line
    that crosses itself so that its area is unclear; too many parts or crossings, or too long a line.
    """
    if len(parts) > PARTS:
        raise Fault(f"the cell is in {len(parts)} parts, and {PARTS} are read at most", "redraw or delete the region")
    sound = [points for points in parts if not _is_fragment(points)] if tell and len(parts) > 1 else parts
    if tell and 0 < len(sound) < len(parts):
        parts = sound
        tell("a part of it has fewer than 3 points or no area, and is dropped", "look whether the rest is the cell")
    for points in parts:
        _check_points(points)
    if size is not None:
        parts = [_within(points, size) for points in parts]
        _check_length(parts)
    _check_crossings(parts)
    # Areas are summed over the parts: a fragment too small to see is harmless beside the rest of its cell. An outline
    # clipped at the image border runs along it and back, and yet its area is clear.
    each = [areas(points) for points in parts]
    covered, unclear = sum(part.covered for part in each), sum(part.unclear for part in each)
    if covered < ZERO_AREA or (size is not None and not _pixels(Cell(1, tuple(parts)), size)):
        area = sum(shoelace_area(points) for points in parts)
        raise Fault(f"the outline has zero area, or covers no pixel (area {area:.3g})", "redraw or delete the region")
    if unclear > max(CROSSING_SHARE * covered, CROSSING_AREA):
        x, y = next(place for place in map(crossing, parts) if place is not None)
        raise Fault(f"the outline crosses itself at ({x:g}, {y:g})", "redraw it without loops")
    return tuple(parts)


def box(x1: float, y1: float, x2: float, y2: float, size: tuple[int, int] | None) -> tuple[float, float, float, float]:
    """A cell's box, moved into the image where it sticks out up to BORDER_TOLERANCE. Faults: as for an `outline`."""
    corners = polygon_points((x1, x2, x2, x1), (y1, y1, y2, y2))
    _check_points(corners)
    if not (x1 < x2 and y1 < y2):
        raise Fault(f"the box from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) has zero area", "redraw or delete the region")
    (corners,) = outline([corners], size)
    left, top, right, bottom = (float(value) for value in (*corners[0], *corners[2]))
    return left, top, right, bottom


def _is_fragment(points: Float[np.ndarray, "n 2"]) -> bool:
    """Whether a part encloses nothing: it has fewer than 3 points, or they lie on a line."""
    if len(points) < 3:
        return True
    return bool(np.isfinite(points).all()) and shapely.MultiPoint(points).convex_hull.area < ZERO_AREA


def _check_points(points: Float[np.ndarray, "n 2"]) -> None:
    if len(points) < 3:
        raise Fault(f"the polygon has {len(points)} points", "redraw it with at least 3 or delete the region")
    if not np.isfinite(points).all():
        x, y = points[~np.isfinite(points).all(axis=1)][0]
        raise Fault(f"the point ({x:g}, {y:g}) is not finite", "redraw or delete the region")


def _check_length(parts: Sequence[Float[np.ndarray, "_ 2"]]) -> None:
    length = sum(float(np.hypot(*np.diff(points, axis=0, append=points[:1]).T).sum()) for points in parts)
    if length > LONGEST_OUTLINE:
        raise Fault(f"the outline is {length:.3g} pixels long", "redraw it along the cell's border")


def _check_crossings(parts: Sequence[Float[np.ndarray, "_ 2"]]) -> None:
    """Fault: too many crossings. They are counted in parts, so that memory holds few of them at a time."""
    for points in parts:
        if len(points) ** 2 < 2 * CROSSINGS or shapely.is_valid(shapely.Polygon(points)):
            continue
        lines: Any = shapely.linestrings(np.stack([points, np.roll(points, -1, axis=0)], axis=1))  # (n,)
        tree, step, met = shapely.STRtree(lines), max(1, 10**6 // len(lines)), 0
        for some in (lines[start : start + step] for start in range(0, len(lines), step)):
            met += tree.query(some, predicate="intersects").shape[1] - 3 * len(some)  # itself and its neighbours
            if met > 2 * CROSSINGS:
                raise Fault(f"the outline crosses itself more than {CROSSINGS} times", "redraw it without loops")


def _pixels(cell: Cell, size: tuple[int, int]) -> int:
    return int(coco_mask.area(cell.to_rle(*size)))  # pyright: ignore[reportArgumentType]


def _start(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}..."


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
