"""VGG Image Annotator (VIA) files: versions 1, 2 and 3 are read, exports and whole projects; projects of 2 are written.

Format: https://www.robots.ox.ac.uk/~vgg/software/via/ (Dutta and Zisserman, ACM Multimedia 2019).

    1.x  JSON export: {"<file name><bytes>": {"filename", "size", "regions", "file_attributes"}}, where regions are
         {"0": {"shape_attributes", "region_attributes"}, ...}. An image embedded in it as base64 is not read.
    2.x  JSON export: the same with a list of regions; a project file holds it under "_via_img_metadata".
    3.x  project file: see `via3`. CSV exports of all versions: see `via_csv`. Both are turned into the form of 1.x.

What is written is what VIA 2.0.10 and later save and load as a project, "via project" in via.js of
https://gitlab.com/vgg/via: to look at cells in VIA, correct them there and train on them again.

Two region attributes have a meaning here: regions of a field with the same "cell_id" are one cell in several parts,
and "iscrowd" = "1" marks a region of uncounted cells (as in COCO). A `rect` is a cell of which only the box is known.
The class is an attribute's text, or the id of the one option chosen; of 3.x, whose ids are numbers, the option's name.
"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.formats import checks, shapes, via3, via_csv
from wbcjax.smear.formats.checks import GROUPS, SCORES, Fault, Reading, Tell
from wbcjax.smear.formats.format import Format, Place
from wbcjax.smear.formats.load import load_json
from wbcjax.smear.formats.outline import TOLERANCE, outline_mask
from wbcjax.smear.formats.write_checks import RUNNER_UP, RUNNER_UP_SCORE, SCORE, Predicted, ScoredCell, check_fields
from wbcjax.system.files import write_atomically

CELL_ID, CROWD = "cell_id", "iscrowd"  # region attributes
GROUP = "group"  # file attribute
UNKNOWN_SIZE = -1  # VIA's own sign for it


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
        reading.class_order += _options(data, reading.class_attribute)
        data = data["_via_img_metadata"]
    if not isinstance(data, dict):
        raise Fault(f"found {checks.brief(data)} where VIA keeps an object of images", 'use VIA\'s "Export (as JSON)"')
    return data


def _options(project: dict[str, Any], class_attribute: str) -> list[str]:
    """The classes in the order of the class attribute's drop-down list; [] where it has none."""
    found: Any = project
    for key in ("_via_attributes", "region", class_attribute, "options"):
        found = found.get(key) if isinstance(found, dict) else None
    return list(found) if isinstance(found, dict) else []


def _field(reading: Reading, entry: Any) -> SmearField | None:
    name = checks.need(entry, "filename", str)
    regions = checks.need(entry, "regions", (list, dict))
    path, size, group = None, None, None
    with reading.at(name):
        path, size = reading.image(name)
        _compare_bytes(reading, name, entry.get("size"), path)
    if reading.group_attribute is None:
        attributes = entry.get("file_attributes")
        reading.unkept[GROUPS] += isinstance(attributes, dict) and GROUP in attributes
    else:
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
    place = " + ".join(parts)
    at = partial(reading.at, name, place)
    attributes = [region["region_attributes"] for region in parts.values()]
    label, crowd, outline = None, None, None
    with at():
        label = reading.label(_class_name(attributes, reading.class_attribute))
        if label == 0:
            return None
    reading.unkept[SCORES] += any(SCORE in part for part in attributes)
    with at():
        crowd = True in [_crowd(part) for part in attributes]
    with at():
        drawn = [checks.need(region, "shape_attributes", dict) for region in parts.values()]
        outline = _outline(drawn, size, partial(reading.often, name, place))
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


def _outline(parts: list[dict[str, Any]], size: tuple[int, int] | None, tell: Tell) -> dict[str, Any]:
    """What a Cell takes: {"polygons": ...}, or {"box": ...} for a rectangle."""
    if len(parts) == 1 and parts[0].get("name") == "rect":
        x, y, width, height = _measures(parts[0], "x", "y", "width", "height")
        left, right, top, bottom = *sorted((x, x + width)), *sorted((y, y + height))
        return {"box": checks.box(left, top, right, bottom, size)}
    return {"polygons": checks.outline([_points(part, size) for part in parts], size, tell)}


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


def write_via(
    path: Path,
    fields: Sequence[SmearField],
    classes: Sequence[str],
    class_attribute: str = "cell",
    predicted: Predicted | None = None,
    tolerance: float = TOLERANCE,
) -> None:
    """Write the fields and their cells as a VIA 2 project, whole or not at all.

    A cell is one region or, where it is in parts, regions that share the region attribute "cell_id". Polygons stay as
    they are. Masks are outlined to `tolerance` pixels by `outline_mask`. A cell of which only the box is known is a
    rectangle. `classes`, the names of class 1, 2, ..., are the drop-down list of the region attribute
    `class_attribute`. A crowd region has "iscrowd": "1". Scores of `predicted` are "score"; its runners-up are
    "runner_up", the class that came second, and "runner_up_score". A field's group is the file attribute "group". VIA
    shows the images that are still in their place, and asks for the others.
    Raises ValueError as `check_fields` does or when `class_attribute` cannot be one, OSError when the file cannot be
    written or an image file is gone.
    """
    scored = check_fields(fields, classes, predicted)
    _check_class_attribute(class_attribute)
    metadata = {}
    for field, cells in zip(fields, scored, strict=True):
        regions = [
            {
                "shape_attributes": shape,
                "region_attributes": {class_attribute: classes[cell.cell.label - 1]} | attributes,
            }
            for number, cell in enumerate(cells, start=1)
            for shape, attributes in _written_regions(cell, field, number, tolerance)
        ]
        size = UNKNOWN_SIZE if field.path is None else field.path.stat().st_size  # bytes
        attributes = {} if field.group is None else {GROUP: field.group}
        if f"{field.name}{size}" in metadata:
            raise ValueError(f"{field.name}: VIA takes it for another image, as their names and sizes join to the same")
        metadata[f"{field.name}{size}"] = {
            "filename": field.name,
            "size": size,
            "regions": regions,
            "file_attributes": attributes,
        }
    project = {
        "_via_settings": _settings(path.stem, _image_folder(fields), class_attribute),
        "_via_img_metadata": metadata,
        "_via_attributes": _attributes(classes, class_attribute, predicted),
        "_via_data_format_version": "2.0.10",
        "_via_image_id_list": list(metadata),
    }
    write_atomically(path, json.dumps(project).encode())


def _check_class_attribute(name: str) -> None:
    if (
        name in ("", CELL_ID, CROWD, SCORE, RUNNER_UP, RUNNER_UP_SCORE, GROUP) or "__" in name
    ):  # VIA separates parts of its own ids by "__"
        raise ValueError(f"the class attribute cannot be {name!r}, which has another meaning here; name it otherwise")


def _written_regions(
    scored: ScoredCell, field: SmearField, number: int, tolerance: float
) -> list[tuple[dict[str, Any], dict[str, str]]]:
    """The shape of each region of a cell, the `number`th of its field, and its attributes besides the class."""
    cell = scored.cell
    attributes = {CROWD: "1"} if cell.crowd else {}
    if scored.score is not None:
        attributes[SCORE] = f"{scored.score:.4f}"
    if scored.runner_up is not None:
        attributes |= {RUNNER_UP: scored.runner_up[0], RUNNER_UP_SCORE: f"{scored.runner_up[1]:.4f}"}
    if cell.box is not None:
        x1, y1, x2, y2 = cell.box
        return [({"name": "rect", "x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1}, attributes)]
    outlines = cell.polygons or outline_mask(cell.mask(field.height, field.width), tolerance)
    if len(outlines) > 1:
        attributes[CELL_ID] = str(number)
    return [
        ({"name": "polygon", "all_points_x": points[:, 0].tolist(), "all_points_y": points[:, 1].tolist()}, attributes)
        for points in outlines
    ]


def _image_folder(fields: Sequence[SmearField]) -> Path | None:
    """The folder that the names of all fields are relative to, if there is one."""
    folders = {_folder(field) for field in fields}
    return folders.pop() if len(folders) == 1 else None


def _folder(field: SmearField) -> Path | None:
    parts = PurePosixPath(field.name).parts
    if field.path is None or field.path.parts[-len(parts) :] != parts:
        return None
    return field.path.absolute().parents[len(parts) - 1]


def _settings(name: str, images: Path | None, class_attribute: str) -> dict[str, Any]:
    """The settings that differ from VIA's defaults."""
    return {
        "project": {"name": name},
        "core": {"default_filepath": "" if images is None else f"{images.as_uri()}/"},
        "ui": {"image": {"region_label": class_attribute, "region_color": class_attribute}},
    }


def _attributes(classes: Sequence[str], class_attribute: str, predicted: Predicted | None) -> dict[str, Any]:
    """The attributes that VIA shows. None has a default: a new region must not join a cell by an empty "cell_id"."""
    region = {
        class_attribute: {
            "type": "dropdown",
            "description": "class of the cell",
            "options": dict.fromkeys(classes, ""),  # name -> description
            "default_options": {},
        },
        CELL_ID: {"type": "text", "description": "regions of one image with the same text here are parts of one cell"},
        CROWD: {"type": "text", "description": "1 for a region of cells that were not counted"},
    }
    if predicted:
        region[SCORE] = {"type": "text", "description": "the model's, from 0 to 1"}
    if predicted and predicted.runners_up is not None:
        region[RUNNER_UP] = {"type": "text", "description": "the class that came second, where the model found two"}
        region[RUNNER_UP_SCORE] = {"type": "text", "description": "its score"}
    return {"region": region, "file": {GROUP: {"type": "text", "description": "such as the patient"}}}


def _write(
    out: Path, fields: Sequence[SmearField], classes: Sequence[str], predicted: Predicted | None = None
) -> list[str]:
    write_via(out, fields, classes, predicted=predicted)
    masks = [cell.mask(field.height, field.width) for field in fields for cell in field.cells if cell.rle is not None]
    holed = sum(len(cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0]) > _parts(mask) for mask in masks)
    told = [f"{len(masks)} mask(s) were outlined to within {TOLERANCE:g} pixels"] if masks else []
    if holed:
        told.append(f"the holes of {holed} cell(s) were cut open into regions of one {CELL_ID}, or filled where small")
    return told


def _parts(mask: UInt8[np.ndarray, "h w"]) -> int:
    """The number of connected parts of a mask, as OpenCV outlines them."""
    return cv2.connectedComponents(mask, connectivity=8)[0] - 1


def _recognises(place: Place) -> bool:
    """Whether it is a CSV, a project, or an object of images: those of VIA 1 and 2 have no key of their own."""
    if place.path.suffix.lower() == ".csv" and not place.is_folder:  # another table has no JSON in it
        return place.start[:1] in (b"", b"#") or b"region" in place.start or b"{" in place.start
    data = place.json
    if not isinstance(data, dict):
        return False
    images = [value for value in data.values() if isinstance(value, dict) and {"filename", "regions"} & value.keys()]
    return not data or via3.is_project(data) or "_via_img_metadata" in data or bool(images)


FORMAT = Format(
    name="via",
    tools="[VIA](https://www.robots.ox.ac.uk/~vgg/software/via/) 1, 2, 3",
    content="JSON and CSV exports, projects; polygon, polyline, circle, ellipse; `rect` as a box; regions with one "
    "`cell_id` are one cell",
    recognises=_recognises,
    fields=fields,
    write=_write,
    suffix=".json",
)
