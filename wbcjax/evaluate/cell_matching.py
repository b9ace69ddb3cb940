"""The matching rule of all that counts single cells.

Confusion matrices, counts, misses, false alarms, contact sheets and galleries use it. Scores that a paper or challenge
defines by a rule of its own (COCO's AP, Matterport's mAP, panoptic quality) use that one, and name it.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from wbcjax.evaluate.detections import FieldAnnotations, FieldDetections
from wbcjax.evaluate.field_precision import IOU_THRESHOLD, FieldMatch, match_field
from wbcjax.evaluate.reported_cells import rows_of_cells


def match_cells(
    cells: FieldAnnotations,
    found: FieldDetections,
    overlaps: Float[np.ndarray, "d c"],
    min_score: float,
    nucleus: int,
) -> FieldMatch:
    """Match the detections of a field that score at least `min_score` with its cells, whatever their classes.

    Where one cell was detected as several classes, only the detection of the highest score counts (`rows_of_cells`).
    Detections, best score first, take the free cell that they overlap most, by an IoU of 0.5 or more. One without a
    free cell is left out if as much of it lies in a crowd region of any class. Nuclei, of label `nucleus` (0: there are
    none), are matched apart: a detected nucleus never takes a cell, nor a detected cell a nucleus. `overlaps` is from
    `mask_overlaps`.
    """
    rows, _ = rows_of_cells(found, nucleus)
    found, overlaps = found.select(rows), overlaps[rows]
    apart = (found.labels == nucleus)[:, None] != (cells.labels == nucleus)  # (d, c)
    overlaps = np.where(apart & ~cells.crowd, 0.0, overlaps)
    cells = replace(cells, labels=np.ones_like(cells.labels))
    became = match_field(cells, replace(found, labels=np.ones_like(found.labels)), overlaps, min_score)
    return replace(became, detections=rows[became.detections])


def rule(min_score: float) -> str:
    """The rule as a sentence, printed beside the counts."""
    return (
        f"Cells are matched whatever their class: the surest detection first, of those that score {min_score:g} or "
        "more (of one cell as several classes the surest alone), finds the free cell that it overlaps most, by an IoU "
        f"(shared area over joint area) of {IOU_THRESHOLD:g} or more."
    )
