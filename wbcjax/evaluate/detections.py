"""Annotations and detections of a field at image size, and the file that keeps both for a whole set."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int
from pycocotools import mask as coco_mask

from wbcjax.smear.field import Cell
from wbcjax.system.files import write_atomically


# Compared by identity: arrays inside make `==` by value ambiguous.
@dataclass(frozen=True, eq=False)
class FieldAnnotations:
    """The annotated cells of one field. Raises ValueError, naming the field, when the parts do not fit together."""

    name: str  # of the field; unique in a set
    height: int  # pixels
    width: int
    boxes: Float[np.ndarray, "c 4"]  # x1, y1, x2, y2 in pixels, x2 and y2 exclusive: tight, or as annotated
    labels: Int[np.ndarray, " c"]  # 1..C
    crowd: Bool[np.ndarray, " c"]  # regions of uncounted cells
    outlined: Bool[np.ndarray, " c"]  # False where only the box is known
    rles: list[Any]  # COCO compressed RLE of each mask, or filled box, counts as str

    def __post_init__(self) -> None:
        names = ("boxes", "labels", "crowd", "outlined", "rles")
        _check(self, {name: getattr(self, name) for name in names})

    def for_masks(self) -> "FieldAnnotations":
        """The annotations for scores of masks: cells without an outline become crowd regions, and are ignored."""
        return replace(self, crowd=self.crowd | ~self.outlined, outlined=np.ones_like(self.outlined))


@dataclass(frozen=True, eq=False)
class FieldDetections:
    """All that a model found in one field, of any score; `reported_cells` gives its cells.

    Raises ValueError, naming the field, when the parts do not fit together.
    """

    name: str
    height: int
    width: int
    boxes: Float[np.ndarray, "d 4"]  # x1, y1, x2, y2 in pixels
    labels: Int[np.ndarray, " d"]  # 1..C
    scores: Float[np.ndarray, " d"]
    rles: list[Any]
    # Outputs of further heads for each, by column of cells.csv.
    said: dict[str, Float[np.ndarray, " d"]] = dataclass_field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        parts = {"boxes": self.boxes, "labels": self.labels, "scores": self.scores, "rles": self.rles}
        _check(self, parts | self.said)
        if not (np.isfinite(self.scores).all() and np.isfinite(self.boxes).all()):
            raise ValueError(f"{self.name}: a detection's score or box is not finite; has the training diverged?")
        if wrong := [name for name, values in self.said.items() if not np.isfinite(values).all()]:
            raise ValueError(f"{self.name}: an output of {wrong[0]} is not finite; has the training diverged?")

    def select(self, rows: Int[np.ndarray, " k"]) -> "FieldDetections":
        """The detections of these rows alone, in this order."""
        rles = [self.rles[row] for row in rows]
        boxes, labels, scores = self.boxes[rows], self.labels[rows], self.scores[rows]
        said = {name: values[rows] for name, values in self.said.items()}
        return FieldDetections(self.name, self.height, self.width, boxes, labels, scores, rles, said=said)


def annotate(name: str, height: int, width: int, cells: Sequence[Cell]) -> FieldAnnotations:
    """The annotations of a field that is `height` x `width` pixels, boxes tight around the masks of outlined cells."""
    rles: list[Any] = [cell.to_rle(height, width) for cell in cells]
    boxes = _corners([coco_mask.toBbox(rle) for rle in rles])
    for box, cell in zip(boxes, cells, strict=True):
        if cell.box is not None:
            box[:] = cell.box
    return FieldAnnotations(
        name=name,
        height=height,
        width=width,
        boxes=boxes,
        labels=np.array([cell.label for cell in cells], np.int32),
        crowd=np.array([cell.crowd for cell in cells], bool),
        outlined=np.array([cell.outlined for cell in cells], bool),
        rles=rles,
    )


def save(
    path: Path, classes: Sequence[str], annotations: Sequence[FieldAnnotations], detections: Sequence[FieldDetections]
) -> None:
    """Write annotations and detections of a set as one JSON file, in COCO's terms.

    `images`, `categories` and `annotations` are a COCO ground truth; `detections` is a COCO result list. An annotation
    of a cell whose box alone is known has `"outlined": false`, and the filled box for its mask. Outputs of further
    heads are "said" of a detection. The file is replaced at once: an interrupted save leaves the previous file whole.
    Raises as `check_pairs` does.
    """
    check_pairs(annotations, detections)
    data = _fields(classes, annotations) | {
        "annotations": [
            # Ids count from 1: COCOeval takes a match with id 0 for no match.
            _entry(field, image, row)
            | {"id": number, "iscrowd": int(field.crowd[row]), "area": _area(field.rles[row])}
            | ({} if field.outlined[row] else {"outlined": False})
            for number, (image, field, row) in enumerate(_rows(annotations), start=1)
        ],
        "detections": _results(detections),
    }
    write_atomically(path, json.dumps(data).encode())


def write_results(path: Path, classes: Sequence[str], detections: Sequence[FieldDetections]) -> None:
    """Write the detections of images that nobody annotated, as `save` does but without `annotations`."""
    data = _fields(classes, detections) | {"detections": _results(detections)}
    write_atomically(path, json.dumps(data).encode())


def load(path: Path) -> tuple[tuple[str, ...], list[FieldAnnotations], list[FieldDetections]]:
    """Read (classes, annotations, detections) as `save` wrote them; both lists are in the order they were saved in.

    Raises OSError when the file cannot be read, ValueError naming it when it is not such a file.
    """
    try:
        data = json.loads(path.read_bytes())
        classes = tuple(category["name"] for category in data["categories"])
        cells = {image["id"]: [] for image in data["images"]}
        found = {image["id"]: [] for image in data["images"]}
        for entry in data["annotations"]:
            cells[entry["image_id"]].append(entry)
        for entry in data["detections"]:
            found[entry["image_id"]].append(entry)
        annotations = [
            FieldAnnotations(
                *_common(image, cells[image["id"]]),
                crowd=np.array([entry["iscrowd"] for entry in cells[image["id"]]], bool),
                outlined=np.array([entry.get("outlined", True) for entry in cells[image["id"]]], bool),
                rles=[entry["segmentation"] for entry in cells[image["id"]]],
            )
            for image in data["images"]
        ]
        detections = [
            FieldDetections(
                *_common(image, found[image["id"]]),
                scores=_scores(found[image["id"]]),
                rles=[entry["segmentation"] for entry in found[image["id"]]],
                said=_said(found[image["id"]]),
            )
            for image in data["images"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: not a whole file of saved detections ({error!r}); evaluate again to write it"
        ) from error
    return classes, annotations, detections


def check_pairs(annotations: Sequence[FieldAnnotations], detections: Sequence[FieldDetections]) -> None:
    """Raise ValueError unless the two lists are of the same fields in the same order."""
    annotated, detected = [field.name for field in annotations], [field.name for field in detections]
    if annotated != detected:
        apart = sorted(set(annotated) ^ set(detected))[:5] or "none, but their order differs"
        raise ValueError(
            f"{len(annotated)} annotated fields and {len(detected)} fields with detections must be the same, "
            f"in the same order; found in one list only: {apart}"
        )


def check_labels(
    annotations: Sequence[FieldAnnotations], detections: Sequence[FieldDetections], classes: Sequence[str]
) -> None:
    """Raise ValueError, naming the field, unless every label has a class."""
    for field in (*annotations, *detections):
        highest = field.labels.max(initial=0)
        if highest > len(classes):
            raise ValueError(
                f"{field.name}: label {highest} has no class; the {len(classes)} classes are {', '.join(classes)}"
            )


Field = TypeVar("Field", FieldAnnotations, FieldDetections)


def _fields(classes: Sequence[str], fields: Sequence[FieldAnnotations] | Sequence[FieldDetections]) -> dict[str, Any]:
    return {
        "categories": [{"id": label, "name": name} for label, name in enumerate(classes, start=1)],
        "images": [
            {"id": image, "file_name": field.name, "height": field.height, "width": field.width}
            for image, field in enumerate(fields, start=1)
        ],
    }


def _results(detections: Sequence[FieldDetections]) -> list[dict[str, Any]]:
    return [
        _entry(field, image, row)
        | {"score": float(field.scores[row])}
        | ({"said": {name: float(values[row]) for name, values in field.said.items()}} if field.said else {})
        for image, field, row in _rows(detections)
    ]


def _scores(entries: Sequence[dict[str, Any]]) -> Float[np.ndarray, " d"]:
    """The scores that `_results` wrote, of a network in float32; calibrated ones have more digits."""
    scores = np.array([entry["score"] for entry in entries], np.float64)
    short = scores.astype(np.float32)
    return short if (short == scores).all() else scores


def _said(entries: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """The outputs of further heads that `_results` wrote."""
    names = entries[0].get("said", ()) if entries else ()
    return {name: np.array([entry["said"][name] for entry in entries], np.float32) for name in names}


def _rows(fields: Sequence[Field]) -> Iterator[tuple[int, Field, int]]:
    """Image id, field and row of every cell of every field."""
    return ((image, field, row) for image, field in enumerate(fields, start=1) for row in range(len(field.rles)))


def _entry(field: FieldAnnotations | FieldDetections, image: int, row: int) -> dict[str, Any]:
    x1, y1, x2, y2 = field.boxes[row].tolist()
    return {
        "image_id": image,
        "category_id": int(field.labels[row]),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "segmentation": field.rles[row],
    }


def _area(rle: Any) -> int:
    return int(coco_mask.area(rle))


def _common(image: dict, entries: list[dict]) -> tuple[str, int, int, np.ndarray, np.ndarray]:
    labels = np.array([entry["category_id"] for entry in entries], np.int32)
    return image["file_name"], image["height"], image["width"], _corners([entry["bbox"] for entry in entries]), labels


def _corners(xywh: Sequence) -> Float[np.ndarray, "n 4"]:
    boxes = np.array(xywh, np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes.astype(np.float32)


def _check(field: FieldAnnotations | FieldDetections, parts: dict[str, Sequence | np.ndarray]) -> None:
    lengths = {name: len(part) for name, part in parts.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{field.name}: every cell needs all its parts, found {lengths}")
    if field.boxes.shape[1:] != (4,):
        raise ValueError(f"{field.name}: boxes must be (n, 4), found {field.boxes.shape}")
    if (field.labels < 1).any():
        raise ValueError(f"{field.name}: class {field.labels.min()} found; classes count from 1, 0 is background")
    for rle in field.rles:
        if list(rle["size"]) != [field.height, field.width]:
            raise ValueError(f"{field.name}: a mask is {rle['size']}, the field [{field.height}, {field.width}]")
