"""An annotated set in numbers: one row for every cell, from its mask at image size."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from pycocotools import mask as coco_mask

from wbcjax.evaluate.detections import FieldAnnotations, annotate
from wbcjax.evaluate.overlap import touching_pairs
from wbcjax.smear.field import SmearField
from wbcjax.smear.rle import cut_out

BORDER = 1.0  # pixels from the image's edge: a cell that comes so near is cut by it
INSIDE = 0.9  # share of a cell's area that lies in another cell, when it is called nested in it
NESTED_CLASSES = 0.5  # share of a class's cells nested in another class's, when the one class is a part of the other,
NESTED_CELLS = 5  # and the least number of them

Mask = UInt8[np.ndarray, "_ _"]  # 0 or 1


# Compared by identity: arrays inside make `==` by value ambiguous.
@dataclass(frozen=True, eq=False)
class FieldMeasures:
    """Measures from the masks of one field. Cells are rows (and columns) in the field's order."""

    annotations: FieldAnnotations
    meets: Bool[np.ndarray, "c c"]  # `touching_pairs`
    iou: Float[np.ndarray, "c c"]  # of masks; of boxes where one of the two has no outline. 0 of a cell with itself
    inside: Float[np.ndarray, "c c"]  # share of the row's area that lies in the column's cell; 0 with itself
    gap: Float[np.ndarray, " c"]  # pixels from the cell's largest part to the one farthest from it; 0 of one part
    main_area: Float[np.ndarray, " c"]  # of the largest part, pixels


@dataclass(frozen=True, eq=False)
class CellTable:
    """Every cell of a set, crowd regions too, by field and within it in the field's order."""

    field: Int[np.ndarray, " c"]  # position in the list of fields
    row: Int[np.ndarray, " c"]  # position in the field's cells
    label: Int[np.ndarray, " c"]  # 1..C
    boxes: Float[np.ndarray, "c 4"]  # x1, y1, x2, y2 in pixels of the field, tight around the mask
    area: Float[np.ndarray, " c"]  # of the mask, pixels
    outlined: Bool[np.ndarray, " c"]
    crowd: Bool[np.ndarray, " c"]
    touching: Bool[np.ndarray, " c"]  # another cell or crowd region, but not of a class nested in its own or around it
    cut: Bool[np.ndarray, " c"]  # by the image's border

    def __len__(self) -> int:
        return len(self.field)

    @property
    def size(self) -> Float[np.ndarray, " c"]:
        """Square root of the box's area, in pixels: what anchors are chosen by."""
        return np.sqrt((self.boxes[:, 2:] - self.boxes[:, :2]).prod(axis=1))

    @property
    def aspect(self) -> Float[np.ndarray, " c"]:
        """Height / width of the box."""
        width, height = (self.boxes[:, 2:] - self.boxes[:, :2]).T
        return height / width

    def select(self, chosen: Bool[np.ndarray, " c"]) -> "CellTable":
        """The rows where `chosen` is true."""
        return CellTable(**{name: column[chosen] for name, column in vars(self).items()})


def measure(field: SmearField) -> FieldMeasures:
    """Measures of one field's cells from their masks."""
    annotations = annotate(field.name, field.height, field.width, field.cells)
    parts = [_parts(cut_out(rle)[0]) for rle in annotations.rles]
    gaps, areas = zip(*parts, strict=True) if parts else ((), ())
    return FieldMeasures(
        annotations=annotations,
        meets=touching_pairs(annotations),
        iou=_pairwise(annotations, share_of_row=False),
        inside=_pairwise(annotations, share_of_row=True),
        gap=np.array(gaps, np.float64),
        main_area=np.array(areas, np.float64),
    )


def tabulate(measures: Sequence[FieldMeasures]) -> CellTable:
    """The cells of all fields, in the order of the fields."""
    nested = nested_classes(measures)
    rows = [np.arange(len(m.gap)) for m in measures]
    return CellTable(
        field=np.repeat(np.arange(len(measures)), [len(row) for row in rows]),
        row=_concatenate(rows).astype(int),
        label=_concatenate([m.annotations.labels for m in measures]).astype(int),
        boxes=_concatenate([m.annotations.boxes for m in measures]).reshape(-1, 4).astype(np.float64),
        area=np.array([coco_mask.area(rle) for m in measures for rle in m.annotations.rles], np.float64),
        outlined=_concatenate([m.annotations.outlined for m in measures]).astype(bool),
        crowd=_concatenate([m.annotations.crowd for m in measures]).astype(bool),
        touching=_concatenate([np.any(m.meets & ~nested_pairs(m, nested), axis=1) for m in measures]).astype(bool),
        cut=_concatenate([_cut(m.annotations) for m in measures]).astype(bool),
    )


def nested_classes(measures: Sequence[FieldMeasures]) -> dict[tuple[int, int], float]:
    """(inner, outer) labels where the inner is drawn as a part of the outer, such as nuclei in their cells.

    The values are the shares of the inner class's cells that lie in a cell of the outer class.
    """
    count, within = {}, {}
    for m in measures:
        labels = m.annotations.labels
        for row, label in enumerate(labels.tolist()):
            count[label] = count.get(label, 0) + 1
            for outer in set(labels[m.inside[row] >= INSIDE].tolist()) - {label}:
                within[label, outer] = within.get((label, outer), 0) + 1
    shares = {pair: number / count[pair[0]] for pair, number in sorted(within.items()) if number >= NESTED_CELLS}
    return {pair: share for pair, share in shares.items() if share >= NESTED_CLASSES}


def nested_pairs(measures: FieldMeasures, nested: dict[tuple[int, int], float]) -> Bool[np.ndarray, "c c"]:
    """Which two cells of a field are of `nested_classes`, in either order."""
    labels = measures.annotations.labels
    pairs = np.zeros((len(labels), len(labels)), bool)
    for inner, outer in nested:
        pairs |= (labels[:, None] == inner) & (labels == outer)
    return pairs | pairs.T


def _parts(mask: Mask) -> tuple[float, float]:
    """Pixels from the largest part to the one farthest from it (nearest pixels' centres), and the largest's area."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if count <= 2:
        return 0.0, float(areas.sum())
    main = 1 + int(areas.argmax())
    distance = cv2.distanceTransform((labels != main).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return max(float(distance[labels == part].min()) for part in range(1, count)), float(areas.max())


def _pairwise(annotations: FieldAnnotations, share_of_row: bool) -> Float[np.ndarray, "c c"]:
    """IoU of every two cells, or the share of the row's area in the column's cell; of boxes unless both have masks."""
    count, outlined = len(annotations.rles), annotations.outlined
    if count == 0:
        return np.zeros((0, 0))
    boxes = annotations.boxes.astype(np.float64)
    corner_and_size: Any = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    # COCO's overlap with a "crowd" region is the share of the other that lies in it.
    of_masks, of_boxes = (
        np.asarray(coco_mask.iou(cells, cells, [int(share_of_row)] * count))
        for cells in (annotations.rles, corner_and_size)
    )
    overlap = np.where(outlined[:, None] & outlined, of_masks, of_boxes)
    return overlap * ~np.eye(count, dtype=bool)


def _cut(annotations: FieldAnnotations) -> Bool[np.ndarray, " c"]:
    x1, y1, x2, y2 = annotations.boxes.T
    return (np.minimum(x1, y1) < BORDER) | (x2 > annotations.width - BORDER) | (y2 > annotations.height - BORDER)


def _concatenate(columns: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(columns) if columns else np.zeros(0)
