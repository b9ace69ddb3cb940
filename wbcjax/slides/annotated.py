"""Fields cut out of annotated slides: a reader of annotations in slide coordinates, for `config.dataset.name`.

Slides are too large to be annotated whole. So rectangles of the class `REGION` say where every cell is annotated, and
fields of one size are cut out of these alone. `config.dataset.name = "wbcjax.slides.annotated:fields"` reads

- GeoJSON of QuPath, a file named after each slide
- COCO, a file that ends in .json, with the slides as its images

A field's group is the patient that patients.csv, beside the annotations, names (`read_patients`); without the file it
is the slide. So the fields of a slide are never divided between training and validation.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely
from jaxtyping import UInt8
from shapely import MultiPolygon, Polygon

from wbcjax.slides.open import open_slide
from wbcjax.slides.patients import read_patients
from wbcjax.slides.slide import Slide
from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.formats import checks, holes
from wbcjax.smear.formats.checks import Fault, Reading
from wbcjax.smear.formats.geojson import POINTS, SUFFIXES, class_name_of, parts_of
from wbcjax.smear.formats.holes import Part
from wbcjax.smear.formats.image_files import SCANNERS
from wbcjax.smear.formats.image_names import IMAGES
from wbcjax.smear.formats.load import load_json
from wbcjax.smear.formats.named_after import base_of, files_below
from wbcjax.smear.formats.qupath_objects import objects_of

REGION = ("region", "region*")  # class names, in any case; the second is QuPath's own
SIDE = 1024  # pixels of a field, at full resolution
LEAST_SHARE = 0.25  # of a cell's area that a field must hold; of less it is a crowd region, which trains nothing
PATIENTS = "patients.csv"
DRAW = f"draw a rectangle of class {REGION[0]!r} around each part in which every cell is annotated"

Box = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels at full resolution


@dataclass(frozen=True, eq=False)
class SlideField(SmearField):
    """A field that is a part of a slide, read when it is asked for."""

    slide: Path = Path()
    left: int = 0  # pixels at full resolution
    top: int = 0

    def __post_init__(self) -> None:
        """It has neither a file of its own nor pixels in memory."""

    def image(self) -> UInt8[np.ndarray, "h w 3"]:
        with open_slide(self.slide, self.max_pixels) as slide:
            return slide.region(self.left, self.top, self.width, self.height)


class Annotated(NamedTuple):
    """An object of a slide."""

    place: str  # "object 3"
    name: str  # of its class
    area: Polygon | MultiPolygon


def file_of(name: str) -> str:
    """The file of a field's image: that of the slide, where the field is a part of one, `SLIDE@LEFT,TOP`."""
    return re.sub(r"@\d+,\d+$", "", name)


def fields(reading: Reading) -> list[SmearField]:
    """The fields of all slides, of `SIDE` pixels."""
    return cut_fields(reading, SIDE)


def cut_fields(reading: Reading, side: int) -> list[SmearField]:
    """The fields of all slides, `side` pixels wide and high; for a reader of fields of another size.

    Problems: no region, one that is smaller than a field, is no rectangle or lies off its slide; slides that are
    missing or cannot be read. Noted as suspect: cells outside of all regions, and points.
    """
    found: list[SmearField] = []
    objects = list(_slides(reading))
    patients = _patients(reading, [path.name for path, _ in objects])
    for path, annotated in objects:
        with reading.at(path.name), _opened(path, reading.max_pixels) as slide:
            found += _of_slide(reading, slide, path, annotated, (side, patients.get(path.name, path.name)))
    return found


def _slides(reading: Reading) -> Iterator[tuple[Path, list[Annotated]]]:
    """Each slide with its objects."""
    if reading.annotations.is_file() and reading.annotations.suffix.lower() == ".json":
        yield from _coco(reading)
        return
    for file in files_below(reading.annotations, SUFFIXES):
        with reading.at(file.name):
            path = _slide_of(reading.images, Path(base_of(reading.annotations, file, SUFFIXES)).name)
            yield path, list(_geojson(reading, file))


def _slide_of(folder: Path, name: str) -> Path:
    """The slide of this name, or of this name without suffix. Fault: there is none, or several."""
    named = [
        path
        for path in sorted(folder.rglob("*"))
        if name in (path.name, path.stem, path.stem.removesuffix(".ome"))
        and (SCANNERS.fullmatch(path.suffix) or path.suffix.lower() in IMAGES)
    ]
    if len(named) != 1:
        found = f"there are {len(named)} slides" if named else "there is no slide"
        raise Fault(f"{found} of the name {name!r} in {folder}", "add the slide, or name its annotations after it")
    return named[0]


def _geojson(reading: Reading, file: Path) -> Iterator[Annotated]:
    for one in objects_of(file):
        with reading.at(file.name, one.place):
            geometry = checks.need(one.feature, "geometry", dict)
            if geometry.get("type") in POINTS:
                reading.often(file.name, one.place, "a point trains nothing", "outline the cell")
                continue
            name = class_name_of(one.properties)
            if name is None:
                raise Fault("it has no class", "give it a class in QuPath")
            yield Annotated(one.place, name, _area(parts_of(geometry)))


def _coco(reading: Reading) -> Iterator[tuple[Path, list[Annotated]]]:
    data = load_json(reading.annotations)
    names = {one["id"]: one["name"] for one in checks.need(data, "categories", list)}
    of_image: dict[Any, list[Annotated]] = {}
    for number, one in enumerate(checks.need(data, "annotations", list), start=1):
        with reading.at(reading.annotations.name, f"annotation {number}"):
            outlines = one.get("segmentation") or [_corners(checks.need(one, "bbox", list))]
            if not isinstance(outlines, list):
                raise Fault("it is a mask of the whole slide", "export it as polygons")
            rings = [np.array(points, float).reshape(-1, 2) for points in outlines]
            name = str(names.get(one.get("category_id"), ""))
            annotated = Annotated(f"annotation {number}", name, _area([Part(ring) for ring in rings]))
            of_image.setdefault(one.get("image_id"), []).append(annotated)
    for image in checks.need(data, "images", list):
        with reading.at(reading.annotations.name):
            name = Path(checks.need(image, "file_name", str)).name
            yield _slide_of(reading.images, name), of_image.get(image["id"], [])


def _corners(box: Sequence[float]) -> list[float]:
    x, y, width, height = box
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def _area(parts: Sequence[Part]) -> Polygon | MultiPolygon:
    """The area of polygons with holes. Fault: it is none."""
    polygons = [Polygon(part.outer, part.holes) for part in parts if len(part.outer) >= 3]
    area = shapely.union_all([shapely.make_valid(polygon) for polygon in polygons])
    kept = [part for part in shapely.get_parts(area) if isinstance(part, Polygon)]
    if not kept:
        raise Fault("it encloses no area", "redraw or delete it")
    return kept[0] if len(kept) == 1 else MultiPolygon(kept)


def _patients(reading: Reading, slides: Sequence[str]) -> dict[str, str]:
    folder = reading.annotations if reading.annotations.is_dir() else reading.annotations.parent
    table = folder / PATIENTS
    if not table.is_file():
        return {}
    try:
        return read_patients(table, slides)
    except (OSError, ValueError) as error:
        raise Fault(str(error), "correct the table, or delete it to take each slide for a patient") from error


def _opened(path: Path, max_pixels: int) -> Slide:
    try:
        return open_slide(path, max_pixels)
    except (OSError, ValueError) as error:
        raise Fault(f"the slide cannot be read ({error})", "replace it, or delete its annotations") from error


def _of_slide(
    reading: Reading, slide: Slide, path: Path, annotated: Sequence[Annotated], cut: tuple[int, str]
) -> Iterator[SmearField]:
    side, group = cut
    regions = [one for one in annotated if one.name.lower() in REGION]
    cells = [one for one in annotated if one.name.lower() not in REGION]
    if not regions:
        raise Fault("no region says where every cell is annotated", DRAW)
    labels = [_label(reading, path.name, one) for one in cells]
    boxes: list[Box] = []
    for region in regions:
        with reading.at(path.name, region.place):
            boxes += windows(_rectangle(slide, region.area), side)
    inside = shapely.union_all([shapely.box(*box) for box in boxes])
    for one in cells:
        if not inside.intersects(one.area):
            reading.often(path.name, one.place, "a cell outside of all regions is left out", DRAW)
    tree = shapely.STRtree([one.area for one in cells])
    for x1, y1, x2, y2 in dict.fromkeys(boxes):
        name = f"{path.relative_to(reading.images).as_posix()}@{x1},{y1}"
        held: list[Cell] = []
        for row in sorted(tree.query(shapely.box(x1, y1, x2, y2), predicate="intersects").tolist()):
            with reading.at(name, cells[row].place):
                held += _cells(reading, cells[row], labels[row], (x1, y1, x2, y2))
        yield SlideField(
            name=name,
            height=y2 - y1,
            width=x2 - x1,
            cells=tuple(held),
            group=group,
            max_pixels=reading.max_pixels,
            pixel_size=slide.pixel_size,
            slide=path,
            left=x1,
            top=y1,
        )


def _label(reading: Reading, name: str, one: Annotated) -> int:
    """The class of a cell, 0 for one to leave out."""
    with reading.at(name, one.place):
        return reading.label(one.name)
    return 0


def _rectangle(slide: Slide, area: Polygon | MultiPolygon) -> Box:
    """The pixels of a region. Fault: it is no rectangle, or not on the slide."""
    x1, y1, x2, y2 = area.bounds
    if area.area < 0.99 * (x2 - x1) * (y2 - y1):
        raise Fault("the region is no upright rectangle", "draw it as one")
    left, top = max(math.ceil(x1), 0), max(math.ceil(y1), 0)
    return left, top, min(math.floor(x2), slide.width), min(math.floor(y2), slide.height)


def windows(region: Box, side: int) -> list[Box]:
    """Squares of `side` pixels, spread evenly, that cover a region and do not leave it. Fault: it is smaller."""
    x1, y1, x2, y2 = region
    if x2 - x1 < side or y2 - y1 < side:
        raise Fault(
            f"the region has {max(x2 - x1, 0)} x {max(y2 - y1, 0)} pixels on the slide, and a field {side} x {side}",
            "draw it larger, and annotate every cell in it",
        )
    return [(x, y, x + side, y + side) for y in _starts(y1, y2, side) for x in _starts(x1, x2, side)]


def _starts(low: int, high: int, side: int) -> list[int]:
    steps = math.ceil((high - low) / side) - 1
    return [low + round(step * (high - low - side) / steps) for step in range(steps + 1)] if steps else [low]


def _cells(reading: Reading, one: Annotated, label: int, window: Box) -> Iterator[Cell]:
    """What a field holds of a cell, in the field's pixels; nothing of one to leave out."""
    x1, y1, x2, y2 = window
    part = one.area.intersection(shapely.box(*window))
    polygons = [piece for piece in shapely.get_parts(part) if isinstance(piece, Polygon)]
    if not label or not polygons:
        return
    moved = [shapely.transform(polygon, lambda points: points - (x1, y1)) for polygon in polygons]
    rings = [Part(_ring(polygon.exterior), [_ring(hole) for hole in polygon.interiors]) for polygon in moved]
    outline = holes.cell_of_parts(rings, (y2 - y1, x2 - x1), lambda *told: reading.often(one.name, one.place, *told))
    yield Cell(label, **outline, crowd=part.area < LEAST_SHARE * one.area.area)


def _ring(ring: shapely.LinearRing) -> np.ndarray:
    return shapely.get_coordinates(ring)[:-1]
