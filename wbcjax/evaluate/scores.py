"""All scores of a set of fields: as a dict, as tables, and as a JSON file."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from wbcjax.evaluate.average_precision import MAX_DETECTIONS, average_precision, cut_fields, max_detections
from wbcjax.evaluate.detections import FieldAnnotations, FieldDetections, check_labels, check_pairs
from wbcjax.evaluate.field_precision import IOU_THRESHOLD, SCORE_THRESHOLD, field_average_precision, match_field
from wbcjax.evaluate.figures import percent
from wbcjax.evaluate.nuclei_of_cells import nucleus_label
from wbcjax.evaluate.overlap import box_overlaps, mask_overlaps, touching
from wbcjax.system.files import write_atomically
from wbcjax.system.terminal import Block, Table

Scores = dict[str, Any]


def detection_scores(
    annotations: Sequence[FieldAnnotations],
    detections: Sequence[FieldDetections],
    classes: Sequence[str],
    score_threshold: float = SCORE_THRESHOLD,
) -> Scores:
    """Every score of a set of fields, as a nested dict of numbers in [0, 1] and counts.

    Args:
        annotations, detections: of the same fields in the same order. Give all detections, also of low score.
        classes: names of label 1, 2, ...
        score_threshold: of a detection that counts for the papers' mAP.

    Returns, with NaN where there is no cell to find:
        box, mask: COCO's AP, AP50, AP75 and AP of each class (`average_precision`). Cells of which only the box is
            known count for boxes; for masks they are like crowd regions, and what is found there is left out.
        max_detections: of a field and class that count for these: COCO's 100, or more (`max_detections`).
        cut_fields: how many fields have more, of which the best count.
        touching: the same where only annotated cells that touch another need to be found (`overlap.touching`; where a
            class is called nucleus, cells that touch cells and nuclei that touch nuclei). Every false detection counts.
        paper: Matterport's mAP (`field_precision`) of masks, over the fields that hold annotated cells. Matterport has
            NaN for the others; here they are left out of the mean, and counted with the false detections on them.
        counts: fields, annotated cells of each class, how many of them are not outlined, crowd regions, and detections
            of each class.

    Raises ValueError when the lists differ in their fields or a label has no class.
    """
    check_pairs(annotations, detections)
    check_labels(annotations, detections, classes)
    truth = {"box": annotations, "mask": [field.for_masks() for field in annotations]}
    overlaps = {
        "box": [box_overlaps(*field) for field in zip(truth["box"], detections, strict=True)],
        "mask": [mask_overlaps(*field) for field in zip(truth["mask"], detections, strict=True)],
    }
    touches = [touching(field, nucleus_label(classes)) for field in annotations]
    alone, most = [~touch for touch in touches], max_detections(annotations)

    def coco(ignore: Sequence[Bool[np.ndarray, " _"]] | None = None) -> Scores:
        return {kind: _coco(truth[kind], detections, overlaps[kind], classes, ignore, most) for kind in truth}

    return {
        **coco(),
        "max_detections": most,
        "cut_fields": cut_fields(detections, most),
        "touching": {
            **coco(alone),
            "cells": int(sum((touch & ~field.crowd).sum() for touch, field in zip(touches, annotations, strict=True))),
        },
        "paper": _paper(annotations, detections, overlaps["mask"], score_threshold),
        "counts": {
            "fields": len(annotations),
            "cells": _per_class([field.labels[~field.crowd] for field in annotations], classes),
            "not_outlined": int(sum((~field.outlined & ~field.crowd).sum() for field in annotations)),
            "crowd_regions": int(sum(field.crowd.sum() for field in annotations)),
            "detections": _per_class([field.labels for field in detections], classes),
        },
    }


def table(scores: Scores) -> list[Block]:
    """The scores of `detection_scores` as tables and lines, percentages where they are fractions."""
    counts, touching = scores["counts"], scores["touching"]
    sets = {
        "all cells, mask": scores["mask"],
        "all cells, box": scores["box"],
        "touching cells, mask": touching["mask"],
        "touching cells, box": touching["box"],
    }
    averages = tuple((name, *(percent(of[key]) for key in AVERAGES)) for name, of in sets.items())
    by_class = tuple(
        (
            name,
            percent(scores["mask"]["per_class"][name]),
            percent(scores["box"]["per_class"][name]),
            f"{annotated}",
            f"{counts['detections'][name]}",
        )
        for name, annotated in counts["cells"].items()
    )
    note = " ".join(
        [
            "AP: area under the curve of precision over recall, the mean over IoU 0.50, 0.55, ... 0.95 (AP50, AP75: "
            "of one IoU, shared area over joint area). COCO's matching: each class by itself, detections of any "
            f"score, the best {scores['max_detections']} of a field and class.",
            *limit_remarks(scores),
        ]
    )
    return [
        Table("COCO average precision, %", ("", *AVERAGES), averages, note),
        Table("By class", ("class", "mask AP, %", "box AP, %", "cells", "detections"), by_class),
        list(_remarks(scores)),
    ]


def write_json(path: Path, scores: Scores) -> None:
    """Write `scores` to a JSON file, whole or not at all; NaN, which JSON lacks, becomes null."""
    write_atomically(path, (json.dumps(_without_nan(scores), indent=2) + "\n").encode())


def limit_remarks(scores: Mapping[str, Any]) -> Iterator[str]:
    """Sentences on the number of detections that COCO's scores count, where it is not COCO's or leaves some out."""
    most, cut = scores["max_detections"], scores["cut_fields"]
    if most > MAX_DETECTIONS:
        yield f"COCO itself counts {MAX_DETECTIONS}; here a field has {most} cells."
    if cut:
        yield f"Fields with more detections of a class, whose less sure ones are left out: {cut}."


AVERAGES = ("AP", "AP50", "AP75")


def _remarks(scores: Scores) -> Iterator[str]:
    """The papers' score, and further counts."""
    counts, paper, touching = scores["counts"], scores["paper"], scores["touching"]["cells"]
    empty, false = paper["empty_fields"], paper["false_on_empty_fields"]
    left_out = f"; without cells and left out {empty} (false detections on them {false})" if empty else ""
    yield (
        f"mAP as in the papers (IoU {paper['iou_threshold']:g}, score {paper['score_threshold']:g}), %: "
        f"{percent(paper['mAP'])} over {paper['fields']} fields{left_out}. Matterport's matching: cells and detections "
        "of one class, field by field."
    )
    yield f"fields {counts['fields']}, touching cells {touching}, crowd regions {counts['crowd_regions']}"
    if not_outlined := counts["not_outlined"]:
        yield f"{not_outlined} cells have no outline: mask scores leave them out"


def _coco(
    annotations: Sequence[FieldAnnotations],
    detections: Sequence[FieldDetections],
    overlaps: Sequence[Float[np.ndarray, "_ _"]],
    classes: Sequence[str],
    ignore: Sequence[Bool[np.ndarray, " _"]] | None,
    most: int,
) -> Scores:
    result = average_precision(annotations, detections, overlaps, len(classes), ignore, most)
    averages = dict(zip(AVERAGES, (result.ap, result.ap50, result.ap75), strict=True))
    return averages | {"per_class": dict(zip(classes, result.per_class, strict=True))}


def _paper(
    annotations: Sequence[FieldAnnotations],
    detections: Sequence[FieldDetections],
    overlaps: Sequence[Float[np.ndarray, "_ _"]],
    score_threshold: float,
) -> Scores:
    """The entry `paper`; `overlaps` are of masks."""
    fields = zip(annotations, detections, overlaps, strict=True)
    matches = [match_field(cells.for_masks(), found, overlap, score_threshold) for cells, found, overlap in fields]
    with_cells = [match for match in matches if match.cells]
    empty = [match for match, field in zip(matches, annotations, strict=True) if field.crowd.all()]
    precisions = [field_average_precision(match.cell_of >= 0, match.cells) for match in with_cells]
    return {
        "mAP": float(np.mean(precisions)) if precisions else math.nan,
        "iou_threshold": IOU_THRESHOLD,
        "score_threshold": score_threshold,
        "fields": len(with_cells),
        "empty_fields": len(empty),
        "false_on_empty_fields": sum(len(match.false) for match in empty),
    }


def _per_class(labels: Sequence[np.ndarray], classes: Sequence[str]) -> dict[str, int]:
    flat = np.concatenate([np.zeros(0, np.int64), *labels])
    return {name: int((flat == label).sum()) for label, name in enumerate(classes, start=1)}


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
