"""Checks of annotated fields before any is written: that they can be read again."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from wbcjax.smear.field import Cell, SmearField

SCORE, RUNNER_UP, RUNNER_UP_SCORE = "score", "runner_up", "runner_up_score"  # attributes of a cell that a model found
RunnerUp = tuple[str, float]  # the class that came second, and its score
RunnersUp = Sequence[Sequence[RunnerUp | None]]  # of each field of each cell; None where no other class was found


class Predicted(NamedTuple):
    """What a model predicted for each cell of each field."""

    scores: Sequence[Sequence[float]]
    runners_up: RunnersUp | None = None


class ScoredCell(NamedTuple):
    """A cell with its predicted score and the class that came second."""

    cell: Cell
    score: float | None
    runner_up: RunnerUp | None


def check_fields(
    fields: Sequence[SmearField],
    classes: Sequence[str],
    predicted: Predicted | None,
) -> list[list[ScoredCell]]:
    """The cells of each field, each with its score and the class that came second; None where `predicted` has none.

    Raises ValueError, naming the field and the cell, when a class or a field has no name of its own, the scores are not
    one finite number for each cell, the runners-up not one entry for each, a cell's class has no name, a coordinate is
    not finite, or a mask is empty or of another size than the field.
    """
    _check_names("class", classes)
    _check_names("field", [field.name for field in fields])
    scores, runners_up = predicted or (None, None)
    if scores is not None and len(scores) != len(fields):
        raise ValueError(f"{len(fields)} fields need {len(fields)} lists of scores, found {len(scores)}")
    for field in fields:
        for number, cell in enumerate(field.cells, start=1):
            fault = _fault(cell, field, len(classes))
            if fault:
                raise ValueError(f"{field.name}, cell {number}: {fault}")
    of_fields = [_scores(field, scores[i] if scores is not None else None) for i, field in enumerate(fields)]
    seconds = [[None] * len(field.cells) for field in fields] if runners_up is None else runners_up
    return [
        [ScoredCell(*cell) for cell in zip(field.cells, of_field, of_second, strict=True)]
        for field, of_field, of_second in zip(fields, of_fields, seconds, strict=True)
    ]


def told_groups(fields: Sequence[SmearField]) -> list[str]:
    """The sentence for a writer to return that has no place for the groups of fields."""
    count = sum(field.group is not None for field in fields)
    return [f"the groups of {count} field(s), such as their patients, are left out"] if count else []


def _check_names(kind: str, names: Sequence[str]) -> None:
    seen = {""}
    for number, name in enumerate(names, start=1):
        if name in seen:
            raise ValueError(f"{kind} {number} is named {name!r}; every {kind} needs a name of its own")
        seen.add(name)


def _fault(cell: Cell, field: SmearField, classes: int) -> str | None:
    """What is wrong with a cell, if anything."""
    if not 1 <= cell.label <= classes:
        return f"its class is {cell.label}, and there are names for 1 to {classes}"
    if not all(np.isfinite(points).all() for points in (*cell.polygons, cell.box or 0)):
        return "a coordinate is not finite"
    if cell.rle is not None and list(cell.rle["size"]) != [field.height, field.width]:
        return f"its mask is for an image of {cell.rle['size']}, the field is {[field.height, field.width]}"
    if not _area(cell, field):
        return "it covers no pixel; leave it out"
    return None


def _area(cell: Cell, field: SmearField) -> int:
    return int(coco_mask.area(cell.to_rle(field.height, field.width)))  # pyright: ignore[reportArgumentType]


def _scores(field: SmearField, scores: Sequence[float] | None) -> list[float | None]:
    if scores is None:
        return [None] * len(field.cells)
    if len(scores) != len(field.cells):
        raise ValueError(f"{field.name}: {len(field.cells)} cells need a score each, found {len(scores)} scores")
    if not np.isfinite(scores).all():
        raise ValueError(f"{field.name}: a score is not finite, found {list(scores)}")
    return [float(score) for score in scores]
