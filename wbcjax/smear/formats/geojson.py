"""QuPath's GeoJSON, read and written: one file for each image (https://qupath.readthedocs.io, "Exporting annotations").

A file holds a FeatureCollection, a list of Features, or one of them (RFC 7946), in pixels of the full-resolution image.
What QuPath adds was looked up in its source, of qupath-core in qupath/lib/io (github.com/qupath/qupath), as it is from
version 0.4 on: QuPathTypeAdapters, ROITypeAdapters and GsonTools. A schema was looked for, and none was found.

- A Feature has "type", "id" (a UUID), "geometry", of a cell also "nucleusGeometry", and "properties": "objectType",
  "name", "color", "classification", "isLocked", "measurements", "childObjects", "metadata" (texts; from 0.5 on).
- "classification" is {"name" or, of a class derived from others, "names", "color": [r, g, b]}. It was {"name",
  "colorRGB", "parentClass"} before 0.4, and may be a text.
- A geometry has a "plane" {"c", "z", "t"} if it is not the first one, and "isEllipse" if its bounds mean an ellipse.
"""

import json
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from jaxtyping import Float
from shapely import Polygon
from shapely.geometry.polygon import orient

from wbcjax.smear.colours import colour_of
from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.formats import checks, folders, holes, parts, shapes
from wbcjax.smear.formats.checks import Fault, Reading
from wbcjax.smear.formats.format import Format, Place
from wbcjax.smear.formats.holes import Part, Ring, Size, Tell
from wbcjax.smear.formats.named_after import base_of, below, files_below, image_of
from wbcjax.smear.formats.parts import Point
from wbcjax.smear.formats.qupath_objects import AGAIN, QuPathObject, is_geojson, objects_of
from wbcjax.smear.formats.write_checks import (
    RUNNER_UP,
    RUNNER_UP_SCORE,
    SCORE,
    Predicted,
    ScoredCell,
    check_fields,
    told_groups,
)
from wbcjax.smear.formats.zipped import suffixes_in
from wbcjax.system.files import write_folder

SUFFIXES = (".geojson", ".geojson.gz", ".json", ".json.gz", ".zip")
POINTS = ("Point", "MultiPoint")
NO_CELLS = ("tile", "tmaCore", "tma_core")
DETECTED = ("detection", "cell")  # objects that QuPath finds, within an annotation that a person drew
CLASS_NAME = "cell"  # of every object where none has a class
SUBCLASS = ": "  # between the name of a class and that of one derived from it, as QuPath shows them
CROWD, BOX = "iscrowd", "box"  # metadata of what is written
REDRAW = "redraw or delete it in QuPath"
CLASSIFY = "give it a class in QuPath"
NUCLEUS = "export the nuclei as objects of a class of their own if they are to be found"
EMPTY = "annotate it, or export it from QuPath without objects if it shows no cell"


def fields(reading: Reading) -> list[SmearField]:
    """The fields of a GeoJSON file, or of those in a folder and below it, by name; those without objects too.

    Annotations, detections and cells are cells; points are counted only. Where nothing has a class, all is "cell".
    Noted as suspect: that, images without a file, and what is no cell: tiles, TMA cores, the nuclei of QuPath's cells,
    and annotations without a class in which QuPath found cells.
    """
    names_of = folders.images_by_stem(reading.images)
    files = files_below(reading.annotations, SUFFIXES)
    classed = any(_has_class(file) for file in files)
    found, annotated = [], set()
    for file in files:
        with reading.at(file.name):
            name = image_of(reading, file, [base_of(reading.annotations, file, SUFFIXES)], alone=len(files) == 1)
            annotated.add(name)
            found.append(_field(reading, name, objects_of(file), None if classed else CLASS_NAME, file.name))
    folders.suspect_images_without(reading, names_of, annotated, set(), EMPTY)
    made = [field for field in found if field is not None]
    cells = sum(len(field.cells) + len(field.points) for field in made)
    if cells and not classed:
        told = f"no object has a class: all {cells} are of class {CLASS_NAME!r}"
        reading.suspect(reading.annotations.name, "", told, "give them classes in QuPath if they differ")
    return made


def _has_class(file: Path) -> bool:
    """Whether an object of a file has a class. What is wrong with it is reported when it is read."""
    silent = Reading(file, file.parent)
    found: list[str | None] = []
    with silent.at(file.name):
        for one in objects_of(file):
            with silent.at(file.name):
                found.append(class_name_of(one.properties))
    return any(found)


def _field(
    reading: Reading, name: str, objects: list[QuPathObject], default: str | None, file_name: str
) -> SmearField | None:
    path, size = None, None
    with reading.at(name):
        path, size = reading.image(name, file_name)
    detected = any(one.kind in DETECTED for one in objects)
    cells: list[Cell] = []
    points: list[Point] = []
    for one in objects:
        label = _label(reading, name, one, default) if _is_cell(reading, name, one, detected) else None
        if label is not None:
            with reading.at(name, one.place):
                if (geometry := checks.need(one.feature, "geometry", dict)).get("type") in POINTS:
                    points += _points(geometry, label, size)
                elif (cell := _cell(reading, name, one, label, size)) is not None:
                    cells.append(cell)
    if path is None or size is None:
        return None
    return SmearField(name, *size, tuple(cells), path, max_pixels=reading.max_pixels, **parts.of_field(points))


def _is_cell(reading: Reading, name: str, one: QuPathObject, detected: bool) -> bool:
    """Whether an object is one; of what is none, it is told."""
    if not isinstance(one.feature, dict) or one.feature.get("type") != "Feature":
        with reading.at(name, one.place):
            raise Fault(f"found {checks.brief(one.feature)} where a Feature belongs", AGAIN)
        return False
    if one.kind == "root":
        return False
    if one.kind in NO_CELLS:
        reading.often(
            name, one.place, f"an object of type {one.kind!r} is no cell, and left out", "make it an annotation"
        )
        return False
    if detected and one.kind not in DETECTED and one.properties.get("classification") in (None, {}):
        found = "an annotation without a class, beside cells that QuPath detected, is left out"
        reading.often(name, one.place, found, f"{CLASSIFY} if it is a cell")
        return False
    return True


def _label(reading: Reading, name: str, one: QuPathObject, default: str | None) -> int | None:
    """The class of an object, None for one to leave out; `default` is the name of one that has none."""
    with reading.at(name, one.place):
        class_name = class_name_of(one.properties) or default
        if class_name is None:
            raise Fault("it has no class", CLASSIFY)
        return reading.label(class_name) or None
    return None


def _cell(reading: Reading, name: str, one: QuPathObject, label: int, size: Size | None) -> Cell | None:
    outline = _outline(one, size, partial(reading.often, name, one.place))
    if size is None:
        return None
    if "nucleusGeometry" in one.feature:
        reading.often(name, one.place, "the outline of a cell's nucleus is not read", NUCLEUS)
    return Cell(label, **outline, crowd=_metadata(one, CROWD))


def _points(geometry: dict[str, Any], label: int, size: Size | None) -> list[Point]:
    """The points of a geometry, each a cell of which no more is known."""
    listed = checks.need(geometry, "coordinates", list)
    places = _positions([listed] if geometry["type"] == "Point" else listed)
    return [parts.point(label, x, y, size) for x, y in places.tolist()]


def class_name_of(properties: dict[str, Any]) -> str | None:
    """The class of an object, such as "Tumor" or "Tumor: Positive"; None where it has none. Fault: malformed."""
    said = properties.get("classification")
    names = []
    if isinstance(said, str):
        names = [said]
    elif isinstance(said, dict):
        names = said["names"] if isinstance(said.get("names"), list) else _legacy_names(said)
    if not all(isinstance(name, str) for name in names) or not isinstance(said, str | dict | None):
        raise Fault(f'"classification" is {checks.brief(said)}', CLASSIFY)
    return SUBCLASS.join(name.strip() for name in names) or None


def _legacy_names(said: dict[str, Any]) -> list[Any]:
    """The names of a class and of those that it is derived from, the first of them first; none is left out."""
    names = []
    inner: Any = said
    while isinstance(inner, dict):
        names.append(inner.get("name"))
        inner = inner.get("parentClass")
    return [] if names == [None] else names[::-1]


def _metadata(one: QuPathObject, key: str) -> bool:
    """Whether metadata that was written here says "1"."""
    metadata = one.properties.get("metadata")
    return isinstance(metadata, dict) and metadata.get(key) == "1"


def _outline(one: QuPathObject, size: Size | None, tell: Tell) -> dict[str, Any]:
    """What a Cell takes: {"polygons": ...}, {"rle": ...} of one with holes, or {"box": ...} if it was written so."""
    geometry = checks.need(one.feature, "geometry", dict)
    plane = geometry.get("plane")
    if isinstance(plane, dict) and (plane.get("z") or plane.get("t")):
        found = f"it lies on another plane of a stack ({checks.brief(plane)})"
        raise Fault(found, "save the plane as an image of its own, and export its objects alone")
    polygons = parts_of(geometry)
    bounds = shapely.MultiPoint(np.concatenate([part.outer for part in polygons])).bounds
    if geometry.get("isEllipse") is True:
        (x1, y1, x2, y2) = bounds
        round_ = shapes.ellipse((x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / 2, (y2 - y1) / 2)
        return {"polygons": checks.outline([shapes.cut(round_, size)], size)}
    if _metadata(one, BOX) and len(polygons) == 1 and _fills(polygons[0], bounds):
        return {"box": checks.box(*bounds, size)}
    return holes.cell_of_parts(polygons, size, tell)


def parts_of(geometry: dict[str, Any]) -> list[Part]:
    """The polygons of a geometry, with their holes. Fault: it has none."""
    kind = geometry.get("type")
    if kind == "GeometryCollection":
        inner = checks.need(geometry, "geometries", list)
        return [part for one in inner for part in parts_of(one if isinstance(one, dict) else {})]
    if kind not in ("Polygon", "MultiPolygon"):
        raise Fault(f"it is a {checks.brief(kind)}, which encloses nothing", "outline it in QuPath, or delete it")
    coordinates = checks.need(geometry, "coordinates", list)
    found = [_part(polygon) for polygon in ([coordinates] if kind == "Polygon" else coordinates)]
    if not found:
        raise Fault("it has no polygon", REDRAW)
    return found


def _part(polygon: Any) -> Part:
    """A polygon's outer ring and its holes. Faults: it has none, or not of points [x, y]."""
    if not isinstance(polygon, list) or not polygon:
        raise Fault(f"found {checks.brief(polygon)} where the rings of a polygon belong", REDRAW)
    outer, *inner = [_ring(ring) for ring in polygon]
    return Part(outer, inner)


def _ring(ring: Any) -> Ring:
    """The points of a ring, without the first again at its end."""
    return holes.opened(_positions(ring if isinstance(ring, list) else [ring]))


def _positions(listed: list[Any]) -> Float[np.ndarray, "n 2"]:
    """Points (x, y); a third coordinate, of height, is left out. Fault: one is none."""
    for point in listed:
        if not isinstance(point, list) or not 2 <= len(point) <= 4:
            raise Fault(f"found {checks.brief(point)} where a point [x, y] belongs", REDRAW)
    return checks.polygon_points([point[0] for point in listed], [point[1] for point in listed])


def _fills(part: Part, bounds: tuple[float, float, float, float]) -> bool:
    """Whether a part is an upright rectangle still, as it was written."""
    x1, y1, x2, y2 = bounds
    corners = {(x, y) for x, y in part.outer.tolist()}
    return not part.holes and len(part.outer) == 4 and corners == {(x, y) for x in (x1, x2) for y in (y1, y2)}


def write(
    out: Path, fields: Sequence[SmearField], classes: Sequence[str], predicted: Predicted | None = None
) -> list[str]:
    """Write a folder with a file <name of the image>.geojson for each field, whole or not at all, for QuPath to open.

    Each cell is an annotation: its polygons, those of a mask along the edges of its pixels, with its holes; the four
    corners of a box. Its class is named, and has the colour of our drawings. Scores of `predicted` are the measurement
    "score", those of its runners-up "runner_up_score", and their names the metadata "runner_up". That a region is of a
    crowd, or a rectangle a box alone, is metadata too. An id is made of the field's name and the cell's number.
    Raises ValueError as `check_fields` does or for a field name that leads out of the folder, OSError when the folder
    cannot be written or is not empty.
    """
    scored = check_fields(fields, classes, predicted)
    joined, files = 0, []
    for field, cells in zip(fields, scored, strict=True):
        drawn = [holes.drawn_polygons(cell.cell, field.height, field.width) for cell in cells]
        joined += sum(one.joined for one in drawn)
        data = _collection(field.name, classes, cells, [one.polygons for one in drawn])
        files.append((f"{field.name}.geojson", json.dumps(data).encode()))
    write_folder(out, files)
    return [*holes.told_joined(joined), *told_groups(fields)]


def geojson_data(field: SmearField, classes: Sequence[str], predicted: Predicted | None = None) -> dict[str, Any]:
    """The FeatureCollection that `write` puts into the file of a field. Raises ValueError as `check_fields` does."""
    (cells,) = check_fields([field], classes, predicted)
    drawn = [holes.drawn_polygons(cell.cell, field.height, field.width).polygons for cell in cells]
    return _collection(field.name, classes, cells, drawn)


def _collection(
    name: str, classes: Sequence[str], cells: Sequence[ScoredCell], drawn: Sequence[list[Polygon]]
) -> dict[str, Any]:
    numbered = enumerate(zip(cells, drawn, strict=True), start=1)
    features = [feature(f"{name}#{number}", polygons, cell, classes) for number, (cell, polygons) in numbered]
    return {"type": "FeatureCollection", "features": features}


def feature(name: str, polygons: Sequence[Polygon], cell: ScoredCell, classes: Sequence[str]) -> dict[str, Any]:
    """The Feature of a cell that is drawn as these polygons; its id is made of a `name` that no other one has."""
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, name)),
        "geometry": _geometry(polygons),
        "properties": _properties(cell, classes),
    }


def _geometry(polygons: Sequence[Polygon]) -> dict[str, Any]:
    """Rings are closed, outer ones counter-clockwise and holes clockwise in (x, y), as RFC 7946 has them."""
    turned = [orient(polygon) for polygon in polygons]
    coordinates = [
        [shapely.get_coordinates(ring).tolist() for ring in (polygon.exterior, *polygon.interiors)]
        for polygon in turned
    ]
    if len(coordinates) == 1:
        return {"type": "Polygon", "coordinates": coordinates[0]}
    return {"type": "MultiPolygon", "coordinates": coordinates}


def _properties(scored: ScoredCell, classes: Sequence[str]) -> dict[str, Any]:
    cell, measured, noted = scored.cell, {}, {}
    if scored.score is not None:
        measured[SCORE] = scored.score
    if scored.runner_up is not None:
        noted[RUNNER_UP], measured[RUNNER_UP_SCORE] = scored.runner_up
    noted |= {key: "1" for key, said in ((CROWD, cell.crowd), (BOX, not cell.outlined)) if said}
    return {
        "objectType": "annotation",
        # QuPath 0.4 takes no class without a colour.
        "classification": {"name": classes[cell.label - 1], "color": list(colour_of(cell.label))},
        **({"measurements": measured} if measured else {}),
        **({"metadata": noted} if noted else {}),
    }


def _recognises(place: Place) -> bool:
    """Whether a file, or one of a folder or below it, is named *.geojson, or holds a Feature or a geometry."""
    if not place.is_folder:
        return _named_so(place.path) or _holds_features(place.json)
    return any(map(_named_so, below(place.path, SUFFIXES))) or any(map(_holds_features, place.jsons))


def _named_so(file: Path) -> bool:
    if file.suffix.lower() == ".zip":
        return not {".geojson", ".json"}.isdisjoint(suffixes_in(file) or ())
    return file.name.lower().endswith((".geojson", ".geojson.gz", ".json.gz"))


def _holds_features(data: Any) -> bool:
    return is_geojson(data[0] if isinstance(data, list) and data else data)


FORMAT = Format(
    name="geojson",
    tools="[QuPath](https://qupath.github.io)",
    content="GeoJSON, one file named after each image; polygons with holes, ellipses; points, counted only",
    recognises=_recognises,
    fields=fields,
    write=write,
)
