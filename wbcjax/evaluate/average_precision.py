"""Average precision by COCO's protocol, from plain arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from wbcjax.evaluate.detections import FieldAnnotations, FieldDetections

# COCO's protocol (pycocotools.cocoeval.Params): IoU thresholds, recall points, detections counted a field and class.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_POINTS = np.linspace(0.0, 1.0, 101)
MAX_DETECTIONS = 100


def max_detections(annotations: Sequence[FieldAnnotations]) -> int:
    """How many detections of a field and class count: COCO's 100, or the most cells of a field where they are more.

    COCO's images have few objects. By its hundred, fields of 260 cells, all of them found, would score AP 39.
    """
    return max([MAX_DETECTIONS, *(int((~field.crowd).sum()) for field in annotations)])


def cut_fields(detections: Sequence[FieldDetections], most: int) -> int:
    """How many fields have more than `most` detections of a class; of these only the best count."""
    return sum(int(np.bincount(field.labels).max(initial=0) > most) for field in detections)


@dataclass(frozen=True)
class AveragePrecision:
    """COCO's averages, each in [0, 1]; NaN where there is no annotated cell to find (COCOeval gives -1)."""

    ap: float  # mean over IoU 0.50:0.05:0.95 and over the classes that have annotated cells
    ap50: float
    ap75: float
    per_class: tuple[float, ...]  # AP of class 1..C


def average_precision(
    annotations: Sequence[FieldAnnotations],
    detections: Sequence[FieldDetections],
    overlaps: Sequence[Float[np.ndarray, "_ _"]],
    classes: int,
    ignore: Sequence[Bool[np.ndarray, " _"]] | None = None,
    most: int = MAX_DETECTIONS,
) -> AveragePrecision:
    """COCO average precision (all areas) over fields in order.

    Args:
        annotations, detections: of the same fields in the same order.
        overlaps: from `mask_overlaps` or `box_overlaps` of each field, (d, c).
        classes: number of classes C.
        ignore: of each field, (c,), the annotated cells that need not be found. A detection matched with one is neither
            true nor false. Crowd regions are always ignored, and match any number of detections.
        most: detections of a field and class that count, the best: COCO's hundred, or `max_detections`.

    Matches pycocotools' COCOeval, ties included: equal scores keep the order of fields and detections.
    """
    ignored_cells = [field.crowd.copy() for field in annotations]
    if ignore is not None:
        ignored_cells = [crowd | more for crowd, more in zip(ignored_cells, ignore, strict=True)]
    found = [
        match_class(annotations, detections, overlaps, ignored_cells, label, most) for label in range(1, classes + 1)
    ]
    curves = np.stack([_precision_of_class(of_class) for of_class in found])  # (C, 10, 101)
    per_class = curves.mean(axis=(1, 2))  # (C,)
    counted = ~np.isnan(per_class)
    if not counted.any():
        return AveragePrecision(np.nan, np.nan, np.nan, tuple(per_class.tolist()))
    by_threshold = curves[counted].mean(axis=(0, 2))  # (10,)
    return AveragePrecision(
        ap=float(by_threshold.mean()),
        ap50=float(by_threshold[0]),
        ap75=float(by_threshold[5]),
        per_class=tuple(per_class.tolist()),
    )


def match(
    overlaps: Float[np.ndarray, "d c"], crowd: Bool[np.ndarray, " c"], ignore: Bool[np.ndarray, " c"]
) -> tuple[Bool[np.ndarray, "t d"], Bool[np.ndarray, "t d"]]:
    """Match detections, best score first, with the cells of one field and class at each of `IOU_THRESHOLDS`.

    A detection takes the free cell it overlaps most; an ignored one only when no other will do. Only crowd regions
    stay free after a match. Returns which detections are matched, and which of them with an ignored cell.
    """
    thresholds, (found, cells) = len(IOU_THRESHOLDS), overlaps.shape
    matched = np.zeros((thresholds, found), bool)
    ignored = np.zeros((thresholds, found), bool)
    if cells == 0:
        return matched, ignored
    free = np.ones((thresholds, cells), bool)
    for row, overlap in enumerate(overlaps):
        candidates = free & (overlap >= IOU_THRESHOLDS[:, None])  # (t, c)
        counted = candidates & ~ignore
        candidates = np.where(counted.any(axis=1, keepdims=True), counted, candidates)
        # The last of equal overlaps wins, as in COCOeval.
        best = cells - 1 - np.where(candidates, overlap, -1.0)[:, ::-1].argmax(axis=1)  # (t,)
        hit = candidates.any(axis=1)
        matched[:, row] = hit
        ignored[:, row] = hit & ignore[best]
        free[hit, best[hit]] = crowd[best[hit]]
    return matched, ignored


def interpolated_precision(matched: Bool[np.ndarray, " d"], cells: int) -> Float[np.ndarray, " 101"]:
    """Precision at `RECALL_POINTS`, each the best reached at that recall or beyond; 0 where recall is never reached.

    `matched`: whether each counted detection, best score first, found a cell; `cells`: the number of cells, > 0.
    """
    true = np.cumsum(matched)  # (d,)
    precision = true / (np.arange(1, len(matched) + 1) + np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    first = np.searchsorted(true / cells, RECALL_POINTS, side="left")  # (101,)
    return np.append(envelope, 0.0)[first]


@dataclass(frozen=True, eq=False)
class ClassMatches:
    """All detections of one class in a set of fields, best score first, after matching."""

    field: Int[np.ndarray, " d"]  # of each detection, as a row of the set
    matched: Bool[np.ndarray, "t d"]  # at each of `IOU_THRESHOLDS`
    ignored: Bool[np.ndarray, "t d"]  # of these, those matched with an ignored cell
    cells: Int[np.ndarray, " f"]  # of each field, the cells to be found


def match_class(
    annotations: Sequence[FieldAnnotations],
    detections: Sequence[FieldDetections],
    overlaps: Sequence[Float[np.ndarray, "_ _"]],
    ignore: Sequence[Bool[np.ndarray, " _"]],
    label: int,
    most: int,
) -> ClassMatches:
    """The detections of class `label`, matched field by field, as `average_precision` counts them.

    `ignore`: of each field, (c,), the cells that need not be found, crowd regions among them.
    """
    nothing = np.zeros((len(IOU_THRESHOLDS), 0), bool)  # so that there may be no fields
    cells, rows, scores, matched, ignored = [], [np.zeros(0, np.int64)], [np.zeros(0, np.float32)], [nothing], [nothing]
    fields = zip(annotations, detections, overlaps, ignore, strict=True)
    for row, (annotation, detection, overlap, need_not) in enumerate(fields):
        of_class = np.flatnonzero(annotation.labels == label)
        cells.append(int((~need_not[of_class]).sum()))
        best_first = _best_first(detection, label)[:most]
        hits = match(overlap[np.ix_(best_first, of_class)], annotation.crowd[of_class], need_not[of_class])
        rows.append(np.full(len(best_first), row))
        scores.append(detection.scores[best_first])
        matched.append(hits[0])
        ignored.append(hits[1])
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return ClassMatches(
        field=np.concatenate(rows)[order],
        matched=np.concatenate(matched, axis=1)[:, order],
        ignored=np.concatenate(ignored, axis=1)[:, order],
        cells=np.array(cells, np.int64),
    )


def _precision_of_class(found: ClassMatches) -> Float[np.ndarray, "t 101"]:
    """Interpolated precision of one class at each IoU threshold; NaN without a cell to find."""
    cells = int(found.cells.sum())
    if cells == 0:
        return np.full((len(IOU_THRESHOLDS), len(RECALL_POINTS)), np.nan)
    pairs = zip(found.matched, ~found.ignored, strict=True)
    return np.stack([interpolated_precision(hit[counted], cells) for hit, counted in pairs])


def _best_first(detection: FieldDetections, label: int) -> Int[np.ndarray, " d"]:
    of_class = np.flatnonzero(detection.labels == label)
    return of_class[np.argsort(-detection.scores[of_class], kind="stable")]
