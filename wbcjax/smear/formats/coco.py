"""COCO instance annotations (https://cocodataset.org/#format-data), read and written: polygons and RLE masks.

`segmentation` is a list of polygons [x1, y1, x2, y2, ...], or {"size": [height, width], "counts"} where counts are the
lengths of the runs of 0 and 1 in turn, down the columns: a list (uncompressed) or a string (compressed).
"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from pycocotools import mask as coco_mask

from wbcjax.smear.field import Cell, SmearField, text_rle
from wbcjax.smear.formats import checks, coco_ids, folders
from wbcjax.smear.formats.checks import GROUPS, SCORES, Fault, Reading, Tell
from wbcjax.smear.formats.coco_ids import Id, Records, records
from wbcjax.smear.formats.format import Format, Place
from wbcjax.smear.formats.load import load_json
from wbcjax.smear.formats.points import listed_points
from wbcjax.smear.formats.write_checks import RUNNER_UP, RUNNER_UP_SCORE, SCORE, Predicted, ScoredCell, check_fields
from wbcjax.smear.rle import run_lengths
from wbcjax.system.files import write_atomically

KEYS = {"images", "annotations", "categories"}
REDRAW = "redraw the outline"


def fields(reading: Reading) -> list[SmearField]:
    """The fields of a COCO file in its order, those without annotations too; outlines in pixels of the upright image.

    An annotation with a `bbox` and no `segmentation` is a cell of which only the box is known.
    """
    data = load_json(reading.annotations)
    if isinstance(data, dict) and not data.keys() & KEYS:
        raise Fault(
            'it is no COCO file: it has none of "images", "annotations" and "categories"', "correct its path or format"
        )
    images_listed, categories = (checks.need(data, key, list) for key in ("images", "categories"))
    listed = checks.need(data, "annotations", (list, dict))
    checks.image_folder(reading.images)
    kinds = records(reading, categories, "category")
    class_names = coco_ids.class_names(reading, kinds)
    reading.class_order += dict.fromkeys(class_names.values())
    images = records(reading, images_listed, "image")
    annotated: dict[Id, list[tuple[str, Any]]] = {image_id: [] for image_id in images.by_id}
    for place, annotation in coco_ids.annotations(reading, listed, images):
        with reading.at(reading.annotations.name, place):
            annotated[images.find(reading, place, annotation)].append((place, annotation))
    found = []
    for image_id, image in images.by_id.items():
        with reading.at(reading.annotations.name, f"image {image_id}", "field"):
            found.append(_field(reading, image, annotated[image_id], kinds, class_names))
    return [field for field in found if field is not None]


def _field(
    reading: Reading, image: Any, annotated: list[tuple[str, Any]], kinds: Records, class_names: dict[Id, str]
) -> SmearField | None:
    name = checks.need(image, "file_name", str)
    path, size, group = None, None, None
    with reading.at(name):
        path, decoded = reading.image(name)
        folders.check_declared(reading, name, (image.get("height"), image.get("width")), decoded, path)
        size = decoded
    if reading.group_attribute is None:
        reading.unkept[GROUPS] += "group" in image
    else:
        with reading.at(name):
            group = checks.text(image, reading.group_attribute, "image key")
    cells = []
    for place, annotation in annotated:
        label, outlined = None, {}
        with reading.at(name, place):
            label = reading.label(_class_name(reading, place, annotation, kinds, class_names))
        if label != 0:
            outlined = _outlined(reading, name, place, annotation, size)
        if label and outlined:
            cells.append(Cell(label, **outlined))
    if path is None or size is None or (reading.group_attribute is not None and group is None):
        return None
    return SmearField(name, *size, tuple(cells), path, group=group, max_pixels=reading.max_pixels)


def _class_name(
    reading: Reading, place: str, annotation: dict[str, Any], kinds: Records, class_names: dict[Id, str]
) -> str:
    category_id = kinds.find(reading, place, annotation)
    if category_id not in class_names:
        raise Fault(f"its category {category_id} has no name", coco_ids.NAME_IT)
    return class_names[category_id]


def _outlined(
    reading: Reading, name: str, place: str, annotation: dict[str, Any], size: tuple[int, int] | None
) -> dict[str, Any]:
    """What a Cell takes beside its label; {} with problems."""
    crowd, outline = None, None
    reading.unkept[SCORES] += SCORE in annotation
    with reading.at(name, place):
        crowd = _crowd(annotation)
    with reading.at(name, place):
        outline = _outline(annotation, size, partial(reading.often, name, place))
    return {} if crowd is None or outline is None else {**outline, "crowd": crowd}


def _outline(annotation: dict[str, Any], size: tuple[int, int] | None, tell: Tell) -> dict[str, Any]:
    """What a Cell takes: {"rle": ...}, {"polygons": ...}, or {"box": ...} where there is a box and no outline."""
    segmentation = annotation.get("segmentation") or []
    if isinstance(segmentation, dict):
        return {"rle": _rle(segmentation, size)}
    if segmentation or "bbox" not in annotation:
        listed = checks.need(annotation, "segmentation", list)
        return {"polygons": checks.outline(_parts(listed, tell), size, tell)}
    corner_and_size = checks.need(annotation, "bbox", list)
    if len(corner_and_size) != 4:
        raise Fault(f'"bbox" is {checks.brief(corner_and_size)}', "make it [x, y, width, height]")
    x, y, width, height = checks.numbers(corner_and_size)
    return {"box": checks.box(x, y, x + width, y + height, size)}


def _crowd(annotation: dict[str, Any]) -> bool:
    crowd = annotation.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise Fault(f'"iscrowd" is {checks.brief(crowd)}', "make it 0 or 1")
    return bool(crowd)


def _parts(segmentation: list[Any], tell: Tell) -> list[Float[np.ndarray, "_ 2"]]:
    """The polygons [x1, y1, ...] of a cell; also one that is not in a list of its own, and points [x, y] or [x, y, z].

    Faults: there is none, or they are none of these.
    """
    if not segmentation:
        raise Fault("it has no outline", "outline the cell, or delete the annotation")
    if not any(isinstance(part, list) for part in segmentation):
        if all(isinstance(part, int | float) for part in segmentation):
            tell("its segmentation is one flat list of numbers", "look whether its outline fits")
            segmentation = [segmentation]
    elif len(segmentation) > 2 and all(isinstance(part, list) and _is_point(part) for part in segmentation):
        segmentation = [segmentation]
    for part in segmentation:
        if not isinstance(part, list):
            raise Fault(f"found {checks.brief(part)} where a polygon [x1, y1, ...] belongs", REDRAW)
    if any(isinstance(value, list) for part in segmentation for value in part):
        tell("its segmentation is of points, where COCO has one list of numbers", "look whether its outline fits")
        return [listed_points(part, REDRAW) for part in segmentation]
    return [checks.polygon_points(part[0::2], part[1::2]) for part in segmentation]


def _is_point(part: list[Any]) -> bool:
    return len(part) in (2, 3) and all(isinstance(value, int | float) for value in part)


def _rle(segmentation: dict[str, Any], size: tuple[int, int] | None) -> dict:
    """The mask as COCO compressed RLE. Faults: made for another image size, malformed, or empty."""
    remedy = "export the mask again or delete the annotation"
    mask_size = checks.need(segmentation, "size", list)
    runs = checks.need(segmentation, "counts", (list, str))
    if size is not None and mask_size != list(size):
        raise Fault(f"the mask is for [height, width] {checks.brief(mask_size)}, the image has {list(size)}", remedy)
    if not _whole_numbers(mask_size) or len(mask_size) != 2 or mask_size[0] * mask_size[1] >= 2**32:
        raise Fault(f'the mask\'s "size" is {checks.brief(mask_size)}', remedy)
    # Strings are unpacked here because pycocotools reads past the end of one that was cut short.
    try:
        runs = run_lengths(runs) if isinstance(runs, str) else runs
    except ValueError as error:
        raise Fault(str(error), remedy) from error
    if not _whole_numbers(runs) or sum(runs) != mask_size[0] * mask_size[1]:
        raise Fault(f"the mask's runs do not add up to its {mask_size[0]} x {mask_size[1]} pixels", remedy)
    if sum(runs[1::2]) == 0:
        raise Fault("the mask is empty", "delete the annotation")
    uncompressed: Any = {"size": mask_size, "counts": runs}
    return text_rle(coco_mask.frPyObjects(uncompressed, *mask_size))


def _whole_numbers(values: list[Any]) -> bool:
    return all(isinstance(value, int) and value >= 0 for value in values)


def write(
    out: Path,
    fields: Sequence[SmearField],
    classes: Sequence[str],
    predicted: Predicted | None = None,
) -> list[str]:
    """Write the fields and their cells as a COCO file, whole or not at all, as `coco_data` has them.

    Raises also OSError when the file cannot be written.
    """
    write_atomically(out, json.dumps(coco_data(fields, classes, predicted)).encode())
    return []


def coco_data(
    fields: Sequence[SmearField], classes: Sequence[str], predicted: Predicted | None = None
) -> dict[str, Any]:
    """The fields and their cells as the content of a COCO file; ids count from 1, in the order given.

    Polygons stay polygons, masks compressed RLE; a cell of which only the box is known has an empty segmentation.
    `classes` are the names of class 1, 2, .... Scores of `predicted` are added as "score", as COCO results have them.
    Its runners-up are added as "runner_up", the name of the class that came second, and "runner_up_score". A field's
    group is "group" of its image.
    Raises ValueError as `check_fields` does.
    """
    scored = check_fields(fields, classes, predicted)
    cells = [
        (image, field, cell)
        for image, (field, of_field) in enumerate(zip(fields, scored, strict=True), start=1)
        for cell in of_field
    ]
    return {
        "categories": [{"id": label, "name": name} for label, name in enumerate(classes, start=1)],
        "images": [_image_record(image, field) for image, field in enumerate(fields, start=1)],
        # Ids count from 1: COCOeval takes a match with id 0 for no match.
        "annotations": [
            {
                "id": number,
                "image_id": image,
                **_written(cell.cell, field.height, field.width),
                **_scores(cell),
            }
            for number, (image, field, cell) in enumerate(cells, start=1)
        ],
    }


def _image_record(image: int, field: SmearField) -> dict[str, Any]:
    record = {"id": image, "file_name": field.name, "height": field.height, "width": field.width}
    return record if field.group is None else record | {"group": field.group}


def _written(cell: Cell, height: int, width: int) -> dict[str, Any]:
    rle: Any = cell.to_rle(height, width)
    area, box = int(coco_mask.area(rle)), coco_mask.toBbox(rle).tolist()  # x, y, width, height
    segmentation = cell.rle or [polygon.ravel().tolist() for polygon in cell.polygons]
    if cell.box is not None:
        x1, y1, x2, y2 = cell.box
        area, box = (x2 - x1) * (y2 - y1), [x1, y1, x2 - x1, y2 - y1]
    record = {"category_id": cell.label, "segmentation": segmentation, "area": area, "bbox": box}
    return record | {"iscrowd": int(cell.crowd)}


def _scores(cell: ScoredCell) -> dict[str, Any]:
    own = {} if cell.score is None else {SCORE: cell.score}
    return own if cell.runner_up is None else own | {RUNNER_UP: cell.runner_up[0], RUNNER_UP_SCORE: cell.runner_up[1]}


def _recognises(place: Place) -> bool:
    """Whether it is an object with one of COCO's lists; a task of Label Studio has "annotations", too, and "data"."""
    return isinstance(place.json, dict) and bool(place.json.keys() & KEYS) and "data" not in place.json


FORMAT = Format(
    name="coco",
    tools="COCO tools (CVAT, Label Studio, ...)",
    content="polygons, RLE, `iscrowd`; `bbox` alone as a box",
    recognises=_recognises,
    fields=fields,
    write=write,
    suffix=".json",
)
