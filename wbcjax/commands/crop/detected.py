"""Crops of what trained detectors make of annotated fields: cells found and missed, and false alarms.

It imports jax, which crops of annotated cells alone do without.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from wbcjax.evaluate.cell_matching import match_cells
from wbcjax.evaluate.detections import FieldDetections, annotate
from wbcjax.evaluate.nuclei_of_cells import nucleus_label
from wbcjax.evaluate.overlap import mask_overlaps
from wbcjax.input.digest import pixels_digest
from wbcjax.input.split import PARTS
from wbcjax.predict.detector import load
from wbcjax.predict.search import Search
from wbcjax.runs.data_note import note_in
from wbcjax.runs.folder import load_facts
from wbcjax.settings.parts import Trust
from wbcjax.smear.crops import FALSE_ALARM, FOUND, Crop, annotated_crops
from wbcjax.smear.field import Cell, SmearField

CELL, NUCLEUS = 1, 2  # labels to match by
UNCLEAR = 0.2  # IoU: a detection that shares as much with a cell, and did not find it, is no example of either


class Detected(NamedTuple):
    """The detections of one run in a field that are cut out."""

    of: SmearField  # the field with these detections for its cells
    crops: list[Crop]  # the surest first; `cell` is the row in `of`
    cell_of: list[int]  # the annotated cell that each found; -1: a false alarm
    missed: set[int]  # rows of annotated cells that the run did not find


@dataclass(frozen=True)
class Detectors:
    """Trained detectors that are asked for crops."""

    models: tuple[Search, ...]
    parts: dict[str, str]  # of the data that trained them, by an image's digest: "train" where any was trained on it

    def crops(
        self, f: SmearField, image: UInt8[np.ndarray, "h w 3"], classes: Sequence[str], margin: float
    ) -> list[Detected]:
        """What each detector makes of a field, whose cells are of `classes`; their own classes may be others."""
        annotated, crops = _as_matched(f, classes), []
        for model in self.models:
            found = model.detect(image, f.name)
            found = replace(found, labels=_cell_or_nucleus(found.labels, model.classes))
            if not nucleus_label(classes):  # of which nothing can be right or wrong then
                found = found.select(np.flatnonzero(found.labels != NUCLEUS))
            crops.append(detected_crops(annotated, found, model.min_score, margin))
        return crops

    def part(self, image: UInt8[np.ndarray, "h w 3"]) -> str:
        """The part that an image was in; "" where no detector knows it."""
        return self.parts.get(pixels_digest(image), "")


def load_detectors(places: Sequence[Path], trust_parts: Trust = False) -> Detectors:
    """The detectors of these runs. Raises as `wbcjax.predict.detector.load` does."""
    models = tuple(load(place, trust_parts=trust_parts) for place in places)
    notes = [note for place in places if place.is_dir() and (note := note_in(load_facts(place), place))]
    parts = {item.image: part for part in reversed(PARTS) for note in notes for item in note.seen(part)}
    return Detectors(models, parts)


def detected_crops(f: SmearField, found: FieldDetections, min_score: float, margin: float) -> Detected:
    """Crops of what a detector found in a field from `min_score` on, cut out as `annotated_crops` cuts cells.

    Labels are CELL or NUCLEUS on both sides, and matched as everywhere (`match_cells`). False alarms that share much of
    a cell are left out, and what lies in crowd regions.
    """
    cells = annotate(f.name, f.height, f.width, f.cells)
    overlaps = mask_overlaps(cells, found)  # (d, c)
    match = match_cells(cells, found, overlaps, min_score, NUCLEUS)
    pairs = [
        (row, cell)
        for row, cell in zip(match.detections.tolist(), match.cell_of.tolist(), strict=True)
        if cell >= 0 or overlaps[row].max(initial=0.0) < UNCLEAR
    ]
    of = replace(f, cells=tuple(Cell(label=1, rle=found.rles[row]) for row, _ in pairs))
    crops = [
        replace(crop, rule=FOUND if cell >= 0 else FALSE_ALARM)
        for crop, (_, cell) in zip(annotated_crops(of, margin), pairs, strict=True)
    ]
    return Detected(of, crops, [cell for _, cell in pairs], set(match.missed.tolist()))


def _as_matched(f: SmearField, classes: Sequence[str]) -> SmearField:
    nucleus = nucleus_label(classes)
    return replace(f, cells=tuple(replace(cell, label=NUCLEUS if cell.label == nucleus else CELL) for cell in f.cells))


def _cell_or_nucleus(labels: Int[np.ndarray, " d"], classes: Sequence[str]) -> Int[np.ndarray, " d"]:
    return np.where(labels == nucleus_label(classes), NUCLEUS, CELL)
