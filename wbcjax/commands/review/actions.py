"""Corrections as the page asks for them, checked, and as entries of the journal."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import shapely

from wbcjax.commands.review.candidates import Candidate
from wbcjax.commands.review.cells import FieldReview, Outline, Refused, ReviewCell, corrected
from wbcjax.commands.review.strokes import stroke, tidy

MOST_POINTS = 20_000  # of a line
FAR = 1e6  # pixels: no image is larger
Entry = dict[str, Any]


class Asked:
    """One request of the page: its values, each checked when it is taken. All raise Refused."""

    def __init__(self, values: Mapping[str, Any], classes: int, size: tuple[int, int]) -> None:
        self._values, self._classes = values, classes
        self.size = size  # height and width of the field, pixels

    @property
    def action(self) -> str:
        return str(self._values.get("action"))

    def cell(self, review: FieldReview) -> ReviewCell:
        return review.cell(self._values.get("cell"))

    def number(self, name: str, most: int) -> int:
        """A whole number from 0 to below `most`."""
        value = self._values.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < most:
            raise Refused(f"{name} is no number from 0 to {most - 1}; load the page again")
        return value

    def label(self) -> int:
        label = self.number("label", self._classes + 1)
        if not label:
            raise Refused("label 0 is no class; load the page again")
        return label

    def points(self, name: str = "points") -> Outline:
        given = self._values.get(name)
        if not isinstance(given, list) or not 0 < len(given) <= MOST_POINTS:
            raise Refused(f"{name} is no list of 1 to {MOST_POINTS} points; load the page again")
        return tuple(_point(point) for point in given)

    def place(self) -> tuple[float, float]:
        return _point([self._values.get("x"), self._values.get("y")])


def _point(given: Any) -> tuple[float, float]:
    if isinstance(given, list) and len(given) == 2 and all(_is_coordinate(value) for value in given):
        return float(given[0]), float(given[1])
    raise Refused("a point is no pair of numbers; load the page again")


def _is_coordinate(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and abs(value) < FAR


def entry_of(asked: Asked, review: FieldReview, candidates: Sequence[Candidate]) -> Entry:
    """The entry of the journal for what is asked. Raises Refused for what cannot be done."""
    make = ACTIONS.get(asked.action)
    if make is None:
        raise Refused(f"there is no action {asked.action!r}; load the page again")
    return make(asked, review, candidates)


def taken(one: Candidate, review: FieldReview, action: str) -> Entry:
    """The entry that makes a candidate a cell."""
    return _entry(action, (), [review.new(one.label, one.outlines)])


def _entry(action: str, dropped: Sequence[ReviewCell], put: Sequence[ReviewCell]) -> Entry:
    return {"action": action, "drop": [cell.id for cell in dropped], "put": [cell.as_json() for cell in put]}


def _mark(asked: Asked, review: FieldReview, candidates: Sequence[Candidate]) -> Entry:
    if (asked.action == "undo" and not review.can_undo) or (asked.action == "redo" and not review.can_redo):
        raise Refused(f"there is nothing to {asked.action} in this field")
    return {"action": asked.action}


def _name(asked: Asked, review: FieldReview, candidates: Sequence[Candidate]) -> Entry:
    cell = asked.cell(review)
    return _entry("name", [cell], [corrected(cell, label=asked.label())])


def _remove(asked: Asked, review: FieldReview, candidates: Sequence[Candidate]) -> Entry:
    return _entry("remove", [asked.cell(review)], [])


def _remove_below(asked: Asked, review: FieldReview, candidates: Sequence[Candidate]) -> Entry:
    """The cell, and all others that a model found with a score no higher: as by a threshold of this field's own."""
    cell = asked.cell(review)
    if cell.score is None:
        raise Refused("this cell has no score, since a person has drawn or corrected it: point at one that has")
    scored = [(one, one.score) for one in review.cells.values() if one.score is not None]
    return _entry("remove_below", [one for one, score in scored if score <= cell.score], [])


def _reshape(asked: Asked, review: FieldReview, candidates: Sequence[Candidate]) -> Entry:
    """One part of a cell gets other points."""
    cell, points = asked.cell(review), asked.points()
    part = asked.number("part", len(cell.outlines))
    if len(points) < 3:
        raise Refused("an outline needs three points")
    outlines = [*cell.outlines[:part], points, *cell.outlines[part + 1 :]]
    shapes = [shapely.Polygon(outline) for outline in outlines]
    return _entry("reshape", [cell], [corrected(cell, outlines=tidy(shapes, asked.size, smooth=0.0), box=False)])


def _stroke(asked: Asked, review: FieldReview, candidates: Sequence[Candidate]) -> Entry:
    label = asked.label()
    line = stroke(list(review.cells.values()), asked.points(), asked.size)
    if line.action == "draw":
        return _entry("draw", (), [review.new(label, line.outlines[0])])
    if line.action != "cut":
        return _entry(line.action, line.cells, [corrected(line.cells[0], outlines=line.outlines[0], box=False)])
    labels = [line.cells[number].label for number in line.cell_of]
    pieces = zip(labels, line.outlines, strict=True)
    put = [review.new(label, outlines, offset) for offset, (label, outlines) in enumerate(pieces)]
    return _entry("cut", line.cells, put)


def _take(asked: Asked, review: FieldReview, candidates: Sequence[Candidate]) -> Entry:
    return taken(candidates[asked.number("candidate", len(candidates))], review, "take")


ACTIONS: dict[str, Callable[[Asked, FieldReview, Sequence[Candidate]], Entry]] = {
    **dict.fromkeys(("undo", "redo", "done", "open"), _mark),
    "name": _name,
    "remove": _remove,
    "remove_below": _remove_below,
    "reshape": _reshape,
    "stroke": _stroke,
    "take": _take,
}
