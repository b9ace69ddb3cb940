"""report.html of a run: all results of its evaluation, on one page for the browser."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wbcjax.evaluate.classification import ClassificationScores
from wbcjax.evaluate.predictions import Predictions
from wbcjax.report.classification_sections import (
    classification_figures_section,
    classification_headline,
    crops_section,
    groups_section,
    key_scores_section,
    mistaken_crops_section,
    report_section,
)
from wbcjax.report.detection_sections import (
    cells_section,
    counts_section,
    data_section,
    fields_section,
    headline_section,
    image_section,
    mistakes_section,
    morphology_section,
    precision_section,
    scores_section,
    two_stages_section,
)
from wbcjax.report.reliability_section import detections_section, reliability_section
from wbcjax.report.run_page import Section, run_page
from wbcjax.report.run_pictures import Fields, ImageOf
from wbcjax.report.run_sections import Records, circumstances_section, config_section, training_section
from wbcjax.system.files import write_atomically


@dataclass(frozen=True)
class ReportedRun:
    """A run, as its page describes it beside the scores."""

    name: str  # of its folder
    model: str  # its title, such as "Mask R-CNN on ResNet-50"
    config: Mapping[str, Any]  # as config.json has it
    scored: str  # name of the split, or of other data
    splits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # others: {"fields": 45, "L1": 120}
    records: Records = ()  # of its training; () where there are none
    environment: Mapping[str, str] = field(default_factory=dict)  # versions, devices and host


def write_report(
    path: Path, run: ReportedRun, fields: Fields, scores: Mapping[str, Any], rows: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Write the page of a detector's evaluation, whole or not at all.

    Args:
        scores: of `detection_scores`, with those of `cell_scores` as "cells" and, where images have a subtype, those of
            `subtype_scores` as "images", or else "without_votes", the reason.
        rows: the cells found, as `wbcjax.evaluate.cells_csv.cell_rows` describes them.

    Raises ValueError when annotations and detections do not fit their images, OSError when it cannot be written.
    """
    sections = [
        headline_section(scores),
        *two_stages_section(scores),
        mistakes_section(fields, scores),
        scores_section(scores),
        precision_section(scores),
        fields_section(fields),
        cells_section(scores),
        detections_section(scores),
        counts_section(scores),
        image_section(scores),
        data_section(fields, run.scored, run.splits),
        training_section(run.records),
        morphology_section(rows, fields.classes),
        config_section(run.config),
        circumstances_section(run.environment, run.records, run.config),
    ]
    _write(path, run, _subject(scores, f"{len(fields.annotations)} fields of split {run.scored}"), sections)


def write_classification_report(
    path: Path,
    run: ReportedRun,
    image_of: ImageOf,
    predictions: Predictions,
    scores: ClassificationScores,
    cut: Mapping[str, Any] | None = None,
) -> None:
    """Write the page of a classifier's evaluation, whole or not at all.

    Args:
        image_of: gives the RGB image of crop 0, 1, ... of `predictions`.
        scores: of `classification_scores`.
        cut: how the crops were cut, where that is known.

    Raises OSError when it cannot be written.
    """
    sections = [
        classification_headline(scores),
        mistaken_crops_section(predictions, image_of),
        key_scores_section(scores),
        report_section(scores),
        classification_figures_section(scores),
        reliability_section(scores["calibration"], scores.get("uncalibrated"), "crops"),
        groups_section(scores),
        crops_section(predictions, run.scored, run.splits, cut),
        training_section(run.records),
        config_section(run.config),
        circumstances_section(run.environment, run.records, run.config),
    ]
    _write(path, run, _subject(scores, f"{len(predictions.names)} crops of split {run.scored}"), sections)


def _write(path: Path, run: ReportedRun, subject: str, sections: Sequence[Section]) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    subtitle = f"{run.model}. {subject} Data: {_data_of(run.config['dataset'], run.scored)}. Written {now}."
    write_atomically(path, run_page(f"Run {run.name}", (subtitle,), sections).encode())


def _subject(scores: Mapping[str, Any], fallback: str) -> str:
    """The sentence on the scored data, the evaluation's own where it has one."""
    return scores["scored"]["sentence"] if "scored" in scores else f"Scored: {fallback}."


def _data_of(dataset: Mapping[str, Any], split: str) -> str:
    """The path or name of the scored data."""
    crops = dataset.get("crops")
    if split == "test" and dataset.get("test_crops"):
        crops = dataset["test_crops"]
    elif split not in ("train", "test"):
        crops = dataset.get("val_crops") or crops
    return dataset.get("annotations") or crops or dataset.get("images") or dataset.get("name", "")
