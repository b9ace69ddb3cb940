"""COCO instance annotations (https://cocodataset.org/#format-data), read and written: polygons and RLE masks.

`segmentation` is a list of polygons [x1, y1, x2, y2, ...], or {"size": [height, width], "counts"} where counts are the
lengths of the runs of 0 and 1 in turn, down the columns: a list (uncompressed) or a string (compressed).
"""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from wbcjax.smear.field import Cell, SmearField, text_rle
from wbcjax.smear.formats import checks
from wbcjax.smear.formats.checks import GROUPS, SCORES, Fault, Reading
from wbcjax.smear.formats.format import Format, Place
from wbcjax.smear.formats.load import load_json
from wbcjax.smear.formats.write_checks import RUNNER_UP, RUNNER_UP_SCORE, SCORE, Predicted, ScoredCell, check_fields
from wbcjax.smear.rle import run_lengths
from wbcjax.system.files import write_atomically

ID = (int, str)  # types of an id in JSON
KEYS = {"images", "annotations", "categories"}


def fields(reading: Reading) -> list[SmearField]:
    """The fields of a COCO file in its order, those without annotations too; outlines in pixels of the upright image.

    An annotation with a `bbox` and no `segmentation` is a cell of which only the box is known.
    """
    data = load_json(reading.annotations)
    if isinstance(data, dict) and not data.keys() & KEYS:
        raise Fault(
            'it is no COCO file: it has none of "images", "annotations" and "categories"', "correct its path or format"
        )
    images_listed, annotated, categories = (
        checks.need(data, key, list) for key in ("images", "annotations", "categories")
    )
    checks.image_folder(reading.images)
    class_names = _class_names(reading, categories)
    reading.class_order += class_names.values()
    image_of = _by_id(reading, images_listed, "image")
    annotations_of = _annotations_of(reading, annotated, image_of)
    found = []
    for image_id, image in image_of.items():
        with reading.at(reading.annotations.name, f"image {image_id}"):
            found.append(_field(reading, image, annotations_of[image_id], class_names))
    return [field for field in found if field is not None]


def _by_id(reading: Reading, records: list[Any], kind: str) -> dict[int | str, Any]:
    by_id = {}
    for position, record in enumerate(records, start=1):
        with reading.at(reading.annotations.name, f"{kind} at position {position}"):
            record_id = checks.need(record, "id", ID)
            if record_id in by_id:
                raise Fault(f"the {kind} id {record_id!r} is given twice", "number them anew")
            by_id[record_id] = record
    return by_id


def _class_names(reading: Reading, categories: list[Any]) -> dict[int | str, str]:
    """Category names by id."""
    names = {}
    for category_id, category in _by_id(reading, categories, "category").items():
        with reading.at(reading.annotations.name, f"category {category_id}"):
            names[category_id] = checks.need(category, "name", str)
    return names


def _annotations_of(
    reading: Reading, annotated: list[Any], image_of: dict[int | str, Any]
) -> dict[int | str, list[tuple[int | str, Any]]]:
    """The (id, annotation) pairs of each image id."""
    annotations_of = {image_id: [] for image_id in image_of}
    for annotation_id, annotation in _by_id(reading, annotated, "annotation").items():
        with reading.at(reading.annotations.name, f"annotation {annotation_id}"):
            image_id = checks.need(annotation, "image_id", ID)
            if image_id not in annotations_of:
                raise Fault(f'its image {image_id!r} is not in "images"', "list the image or delete the annotation")
            annotations_of[image_id].append((annotation_id, annotation))
    return annotations_of


def _field(
    reading: Reading, image: Any, annotated: list[tuple[int | str, Any]], class_names: dict[int | str, str]
) -> SmearField | None:
    name = checks.need(image, "file_name", str)
    path, size, group = None, None, None
    with reading.at(name):
        path, decoded = reading.image(name)
        _check_declared_size(image, decoded)
        size = decoded
    if reading.group_attribute is None:
        reading.unkept[GROUPS] += "group" in image
    else:
        with reading.at(name):
            group = checks.text(image, reading.group_attribute, "image key")
    cells = []
    for annotation_id, annotation in annotated:
        at = partial(reading.at, name, f"annotation {annotation_id}")
        cell = _cell(reading, annotation, class_names, size, at)
        if cell is not None:
            cells.append(cell)
    if path is None or size is None or (reading.group_attribute is not None and group is None):
        return None
    return SmearField(name, *size, tuple(cells), path, group=group, max_pixels=reading.max_pixels)


def _check_declared_size(image: dict[str, Any], size: tuple[int, int]) -> None:
    declared = (image.get("height", size[0]), image.get("width", size[1]))
    if declared != size:
        raise Fault(
            f"the annotations say {declared[1]} x {declared[0]} pixels, the image has {size[1]} x {size[0]}",
            "use the image that was annotated, upright and at the same size",
        )


def _cell(
    reading: Reading,
    annotation: dict[str, Any],
    class_names: dict[int | str, str],
    size: tuple[int, int] | None,
    at: Callable[[], AbstractContextManager[None]],
) -> Cell | None:
    label, crowd, outline = None, None, None
    with at():
        category_id = checks.need(annotation, "category_id", ID)
        if category_id not in class_names:
            raise Fault(f'its category {category_id!r} is not in "categories"', "correct it or list the category")
        label = reading.label(class_names[category_id])
        if label == 0:
            return None
    reading.unkept[SCORES] += SCORE in annotation
    with at():
        crowd = _crowd(annotation)
    with at():
        outline = _outline(annotation, size)
    if label is None or crowd is None or outline is None:
        return None
    return Cell(label, **outline, crowd=crowd)


def _outline(annotation: dict[str, Any], size: tuple[int, int] | None) -> dict[str, Any]:
    """What a Cell takes: {"rle": ...}, {"polygons": ...}, or {"box": ...} where there is a box and no outline."""
    segmentation = annotation.get("segmentation") or []
    if isinstance(segmentation, dict):
        return {"rle": _rle(segmentation, size)}
    if segmentation or "bbox" not in annotation:
        return {"polygons": _polygons(checks.need(annotation, "segmentation", list), size)}
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


def _polygons(segmentation: list[Any], size: tuple[int, int] | None) -> tuple:
    if not segmentation:
        raise Fault("it has no outline", "outline the cell, or delete the annotation")
    for part in segmentation:
        if not isinstance(part, list):
            raise Fault(f"found {checks.brief(part)} where a polygon [x1, y1, ...] belongs", "redraw the outline")
    return checks.outline([checks.polygon_points(part[0::2], part[1::2]) for part in segmentation], size)


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
