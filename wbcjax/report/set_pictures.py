"""Which fields and cells of a set are shown as pictures, and the pictures of them."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import UInt8

from wbcjax.evaluate.detections import FieldAnnotations
from wbcjax.evaluate.suspects import WHILE_READING, Suspect
from wbcjax.report.field_sheet import Picture, cell_picture, field_picture
from wbcjax.smear.field import SmearField

SHEET_FIELDS = 16
SHEET_SUSPECTS = 8  # of them, those with most suspects; the others are drawn by chance
PICTURED = 24  # suspects of a kind
SEED = 0


def sample_pictures(
    fields: Sequence[SmearField],
    annotations: Sequence[FieldAnnotations],
    classes: Sequence[str],
    suspects: Sequence[Suspect],
) -> tuple[list[Picture], str]:
    """The fields with most suspects and some drawn by chance, and a sentence that says so."""
    by_name = Counter(suspect.problem.file for suspect in suspects)
    counts = np.array([by_name[field.name] for field in fields])
    worst = [k for k in np.argsort(-counts, kind="stable").tolist() if counts[k]][:SHEET_SUSPECTS]
    others = sorted(set(range(len(fields))) - set(worst))
    number = min(SHEET_FIELDS - len(worst), len(others))
    drawn = sorted(np.random.default_rng(SEED).choice(others, number, replace=False).tolist()) if others else []
    pictures = [
        Picture(
            fields[k].name,
            _contents(fields[k], classes, int(counts[k])),
            field_picture(fields[k].image(), annotations[k]),
        )
        for k in (*worst, *drawn)
    ]
    chosen = [f"{len(worst)} with most to look at"] * bool(worst) + [f"{len(drawn)} drawn by chance"] * bool(drawn)
    return pictures, f"{len(pictures)} of {len(fields)} fields: {', '.join(chosen)}"


def suspect_pictures(
    fields: Sequence[SmearField], annotations: Sequence[FieldAnnotations], suspects: Sequence[Suspect]
) -> dict[int, UInt8[np.ndarray, "_ _ 3"]]:
    """Pictures of the first PICTURED suspects of each kind that are in a field, by position in `suspects`.

    They show the cells, or the whole field. Suspects of kind WHILE_READING have none: they are of files, not of images.
    """
    position_of = {field.name: position for position, field in enumerate(fields)}
    image_of = lru_cache(maxsize=1)(lambda position: fields[position].image())  # a field's suspects follow one another
    pictures, of_kind = {}, Counter[str]()
    for number, suspect in enumerate(suspects):
        position = position_of.get(suspect.problem.file)
        if position is None or suspect.kind == WHILE_READING or of_kind[suspect.kind] >= PICTURED:
            continue
        of_kind[suspect.kind] += 1
        image, cells = image_of(position), annotations[position]
        pictures[number] = cell_picture(image, cells, suspect.cells) if suspect.cells else field_picture(image, cells)
    return pictures


def _contents(field: SmearField, classes: Sequence[str], suspects: int) -> str:
    """A field in a line: "5 cells (L1 3, L2 2), 1 to look at"."""
    labels = Counter(cell.label for cell in field.cells)
    contents = f"{labels.total()} cell{'s' * (labels.total() != 1)}"
    if len(classes) > 1 and labels:
        contents += f" ({', '.join(f'{classes[label - 1]} {labels[label]}' for label in sorted(labels))})"
    return contents + f", {suspects} to look at" * bool(suspects)
