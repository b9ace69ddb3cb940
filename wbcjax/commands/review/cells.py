"""A field under review: its cells, and the corrections made to them, each of which can be undone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from wbcjax.smear.field import Cell

Outline = tuple[tuple[float, float], ...]  # (x, y) in pixels


class Refused(ValueError):
    """A correction that cannot be made; the message says why, and what to do."""


@dataclass(frozen=True)
class ReviewCell:
    """A cell of a field under review."""

    id: int  # unique in its field, and never given again
    label: int  # class 1, 2, ...
    outlines: tuple[Outline, ...]  # several where the cell is in parts
    score: float | None = None  # the model's; None of a cell that a person has drawn or corrected
    crowd: bool = False  # a region of uncounted cells
    box: bool = False  # the outline is a box, and nothing more is known

    def as_json(self) -> dict[str, Any]:
        """The cell as JSON takes it; what is as by default is left out."""
        plain: dict[str, Any] = {"id": self.id, "label": self.label, "outlines": self.outlines}
        if self.score is not None:
            plain["score"] = round(self.score, 4)
        return plain | {name: True for name in ("crowd", "box") if getattr(self, name)}

    def as_cell(self) -> Cell:
        """The cell as annotation files have it."""
        if self.box:
            points = np.array(self.outlines[0])
            left, top, right, bottom = (float(side) for side in (*points.min(axis=0), *points.max(axis=0)))
            return Cell(self.label, box=(left, top, right, bottom), crowd=self.crowd)
        return Cell(self.label, tuple(np.array(points) for points in self.outlines), crowd=self.crowd)


def cell_of_json(plain: Mapping[str, Any]) -> ReviewCell:
    """The cell that `as_json` wrote."""
    outlines = tuple(tuple((float(x), float(y)) for x, y in points) for points in plain["outlines"])
    score = plain.get("score")
    marks = bool(plain.get("crowd")), bool(plain.get("box"))
    return ReviewCell(int(plain["id"]), int(plain["label"]), outlines, None if score is None else float(score), *marks)


class Change(NamedTuple):
    """Cells that a correction takes away, and those that it puts in their place."""

    dropped: tuple[ReviewCell, ...]
    put: tuple[ReviewCell, ...]

    def reversed(self) -> "Change":
        return Change(self.put, self.dropped)


class FieldReview:
    """The cells of a field as they stand, from those that it began with and the entries of the journal.

    cells: by their id.
    done: whether a person has marked the field as done.
    entries: of the journal that were applied; 0 of a field that nobody has touched.
    """

    def __init__(self, begun_with: Iterable[ReviewCell] = ()) -> None:
        self.cells = {cell.id: cell for cell in begun_with}
        self.done = False
        self.entries = 0
        self.next_id = 1 + max(self.cells, default=0)
        self._made: list[Change] = []
        self._undone: list[Change] = []

    @property
    def can_undo(self) -> bool:
        return bool(self._made)

    @property
    def can_redo(self) -> bool:
        return bool(self._undone)

    def apply(self, entry: Mapping[str, Any]) -> Change:
        """Apply an entry of the journal: {"action": "undo", "redo", "done" or "open"}, or with "drop" and "put".

        Raises IndexError where there is nothing to undo or to redo, KeyError for a cell that is not there.
        """
        nothing = Change((), ())
        match entry["action"]:
            case "undo":
                change = self._made.pop().reversed()
                self._undone.append(change)
            case "redo":
                change = self._undone.pop().reversed()
                self._made.append(change)
            case "done" | "open":
                self.done = entry["action"] == "done"
                change = nothing
            case _:
                dropped = tuple(self.cells[number] for number in entry["drop"])
                change = Change(dropped, tuple(map(cell_of_json, entry["put"])))
                self._made.append(change)
                self._undone.clear()
        self._swap(change)
        self.entries += 1
        return change

    def _swap(self, change: Change) -> None:
        for cell in change.dropped:
            del self.cells[cell.id]
        self.cells |= {cell.id: cell for cell in change.put}
        self.next_id = max(self.next_id, *(cell.id + 1 for cell in change.put), 1)

    def cell(self, number: Any) -> ReviewCell:
        """The cell of this id. Raises Refused where there is none."""
        found = self.cells.get(number) if type(number) is int else None
        if found is None:
            raise Refused(f"there is no cell {number} in this field any more")
        return found

    def new(self, label: int, outlines: tuple[Outline, ...], offset: int = 0) -> ReviewCell:
        """A cell drawn by a person, with the next free id, or the one `offset` after it."""
        return ReviewCell(self.next_id + offset, label, outlines)


def corrected(cell: ReviewCell, **changes: Any) -> ReviewCell:
    """The cell with changes by a person, whose word it now is, and not the model's."""
    return replace(cell, score=None, **changes)
