"""How well outlines fit: panoptic quality, aggregated Jaccard index, and the mean IoU of SegPC-2021."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from pycocotools import mask as coco_mask

from wbcjax.evaluate.detections import FieldAnnotations, FieldDetections
from wbcjax.evaluate.field_precision import match_field
from wbcjax.evaluate.nuclei_of_cells import cell_labels
from wbcjax.evaluate.overlap import mask_overlaps

OVER_HALF = float(np.nextafter(0.5, 1.0))  # the smallest share above a half


class Outlines(NamedTuple):
    """The outlined cells of one field and the detections that are to cover them."""

    cells: FieldAnnotations  # those without an outline are crowd regions
    found: FieldDetections  # best score first
    overlaps: Float[np.ndarray, "d c"]  # from `mask_overlaps`


def segmentation_quality(
    annotations: Sequence[FieldAnnotations],
    detections: Sequence[FieldDetections],
    classes: Sequence[str],
    min_score: float,
) -> dict[str, Any]:
    """PQ, SQ, RQ, AJI and SegPC-2021's mean IoU of a set of fields, each in [0, 1].

    Cells of which only the box is known are like crowd regions here: they need not be found, and a detection that lies
    in one by more than half is not false. All detections count, as the scores are defined: where one cell was detected
    as two classes, one of the two is false.

    Args:
        annotations, detections: of the same fields in the same order.
        classes: names of label 1, 2, ...
        min_score: of a detection that counts.

    Returns, with NaN for what is not defined:
        pq, sq, rq: means over the classes for which they are defined, each over all fields (`panoptic_quality`).
        aji: mean over the fields for which it is defined (`aggregated_jaccard_index`).
        segpc_miou: mean over the outlined cells of all fields (`segpc_miou`).
        segpc_miou_any_score: the same with all detections, as false ones cost nothing there.
        per_class: pq, sq, rq of each class, and both mean IoUs of its cells and its detections alone.

    For aji and the mean IoUs all classes are one; only nuclei, annotated and detected, are left out where one class is
    called nucleus and others are not.
    """
    of_any_score = [_outlines(*field) for field in zip(annotations, detections, strict=True)]
    fields = [_surer(field, min_score) for field in of_any_score]
    labels, of_cells = range(1, len(classes) + 1), cell_labels(classes)
    per_class = [
        of_class
        | {"segpc_miou": segpc_miou(fields, [label]), "segpc_miou_any_score": segpc_miou(of_any_score, [label])}
        for label, of_class in zip(labels, panoptic_quality(fields, len(classes)), strict=True)
    ]
    return {
        **{score: _mean(of_class[score] for of_class in per_class) for score in ("pq", "sq", "rq")},
        "aji": _mean(aggregated_jaccard_index(field, of_cells) for field in fields),
        "segpc_miou": segpc_miou(fields, of_cells),
        "segpc_miou_any_score": segpc_miou(of_any_score, of_cells),
        "per_class": dict(zip(classes, per_class, strict=True)),
    }


def panoptic_quality(fields: Sequence[Outlines], classes: int) -> list[dict[str, float]]:
    """pq, sq and rq of class 1..C over a set of fields (Kirillov et al., Panoptic Segmentation, 2019, Eqns. 1 and 2).

    A cell and a detection of its class match where their IoU is over 0.5. With p such pairs, f detections and m cells
    left over, SQ is the mean IoU of the pairs, RQ = p / (p + f / 2 + m / 2) and PQ = SQ RQ: 0 without a pair, NaN
    where there is neither a cell nor a detection. SQ is NaN without a pair, where the authors' code has 0.

    The paper's segments never overlap; detections may. Where two match one cell, the one of the better score has it,
    and the other is left over. Crowd regions are the paper's groups: they match nothing, and a detection left over that
    lies in one of its class by more than half does not count.
    """
    ious: list[list[float]] = [[] for _ in range(classes + 1)]
    left_over = np.zeros(classes + 1)
    for cells, found, overlaps in fields:
        match = match_field(cells, found, overlaps, -math.inf, OVER_HALF)
        for row, cell in zip(match.detections, match.cell_of, strict=True):
            if cell >= 0:
                ious[found.labels[row]].append(float(overlaps[row, cell]))
        np.add.at(left_over, cells.labels[match.missed], 1)
        np.add.at(left_over, found.labels[match.false], 1)
    return [_panoptic(*of_class) for of_class in zip(ious[1:], left_over[1:].tolist(), strict=True)]


def aggregated_jaccard_index(field: Outlines, labels: Sequence[int]) -> float:
    """AJI of one field, `labels` as if one class (Kumar et al., IEEE Trans. Med. Imaging 36, 2017, Algorithm 1).

    Each cell goes with the detection of the highest IoU, even where that goes with another cell too. The sum of their
    intersections is divided by the sum of their unions (of a cell that no detection touches, its area) and of the
    areas of the detections that went with no cell. A detection that lies in a crowd region by more than half is not
    among these; the paper has no such regions. NaN for a field without cells and false detections.
    """
    cells, found, overlaps = field
    crowd, counted = (chosen & np.isin(cells.labels, labels) for chosen in (cells.crowd, ~cells.crowd))  # (c,)
    rows = np.isin(found.labels, labels)
    overlaps, found_areas = overlaps[rows], _areas(found.rles)[rows]  # (d, c), (d,)
    used = np.zeros(len(found_areas), bool)
    shared, covered = 0.0, 0.0
    for area, ious in zip(_areas(cells.rles)[counted], overlaps.T[counted], strict=True):
        if not ious.any():
            covered += area
            continue
        best = int(ious.argmax())  # of equal ones the best score
        used[best] = True
        both = area + found_areas[best]
        union = both / (1 + ious[best])  # from IoU = (both - union) / union
        shared += both - union
        covered += union
    in_crowd = (overlaps[:, crowd] >= OVER_HALF).any(axis=1)  # (d,)
    covered += found_areas[~used & ~in_crowd].sum()
    return float(shared / covered) if covered else math.nan


def segpc_miou(fields: Sequence[Outlines], labels: Sequence[int]) -> float:
    """Mean IoU as the organisers' evaluation script for SegPC-2021 has it; NaN without an outlined cell.

    The mean over the cells of all fields of the highest IoU with any detection, 0 where there is none. A detection
    may be the best of several cells, and false detections cost nothing. The challenge has whole cells for its only
    class; here cells and detections of all `labels` count, as if they were one. Its script compares masks after
    resizing them to 1440 x 1080 pixels; here they are compared at the field's size.
    """
    best = []
    for cells, found, overlaps in fields:
        counted = ~cells.crowd & np.isin(cells.labels, labels)  # (c,)
        best += overlaps[np.isin(found.labels, labels)][:, counted].max(axis=0, initial=0.0).tolist()
    return _mean(best)


def _outlines(cells: FieldAnnotations, found: FieldDetections) -> Outlines:
    cells, found = cells.for_masks(), found.select(np.argsort(-found.scores, kind="stable"))
    return Outlines(cells, found, mask_overlaps(cells, found))


def _surer(field: Outlines, min_score: float) -> Outlines:
    """A field with the detections alone that score at least `min_score`."""
    rows = np.flatnonzero(field.found.scores >= min_score)
    return Outlines(field.cells, field.found.select(rows), field.overlaps[rows])


def _panoptic(ious: list[float], left_over: float) -> dict[str, float]:
    counted = len(ious) + left_over / 2
    return {
        "pq": sum(ious) / counted if counted else math.nan,
        "sq": _mean(ious),
        "rq": len(ious) / counted if counted else math.nan,
    }


def _mean(values: Iterable[float]) -> float:
    """Mean of the values that are defined; NaN where none is."""
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def _areas(rles: list) -> Float[np.ndarray, " n"]:
    return np.array([coco_mask.area(rle) for rle in rles], np.float64)
