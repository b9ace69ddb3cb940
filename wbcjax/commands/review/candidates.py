"""What a model found in a field, of any score: the cells that a review begins with, and candidates for more."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from wbcjax.commands.review.cells import Outline, Refused, ReviewCell, cell_of_json
from wbcjax.commands.review.strokes import tidy
from wbcjax.evaluate.detections import FieldDetections
from wbcjax.evaluate.reported_cells import reported_cells
from wbcjax.smear.formats.outline import outline_mask
from wbcjax.smear.rle import cut_out
from wbcjax.system.files import write_atomically

NEAR = 0.25  # a score this far from the threshold, or a runner-up this far below its cell, leaves no doubt


@dataclass(frozen=True)
class Candidate:
    """A cell that a model found, with the class that came second."""

    label: int
    outlines: tuple[Outline, ...]
    score: float
    runner_up: int = 0  # label; 0: there is none
    runner_up_score: float = 0.0

    def as_json(self) -> list[Any]:
        return [self.label, self.score, self.runner_up, self.runner_up_score, self.outlines]


@dataclass(frozen=True)
class Candidates:
    """The candidates of a field, the highest score first, of the `model`th of this review, counted from 0."""

    model: int
    found: tuple[Candidate, ...]

    def begin_with(self, threshold: float) -> list[ReviewCell]:
        """The cells that a review begins with."""
        sure = [one for one in self.found if one.score >= threshold]
        return [ReviewCell(number, one.label, one.outlines, one.score) for number, one in enumerate(sure, start=1)]

    def doubt(self, threshold: float) -> float:
        """How much a look at the field is worth: the sum of its candidates' doubts, each from 0 to 1.

        A candidate is in doubt whose score is near the threshold, and a cell whose runner-up scores nearly as much:
        the nearer, the more (see `NEAR`).
        """
        return float(sum(_doubt(one, threshold) for one in self.found))


def _doubt(one: Candidate, threshold: float) -> float:
    of_score = 1 - abs(one.score - threshold) / NEAR
    named = one.runner_up and one.score >= threshold
    of_class = 1 - (one.score - one.runner_up_score) / NEAR if named else 0.0
    return min(max(of_score, of_class, 0.0), 1.0)


def candidates_of(found: FieldDetections, classes: Sequence[str], model: int) -> Candidates:
    """The candidates of a field from a model's detections: one for each cell, whatever its score."""
    cells = reported_cells(found, 0.0, classes)
    size = (found.height, found.width)
    ones = []
    for row, rle in enumerate(cells.rles):
        outlines = _outlines(rle, size)
        if outlines:
            second = int(cells.runner_up[row]), round(float(cells.runner_up_scores[row]), 4)
            ones.append(Candidate(int(cells.labels[row]), outlines, round(float(cells.scores[row]), 4), *second))
    return Candidates(model, tuple(ones))


def _outlines(rle: Any, size: tuple[int, int]) -> tuple[Outline, ...]:
    """Of a mask, () where it is too small for an outline; the part that is drawn is its surroundings, not the field."""
    mask, left, top = cut_out(rle)
    room = np.pad(mask, 1)
    parts = [shapely.Polygon(np.add(points, (left - 1, top - 1))) for points in outline_mask(room) if len(points) > 2]
    try:
        return tidy(parts, size, smooth=0.0)
    except Refused:
        return ()


@dataclass(frozen=True)
class Kept:
    """What is kept of a field: the candidates of the last model, and the cells that its review began with.

    begun_with: None where they are those of the candidates.
    """

    candidates: Candidates
    begun_with: tuple[ReviewCell, ...] | None = None


class CandidateFiles:
    """A file for each field, by a digest of its name, which may be any text."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, kept: Kept) -> None:
        """Keep them, whole or not at all. Raises OSError."""
        begun = None if kept.begun_with is None else [cell.as_json() for cell in kept.begun_with]
        found = [one.as_json() for one in kept.candidates.found]
        content = {"field": name, "model": kept.candidates.model, "found": found, "begun_with": begun}
        write_atomically(self._path(name), json.dumps(content, separators=(",", ":")).encode())

    def read(self, name: str) -> Kept | None:
        """What is kept of a field, None where nothing is. Raises ValueError for a broken file, naming it."""
        path = self._path(name)
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_bytes())
            found = tuple(_candidate(one) for one in content["found"])
            begun = content["begun_with"]
            cells = None if begun is None else tuple(map(cell_of_json, begun))
            return Kept(Candidates(int(content["model"]), found), cells)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: no candidates of a field ({error!r}); restore the file, or delete it") from error

    def _path(self, name: str) -> Path:
        return self.folder / f"{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:24]}.json"


def _candidate(plain: Sequence[Any]) -> Candidate:
    label, score, second, second_score, outlines = plain
    drawn = tuple(tuple((float(x), float(y)) for x, y in points) for points in outlines)
    return Candidate(int(label), drawn, float(score), int(second), float(second_score))
