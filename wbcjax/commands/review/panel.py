"""What the page tells of a review as a whole: the queue, counts with intervals, and how well the models did."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from wbcjax.commands.review.candidates import Candidates
from wbcjax.commands.review.reviewed_set import NOT_SEARCHED, ReviewedField, ReviewedSet
from wbcjax.commands.review.strokes import iou, polygon_of
from wbcjax.evaluate.cell_counts import all_labels, count_cells, count_classes, shares

Hits = tuple[int, int, int]  # cells found as they are, all cells found, all cells of a field
SAME = 0.5  # IoU of a cell found with one corrected, from which on they are one


def queue(reviewed: ReviewedSet) -> list[dict[str, Any]]:
    """A line for each field, in the order of the queue."""
    return [_line(number, reviewed.fields[number]) for number in reviewed.queue()]


def _line(number: int, field: ReviewedField) -> dict[str, Any]:
    return {
        "number": number,
        "name": field.image.name,
        "revision": field.revision,
        "done": field.review.done,
        "touched": field.review.entries > 0,
        "cells": len(field.review.cells),
        "doubt": round(field.doubt, 2),
        "model": field.kept.candidates.model,
    }


def counts(reviewed: ReviewedSet, number: int) -> list[dict[str, Any]]:
    """The differential counts of a field, of all that are done, and of all, as they stand."""
    with reviewed.lock:
        labels = [field.labels for field in reviewed.fields]
        done = [of for of, field in zip(labels, reviewed.fields, strict=True) if field.review.done]
    classes = reviewed.settings.classes
    kinds = [("this field", [labels[number]]), (f"{len(done)} done", done), (f"all {len(labels)} fields", labels)]
    return [{"of": name, **_count(all_labels(chosen), classes)} for name, chosen in kinds]


def _count(labels: Int[np.ndarray, " c"], classes: Sequence[str]) -> dict[str, Any]:
    of_class = shares(labels, classes)
    rows = [[name, n, *of_class.get(name, ())] for name, n in count_classes(labels, classes).items()]
    return {"cells": count_cells(labels, classes), "rows": rows}


class Scores:
    """How well each model did, on the fields that it searched and a person then corrected.

    Fields that a model was trained on are not searched by it, and so are not among its own. Those that another model
    searched while they were being corrected, and annotated ones, are left out.
    """

    def __init__(self, reviewed: ReviewedSet) -> None:
        self._reviewed = reviewed
        self._known: dict[int, tuple[str, Hits]] = {}  # of each field, at a revision

    def table(self) -> list[dict[str, Any]]:
        """A line for each model, of the cells that it found as they are now."""
        with self._reviewed.lock:
            done = [(k, field) for k, field in enumerate(self._reviewed.fields) if field.review.done]
            shown = [
                (k, field.revision, field.kept.candidates, [(c.label, c.outlines) for c in field.review.cells.values()])
                for k, field in done
                if field.kept.begun_with is None and field.kept.candidates.model != NOT_SEARCHED
            ]
        of_model: dict[int, list[Hits]] = {}
        for number, revision, candidates, cells in shown:
            if self._known.get(number, ("",))[0] != revision:
                hits = _hits(candidates, cells, self._reviewed.settings.threshold)
                self._known[number] = revision, hits
            of_model.setdefault(candidates.model, []).append(self._known[number][1])
        return [{"model": model, "fields": len(of), **_f1(of)} for model, of in sorted(of_model.items())]


def _hits(candidates: Candidates, cells: Sequence[tuple[int, Any]], threshold: float) -> Hits:
    """How many cells were found, of one class and in one place with a corrected one; how many there are of each."""
    sure = [one for one in candidates.found if one.score >= threshold]
    free = [(label, polygon_of(outlines)) for label, outlines in cells]
    hits = 0
    for one in sure:
        area = polygon_of(one.outlines)
        overlaps = [iou(area, other) if label == one.label else 0.0 for label, other in free]
        best = int(np.argmax(overlaps)) if overlaps else 0
        if overlaps and overlaps[best] >= SAME:
            del free[best]
            hits += 1
    return hits, len(sure), len(cells)


def _f1(of_fields: Sequence[Hits]) -> dict[str, Any]:
    hits, found, cells = (sum(column) for column in zip(*of_fields, strict=True))
    return {
        "precision": hits / found if found else None,
        "recall": hits / cells if cells else None,
        "f1": 2 * hits / (found + cells) if found + cells else None,
    }
