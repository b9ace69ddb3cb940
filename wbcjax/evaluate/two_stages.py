"""A detector, then a classifier of the crops of what it found, as in Suvon et al.: what the second stage is worth."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from wbcjax.evaluate.cell_matching import match_cells
from wbcjax.evaluate.detections import FieldAnnotations, FieldDetections
from wbcjax.evaluate.figures import percent
from wbcjax.evaluate.nuclei_of_cells import nucleus_label
from wbcjax.evaluate.overlap import mask_overlaps
from wbcjax.evaluate.scores import detection_scores
from wbcjax.system.terminal import Table

ALONE, NAMED, JOINT = ROWS = ("detector alone", "named so too", "both scores")
HEAD = ("", "reported", "right", "precision", "recall", "AP", "AP50")
NOTE = (
    "Cells are matched whatever their class, by an IoU of 0.5 or more. Named so too: the classifier gives the cell's "
    "class 0.5 or more. Both scores: the detector's times that probability, from the value on that finds as many "
    "cells as the detector alone. Shares are in percent; AP is of masks."
)


def two_stage_scores(
    annotations: Sequence[FieldAnnotations],
    detections: Sequence[FieldDetections],
    probabilities: Sequence[Float[np.ndarray, " _"]],
    classes: Sequence[str],
    min_score: float,
) -> dict[str, Any]:
    """Precision and recall of the detector alone and with the classifier, and the mask AP by either score.

    Args:
        annotations, detections: of the same fields in the same order; all detections, also of low score.
        probabilities: of each detection, that of its class by its crop.
        min_score: of a detection that counts.
    """
    joint = [
        replace(found, scores=found.scores * by_crop) for found, by_crop in zip(detections, probabilities, strict=True)
    ]
    both = [
        found.select(np.flatnonzero(by_crop >= 0.5)) for found, by_crop in zip(detections, probabilities, strict=True)
    ]
    cells = int(sum((~field.crowd).sum() for field in annotations))
    nucleus = nucleus_label(classes)
    alone, named = (_right(annotations, found, min_score, nucleus) for found in (detections, both))
    by_score = _right(annotations, joint, 0.0, nucleus)
    reached = np.flatnonzero(np.cumsum(by_score) == alone.sum())  # counts of the surest that find as many cells
    same_recall = by_score[: reached[0] + 1] if len(reached) and alone.any() else by_score[:0]
    precision = {
        name: {key: of[key] for key in ("AP", "AP50")}
        for name, of in (
            (ALONE, detection_scores(annotations, detections, classes, min_score)["mask"]),
            (JOINT, detection_scores(annotations, joint, classes, min_score)["mask"]),
        )
    }
    return {
        "cells": cells,
        "rows": {name: _counts(right, cells) for name, right in zip(ROWS, (alone, named, same_recall), strict=True)},
        "mask": precision,
    }


def two_stage_table(scores: Mapping[str, Any]) -> Table:
    """The scores of `two_stage_scores` as a table."""
    rows = []
    for name, of in scores["rows"].items():
        precision = [percent(scores["mask"][name][key]) if name in scores["mask"] else "" for key in ("AP", "AP50")]
        shares = (percent(of["precision"]), percent(of["recall"]))
        rows.append((name, f"{of['detections']}", f"{of['right']}", *shares, *precision))
    return Table(f"Two stages, {scores['cells']} annotated cells", HEAD, tuple(rows), NOTE)


def _right(
    annotations: Sequence[FieldAnnotations], detections: Sequence[FieldDetections], min_score: float, nucleus: int
) -> Bool[np.ndarray, " n"]:
    """Whether each detection of all fields that counts has found a cell, the surest first."""
    scores, right = [], []
    for cells, found in zip(annotations, detections, strict=True):
        match = match_cells(cells, found, mask_overlaps(cells, found), min_score, nucleus)
        scores.append(found.scores[match.detections])
        right.append(match.cell_of >= 0)
    order = np.argsort(-np.concatenate([np.zeros(0, np.float32), *scores]), kind="stable")
    return np.concatenate([np.zeros(0, bool), *right])[order]


def _counts(right: Bool[np.ndarray, " n"], cells: int) -> dict[str, float]:
    total = int(right.sum())
    return {
        "detections": len(right),
        "right": total,
        "precision": total / len(right) if len(right) else float("nan"),
        "recall": total / cells if cells else float("nan"),
    }
