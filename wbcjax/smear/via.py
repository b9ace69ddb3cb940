"""Reader of VGG Image Annotator (VIA) 2.x annotations: the JSON export and the project file.

Format: https://www.robots.ox.ac.uk/~vgg/software/via/ (Dutta and Zisserman, ACM Multimedia 2019). An export maps
"<file name><bytes>" to {"filename", "size", "regions": [{"shape_attributes", "region_attributes"}], "file_attributes"};
a project file holds the same under "_via_img_metadata".
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from wbcjax.smear import checks
from wbcjax.smear.checks import Fault, Reading
from wbcjax.smear.field import Cell, SmearField


def read(
    annotations: Path,
    images: Path,
    class_attribute: str,
    class_of: Mapping[str, int],
    group_attribute: str | None = None,
) -> list[SmearField]:
    """The fields of a VIA file in its order, those without regions too; outlines in pixels of the upright image.

    A region's class is `class_of` its region attribute `class_attribute`; regions of class 0 are left out, and their
    counts logged. `group_attribute` names the file attribute that holds the group (such as the patient).
    Raises AnnotationError listing every problem of the set, see `wbcjax.smear.checks`.
    """
    reading = Reading(annotations, images, class_of)
    fields = []
    with reading.at(annotations.name):
        entries = _entries(annotations)
        checks.image_folder(images)
        for key, entry in entries.items():
            with reading.at(key):
                fields.append(_field(reading, entry, class_attribute, group_attribute))
    reading.finish()
    return [field for field in fields if field is not None]


def _entries(annotations: Path) -> dict[str, Any]:
    data = checks.load_json(annotations)
    if isinstance(data, dict) and "_via_img_metadata" in data:
        data = data["_via_img_metadata"]
    if not isinstance(data, dict):
        raise Fault(f"found {checks.brief(data)} where VIA keeps an object of images", 'use VIA\'s "Export (as JSON)"')
    return data


def _field(reading: Reading, entry: Any, class_attribute: str, group_attribute: str | None) -> SmearField | None:
    name = checks.need(entry, "filename", str)
    regions = checks.need(entry, "regions", list)
    path, size, group = None, None, None
    with reading.at(name):
        path, size = reading.image(name)
    if group_attribute is not None:
        with reading.at(name):
            group = _text(checks.need(entry, "file_attributes", dict), group_attribute, "file attribute")
    cells = []
    for number, region in enumerate(regions, start=1):
        cell = _cell(reading, region, class_attribute, size, at=partial(reading.at, name, f"region {number}"))
        if cell is not None:
            cells.append(cell)
    if path is None or size is None:
        return None
    return SmearField(name, *size, tuple(cells), path, group=group)


def _cell(
    reading: Reading,
    region: Any,
    class_attribute: str,
    size: tuple[int, int] | None,
    at: Callable[[], AbstractContextManager[None]],
) -> Cell | None:
    label, polygons = None, None
    with at():
        attributes = checks.need(region, "region_attributes", dict)
        name = _text(attributes, class_attribute, "region attribute")
        label = checks.class_label(name, reading.class_of)
        if label == 0:
            reading.left_out[name] += 1
            return None
    with at():
        polygons = checks.outline([_points(checks.need(region, "shape_attributes", dict))], size)
    if label is None or polygons is None:
        return None
    return Cell(label, polygons)


def _points(shape: dict[str, Any]) -> Float[np.ndarray, "n 2"]:
    name = checks.need(shape, "name", str)
    if name != "polygon":
        raise Fault(f"its shape is {name!r}, and only 'polygon' is read", "outline it as a polygon")
    return checks.polygon_points(checks.need(shape, "all_points_x", list), checks.need(shape, "all_points_y", list))


def _text(attributes: dict[str, Any], name: str, kind: str) -> str:
    value = attributes.get(name, "")
    if value == "":
        others = ", ".join(map(repr, attributes)) or "none"
        raise Fault(f"the {kind} {name!r} is missing or empty (there are: {others})", "fill it in, or correct its name")
    if not isinstance(value, str):
        raise Fault(
            f"the {kind} {name!r} is {checks.brief(value)}", "make it a text, radio or dropdown attribute in VIA"
        )
    return value
