"""Annotated fields from files of any known format, with all their problems reported at once."""

import shlex
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from wbcjax.smear.field import AnnotationError, SmearField
from wbcjax.smear.formats.checks import Fault, Problem, Reading
from wbcjax.smear.formats.format import Place, Reader
from wbcjax.smear.formats.known import FORMATS
from wbcjax.smear.formats.unknown import unknown
from wbcjax.smear.image_header import MAX_PIXELS
from wbcjax.smear.problem_list import TABLE, first_of_each_kind
from wbcjax.smear.whole_set import boxes_of_rectangles, cells_of_crowds, relabelled, suspects_of_set

POINTS_ONLY = (
    "Cells that are points are counted, and train nothing: draw their outlines or boxes in an annotation tool to train "
    "on them"
)


@dataclass(frozen=True, eq=False)
class FieldSet:
    """The fields of an annotated set, and what was left out or suspected while they were read."""

    fields: list[SmearField]  # in the order of the files, those without cells too
    classes: tuple[str, ...]  # names of label 1, 2, ... as found; empty when the reader was given a class map
    left_out: Counter[str]  # cells by class name, as the class map says
    problems: list[Problem]  # of what is left out because of them
    refused_fields: int  # left out because of problems
    refused_cells: int
    suspects: list[Problem]  # worth a look, and in the set
    unkept: Counter[str] = field(default_factory=Counter)  # what the files say of cells and images that no field holds

    def omissions(self) -> list[str]:
        """A sentence for each kind of cell or field that is in the files and not in the set."""
        told = [
            f"left out {_count(count, f'cell of class {name!r}', f'cells of class {name!r}')}, as the class map says"
            for name, count in self.left_out.items()
        ]
        if points := sum(len(field.points) for field in self.fields):
            counted = _count(points, "cell that is a point", "cells that are points")
            told.append(f"left out {counted}: they are counted, and train nothing")
        if self.problems:
            fields, cells = _count(self.refused_fields, "field", "fields"), _count(self.refused_cells, "cell", "cells")
            told.append(f"left out {fields} and {cells} that have problems")
        return told

    def without(self, classes: Collection[str]) -> "FieldSet":
        """The set, read without a class map, without the cells of some classes; those that are left are numbered anew.

        Raises ValueError for a class that the set lacks.
        """
        unknown = sorted(set(classes) - set(self.classes))
        if unknown:
            listed = ", ".join(map(repr, unknown))
            raise ValueError(f"there is no class {listed} to leave out; there are {self.classes}")
        left = tuple(name for name in self.classes if name not in classes)
        label_of = {self.classes.index(name) + 1: label for label, name in enumerate(left, start=1)}
        return replace(self, fields=relabelled(self.fields, label_of), classes=left)


def read(
    annotations: Path,
    images: Path,
    class_of: Mapping[str, int] | None = None,
    *,
    file_format: str | Reader | None = None,
    class_attribute: str = "cell",
    group_attribute: str | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    max_pixels: int = MAX_PIXELS,
    crowd_as_cells: bool = False,
    rectangles_as_boxes: bool = False,
    semantic: bool | None = None,
) -> FieldSet:
    """The fields annotated in a file or folder, outlines in pixels of the upright images.

    Args:
        annotations: a file (VIA, COCO), or a folder or one file of it (LabelMe, label images, masks, Pascal VOC).
        images: the folder that image names are relative to.
        class_of: annotated name -> class, 0 for cells to leave out; None takes every name for a class.
        file_format: one of `FORMATS`, or a `Reader` of another one; None recognises it, see `recognise`.
        class_attribute: VIA: the region attribute that holds the class.
        group_attribute: VIA: the file attribute that holds the group, such as the patient.
        on_error: "skip" leaves out cells and fields with problems instead of raising; a field stays without such cells.
        max_pixels: of an image, a mask or a label image; a larger one is a problem, and is not decoded.
        crowd_as_cells: take crowd regions for cells: CVAT marks every brush mask as one.
        rectangles_as_boxes: take outlines that are upright rectangles for boxes.
        semantic: label images: True takes their values for classes and each connected part for a cell, False each value
            of an image for one cell; None does as False, and refuses a set that looks as if it were the other.

    Raises AnnotationError with every problem of the set; with "skip" only when no field is left.
    """
    if isinstance(file_format, str) and file_format not in FORMATS:
        raise ValueError(f"file_format is {file_format!r}; give one of {', '.join(map(repr, FORMATS))}")
    reading = Reading(annotations, images, class_of, class_attribute, group_attribute, max_pixels)
    reading.semantic = semantic
    fields = []
    # Huge numbers overflow to infinity here, and are then refused.
    with reading.at(annotations.name), np.errstate(over="ignore", invalid="ignore"):
        reader = file_format if callable(file_format) else FORMATS[file_format or recognise(annotations, images)].fields
        fields = reading.unambiguous(reader(reading))
        if not fields and not reading.all_problems():
            raise Fault("no field is listed in it", "export the annotations again, or correct the path")
    problems = reading.all_problems()
    if problems and (on_error == "raise" or not fields):
        raise AnnotationError(_message(annotations, images, problems), problems)
    if crowd_as_cells:
        fields = cells_of_crowds(fields)
    if rectangles_as_boxes:
        fields = boxes_of_rectangles(fields)
    refused, suspects = reading.refused(), reading.all_suspects()
    if any(field.cells for field in fields) or not (reading.left_out or refused[1]):
        suspects += suspects_of_set(annotations.name, fields)
    if class_of is None:
        fields = relabelled(fields, reading.number_as_listed())
    return FieldSet(fields, tuple(reading.classes), reading.left_out, problems, *refused, suspects, reading.unkept)


def _message(annotations: Path, images: Path, problems: list[Problem]) -> str:
    if len(problems) == 1:
        of_all = problems[0].file == annotations.name
        return str(replace(problems[0], file=str(annotations) if of_all else f"{annotations}: {problems[0].file}"))
    lines = first_of_each_kind(problems, "")
    if len(lines) < len(problems):
        places = f"{shlex.quote(str(annotations))} {shlex.quote(str(images))}"
        lines.append(f"all are in {TABLE} of: wbcjax inspect {places} --out FOLDER")
    return "\n  ".join([f"{annotations}: {len(problems)} problems", *lines])


def _count(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"


def recognise(annotations: Path, images: Path) -> str:
    """The format of a file or folder, one of `FORMATS`, by its content. Fault: it is none, or may be several."""
    place = Place(annotations, images)
    names = [name for name, known in FORMATS.items() if known.recognises(place)]
    if len(names) > 1:
        raise Fault(f"it may be of the formats {' and '.join(names)}", "say which, or put them in two folders")
    if not names:
        raise unknown(place)
    return names[0]
