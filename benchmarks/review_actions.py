"""How many actions a review takes: `python -m benchmarks.review_actions RUN [--fields 20]`.

A script that knows the annotation of fields that RUN did not train on corrects what RUN finds in them, by actions of
the page of `wbcjax review` alone, until each field is as annotated: each cell is overlapped, by the IoU that is the
goal or more, by one of its class, and there is none besides. Its habits are a person's who does not know what the model
will answer:

- a cell that overlaps an annotated one by half and not by the goal is outlined anew, by a line;
- one that covers two annotated cells is cut; what else overlaps none by half is removed, all at once where those score
  less than every cell that is right;
- for one that is not there, a candidate below the threshold is taken where one is good enough; else the model is asked;
  what it gives is outlined anew, or taken back and drawn, where it is not good enough.

Beside it, what the same takes in VIA, as points to place: of the fewest points whose polygon overlaps the annotation by
the goal (0.85 at least), for cells that are not found so, and a click for each that is removed; and from nothing. In
the page, a cell drawn from nothing is a line. The last column is Spearman's correlation of the fields' doubts, by which
the queue is sorted, with their actions.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from scipy.stats import spearmanr
from shapely.geometry.base import BaseGeometry

from wbcjax.commands.review.actions import taken
from wbcjax.commands.review.candidates import Candidate, Candidates, candidates_of
from wbcjax.commands.review.cells import Refused
from wbcjax.commands.review.reviewed_set import ImageFile, ReviewedField, ReviewedSet, ReviewSettings, as_review_cells
from wbcjax.commands.review.searching import Searching
from wbcjax.commands.review.strokes import iou, polygon_of
from wbcjax.input.settings import FieldSetSettings, class_map
from wbcjax.input.split import split_fields
from wbcjax.predict.detector import load
from wbcjax.runs.folder import load_config
from wbcjax.smear.field import SmearField
from wbcjax.smear.read import read

GOALS = (0.5, 0.75, 0.85)
KINDS = ("line", "remove", "remove below", "take", "ask", "name", "undo")  # of actions
SAME = 0.5  # IoU from which on a cell is the annotated one, if not well outlined

Known = list[tuple[int, BaseGeometry]]  # the annotated cells of a field: class and area
Ask = Callable[[int, tuple[float, float]], Candidate | None]


@dataclass
class Person:
    """Who corrects a field, and counts the actions by their kind."""

    reviewed: ReviewedSet
    number: int
    known: Known
    ask: Ask
    goal: float
    actions: Counter[str] = field(default_factory=Counter)

    @property
    def shown(self) -> ReviewedField:
        return self.reviewed.fields[self.number]

    def correct(self) -> None:
        """Bring the field to its annotation. Raises AssertionError where the page's actions cannot."""
        for _ in range(4):  # a cut or a line may change more than was meant
            for step in (self._divide, self._clear, self._outline_and_name, self._add):
                step()
            if not self.left():
                return
        raise AssertionError(f"{self.shown.image.name}: {self.left()} cells are not as annotated")

    def left(self) -> int:
        """Annotated cells that no cell is, and cells that are none."""
        good = sum(overlap >= self.goal for _, _, overlap in self.pairs())
        return len(self.known) + len(self.shown.review.cells) - 2 * good

    def _act(self, kind: str, **values: object) -> None:
        self.actions[kind] += 1
        self.reviewed.act(self.number, {"revision": self.shown.revision, **values})

    def _draw(self, kind: str, area: BaseGeometry, label: int) -> None:
        """A line along the outline of an annotated cell."""
        parts = [part for part in shapely.get_parts(area) if part.geom_type == "Polygon"]
        outline = shapely.get_coordinates(max(parts, key=lambda part: part.area).exterior)
        self._act(kind, action="stroke", label=label, points=outline.tolist())

    def pairs(self) -> list[tuple[int, int, float]]:
        """The annotated cells and the cells that they are, one to one, with their overlaps of SAME or more."""
        cells = [(number, polygon_of(cell.outlines)) for number, cell in self.shown.review.cells.items()]
        every = [
            (row, number, overlap)
            for row, (_, area) in enumerate(self.known)
            for number, other in cells
            if area.intersects(other) and (overlap := iou(area, other)) >= SAME
        ]
        pairs, rows, numbers = [], set(), set()
        for row, number, overlap in sorted(every, key=lambda pair: -pair[2]):
            if row not in rows and number not in numbers:
                pairs.append((row, number, overlap))
                rows.add(row)
                numbers.add(number)
        return pairs

    def _divide(self) -> None:
        """Cut cells that cover most of two annotated ones, across the line between their middles."""
        for number, cell in list(self.shown.review.cells.items()):
            area = polygon_of(cell.outlines)
            within = [one for _, one in self.known if one.intersection(area).area > 0.7 * one.area]
            if len(within) != 2 or iou(area, shapely.union_all(within)) < SAME:
                continue
            one, other = (np.array(part.centroid.coords[0]) for part in within)
            middle, along = (one + other) / 2, other - one
            across = np.array([-along[1], along[0]]) / np.hypot(*along) * 300
            if number in self.shown.review.cells:
                try:
                    self._act("line", action="stroke", label=1, points=[list(middle - across), list(middle + across)])
                except Refused:
                    continue

    def _clear(self) -> None:
        """Remove what is no annotated cell: first all that score less than the least sure one that is, at once."""
        paired = {number for _, number, _ in self.pairs()}
        cells = self.shown.review.cells
        scored = sorted((cell.score, number) for number, cell in cells.items() if cell.score is not None)
        below = list(takewhile(lambda one: one[1] not in paired, scored))
        if len(below) > 1:
            self._act("remove below", action="remove_below", cell=below[-1][1])
        for number in sorted(set(cells) - paired):
            self._act("remove", action="remove", cell=number)

    def _outline_and_name(self) -> None:
        for row, number, overlap in self.pairs():
            label, area = self.known[row]
            if overlap < self.goal:
                self._draw("line", area, label)
            cell = self.shown.review.cells.get(number)
            if cell and cell.label != label:
                self._act("name", action="name", cell=number, label=label)

    def _add(self) -> None:
        paired = {row for row, _, _ in self.pairs()}
        for row, (label, area) in enumerate(self.known):
            if row in paired:
                continue
            ghosts = [(iou(polygon_of(one.outlines), area), place) for place, one in self.shown.ghosts]
            best, place = max(ghosts, default=(0.0, -1))
            if best >= self.goal:
                self._act("take", action="take", candidate=place)
            else:
                self._ask_or_draw(label, area)

    def _ask_or_draw(self, label: int, area: BaseGeometry) -> None:
        self.actions["ask"] += 1
        at = area.representative_point()
        found = self.ask(self.number, (at.x, at.y))
        if found is not None:
            self.reviewed.add(self.number, self.shown.revision, lambda review: taken(found, review, "ask"))
            overlap = iou(polygon_of(found.outlines), area)
            if overlap >= self.goal:
                return
            if overlap < SAME:
                self._act("undo", action="undo")
        self._draw("line", area, label)


def known_cells(annotated: SmearField) -> Known:
    return [(cell.label, polygon_of(cell.outlines)) for cell in as_review_cells(annotated)]


def fewest_points(area: BaseGeometry, goal: float) -> int:
    """Points of the simplest polygon that overlaps an area by the goal, at least 0.85 where that is less."""
    counts = [len(shapely.get_coordinates(area))]
    for tolerance in np.arange(0.25, 12, 0.25):
        simple = shapely.simplify(area, tolerance)
        if simple.is_empty or iou(simple, area) < max(goal, 0.85):
            break
        counts.append(len(shapely.get_coordinates(simple)) - 1)
    return max(min(counts), 3)


def in_via(person: Person) -> int:
    """Points to place, and cells to remove, to correct the same field in VIA."""
    good = {row: number for row, number, overlap in person.pairs() if overlap >= person.goal}
    wrong = len(person.shown.review.cells) - len(good)
    return wrong + sum(
        fewest_points(area, person.goal) for row, (_, area) in enumerate(person.known) if row not in good
    )


def held_out(run: Path, count: int) -> tuple[FieldSetSettings, list[SmearField]]:
    """Fields that a run validated on."""
    dataset = FieldSetSettings.from_config(load_config(run).dataset)
    fields = read(Path(dataset.annotations), Path(dataset.images), class_map(dataset)).fields
    return dataset, split_fields(fields, dataset.split)["val"][:count]


def told(run: Path, count: int) -> Iterator[str]:
    model = load(run)
    dataset, annotated = held_out(run, count)
    cells = sum(len(one.cells) for one in annotated)
    yield f"{len(annotated)} fields that did not train {run}, with {cells} annotated cells"
    found = model.detect_each((one.name, one.image()) for one in annotated)
    candidates = [candidates_of(one, model.classes, 0) for one in found]
    head = ("goal, IoU", "actions a cell", *KINDS, "VIA, corrected", "VIA, from nothing", "doubt and actions")
    yield f"| {' | '.join(head)} |\n|{'---|' * len(head)}"
    doubts = [one.doubt(model.min_score) for one in candidates]
    for goal in GOALS:
        with tempfile.TemporaryDirectory() as folder:
            reviewed = begun(Path(folder), annotated, ReviewSettings(dataset.classes, model.min_score), candidates)
            ask = Searching(reviewed, model, 0).at
            people = [Person(reviewed, number, known_cells(one), ask, goal) for number, one in enumerate(annotated)]
            via = sum(map(in_via, people))
            nothing = sum(fewest_points(area, goal) for person in people for _, area in person.known)
            for person in people:
                person.correct()
        each = [person.actions for person in people]
        total: Counter[str] = sum(each, Counter())
        shares = [total.total() / cells, *(total[kind] / cells for kind in KINDS)]
        shown = [*(f"{share:.2f}" for share in shares), f"{via / cells:.1f}", f"{nothing / cells:.1f}"]
        order: Any = spearmanr(doubts, [of.total() for of in each])[0]
        yield f"| {goal} | {' | '.join(shown)} | {order:.2f} |"


def begun(
    folder: Path, annotated: Sequence[SmearField], settings: ReviewSettings, candidates: Sequence[Candidates]
) -> ReviewedSet:
    """A review of the fields with what was found in them, and without their annotation."""
    images = [ImageFile(one.name, one.path, one.height, one.width) for one in annotated if one.path]
    reviewed = ReviewedSet(folder, images, settings)
    for number, ones in enumerate(candidates):
        reviewed.searched(number, ones)
    return reviewed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run on annotated fields that are there")
    parser.add_argument("--fields", type=int, default=20, help="of those that it validated on (default: 20)")
    options = parser.parse_args()
    for line in told(options.run, options.fields):
        print(line, flush=True)


if __name__ == "__main__":
    main()
