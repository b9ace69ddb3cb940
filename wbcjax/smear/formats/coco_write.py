"""Writer of COCO instance annotations (https://cocodataset.org/#format-data)."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.formats.write_checks import RUNNER_UP, RUNNER_UP_SCORE, SCORE, Predicted, ScoredCell, check_fields
from wbcjax.system.files import write_atomically


def write_coco(
    path: Path,
    fields: Sequence[SmearField],
    classes: Sequence[str],
    predicted: Predicted | None = None,
) -> None:
    """Write the fields and their cells as a COCO file, whole or not at all; ids count from 1, in the order given.

    Polygons stay polygons, masks compressed RLE; a cell of which only the box is known has an empty segmentation.
    `classes` are the names of class 1, 2, .... Scores of `predicted` are added as "score", as COCO results have them.
    Its runners-up are added as "runner_up", the name of the class that came second, and "runner_up_score". A field's
    group is "group" of its image.
    Raises ValueError as `check_fields` does, OSError when the file cannot be written.
    """
    scored = check_fields(fields, classes, predicted)
    cells = [
        (image, field, cell)
        for image, (field, of_field) in enumerate(zip(fields, scored, strict=True), start=1)
        for cell in of_field
    ]
    data = {
        "categories": [{"id": label, "name": name} for label, name in enumerate(classes, start=1)],
        "images": [_image(image, field) for image, field in enumerate(fields, start=1)],
        # Ids count from 1: COCOeval takes a match with id 0 for no match.
        "annotations": [
            {"id": number, "image_id": image, **_annotation(cell.cell, field.height, field.width), **_scores(cell)}
            for number, (image, field, cell) in enumerate(cells, start=1)
        ],
    }
    write_atomically(path, json.dumps(data).encode())


def _image(image: int, field: SmearField) -> dict[str, Any]:
    record = {"id": image, "file_name": field.name, "height": field.height, "width": field.width}
    return record if field.group is None else record | {"group": field.group}


def _annotation(cell: Cell, height: int, width: int) -> dict[str, Any]:
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
