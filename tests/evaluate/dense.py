"""Small random fields, and what became of their cells by counting pixels, for tests of scores of single cells."""

from fractions import Fraction
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from tests.evaluate.make import annotated, detected, rle
from wbcjax.evaluate.detections import FieldAnnotations, FieldDetections

CLASSES = ("a", "b", "c")
LABELS = st.integers(1, 3)
# Few places and sizes, so that IoUs of exactly 1/2, equal IoUs, and cells within crowd regions are common.
PLACES, SIZES = st.sampled_from(range(0, 20, 2)), st.sampled_from([4, 8, 12, 16])
Drawn = tuple[list, list, list[bool]]  # cells, crowd regions and boxes; detections; which of these are halved
SCORES = st.sampled_from([0.125, 0.25, 0.5, 0.75, 1.0])


@st.composite
def drawn_fields(draw) -> Drawn:
    """A field with cells, crowd regions, cells without outline; detections near these or anywhere, scores tied."""
    groups = [draw(st.lists(st.tuples(rectangles(), LABELS), max_size=most)) for most in (5, 2, 2)]
    near = [st.sampled_from([rectangle for group in groups for rectangle, _ in group])] if any(groups) else []
    found = draw(st.lists(st.tuples(st.one_of([rectangles(), *near]), LABELS, SCORES), max_size=7))
    return groups, found, [draw(st.booleans()) for _ in found]


def build(drawn: Drawn, name: str = "field.png") -> tuple[FieldAnnotations, FieldDetections]:
    """The field that was drawn; some masks fill but the left half of their box."""
    groups, found, halved = drawn
    detections = detected(found, name=name)
    for row, ((x1, y1, x2, y2), _, _) in enumerate(found):
        if halved[row]:
            detections.rles[row] = rle((x1, y1, (x1 + x2) // 2, y2))
    return annotated(*groups, name=name), detections


@st.composite
def rectangles(draw) -> tuple[int, int, int, int]:
    x1, y1 = draw(PLACES), draw(PLACES)
    return x1, y1, x1 + draw(SIZES), y1 + draw(SIZES)


def once(found: FieldDetections) -> list[int]:
    """The rows of the detections that stand for a cell each: what no surer one overlaps by more than half.

    Of equal scores the lower label, the box further left and up, and the lower RLE come first.
    """
    kept: list[int] = []
    for row in sorted(
        range(len(found.scores)),
        key=lambda row: (-found.scores[row], found.labels[row], *found.boxes[row], found.rles[row]["counts"]),
    ):
        masks = [(mask(found, row), mask(found, other)) for other in kept]
        if mask(found, row).any() and not any(2 * (a & b).sum() > (a | b).sum() for a, b in masks):
            kept.append(row)
    return kept


class Outcome(NamedTuple):
    pairs: list[tuple[int, int]]  # cell, detection
    missed: list[int]
    false: list[int]


def outcome(
    cells: FieldAnnotations, found: FieldDetections, min_score: float, same_class: bool, over_half: bool
) -> Outcome:
    """Greedy matching as the scores define it, pixel by pixel and with whole numbers.

    `over_half`: what is exactly a half does not suffice.
    """

    def enough(part: int, whole: int) -> bool:
        return 2 * part > whole if over_half else 2 * part >= whole

    alike = [[not same_class or label == other for other in cells.labels.tolist()] for label in found.labels.tolist()]
    free = [cell for cell in range(len(cells.labels)) if not cells.crowd[cell]]
    pairs, false = [], []
    for row in sorted(range(len(found.scores)), key=lambda row: -found.scores[row]):
        if found.scores[row] < min_score:
            continue
        covers = {cell: cover(cells, cell, found, row) for cell in free if alike[row][cell]}
        candidates = [cell for cell, (shared, both) in covers.items() if enough(shared, both)]
        if candidates:
            cell = max(candidates, key=lambda cell: Fraction(*covers[cell]))
            free.remove(cell)
            pairs.append((cell, row))
        elif not any(
            enough(int((mask(cells, cell) & mask(found, row)).sum()), int(mask(found, row).sum()))
            for cell in np.flatnonzero(cells.crowd).tolist()
            if alike[row][cell]
        ):
            false.append(row)
    return Outcome(pairs, free, false)


def cover(cells: FieldAnnotations, cell: int, found: FieldDetections, row: int) -> tuple[int, int]:
    """Pixels of the intersection and of the union: of masks, or of boxes for a cell without outline."""
    one, other = mask(cells, cell), mask(found, row)
    if not cells.outlined[cell]:
        x1, y1, x2, y2 = found.boxes[row].astype(int)
        other = np.zeros_like(one)
        other[y1:y2, x1:x2] = True
    return int((one & other).sum()), int((one | other).sum())


def mask(field: FieldAnnotations | FieldDetections, row: int) -> np.ndarray:
    return coco_mask.decode(field.rles[row]).astype(bool)
