"""Reader of Label Studio's JSON and JSON-MIN exports (https://labelstud.io/guide/task_format,
https://labelstud.io/guide/export).

JSON is a list of tasks: "data" with the image, and "annotations", one of each person, with their "result": regions of a
`type` such as "polygonlabels", "original_width" and "original_height" of the image in pixels, and a `value` in percent
of these. JSON-MIN is a list of records with the image and lists of values. Rotations are in degrees, clockwise: of a
rectangle around its top left corner (x, y), of an ellipse around its centre (x, y).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.formats import brush, checks, folders, image_names, parts, shapes
from wbcjax.smear.formats.checks import Fault, Reading
from wbcjax.smear.formats.format import LOOKED_AT, Format, Place
from wbcjax.smear.formats.load import load_json
from wbcjax.smear.formats.parts import Point, Size

REDRAW = "redraw or delete the region"
SHAPES = ("polygon", "brush", "rectangle", "ellipse", "keypoint")  # and "labels" behind it, of a labelled one
NOT_READ = ("bitmask", "vector", "cuboid", "videorectangle")  # likewise
OF_SHAPE = {"points": "polygon", "rle": "brush", "radiusX": "ellipse", "height": "rectangle", "x": "keypoint"}
ANNOTATIONS = ("annotations", "completions")  # the latter before version 1.0


@dataclass
class Region:
    """A shape and its labels, from one entry of a result, or from two of one id."""

    entry: dict[str, Any] = field(default_factory=dict)  # the one that has the shape
    kind: str = ""  # one of SHAPES, or of NOT_READ
    labels: list[Any] = field(default_factory=list)


def fields(reading: Reading) -> list[SmearField]:
    """The fields of an export in its order, those without regions too; predictions are not read.

    Of several people's annotations of an image the first that was not cancelled is taken. A rectangle is a cell of
    which only the box is known, a turned one by the upright box around it. Key points are counted only. Noted as
    suspect: images without annotations, further annotations, predictions and turned rectangles.
    """
    listed = load_json(reading.annotations)
    if isinstance(listed, dict) and _is_task(listed):  # as Label Studio syncs each task to a storage
        listed = [listed]
    if not isinstance(listed, list):
        raise Fault("it is no list of tasks", "export it from Label Studio as JSON")
    checks.image_folder(reading.images)
    found = []
    for number, task in enumerate(listed if _has_annotations(listed) else _tasks(listed), start=1):
        with reading.at(reading.annotations.name, f"task {number}", kind="field"):
            found.append(_field(reading, task))
    predicted = sum(isinstance(task, dict) and bool(task.get("predictions")) for task in listed)
    if predicted:
        told = f"{predicted} tasks have predictions of a model, which are not read"
        reading.suspect(reading.annotations.name, "", told, "accept them in Label Studio where they are right")
    return [field for field in found if field is not None]


def _has_annotations(listed: list[Any]) -> bool:
    return any(isinstance(task, dict) and task.keys() & {*ANNOTATIONS, "data"} for task in listed)


def _tasks(records: list[Any]) -> list[Any]:
    """The records of JSON-MIN as tasks: those of one id are one task, annotated by several people."""
    tasks: dict[Any, Any] = {}
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            tasks["record", number] = record
            continue
        own_id = record.get("id")
        key = own_id if isinstance(own_id, int | str) else ("record", number)
        data = {name: value for name, value in record.items() if isinstance(value, str)}
        values = [value for listed in record.values() if isinstance(listed, list) for value in listed]
        entries = [value | {"type": _type(value), "value": value} for value in values if isinstance(value, dict)]
        tasks.setdefault(key, {"data": data, "annotations": []})["annotations"].append({"result": entries})
    return list(tasks.values())


def _type(value: dict[str, Any]) -> str:
    """The type of a value of JSON-MIN, which is named as its labels are; "" of one without."""
    types = (f"{kind}labels" for kind in (*SHAPES, *NOT_READ, ""))
    return next((name for name in types if name in value), "")


def _field(reading: Reading, task: Any) -> SmearField | None:
    name = _image_name(checks.need(task, "data", dict))
    annotation = _annotation(reading, name, task)
    if annotation is None:
        return None
    regions = _regions(reading, name, checks.need(annotation, "result", list))
    path, size = None, None
    with reading.at(name):
        path, decoded = reading.image(name)
        for region in regions.values():
            folders.check_size("the annotations say", _declared_size(region.entry) or decoded, decoded, path)
        size = decoded
    cells, points, turned = [], [], 0
    for place, region in regions.items():
        found = _cell(reading, name, place, region, size)
        (points if isinstance(found, Point) else cells).append(found)
        turned += region.kind == "rectangle" and bool(region.entry["value"].get("rotation"))
    if turned:
        told = f"{turned} rectangles are turned: the upright boxes around them are read"
        reading.suspect(name, "", told, "outline the cells for a closer fit")
    if path is None or size is None:
        return None
    outlined = tuple(cell for cell in cells if cell is not None)
    return SmearField(name, *size, outlined, path, max_pixels=reading.max_pixels, **parts.of_field(points))


def _image_name(data: dict[str, Any]) -> str:
    """The image of a task: "image", or the one text that is an image's name. Fault: there is none, or several."""
    names = [data["image"]] if "image" in data else list(data.values())
    named = [
        name for name in names if isinstance(name, str) and ("image" in data or _suffix(name) in image_names.IMAGES)
    ]
    if len(named) != 1:
        found = f"its data names {len(named)} images ({checks.brief(data)})"
        raise Fault(found, 'name the image as "image", or leave the task out')
    return named[0]


def _suffix(name: str) -> str:
    """The suffix of a path, a web address, or of what the query of one ends in."""
    return PurePosixPath(unquote(name if "?d=" in name else name.partition("?")[0])).suffix.lower()


def _annotation(reading: Reading, name: str, task: dict[str, Any]) -> dict[str, Any] | None:
    """The first annotation that was not cancelled; None where there is none, which is noted."""
    key = next((key for key in ANNOTATIONS if key in task), ANNOTATIONS[0])
    listed = checks.need(task, key, list) if key in task else []
    kept = [one for one in listed if not (isinstance(one, dict) and one.get("was_cancelled"))]
    if not kept:
        found = "its annotation was cancelled, and it is left out" if listed else NO_ANNOTATIONS
        reading.suspect(name, "", found, SUBMIT_EMPTY)
        return None
    if len(kept) > 1:
        found = f"it was annotated {len(kept)} times: the first is read"
        reading.suspect(name, "", found, "delete the others, or move the right one to the front")
    if not isinstance(kept[0], dict):
        raise Fault(f"found {checks.brief(kept[0])} where an annotation belongs", "export it again")
    return kept[0]


NO_ANNOTATIONS = "it has no annotations, and is left out"
SUBMIT_EMPTY = "annotate it, or submit it without regions if it shows no cell"


def _regions(reading: Reading, name: str, result: list[Any]) -> dict[str, Region]:
    """The regions of a result by their places; entries that are no shapes and no labels are left out."""
    regions: dict[Any, Region] = {}
    places: dict[Any, str] = {}
    for number, entry in enumerate(result, start=1):
        with reading.at(name, f"region {number}"):
            kind, labels = _kind_and_labels(entry)
            if not kind and not labels:
                continue
            own_id = entry.get("id")
            key = own_id if isinstance(own_id, str) else number
            region = regions.setdefault(key, Region())
            places.setdefault(key, f"region {number}")
            region.labels += labels
            if kind and not region.kind:
                region.kind, region.entry = kind, entry
            elif kind and entry["type"] != "labels":
                raise Fault(f"its id {checks.brief(own_id)} is given twice", "export it again")
    return {places[key]: region for key, region in regions.items()}


def _kind_and_labels(entry: Any) -> tuple[str, list[Any]]:
    """The kind of a shape, "" of an entry that has none, and the labels. Faults: not as Label Studio writes it."""
    type_name = checks.need(entry, "type", str)
    kind = type_name.removesuffix("labels")
    if kind not in (*SHAPES, *NOT_READ, ""):
        return "", []  # such as "choices", "textarea" and "relation"
    value = checks.need(entry, "value", dict)
    if type_name == "labels":  # with the coordinates of the shape beside it, or without
        kind = next((kind for key, kind in OF_SHAPE.items() if key in value), "")
    labels = value.get(type_name, []) if type_name.endswith("labels") else []
    if not isinstance(labels, list):
        raise Fault(f'"{type_name}" is {checks.brief(labels)}', "it must be a list")
    return kind, labels


def _declared_size(entry: dict[str, Any]) -> Size | None:
    if entry.get("original_width") is None and entry.get("original_height") is None:
        return None
    return checks.need(entry, "original_height", int), checks.need(entry, "original_width", int)


def _cell(reading: Reading, name: str, place: str, region: Region, size: Size | None) -> Cell | Point | None:
    at = partial(reading.at, name, place)
    label, shape = None, None
    with at():
        label = reading.label(_label(region.labels))
        if label == 0:
            return None
    with at():
        shape = _shape(region, size)
    if label is None or shape is None or size is None:
        return None
    if "point" in shape:
        (x, y), found = shape["point"], None
        with at():
            found = parts.point(label, x, y, size)
        return found
    return Cell(label, **shape)


def _label(labels: Sequence[Any]) -> str:
    if len(labels) != 1 or not isinstance(labels[0], str) or not labels[0].strip():
        found = "has no label" if not labels else f"has the labels {checks.brief(labels)}"
        raise Fault(f"the region {found}", "give it one label")
    return labels[0]


def _shape(region: Region, size: Size | None) -> dict[str, Any] | None:
    """What a Cell takes, or {"point": (x, y)}; None of a brush without its image."""
    if region.entry.get("image_rotation"):
        found = f"the image was turned by {checks.brief(region.entry['image_rotation'])} degrees when it was annotated"
        raise Fault(found, "turn it back in Label Studio, and draw the region again")
    if region.kind not in SHAPES:
        found = f"it is a {region.kind}, which is not read" if region.kind else "the region has a label, and no shape"
        raise Fault(found, "draw a polygon, ellipse, rectangle or brush mask")
    value = region.entry["value"]
    height, width = size or (100, 100)
    if region.kind == "brush":
        return _brush(value, size)
    if region.kind == "polygon":
        if value.get("closed") is False:
            raise Fault("the polygon is not closed", "close it, or delete it")
        points = checks.need(value, "points", list)
        for point in points:
            if not isinstance(point, list) or len(point) != 2:
                raise Fault(f"found {checks.brief(point)} where a point [x, y] belongs", REDRAW)
        drawn = checks.polygon_points([x for x, _ in points], [y for _, y in points]) * (width / 100, height / 100)
        return parts.joined([drawn], [], size)
    x, y = _percent(value, "x", width), _percent(value, "y", height)
    if region.kind == "keypoint":
        return {"point": (x, y)}
    rotation = checks.numbers([value.get("rotation") or 0])[0]
    if region.kind == "ellipse":
        rx, ry = _percent(value, "radiusX", width), _percent(value, "radiusY", height)
        return parts.joined([shapes.cut(shapes.ellipse(x, y, rx, ry, math.radians(rotation)), size)], [], size)
    corners = parts.rectangle(x, y, _percent(value, "width", width), _percent(value, "height", height))
    if rotation:
        return {"box": parts.box_around(parts.turned(corners, rotation, x, y), size)}
    (x1, y1), (x2, y2) = corners[0].tolist(), corners[2].tolist()
    return {"box": checks.box(x1, y1, x2, y2, size)}


def _percent(value: dict[str, Any], key: str, side: int) -> float:
    return checks.numbers([checks.need(value, key, (int, float))])[0] * side / 100


def _brush(value: dict[str, Any], size: Size | None) -> dict[str, Any] | None:
    if value.get("format") != "rle":
        raise Fault(f'the mask\'s "format" is {checks.brief(value.get("format"))}', 'it must be "rle"')
    rle = checks.need(value, "rle", list)
    if size is None:
        return None
    mask = brush.decode(rle, *size)
    if not mask.any():
        raise Fault("the mask is empty", "delete the region")
    return parts.joined([], [mask], size)


def _recognises(place: Place) -> bool:
    """Whether it is a list of tasks, or of the records of JSON-MIN."""
    listed = [place.json] if isinstance(place.json, dict) and "data" in place.json else place.json
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed[:LOOKED_AT]):
        return False
    return any(_is_task(one) for one in listed[:LOOKED_AT])


def _is_task(record: dict[str, Any]) -> bool:
    values = [value for listed in record.values() if isinstance(listed, list) for value in listed]
    minimal = any(isinstance(value, dict) and _type(value) for value in values)
    return isinstance(record.get("data"), dict) or minimal


FORMAT = Format(
    name="label_studio",
    tools="Label Studio",
    content="JSON and JSON-MIN; polygon, brush, ellipse; `rectangle` as a box; key points, counted only",
    recognises=_recognises,
    fields=fields,
)
