"""Found, missed and false cells of one field, and the papers' mAP: average precision a field, then averaged."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from wbcjax.evaluate.detections import FieldAnnotations, FieldDetections

# Matterport's defaults, which the papers on white cells kept: the IoU of `compute_ap` and DETECTION_MIN_CONFIDENCE.
IOU_THRESHOLD = 0.5
SCORE_THRESHOLD = 0.7


@dataclass(frozen=True, eq=False)
class FieldMatch:
    """The detections and annotated cells of one field after matching."""

    detections: Int[np.ndarray, " k"]  # those that count, as rows of the field's detections, best score first
    cell_of: Int[np.ndarray, " k"]  # the annotated cell that each of them found; -1: none, a false detection
    missed: Int[np.ndarray, " m"]  # annotated cells that none found, crowd regions left out

    @property
    def found(self) -> int:
        """Number of annotated cells found."""
        return int((self.cell_of >= 0).sum())

    @property
    def false(self) -> Int[np.ndarray, " f"]:
        """The detections that found no cell, as rows of the field's detections."""
        return self.detections[self.cell_of < 0]

    @property
    def cells(self) -> int:
        """Number of annotated cells, crowd regions left out."""
        return self.found + len(self.missed)


def match_field(
    annotations: FieldAnnotations,
    detections: FieldDetections,
    overlaps: Float[np.ndarray, "d c"],
    score_threshold: float = SCORE_THRESHOLD,
    iou_threshold: float = IOU_THRESHOLD,
) -> FieldMatch:
    """Match the detections that score at least `score_threshold` with annotated cells, best score first.

    A detection takes, of the free cells of its class that it overlaps by at least `iou_threshold`, the one that it
    overlaps most. `overlaps` is from `mask_overlaps` (or `box_overlaps`). A detection that finds no cell but lies in a
    crowd region of its class by that much is left out. Equals Matterport's `utils.compute_matches`, which has no crowd
    regions.
    """
    order = np.argsort(-detections.scores, kind="stable")
    confident = order[detections.scores[order] >= score_threshold]
    counted, cell_of = [], []
    free = ~annotations.crowd  # (c,)
    for row in confident:
        candidates = (overlaps[row] >= iou_threshold) & (annotations.labels == detections.labels[row])  # (c,)
        cells = np.flatnonzero(candidates & free)
        if len(cells):
            cell = cells[overlaps[row, cells].argmax()]
            free[cell] = False
            cell_of.append(cell)
        elif (candidates & annotations.crowd).any():
            continue
        else:
            cell_of.append(-1)
        counted.append(row)
    return FieldMatch(np.array(counted, np.int64), np.array(cell_of, np.int64), np.flatnonzero(free))


def field_average_precision(found: Bool[np.ndarray, " k"], cells: int) -> float:
    """Area under the precision envelope of one field, all classes together; NaN for a field without cells.

    `found`: whether each counted detection, best score first, found a cell; `cells`: the number of cells.
    A step of recall counts with the best precision at that recall or beyond (Pascal VOC 2010). Matches Matterport's
    `utils.compute_ap`.
    """
    if cells == 0:
        return float("nan")
    precision = np.cumsum(found) / np.arange(1, len(found) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[found].sum() / cells)  # recall steps by 1 / cells at every cell found, nowhere else
