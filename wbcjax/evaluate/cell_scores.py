"""How good detections are cell by cell: classes confused, precision and recall, outlines, counts, and every mistake."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from wbcjax.evaluate.average_precision import interpolated_precision, match, max_detections
from wbcjax.evaluate.cell_matching import match_cells
from wbcjax.evaluate.detections import FieldAnnotations, FieldDetections, check_labels, check_pairs
from wbcjax.evaluate.field_precision import IOU_THRESHOLD, FieldMatch
from wbcjax.evaluate.nuclei_of_cells import cell_labels, nucleus_label
from wbcjax.evaluate.overlap import mask_overlaps
from wbcjax.evaluate.reliability import reliability
from wbcjax.evaluate.reported_cells import reported_cells
from wbcjax.evaluate.segmentation_quality import segmentation_quality

CellScores = dict[str, Any]
BACKGROUND = "background"


def cell_scores(
    annotations: Sequence[FieldAnnotations],
    detections: Sequence[FieldDetections],
    classes: Sequence[str],
    min_score: float,
) -> CellScores:
    """Scores of single cells over a set of fields, as a nested dict of plain numbers.

    Annotated cells and detections that score at least `min_score` are matched whatever their classes (`match_cells`):
    by mask IoU, or box IoU where only the box of a cell is known. A cell that was detected as several classes counts
    once. A detection left out for a crowd region is neither right nor wrong.

    Args:
        annotations, detections: of the same fields in the same order. Give all detections, also of low score.
        classes: names of label 1, 2, ...
        min_score: of a detection that counts, for all but the precision-recall curves.

    Returns, with NaN for what is not defined:
        min_score: as given.
        confusion: classes, the last one background, and counts: rows are annotated classes, columns predicted ones.
            A cell without a detection is predicted as background; a detection without a cell is annotated as it.
        pr_curves: of each class precision and recall at an IoU of 0.5, and the score at each point; points between two
            others of the same recall are left out. AP50 is the curve's. Both are COCO's: over all detections whatever
            their score, the best `max_detections` of a field and class, each class matched by itself. They are of masks
            where cells are outlined, else of boxes. Lists are empty where there is no curve.
        segmentation: pq, sq, rq, aji, segpc_miou, and per_class pq, sq, rq and segpc_miou, as `segmentation_quality`
            defines them.
        calibration: how often detections of each score are right, see `reliability` and `labelled_detections`.
        count_error: detections less annotated cells of a field: mean_absolute, mean (over 0 where too many are found),
            and per_field name, annotated, found. Crowd regions and detections in them are left out, and nuclei too
            unless the set has nothing else.
        misses: cells without detection: field, cell (its position in the field), class, and best_score, of the
            detections of any score that overlap it by an IoU of 0.5 or more, nuclei apart from cells; 0 where there is
            none. The lowest best_score first, and of equal ones the largest cell: what the model suspects least.
        false_alarms: detections without cell, the best score first: field, detection (its position in the field),
            class, score.
        counts: fields; cells, annotated, nuclei among them; not_outlined, of these; detections that score `min_score`;
            repeated, further ones of that score that repeat a cell or have no pixel; in_crowds, those left out.
        undefined: sentences saying which scores are not defined, and why.

    Raises ValueError when the lists differ in their fields or a label has no class.
    """
    check_pairs(annotations, detections)
    check_labels(annotations, detections, classes)
    overlaps = [mask_overlaps(*field) for field in zip(annotations, detections, strict=True)]
    fields = list(zip(annotations, detections, overlaps, strict=True))
    matches = [match_cells(*field, min_score, nucleus_label(classes)) for field in fields]
    pairs = list(zip(annotations, detections, matches, strict=True))
    reported = sum(len(reported_cells(field, min_score, classes).rles) for field in detections)
    most = max_detections(annotations)
    confident = sum(int((field.scores >= min_score).sum()) for field in detections)
    scores: CellScores = {
        "min_score": min_score,
        "confusion": {"classes": [*classes, BACKGROUND], "counts": _confusion(pairs, len(classes)).tolist()},
        "pr_curves": {name: _curve(fields, label, most) for label, name in enumerate(classes, start=1)},
        "segmentation": segmentation_quality(annotations, detections, classes, min_score),
        "calibration": reliability(*labelled_detections(annotations, detections, overlaps, classes), "detections"),
        "count_error": _count_error(pairs, cell_labels(classes)),
        "misses": _misses(fields, matches, classes),
        "false_alarms": sorted(_false_alarms(pairs, classes), key=lambda alarm: -alarm["score"]),
        "counts": {
            "fields": len(annotations),
            "cells": sum(became.cells for became in matches),
            "not_outlined": sum(int((~field.outlined & ~field.crowd).sum()) for field in annotations),
            "detections": reported,
            "repeated": confident - reported,
            "in_crowds": reported - sum(len(became.detections) for became in matches),
        },
    }
    return scores | {"undefined": list(_undefined(scores))}


def labelled_detections(
    annotations: Sequence[FieldAnnotations],
    detections: Sequence[FieldDetections],
    overlaps: Sequence[Float[np.ndarray, "_ _"]],
    classes: Sequence[str],
) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """The scores of all detections, and which are right: those that COCO matches with a cell at an IoU of 0.5.

    So a score is right as the probability that a cell of this class is there. Detections in crowd regions are left out.
    `overlaps` are from `mask_overlaps`.
    """
    most = max_detections(annotations)
    fields = zip(annotations, detections, overlaps, strict=True)
    hits = [_hits(*field, label, most) for field in fields for label in range(1, len(classes) + 1)]
    scores, right = zip(*hits, strict=True) if hits else ((), ())
    return np.concatenate([np.zeros(0, np.float32), *scores]), np.concatenate([np.zeros(0, bool), *right])


Matched = tuple[FieldAnnotations, FieldDetections, FieldMatch]
Overlapping = tuple[FieldAnnotations, FieldDetections, Float[np.ndarray, "_ _"]]


def _confusion(pairs: Sequence[Matched], classes: int) -> Int[np.ndarray, "n n"]:
    """Counts of what was annotated (rows) and detected (columns): class 1..C, then background."""
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    for cells, found, became in pairs:
        of_cells = np.append(cells.labels, 0)[became.cell_of]  # (k,); of a false detection, -1, the appended background
        np.add.at(counts, (of_cells, found.labels[became.detections]), 1)
        np.add.at(counts[:, 0], cells.labels[became.missed], 1)
    return np.roll(counts, -1, axis=(0, 1))  # background, 0, goes last


def _curve(fields: Sequence[Overlapping], label: int, most: int) -> dict[str, Any]:
    """One class's entry of `pr_curves`; what COCOeval accumulates at its first threshold, an IoU of 0.5."""
    cells = sum(int((field.labels[~field.crowd] == label).sum()) for field, _, _ in fields)
    if cells == 0:
        return {"precision": [], "recall": [], "thresholds": [], "AP50": math.nan}
    scores, matched = zip(*(_hits(*field, label, most) for field in fields), strict=True)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    thresholds, right = np.concatenate(scores)[order], np.concatenate(matched)[order]  # (d,)
    true = np.cumsum(right)
    rises = np.diff(true, prepend=-1, append=cells + 1) > 0  # (d + 1,)
    corners = rises[:-1] | rises[1:]  # the first and the last of neighbours with the same recall
    return {
        "precision": (true / np.arange(1, len(right) + 1))[corners].tolist(),
        "recall": (true / cells)[corners].tolist(),
        "thresholds": thresholds[corners].astype(np.float64).tolist(),
        "AP50": float(interpolated_precision(right, cells).mean()),
    }


def _hits(
    cells: FieldAnnotations, found: FieldDetections, overlaps: Float[np.ndarray, "d c"], label: int, most: int
) -> tuple[Float[np.ndarray, " k"], Bool[np.ndarray, " k"]]:
    """Scores of a field's detections of one class, and which of them found a cell; without those in crowd regions."""
    of_class = np.flatnonzero(cells.labels == label)
    rows = np.flatnonzero(found.labels == label)
    rows = rows[np.argsort(-found.scores[rows], kind="stable")][:most]
    crowd = cells.crowd[of_class]
    matched, ignored = match(overlaps[np.ix_(rows, of_class)], crowd, crowd)
    counted = ~ignored[0]
    return found.scores[rows][counted], matched[0][counted]


def _count_error(pairs: Sequence[Matched], labels: Sequence[int]) -> dict[str, Any]:
    counts = [
        (
            cells.name,
            int((np.isin(cells.labels, labels) & ~cells.crowd).sum()),
            int(np.isin(found.labels[became.detections], labels).sum()),
        )
        for cells, found, became in pairs
    ]
    errors = np.array([found - annotated for _, annotated, found in counts], np.float64)
    return {
        "mean_absolute": float(abs(errors).mean()) if counts else math.nan,
        "mean": float(errors.mean()) if counts else math.nan,
        "per_field": [{"name": name, "annotated": annotated, "found": found} for name, annotated, found in counts],
    }


def _misses(
    fields: Sequence[Overlapping], matches: Sequence[FieldMatch], classes: Sequence[str]
) -> list[dict[str, Any]]:
    missed, nucleus = [], nucleus_label(classes)
    for (cells, found, overlaps), became in zip(fields, matches, strict=True):
        for cell in became.missed.tolist():
            label = int(cells.labels[cell])
            alike = (found.labels == nucleus) == (label == nucleus)
            best = float(found.scores[alike & (overlaps[:, cell] >= IOU_THRESHOLD)].max(initial=0.0))
            size = float(np.prod(cells.boxes[cell, 2:] - cells.boxes[cell, :2]))
            entry = {"field": cells.name, "cell": cell, "class": classes[label - 1], "best_score": best}
            missed.append((best, -size, entry))
    return [entry for _, _, entry in sorted(missed, key=lambda miss: miss[:2])]


def _false_alarms(pairs: Sequence[Matched], classes: Sequence[str]) -> Iterator[dict[str, Any]]:
    for _, found, became in pairs:
        for row in became.false.tolist():
            yield {
                "field": found.name,
                "detection": row,
                "class": classes[int(found.labels[row]) - 1],
                "score": float(found.scores[row]),
            }


def _undefined(scores: CellScores) -> Iterator[str]:
    segmentation, least = scores["segmentation"], f"{scores['min_score']:g}"
    if not scores["counts"]["fields"]:
        yield "there are no fields: no score is defined"
        return
    for name, of_class in segmentation["per_class"].items():
        if math.isnan(scores["pr_curves"][name]["AP50"]):
            yield f"no cell is {name}: its precision-recall curve and AP50 are not defined"
        if math.isnan(of_class["pq"]):
            yield f"no cell is outlined as {name} and none is found that scores {least}: its PQ and RQ are not defined"
        if math.isnan(of_class["sq"]):
            yield f"no outlined {name} is found with an IoU over 0.5: its SQ is not defined"
        if math.isnan(of_class["segpc_miou"]):
            yield f"no cell is outlined as {name}: its mean IoU is not defined"
    if math.isnan(segmentation["aji"]):
        yield f"no field has an outlined cell or a false detection that scores {least}: AJI is not defined"
