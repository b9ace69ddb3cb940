"""The cells of a field that are reported: one detection for each cell.

A network suppresses repeated detections class by class, so that one cell may be detected as two classes: as L1 at 0.69
and as L2 at 0.67. COCO's and the papers' scores are of all detections. Pictures, counts, names and votes have every
cell once: by its detection of the highest score, with the class that came second.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from pycocotools import mask as coco_mask

from wbcjax.evaluate.detections import FieldDetections
from wbcjax.evaluate.nuclei_of_cells import nucleus_label

# Detections whose masks overlap by a higher IoU are of one cell. It is the IoU that networks allow within a class, and
# that a detection needs to match an annotated cell. Cells themselves overlap less: of the 1643 of SegPC-2021 two pairs
# do by more than 0.08, at 0.27 and 0.92, and the latter is one cell annotated twice. It is of masks, not of boxes:
# the boxes of long cells side by side overlap by more.
ONE_CELL = 0.5


@dataclass(frozen=True, eq=False)
class ReportedCells(FieldDetections):
    """The cells of a field, the highest score first, each with the class that came second."""

    runner_up: Int[np.ndarray, " d"]  # label of the cell's best detection as another class; 0: there is none
    runner_up_scores: Float[np.ndarray, " d"]  # 0 where there is none

    def runners_up(self, classes: Sequence[str]) -> list[tuple[str, float] | None]:
        """The class that came second and its score, of each cell; None where only one was found."""
        pairs = zip(self.runner_up, self.runner_up_scores, strict=True)
        return [(classes[int(label) - 1], float(score)) if label else None for label, score in pairs]

    def select(self, rows: Int[np.ndarray, " k"]) -> "ReportedCells":
        """The cells of these rows alone, in this order."""
        cells = super().select(rows)
        return ReportedCells(
            **{part: getattr(cells, part) for part in _PARTS},
            runner_up=self.runner_up[rows],
            runner_up_scores=self.runner_up_scores[rows],
        )


_PARTS = ("name", "height", "width", "boxes", "labels", "scores", "rles", "said")


def reported_cells(found: FieldDetections, min_score: float, classes: Sequence[str]) -> ReportedCells:
    """The cells of a field that score at least `min_score`; those below may still come second.

    `classes` are the names of label 1, 2, ...; one called nucleus is apart, see `rows_of_cells`.
    """
    rows, seconds = rows_of_cells(found, nucleus_label(classes))
    confident = found.scores[rows] >= min_score
    rows, seconds = rows[confident], seconds[confident]
    cells, known = found.select(rows), seconds >= 0
    return ReportedCells(
        **{part: getattr(cells, part) for part in _PARTS},
        runner_up=np.where(known, np.append(found.labels, 0)[seconds], 0),
        runner_up_scores=np.where(known, np.append(found.scores, 0)[seconds], 0),
    )


def rows_of_cells(found: FieldDetections, nucleus: int) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """The rows of the detections that are reported as cells, highest score first, and of their runners-up; -1: none.

    A detection with a pixel is a cell, unless its mask overlaps that of a cell of a higher score, of any class, by more
    than `ONE_CELL`: greedy NMS by masks. Nuclei, where `nucleus` is their label, and cells do not suppress one another.
    Of equal scores the lower label comes first. The other detections belong to the cell of a higher score that they
    overlap most. The runner-up is the one of the highest score among those of another class than the cell's. The order
    of rows has no influence.
    """
    best_first = sorted(
        (row for row, rle in enumerate(found.rles) if coco_mask.area(rle)),
        key=lambda row: (-found.scores[row], found.labels[row], *found.boxes[row], found.rles[row]["counts"]),
    )
    order = np.array(best_first, np.int64)
    labels, rles = found.labels[order], [found.rles[row] for row in order]
    overlaps = np.asarray(coco_mask.iou(rles, rles, [0] * len(rles))).reshape(len(rles), len(rles))
    overlaps = np.where((labels == nucleus)[:, None] == (labels == nucleus), overlaps, 0.0)
    free, cells = np.ones(len(order), bool), []
    for i in range(len(order)):
        if free[i]:
            cells.append(i)
            free &= overlaps[i] <= ONE_CELL
    seconds = np.full(len(cells), -1)
    for i in sorted(set(range(len(order))).difference(cells), reverse=True):  # the best comes last, and stays
        cell = overlaps[i, [j for j in cells if j < i]].argmax()
        if labels[cells[cell]] != labels[i]:
            seconds[cell] = order[i]
    return order[cells], seconds
