"""Reader of LabelMe files, one JSON for each image (https://github.com/wkentaro/labelme, labelme/_label_file.py).

A file holds "imagePath", "imageHeight", "imageWidth" and "shapes": {"label", "points": [[x, y], ...], "group_id",
"shape_type", "mask"}. Shapes of one label and one `group_id` are parts of one cell, as in LabelMe's own conversions.
"""

import base64
import math
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from pycocotools import mask as coco_mask

from wbcjax.smear.field import Cell, SmearField, text_rle
from wbcjax.smear.formats import checks, folders, mask_files, shapes
from wbcjax.smear.formats.checks import Fault, Reading, Tell
from wbcjax.smear.formats.format import Format, Place
from wbcjax.smear.formats.load import load_json
from wbcjax.smear.formats.points import listed_points
from wbcjax.smear.image_header import MAX_PIXELS, check_pixels

REDRAW = "redraw or delete the shape"
SAVE_EMPTY = "annotate it, or save it in LabelMe without shapes if it shows no cell"


def fields(reading: Reading) -> list[SmearField]:
    """The fields of a LabelMe file, or of a folder of them by name; those without shapes too.

    A rectangle is a cell of which only the box is known. Images of the folder without a file are noted as suspect.
    """
    names_of = folders.images_by_stem(reading.images)
    files = folders.annotation_files(reading.annotations, {".json"})
    found, annotated = [], set()
    for file in files:
        with reading.at(file.name):
            data = load_json(file)
            named = checks.need(data, "imagePath", str)
            name = _image(reading, file, named, bool(data.get("imageData")))
            annotated.add(name)
            found.append(_field(reading, name, data, file.name))
    folders.suspect_images_without(reading, names_of, annotated, {file.stem for file in files}, SAVE_EMPTY)
    return [field for field in found if field is not None]


def _image(reading: Reading, file: Path, named: str, inside: bool) -> str:
    """The image of a file, as `image_of_file`; where it is not there and is `inside` the file, the fault says so."""
    try:
        return folders.image_of_file(reading, file, named)
    except Fault as fault:
        if not inside or " not in " not in fault.found:
            raise
        remedy = f"its picture is inside it (imageData): save that as {PureWindowsPath(named).name} in the image folder"
        raise Fault(fault.found, f"{remedy} (LabelMe's labelme_export_json does)") from fault


def _field(reading: Reading, name: str, data: dict[str, Any], file_name: str) -> SmearField | None:
    listed = checks.need(data, "shapes", list)
    path, size = None, None
    with reading.at(name):
        path, decoded = reading.image(name, file_name)
        folders.check_declared(reading, name, (data.get("imageHeight"), data.get("imageWidth")), decoded, path)
        size = decoded
    cells = [_cell(reading, name, parts, size) for parts in _parts(reading, name, listed)]
    if path is None or size is None:
        return None
    found = tuple(cell for cell in cells if cell is not None)
    return SmearField(name, *size, found, path, max_pixels=reading.max_pixels)


def _parts(reading: Reading, name: str, listed: list[Any]) -> list[dict[str, Any]]:
    """The shapes of each cell, by their places."""
    parts_of: dict[Any, dict[str, Any]] = {}
    for number, shape in enumerate(listed, start=1):
        place = f"shape {number}"
        with reading.at(name, place):
            class_name = checks.need(shape, "label", str)
            if not class_name.strip():
                raise Fault("its label is empty", "give it one")
            group_id = shape.get("group_id")
            if not isinstance(group_id, int | str | None):
                raise Fault(f'"group_id" is {checks.brief(group_id)}', "make it a whole number, or null for no group")
            key = place if group_id is None else (class_name, group_id)
            parts_of.setdefault(key, {})[place] = shape
    return list(parts_of.values())


def _cell(reading: Reading, name: str, parts: dict[str, Any], size: tuple[int, int] | None) -> Cell | None:
    place = " + ".join(parts)
    at = partial(reading.at, name, place)
    label, outline = None, None
    with at():
        label = reading.label(next(iter(parts.values()))["label"])
        if label == 0:
            return None
    with at():
        outline = _outline(list(parts.values()), size, partial(reading.often, name, place))
    if label is None or outline is None or size is None:
        return None
    return Cell(label, **outline)


def _outline(parts: list[dict[str, Any]], size: tuple[int, int] | None, tell: Tell) -> dict[str, Any]:
    """What a Cell takes: {"polygons": ...}, {"box": ...} for a rectangle, or {"rle": ...} where a part is a mask."""
    kinds = [_kind(part) for part in parts]
    if kinds == ["rectangle"]:
        return {"box": checks.box(*_corners(_points(parts[0])), size)}
    if "rectangle" in kinds:
        raise Fault("one of several shapes of a group is a rectangle", "outline it, or take it out of the group")
    drawn = [_drawn(part, kind, size) for part, kind in zip(parts, kinds, strict=True) if kind != "mask"]
    polygons = checks.outline(drawn, size, tell) if drawn else ()
    masks = [_mask_rle(part, size) for part, kind in zip(parts, kinds, strict=True) if kind == "mask"]
    if size is None or not masks:
        return {"polygons": polygons}
    rles: Any = [*masks, *([Cell(1, polygons).to_rle(*size)] if polygons else [])]
    return {"rle": text_rle(coco_mask.merge(rles))}


def _kind(shape: dict[str, Any]) -> str:
    kind = shape.get("shape_type") or "polygon"  # LabelMe before 3.0 knew polygons only
    if kind not in ("polygon", "rectangle", "circle", "mask"):
        remedy = "draw a polygon, rectangle, circle or mask, or delete the shape"
        raise Fault(f"its shape_type is {checks.brief(kind)}, which encloses nothing", remedy)
    return kind


def _drawn(shape: dict[str, Any], kind: str, size: tuple[int, int] | None) -> Float[np.ndarray, "_ 2"]:
    """The points of a polygon, or of a circle given by its centre and a point of its rim."""
    if kind == "polygon":
        return _points(shape)
    (cx, cy), (x, y) = _two(_points(shape)).tolist()
    return shapes.cut(shapes.circle(cx, cy, math.hypot(x - cx, y - cy)), size)


def _points(shape: dict[str, Any]) -> Float[np.ndarray, "n 2"]:
    return listed_points(checks.need(shape, "points", list), REDRAW)


def _two(points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "2 2"]:
    if len(points) != 2 or not np.isfinite(points).all():
        raise Fault(f"it has the points {checks.brief(points.tolist())}, and two are needed", REDRAW)
    return points


def _corners(points: Float[np.ndarray, "n 2"]) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 from two opposite corners in any order, or from all four (as X-AnyLabeling writes them)."""
    corners = _two(np.unique(points, axis=0)[[0, -1]]) if len(points) == 4 else _two(points)
    (x1, y1), (x2, y2) = corners.min(axis=0), corners.max(axis=0)
    if len(points) == 4 and {(x, y) for x, y in points} != {(x, y) for x in (x1, x2) for y in (y1, y2)}:
        raise Fault(f"the four points {checks.brief(points.tolist())} are no upright rectangle", REDRAW)
    return float(x1), float(y1), float(x2), float(y2)


def _mask_rle(shape: dict[str, Any], size: tuple[int, int] | None) -> dict[str, Any] | None:
    """A mask's RLE on the image, None without one. Its first pixel lies at the first point, its last at the second.

    Points that are fractions are rounded, and the mask keeps its own extent, as when LabelMe draws it.
    Faults: not decoded, empty, not of its box's size by more than a pixel, or outside the image by more than that.
    """
    # As many pixels as the image has, and a rim: no mask of it needs more.
    most = MAX_PIXELS if size is None else (size[0] + 2) * (size[1] + 2)
    mask = _decoded(checks.need(shape, "mask", str), most)  # (h, w)
    (left, top), (right, bottom) = _two(_points(shape)).round().tolist()  # whole, as floats, which have no bounds
    if abs(right - left + 1 - mask.shape[1]) > 1 or abs(bottom - top + 1 - mask.shape[0]) > 1:
        box = f"{right - left + 1:g} x {bottom - top + 1:g}"
        raise Fault(f"the mask has {mask.shape[1]} x {mask.shape[0]} pixels, its box {box}", REDRAW)
    if size is None:
        return None
    # The part on the image, or within a rim of one pixel around it: BORDER_TOLERANCE.
    (rows, y), (columns, x) = _overlap(top, mask.shape[0], size[0]), _overlap(left, mask.shape[1], size[1])
    part = mask[rows, columns]
    pixels = int(mask.sum())
    if outside := pixels - int(part.sum()):
        found = f"{outside} of {pixels} pixels of the mask lie outside the {size[1]} x {size[0]} image"
        raise Fault(found, "redraw it, or check that it was drawn on this image at this size")
    whole = np.zeros((size[0] + 2, size[1] + 2), np.uint8)
    whole[y, x] = part
    whole[1] |= whole[0]  # the rim is moved to the border
    whole[-2] |= whole[-1]
    whole[:, 1] |= whole[:, 0]
    whole[:, -2] |= whole[:, -1]
    return mask_files.rle_of(whole[1:-1, 1:-1])


def _overlap(start: float, length: int, side: int) -> tuple[slice, slice]:
    """Where a line of pixels from `start` on meets one from -1 to `side`: its places, and those on the latter."""
    first, last = (int(min(max(end - start, 0), length)) for end in (-1, side + 1))
    if first >= last:
        return slice(0, 0), slice(0, 0)
    return slice(first, last), slice(int(start) + first + 1, int(start) + last + 1)


def _decoded(text: str, max_pixels: int) -> UInt8[np.ndarray, "h w"]:
    """A mask's pixels as 0 or 1 from its PNG in base64. Faults: it is none, too large, or empty."""
    try:
        data = base64.b64decode(text, validate=True)
        check_pixels(data, '"mask"', max_pixels)
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    except (ValueError, cv2.error):  # no base64, no image, or a huge one
        image = None
    if image is None:
        raise Fault('"mask" is no PNG in base64, or larger than its image', REDRAW)
    if not image.any():
        raise Fault("the mask is empty", "delete the shape")
    return (image > 0).astype(np.uint8)


def _recognises(place: Place) -> bool:
    """Whether a JSON file has shapes, or one of a folder; a broken one may be any, and the reader reports it."""
    found = place.jsons if place.is_folder else [place.json or {}]
    return any(data is None or (isinstance(data, dict) and "shapes" in data) for data in found)


FORMAT = Format(
    name="labelme",
    tools="LabelMe",
    content="a folder of JSON files; polygon, circle, mask; `rectangle` as a box; `group_id` joins parts",
    recognises=_recognises,
    fields=fields,
)
