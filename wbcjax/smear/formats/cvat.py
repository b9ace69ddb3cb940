"""Reader of CVAT's XML for images, version 1.1 (https://docs.cvat.ai/docs/dataset_management/formats/format-xml/).

<annotations> holds <image name width height> with its shapes, each with a `label`: <polygon points="x,y;x,y;...">, <box
xtl ytl xbr ybr rotation>, <ellipse cx cy rx ry rotation>, <mask rle left top width height>, <points> and others.
Coordinates are pixels; a rotation is in degrees, clockwise around the centre. A mask's `rle` are the lengths of the
runs of 0 and 1 in turn, row by row within its box. Shapes of one label with one `group_id` are parts of one cell.
"""

import math
import xml.etree.ElementTree as ET
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.formats import checks, folders, parts, shapes
from wbcjax.smear.formats.checks import Fault, Reading
from wbcjax.smear.formats.format import Format, Place
from wbcjax.smear.formats.load import load_xml
from wbcjax.smear.formats.parts import Point, Size
from wbcjax.smear.image_header import MAX_PIXELS

REDRAW = "redraw or delete it"
OUTLINED = ("polygon", "polyline", "ellipse")  # a polyline that is closed


def fields(reading: Reading) -> list[SmearField]:
    """The fields of a CVAT file, or of a folder of them, in their order; those without shapes too.

    A box is a cell of which only the box is known, a turned one by the upright box around it. Points are counted only.
    Noted as suspect: turned boxes, and tags of whole images, which are not read.
    """
    checks.image_folder(reading.images)
    found = []
    for file in folders.annotation_files(reading.annotations, {".xml"}):
        with reading.at(file.name):
            for number, image in enumerate(_images(reading, file), start=1):
                with reading.at(file.name, f"image {number}", kind="field"):
                    found.append(_field(reading, image))
    return [field for field in found if field is not None]


def _images(reading: Reading, file: Path) -> list[ET.Element]:
    """The <image> of a file; its list of labels gives the order of the classes.

    Faults: as `load_xml`, another root, or the annotations of a video.
    """
    root = load_xml(file)
    if root.tag != "annotations":
        raise Fault(f"it holds <{root.tag}> where CVAT has <annotations>", 'export it as "CVAT for images 1.1"')
    if root.find("track") is not None:
        raise Fault("it is of a video: it holds <track>", 'export the task as "CVAT for images 1.1"')
    reading.class_order += [name.text or "" for name in root.iterfind("meta//labels/label/name")]
    return root.findall("image")


def _field(reading: Reading, image: ET.Element) -> SmearField | None:
    name = _text(image, "name")
    path, size = None, None
    with reading.at(name):
        path, decoded = reading.image(name)
        _check_size(reading, name, image, decoded, path)
        size = decoded
    numbered = {f"shape {number}": shape for number, shape in enumerate(image, start=1) if shape.tag != "tag"}
    cells = [_cell(reading, name, of_cell, size) for of_cell in _grouped(reading, name, numbered)]
    points: list[Point] = []
    for place, shape in numbered.items():
        if shape.tag == "points":
            with reading.at(name, place):
                points += _points_only(reading, shape, size)
    _suspect(reading, name, image)
    if path is None or size is None:
        return None
    outlined = tuple(cell for cell in cells if cell is not None)
    return SmearField(name, *size, outlined, path, max_pixels=reading.max_pixels, **parts.of_field(points))


def _check_size(reading: Reading, name: str, image: ET.Element, size: Size, path: Path) -> None:
    if image.get("width") is None and image.get("height") is None:
        found = "the annotations do not say for which image size they are"
        reading.suspect(name, "", found, "look whether the outlines fit the cells")
    else:
        folders.check_size("the annotations say", (_whole(image, "height"), _whole(image, "width")), size, path)


def _suspect(reading: Reading, name: str, image: ET.Element) -> None:
    tags = [tag.get("label", "") for tag in image.findall("tag")]
    if tags:
        found = f"the tags of the whole image are not read: {checks.brief(tags)}"
        reading.suspect(name, "", found, "outline the cells, and give each its label")
    rotated = sum(box.get("rotation", "0").strip("0.") != "" for box in image.findall("box"))
    if rotated:
        found = f"{rotated} boxes are turned: the upright boxes around them are read"
        reading.suspect(name, "", found, "outline the cells for a closer fit")


def _grouped(reading: Reading, name: str, numbered: dict[str, ET.Element]) -> list[dict[str, ET.Element]]:
    """The shapes of each cell, by their places."""
    shapes_of: dict[Any, dict[str, ET.Element]] = {}
    for place, shape in numbered.items():
        if shape.tag == "points":
            continue
        with reading.at(name, place):
            label, group = _text(shape, "label"), shape.get("group_id", "0").strip()
            shapes_of.setdefault(place if group in ("", "0") else (label, group), {})[place] = shape
    return list(shapes_of.values())


def _cell(reading: Reading, name: str, of_cell: dict[str, ET.Element], size: Size | None) -> Cell | None:
    at = partial(reading.at, name, " + ".join(of_cell))
    label, outline = None, None
    with at():
        label = reading.label(_text(next(iter(of_cell.values())), "label"))
        if label == 0:
            return None
    with at():
        outline = _outline(list(of_cell.values()), size)
    if label is None or outline is None or size is None:
        return None
    return Cell(label, **outline)


def _outline(of_cell: list[ET.Element], size: Size | None) -> dict[str, Any]:
    """What a Cell takes: {"polygons": ...}, {"box": ...}, or {"rle": ...} where a part is a mask."""
    if [shape.tag for shape in of_cell] == ["box"]:
        return {"box": _box(of_cell[0], size)}
    for shape in of_cell:
        if shape.tag == "box":
            raise Fault("one of several shapes of a group is a box", "outline it, or take it out of the group")
        if shape.tag not in (*OUTLINED, "mask"):
            remedy = "draw a polygon, ellipse, box or mask, or delete it"
            raise Fault(f"it is a <{checks.brief(shape.tag)[1:-1]}>, which encloses nothing", remedy)
    drawn = [_drawn(shape, size) for shape in of_cell if shape.tag in OUTLINED]
    masks = [_mask(shape, size) for shape in of_cell if shape.tag == "mask"]
    return parts.joined(drawn, [mask for mask in masks if mask is not None], size)


def _drawn(shape: ET.Element, size: Size | None) -> Float[np.ndarray, "_ 2"]:
    if shape.tag == "ellipse":
        cx, cy, rx, ry = (_number(shape, key) for key in ("cx", "cy", "rx", "ry"))
        return shapes.cut(shapes.ellipse(cx, cy, rx, ry, math.radians(_rotation(shape))), size)
    points = _points(shape)
    if shape.tag == "polyline" and not (points[0] == points[-1]).all():
        raise Fault("it is a polyline with open ends, which encloses nothing", "draw a polygon, or delete it")
    return points


def _box(shape: ET.Element, size: Size | None) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (_number(shape, key) for key in ("xtl", "ytl", "xbr", "ybr"))
    rotation = _rotation(shape)
    if not rotation:
        return checks.box(x1, y1, x2, y2, size)
    corners = parts.rectangle(x1, y1, x2 - x1, y2 - y1)
    return parts.box_around(parts.turned(corners, rotation, (x1 + x2) / 2, (y1 + y2) / 2), size)


def _points_only(reading: Reading, shape: ET.Element, size: Size | None) -> list[Point]:
    name = _text(shape, "label")
    found = []
    for x, y in _points(shape).tolist():
        label = reading.label(name)
        if label:
            found.append(parts.point(label, x, y, size))
    return found


def _mask(shape: ET.Element, size: Size | None) -> Bool[np.ndarray, "h w"] | None:
    """A mask on the whole image, None without one. Faults: outside the image, empty, or runs that do not fill its box.

    Lengths are summed before anything is made of them: their number and values come from a file.
    """
    left, top, width, height = (_whole(shape, key) for key in ("left", "top", "width", "height"))
    if min(left, top) < 0 or min(width, height) < 1 or width * height > MAX_PIXELS:
        raise Fault(f"the mask's box of {width} x {height} pixels at ({left}, {top}) is none", REDRAW)
    if size is not None and (left + width > size[1] or top + height > size[0]):
        found = f"the mask's box, {width} x {height} pixels at ({left}, {top}), reaches out of the image"
        raise Fault(found, f"{REDRAW}, or check that it was drawn on this image at this size")
    try:
        runs = [int(run) for run in _text(shape, "rle").split(",")]
    except ValueError as error:
        raise Fault("the mask's rle holds something else than whole numbers", REDRAW) from error
    if min(runs) < 0 or sum(runs) != width * height:
        raise Fault(f"the mask's runs do not add up to its {width} x {height} pixels", REDRAW)
    if not sum(runs[1::2]):
        raise Fault("the mask is empty", "delete it")
    if size is None:
        return None
    whole = np.zeros(size, bool)
    values = list(islice(cycle((False, True)), len(runs)))
    whole[top : top + height, left : left + width] = np.repeat(values, runs).reshape(height, width)
    return whole


def _points(shape: ET.Element) -> Float[np.ndarray, "n 2"]:
    pairs = [pair.split(",") for pair in _text(shape, "points").split(";")]
    if any(len(pair) != 2 for pair in pairs):
        raise Fault('its points are not of the form "x,y;x,y"', REDRAW)
    return checks.polygon_points([_float("points", x) for x, _ in pairs], [_float("points", y) for _, y in pairs])


def _rotation(shape: ET.Element) -> float:
    """Degrees; 0 where none is given."""
    return _number(shape, "rotation") if shape.get("rotation") else 0.0


def _text(element: ET.Element, key: str) -> str:
    text = element.get(key, "")
    if not text.strip():
        raise Fault(f"the {key} of <{checks.brief(element.tag)[1:-1]}> is missing or empty", "fill it in")
    return text


def _number(element: ET.Element, key: str) -> float:
    return _float(key, _text(element, key))


def _float(key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Fault(f"its {key} is {checks.brief(text)}", "make it a number")
    return value


def _whole(element: ET.Element, key: str) -> int:
    value = _number(element, key)
    if value != int(value):
        raise Fault(f"its {key} is {value:g}", "make it a whole number")
    return int(value)


def _recognises(place: Place) -> bool:
    return place.xml_root == "annotations"


FORMAT = Format(
    name="cvat",
    tools="CVAT for images 1.1",
    content="XML; polygon, ellipse, mask; `box` as a box; points, counted only; `group_id` joins parts",
    recognises=_recognises,
    fields=fields,
)
