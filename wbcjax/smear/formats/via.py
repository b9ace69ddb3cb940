"""Reader of VGG Image Annotator (VIA) files of versions 1, 2 and 3, annotation exports and whole projects.

Format: https://www.robots.ox.ac.uk/~vgg/software/via/ (Dutta and Zisserman, ACM Multimedia 2019).

    1.x  JSON export: {"<file name><bytes>": {"filename", "size", "regions", "file_attributes"}}, where regions are
         {"0": {"shape_attributes", "region_attributes"}, ...}. An image embedded in it as base64 is not read.
    2.x  JSON export: the same with a list of regions; a project file holds it under "_via_img_metadata".
    3.x  project file: see `via3`. CSV exports of all versions: see `via_csv`. Both are turned into the form of 1.x.

Two region attributes have a meaning here: regions of a field with the same "cell_id" are one cell in several parts,
and "iscrowd" = "1" marks a region of uncounted cells (as in COCO). A `rect` is a cell of which only the box is known.
The class is an attribute's text, or the id of the one option chosen; of 3.x, whose ids are numbers, the option's name.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.formats import checks, shapes, via3, via_csv
from wbcjax.smear.formats.checks import Fault, Reading
from wbcjax.smear.formats.load import load_json

CELL_ID, CROWD = "cell_id", "iscrowd"  # region attributes


def fields(reading: Reading) -> list[SmearField]:
    """The fields of a VIA file in its order, those without regions too; outlines in pixels of the upright image."""
    entries = _entries(reading)
    checks.image_folder(reading.images)
    found = []
    for key, entry in entries.items():
        with reading.at(key):
            found.append(_field(reading, entry))
    return [field for field in found if field is not None]


def _entries(reading: Reading) -> dict[str, Any]:
    """One entry for each image, as VIA 1.x keeps it."""
    if via_csv.is_csv(reading.annotations):
        return via_csv.entries(reading)
    data = load_json(reading.annotations)
    if via3.is_project(data):
        return via3.entries(reading, data)
    if isinstance(data, dict) and "_via_img_metadata" in data:
        data = data["_via_img_metadata"]
    if not isinstance(data, dict):
        raise Fault(f"found {checks.brief(data)} where VIA keeps an object of images", 'use VIA\'s "Export (as JSON)"')
    return data


def _field(reading: Reading, entry: Any) -> SmearField | None:
    name = checks.need(entry, "filename", str)
    regions = checks.need(entry, "regions", (list, dict))
    path, size, group = None, None, None
    with reading.at(name):
        path, size = reading.image(name)
        _compare_bytes(reading, name, entry.get("size"), path)
    if reading.group_attribute is not None:
        with reading.at(name):
            group = _text(checks.need(entry, "file_attributes", dict), reading.group_attribute, "file attribute")
    pairs = regions.items() if isinstance(regions, dict) else enumerate(regions, start=1)
    cells = _cells(reading, name, {f"region {key}": region for key, region in pairs}, size)
    if path is None or size is None or (reading.group_attribute is not None and group is None):
        return None
    return SmearField(name, *size, tuple(cells), path, group=group, max_pixels=reading.max_pixels)


def _compare_bytes(reading: Reading, name: str, annotated: Any, path: Path) -> None:
    found = path.stat().st_size
    if isinstance(annotated, int) and annotated > 0 and annotated != found:  # -1: VIA did not know
        what = f"the image file has other bytes than the annotated one ({found}, not {annotated})"
        reading.suspect(name, "", what, "check that it is the same picture at the same size")


def _cells(reading: Reading, name: str, regions: dict[str, Any], size: tuple[int, int] | None) -> list[Cell]:
    regions_of: dict[tuple[str, str], dict[str, Any]] = {}  # of each cell, by their places
    for place, region in regions.items():
        with reading.at(name, place):
            cell_id = _value(checks.need(region, "region_attributes", dict), CELL_ID, "region attribute")
            key = ("place", place) if cell_id == "" else ("cell_id", str(cell_id))
            regions_of.setdefault(key, {})[place] = region
    cells = [_cell(reading, name, parts, size) for parts in regions_of.values()]
    return [cell for cell in cells if cell is not None]


def _cell(reading: Reading, name: str, parts: dict[str, Any], size: tuple[int, int] | None) -> Cell | None:
    at = partial(reading.at, name, " + ".join(parts))
    attributes = [region["region_attributes"] for region in parts.values()]
    label, crowd, outline = None, None, None
    with at():
        label = reading.label(_class_name(attributes, reading.class_attribute))
        if label == 0:
            return None
    with at():
        crowd = True in [_crowd(part) for part in attributes]
    with at():
        outline = _outline([checks.need(region, "shape_attributes", dict) for region in parts.values()], size)
    if label is None or crowd is None or outline is None:
        return None
    return Cell(label, **outline, crowd=crowd)


def _class_name(attributes: list[dict[str, Any]], class_attribute: str) -> str:
    name, *others = dict.fromkeys(_text(part, class_attribute, "region attribute") for part in attributes)
    if others:
        raise Fault(
            f"the regions of one {CELL_ID} are of several classes ({', '.join(map(repr, [name, *others]))})",
            f"give them one class, or each cell its own {CELL_ID}",
        )
    return name


def _crowd(attributes: dict[str, Any]) -> bool:
    value = _value(attributes, CROWD, "region attribute")
    if value not in ("", "0", "1", 0, 1):
        raise Fault(f"the region attribute {CROWD!r} is {checks.brief(value)}", "make it 1, or 0 or empty")
    return value in ("1", 1)


def _outline(parts: list[dict[str, Any]], size: tuple[int, int] | None) -> dict[str, Any]:
    """What a Cell takes: {"polygons": ...}, or {"box": ...} for a rectangle."""
    if len(parts) == 1 and parts[0].get("name") == "rect":
        x, y, width, height = _measures(parts[0], "x", "y", "width", "height")
        left, right, top, bottom = *sorted((x, x + width)), *sorted((y, y + height))
        return {"box": checks.box(left, top, right, bottom, size)}
    return {"polygons": checks.outline([_points(part, size) for part in parts], size)}


def _points(shape: dict[str, Any], size: tuple[int, int] | None) -> Float[np.ndarray, "_ 2"]:
    match checks.need(shape, "name", str):
        case "polygon" | "polyline":
            xs, ys = checks.need(shape, "all_points_x", list), checks.need(shape, "all_points_y", list)
            return checks.polygon_points(xs, ys)
        case "circle":
            return shapes.cut(shapes.circle(*_measures(shape, "cx", "cy", "r")), size)
        case "ellipse":
            turned = {"theta": 0.0, **shape}  # 1.x has none; radians
            return shapes.cut(shapes.ellipse(*_measures(turned, "cx", "cy", "rx", "ry", "theta")), size)
        case "rect":
            raise Fault(f"one of several regions of a {CELL_ID} is a rectangle", "outline each as a polygon")
        case name:
            raise Fault(f"its shape is {name!r}, which encloses nothing", "outline it as a polygon or delete it")


def _measures(shape: dict[str, Any], *keys: str) -> list[float]:
    return checks.numbers([checks.need(shape, key, object) for key in keys])


def _text(attributes: dict[str, Any], name: str, kind: str) -> str:
    chosen = {name: _value(attributes, name, kind)} if name in attributes else {}
    return checks.text({**attributes, **chosen}, name, kind)


def _value(attributes: dict[str, Any], name: str, kind: str) -> Any:
    """An attribute's value, "" when there is none; of a checkbox the option ticked. Fault: several are ticked."""
    value = attributes.get(name, "")
    if not isinstance(value, dict):
        return value
    ticked = [option for option, on in value.items() if on]
    if len(ticked) > 1:
        raise Fault(f"the {kind} {name!r} has {len(ticked)} options ticked: {checks.brief(ticked)}", "tick only one")
    return ticked[0] if ticked else ""
