"""Writer of VGG Image Annotator (VIA) 2 projects: to look at cells in VIA, correct them there and train on them again.

Format: what VIA 2.0.10 and later save and load as a project, "via project" in via.js of https://gitlab.com/vgg/via.
"""

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from wbcjax.smear.field import SmearField
from wbcjax.smear.formats.outline import TOLERANCE, outline_mask
from wbcjax.smear.formats.via import CELL_ID, CROWD
from wbcjax.smear.formats.write_checks import RUNNER_UP, RUNNER_UP_SCORE, SCORE, Predicted, ScoredCell, check_fields
from wbcjax.system.files import write_atomically

GROUP = "group"  # file attribute
UNKNOWN_SIZE = -1  # VIA's own sign for it


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
            for shape, attributes in _regions(cell, field, number, tolerance)
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


def _regions(
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
