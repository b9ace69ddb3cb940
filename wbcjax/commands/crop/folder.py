"""Annotated fields cut into crops for a classifier: a folder of each class, and a table of where each crop is from."""

import csv
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from wbcjax.commands.crop.pieces import CropSettings, FieldCutter, Piece
from wbcjax.commands.image_folder import of_image
from wbcjax.smear.crops import SETTINGS, TABLE, cell_box
from wbcjax.smear.field import SmearField
from wbcjax.smear.read import FieldSet
from wbcjax.smear.whole_set import AS_CELLS, uncounted
from wbcjax.system.files import write_atomically, write_png
from wbcjax.system.places import check_out
from wbcjax.system.progress import shown

if TYPE_CHECKING:
    from wbcjax.commands.crop.detected import Detectors

COLUMNS = ("file", "class", "field", "group", "x1", "y1", "x2", "y2", "rule", "cell", "shift", "part")
NO_FOLDER = ("", ".", "..", TABLE, SETTINGS)  # names that no class can have as its folder
NOT_IN_FOLDERS = set('<>:"/\\|?*') | set(map(chr, range(32)))  # of any system that a set may be copied to


@dataclass
class Outcome:
    """Counts of the crops of a set, and its failures."""

    crops: Counter[tuple[str, str]] = field(default_factory=Counter)  # by class and rule
    at_border: Counter[str] = field(default_factory=Counter)  # by class: moved off their cell's centre by the border
    short: int = 0  # annotated cells for which a field had neither a nucleus nor a background window
    untrusted: list[str] = field(default_factory=list)  # fields without negatives, as they have cells with problems
    failed: list[str] = field(default_factory=list)  # the path and the error of each field that was left out


def crop_folder(found: FieldSet, out: Path, settings: CropSettings, detectors: "Detectors | None" = None) -> Outcome:
    """Cut the annotated cells of a set out, and write into the folder `out`, which appears whole or not at all:

    - CLASS/NAME.png: the crops, square; crowd regions have none
    - crops.csv: a line for each. x1 .. y2 is its square in the field, in pixels from the image's upper left corner (the
      square may be larger than the image); rule is one of `wbcjax.smear.crops.RULES`; cell is the number of the
      annotated cell among those read of its field, from 1; shift is how far the border moved the square off its cell,
      as a share of its side; part is the one that the field was in when the detectors were trained. A split must keep
      crops of one group together, or of one field where there is no group
    - crops.json: the `settings`, to cut other crops alike

    `found` is a set that was read without a class map. `detectors` are those of `settings.runs`: what they find is cut
    out too, see `detected_crops`. A field that fails is left out and noted in the outcome. Where all fail, nothing is
    written.

    Raises ValueError when the set has no cell, a class name cannot be a folder's, or the negatives' is annotated;
    and as `check_out`.
    """
    out, negatives = out.resolve(), settings.negatives
    check_out(out)
    cells = [cell_box(f, cell) for f in found.fields for cell in f.cells if not cell.crowd]
    if not cells:
        crowd = sum(len(f.cells) for f in found.fields)
        remedy = f"; {AS_CELLS}" if crowd else ""
        raise ValueError(f"there is nothing to crop in these fields: {uncounted(crowd)}{remedy}")
    cell_size = float(np.median([max(x2 - x1, y2 - y1) for x1, y1, x2, y2 in cells]))
    present = [name for label, name in enumerate(found.classes, start=1) if label in _labels(found)]
    _check_folders([*present, *([] if negatives is None else [negatives])])
    refused = {problem.file for problem in found.problems if problem.where}

    outcome, rows, cutter = Outcome(), [], FieldCutter(found.classes, cell_size, settings, detectors)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        each = shown(found.fields, "crop", "field")
        for f, stem in zip(each, _stems(found.fields), strict=True):
            try:
                pieces, short, part = cutter.cut(f, trusted=f.name not in refused)
            except Exception as error:  # any error leaves out this field only
                outcome.failed.append(of_image(f.path or Path(f.name), error))
                continue
            if negatives is not None and f.name in refused:
                outcome.untrusted.append(f.name)
            outcome.short += short
            for number, piece in enumerate(pieces, start=1):
                file = PurePosixPath(piece.class_name, f"{stem}_{number:03d}.png")
                write_png(partial / file, piece.pixels)
                rows.append(_row(file, f, piece, part))
                outcome.crops[piece.class_name, piece.crop.rule] += 1
                outcome.at_border[piece.class_name] += piece.crop.shift > 0
        if not rows:  # every field has failed
            return outcome
        _write_table(partial / TABLE, rows)
        write_atomically(partial / SETTINGS, json.dumps(asdict(settings), indent=2).encode())
        if out.exists():
            out.rmdir()  # empty; Windows does not rename onto a folder that is there
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return outcome


def without_classes(found: FieldSet, classes: Sequence[str]) -> FieldSet:
    """A set, read without a class map, in which cells of these classes are crowd regions.

    So they are neither cropped nor part of negatives. Raises ValueError for a class that the set lacks.
    """
    if unknown := [name for name in classes if name not in found.classes]:
        raise ValueError(f"no cell is of the class {unknown[0]!r}; classes are {', '.join(found.classes)}")
    labels = {found.classes.index(name) + 1 for name in classes}
    fields = [
        replace(f, cells=tuple(replace(c, crowd=True) if c.label in labels else c for c in f.cells))
        for f in found.fields
    ]
    return replace(found, fields=fields)


def _labels(found: FieldSet) -> set[int]:
    """The labels of cells that are cut out."""
    return {cell.label for f in found.fields for cell in f.cells if not cell.crowd}


def _check_folders(classes: Sequence[str]) -> None:
    """Raise ValueError for a class name that cannot be a folder's, and for two that would be one folder's."""
    for name in classes:
        if name.casefold() in NO_FOLDER or NOT_IN_FOLDERS & set(name) or name != name.strip().rstrip("."):
            raise ValueError(f"the class {name!r} cannot be the name of a folder; rename it in the annotations")
    twice = [name for name, count in Counter(name.casefold() for name in classes).items() if count > 1]
    if twice:
        names = [name for name in classes if name.casefold() == twice[0]]
        raise ValueError(f"the classes {' and '.join(map(repr, names))} would share a folder; give one another name")


def _stems(fields: Sequence[SmearField]) -> list[str]:
    """The beginning of the names of each field's crops, different for each field."""
    stems = [str(PurePosixPath(f.name).with_suffix("")).replace("/", "_").replace("\\", "_") for f in fields]
    if len({stem.casefold() for stem in stems}) == len(stems):
        return stems
    return [f"{number:05d}_{stem}" for number, stem in enumerate(stems, start=1)]


def _row(file: PurePosixPath, f: SmearField, piece: Piece, part: str) -> list[str]:
    left, top, side = piece.crop.window
    square = map(str, (left, top, left + side, top + side))
    number = "" if piece.cell is None else str(piece.cell + 1)
    rule, shift = piece.crop.rule, f"{piece.crop.shift:.3g}"
    return [str(file), piece.class_name, f.name, f.group or "", *square, rule, number, shift, part]


def _write_table(path: Path, rows: Sequence[Sequence[str]]) -> None:
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([COLUMNS, *rows])
    write_atomically(path, table.getvalue().encode())
