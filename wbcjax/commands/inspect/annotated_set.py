"""An annotated set looked at before training: its contents, suspected mistakes, and settings that fit it."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wbcjax.commands.image_folder import of_image
from wbcjax.commands.inspect import proposed_config
from wbcjax.commands.inspect.proposed_file import config_file
from wbcjax.commands.inspect.proposed_settings import Proposal, propose_settings
from wbcjax.evaluate.set_statistics import CellTable, FieldMeasures, measure, tabulate
from wbcjax.evaluate.suspect_images import look_at, suspects_of_folder, suspects_of_images
from wbcjax.evaluate.suspects import WHILE_READING, Suspect, suspects_of_cells, suspects_of_classes
from wbcjax.report import set_tables
from wbcjax.report.field_sheet import field_sheet
from wbcjax.report.histogram import histogram_lines
from wbcjax.report.set_page import SetReport, set_page
from wbcjax.report.set_pictures import sample_pictures, suspect_pictures
from wbcjax.smear.field import SmearField
from wbcjax.smear.formats.checks import Problem
from wbcjax.smear.image_header import MAX_PIXELS
from wbcjax.smear.problem_list import TABLE, first_of_each_kind, kind_of, problem_table
from wbcjax.smear.read import POINTS_ONLY, FieldSet, read, recognise
from wbcjax.smear.whole_set import mostly_crowd
from wbcjax.system.files import write_atomically, write_png
from wbcjax.system.places import check_out
from wbcjax.system.progress import shown
from wbcjax.system.terminal import Attention, Block, Heading, Note, Table, Verbatim

PAGE, SHEET = "index.html", "contact_sheet.png"


@dataclass(frozen=True, eq=False)
class Inspection:
    """The results of looking a set over."""

    annotations: Path
    images: Path
    file_format: str
    class_attribute: str
    group_attribute: str | None
    taken: dict[str, bool]  # settings of `config.dataset` that the proposed config needs
    found: FieldSet  # as read, with the problems for which cells and fields were left out
    fields: tuple[SmearField, ...]  # without the cells of classes to leave out
    classes: tuple[str, ...]  # of label 1, 2, ... of `fields`
    measures: tuple[FieldMeasures, ...]  # of each of `fields`
    cells: CellTable
    suspects: tuple[Suspect, ...]
    proposal: Proposal | None  # None of a set without cells
    failed: tuple[str, ...]  # the path and the error of each field that is in none of these


def inspect(
    annotations: Path,
    images: Path,
    *,
    file_format: str | None = None,
    class_attribute: str = "cell",
    group_attribute: str | None = None,
    leave_out: Collection[str] = (),
    max_pixels: int = MAX_PIXELS,
    crowd_as_cells: bool = False,
    rectangles_as_boxes: bool = False,
    semantic: bool | None = None,
) -> Inspection:
    """Read a set as `read` does with on_error "skip", every class of it but those to `leave_out`, and look it over.

    A field that fails is left out and noted. Raises AnnotationError when no field can be read, ValueError when none can
    be looked over, and for a class to leave out that is not there.
    """
    found = read(
        annotations,
        images,
        file_format=file_format,
        class_attribute=class_attribute,
        group_attribute=group_attribute,
        on_error="skip",
        max_pixels=max_pixels,
        crowd_as_cells=crowd_as_cells,
        rectangles_as_boxes=rectangles_as_boxes,
        semantic=semantic,
    )
    kept = found.without(leave_out)
    fields, classes = kept.fields, kept.classes
    measures, looks = [], []
    looked_at, failed = [], []
    for field in shown(fields, "inspect", "field"):
        try:
            look, measured = look_at(field.image()), measure(field)
        except Exception as error:  # any error leaves out this field only
            failed.append(of_image(field.path or Path(field.name), error))
            continue
        looked_at.append(field)
        looks.append(look)
        measures.append(measured)
    if not looked_at:
        raise ValueError("\n  ".join(["no field could be looked over:", *failed]))
    fields = looked_at
    cells = tabulate(measures)
    taken = {"crowd_as_cells": crowd_as_cells or mostly_crowd(fields), "rectangles_as_boxes": rectangles_as_boxes}
    taken |= {} if semantic is None else {"semantic": semantic}
    known = {problem.file for problem in (*found.problems, *found.suspects)}
    suspects = (
        *suspects_of_classes(annotations.name, measures, cells, classes),
        *suspects_of_cells(measures, cells, classes),
        *suspects_of_images([field.name for field in fields], looks),
        *(Suspect(WHILE_READING, problem) for problem in found.suspects),
        *suspects_of_folder(images, [field.path for field in found.fields if field.path is not None], known),
    )
    return Inspection(
        annotations=annotations,
        images=images,
        file_format=file_format or recognise(annotations, images),
        class_attribute=class_attribute,
        group_attribute=group_attribute,
        taken={name: on for name, on in taken.items() if on or name == "semantic"},
        found=found,
        fields=tuple(fields),
        classes=classes,
        measures=tuple(measures),
        cells=cells,
        suspects=suspects,
        proposal=_propose(fields, cells, suspects, taken["crowd_as_cells"]),
        failed=tuple(failed),
    )


def inspection_blocks(inspection: Inspection) -> list[Block]:
    """The inspection as tables and lines; of problems and suspects the first of each kind."""
    problems, suspects, failed = inspection.found.problems, inspection.suspects, inspection.failed
    config, notes = _config(inspection)
    return [
        *_tables(inspection),
        histogram_lines(set_tables.crowding_histogram(inspection.fields)),
        _section(f"Problems: {len(problems)}", _lines(problems)),
        _section(f"Could not be looked over: {len(failed)}", [f"  {line}" for line in failed]),
        _section(f"Worth a look: {len(suspects)}", _suspect_lines(suspects)),
        _section("Proposed config", list(map(Verbatim, config))),
        list(map(Note, notes)),
    ]


def write_inspection(inspection: Inspection, out: Path) -> None:
    """Write the page, the contact sheet and the table of problems into the folder `out`. Raises as `check_out`."""
    check_out(out, [inspection.images / "*"])
    fields, classes, suspects = inspection.fields, inspection.classes, inspection.suspects
    annotations = [m.annotations for m in inspection.measures]
    pictures, title = sample_pictures(fields, annotations, classes, suspects)
    config, notes = _config(inspection)
    page = set_page(
        SetReport(
            title=f"{inspection.annotations.name}: {len(fields)} fields",
            tables=tuple(_tables(inspection)),
            histograms=(
                set_tables.crowding_histogram(fields),
                *set_tables.size_histograms(inspection.cells, classes),
            ),
            config=tuple(config),
            config_notes=tuple(notes),
            problems=tuple(inspection.found.problems),
            suspects=suspects,
            suspect_pictures=suspect_pictures(fields, annotations, suspects),
            fields=tuple(pictures),
            fields_title=title,
            classes=classes,
        )
    )
    write_png(out / SHEET, field_sheet(pictures, classes, title))
    write_problems(out, inspection.found.problems, suspects)
    write_atomically(out / PAGE, page.encode())


def proposed_file(inspection: Inspection) -> str:
    """The proposed config as a file. Raises ValueError where there are no cells to propose one by."""
    if inspection.proposal is None:
        raise ValueError(f"{inspection.annotations}: no cell is annotated, so no config can be proposed")
    lines, _ = _config(inspection)
    if inspection.found.problems:
        lines.append('config.dataset.on_error = "skip"  # without the cells and fields that have problems')
    return config_file(inspection.annotations.name, lines, len(inspection.fields))


def write_problems(out: Path, problems: Sequence[Problem], suspects: Sequence[Suspect] = ()) -> None:
    """Write the table of all problems and suspects into the folder `out`."""
    rows = [(problem, kind_of(problem), "problem") for problem in problems]
    rows += [(suspect.problem, suspect.kind, "suspect") for suspect in suspects]
    write_atomically(out / TABLE, problem_table(rows).encode())


def _propose(
    fields: Sequence[SmearField], cells: CellTable, suspects: Sequence[Suspect], crowd_as_cells: bool
) -> Proposal | None:
    """Settings that fit the cells that are not suspects: a slip of the hand must not determine an anchor."""
    suspected = {(suspect.problem.file, row) for suspect in suspects for row in suspect.cells}
    places = zip(cells.field.tolist(), cells.row.tolist(), strict=True)
    trusted = np.array([(fields[field].name, row) not in suspected for field, row in places], bool)
    counted = cells.select((~cells.crowd | crowd_as_cells) & (trusted if trusted.any() else True))
    if not len(counted):
        return None
    sizes = np.array([(field.height, field.width) for field in fields])
    return propose_settings(sizes, counted.boxes, counted.field, max(len(field.cells) for field in fields))


def _tables(inspection: Inspection) -> list[Table]:
    cells, classes = inspection.cells, inspection.classes
    tables = [
        set_tables.field_table(inspection.fields, _summary(inspection)),
        set_tables.class_table(cells, classes),
        *set_tables.size_tables(cells, classes),
        set_tables.crowding_table(inspection.fields),
    ]
    if any(len(field.points) for field in inspection.fields):
        tables.insert(2, set_tables.point_table(inspection.fields, classes))
    return tables if inspection.proposal is None else [*tables, proposed_config.anchor_table(inspection.proposal)]


def _summary(inspection: Inspection) -> list[tuple[str, str]]:
    found = inspection.found
    rows = [("annotations", f"{inspection.annotations} ({inspection.file_format})"), ("images", f"{inspection.images}")]
    if found.problems:
        left_out = f"fields: {found.refused_fields}, cells: {found.refused_cells}"
        rows.append(("left out, with problems", Attention(left_out)))
    names = Counter(found.classes[cell.label - 1] for field in found.fields for cell in field.cells)
    unwanted = [f"{name} ({names[name]} cells)" for name in found.classes if name not in inspection.classes]
    if unwanted:
        rows.append(("left out, as asked", ", ".join(unwanted)))
    suspects = f"{len(inspection.suspects)}"
    return [*rows, ("worth a look", Attention(suspects) if inspection.suspects else suspects)]


def _config(inspection: Inspection) -> tuple[list[str], list[str]]:
    """Lines of a config, and sentences on them."""
    if inspection.proposal is None:
        points = "" if not any(len(field.points) for field in inspection.fields) else f" {POINTS_ONLY}."
        return [], [f"There are no cells to propose a config by.{points}"]
    lines = proposed_config.config_lines(
        inspection.proposal,
        inspection.file_format,
        str(inspection.annotations),
        str(inspection.images),
        {name: name if name in inspection.classes else "" for name in inspection.found.classes},
        inspection.class_attribute,
        inspection.group_attribute,
        inspection.taken,
    )
    notes = [
        "--write mine.py puts them into a file that trains as it stands.",
        *proposed_config.notes(inspection.proposal),
    ]
    if inspection.found.problems:
        notes.append(
            'config.dataset.on_error = "skip" trains without the cells and fields that have problems, instead of '
            "refusing the set."
        )
    return lines, notes


def _suspect_lines(suspects: Sequence[Suspect]) -> list[str]:
    lines = []
    for kind, count in Counter(suspect.kind for suspect in suspects).items():
        lines.append(f"{kind}: {count}")
        lines += _lines([suspect.problem for suspect in suspects if suspect.kind == kind])
    return lines or ["nothing"]


def _lines(problems: Sequence[Problem]) -> list[str]:
    lines = first_of_each_kind(problems, f": {TABLE}, which --out writes, lists all")
    return [f"  {line}" for line in lines]


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [Heading(title), *lines] if lines else []
