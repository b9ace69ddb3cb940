"""report.html of a run: everything that its evaluation found, on one page for the browser."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wbcjax.evaluate.classification import ClassificationScores
from wbcjax.evaluate.detections import FieldAnnotations, FieldDetections
from wbcjax.evaluate.predictions import Predictions
from wbcjax.report.classification_sections import (
    classification_figures_section,
    classification_headline,
    crops_section,
    groups_section,
    mistakes_section,
    report_section,
)
from wbcjax.report.detection_sections import (
    cells_section,
    counts_section,
    data_section,
    gallery_sections,
    headline_section,
    image_section,
    morphology_section,
    precision_section,
)
from wbcjax.report.run_page import Section, run_page
from wbcjax.report.run_pictures import Fields, ImageOf
from wbcjax.report.run_sections import Records, circumstances_section, config_section, training_section
from wbcjax.runs.folder import CLASSIFICATION, evaluation_folder
from wbcjax.system.files import write_atomically

Splits = Mapping[str, Mapping[str, int]]


def write_report(
    workdir: Path,
    evaluation: Path,
    image_of: ImageOf,
    annotations: Sequence[FieldAnnotations],
    detections: Sequence[FieldDetections],
    classes: Sequence[str],
    scores: dict[str, Any],
    config: dict[str, Any],
    records: Records,
    *,
    original_of: ImageOf | None = None,
    rows: Sequence[Mapping[str, Any]] = (),
    scored: str | None = None,
    splits: Splits | None = None,
    environment: Mapping[str, str] | None = None,
) -> Path:
    """Write the page of a detector's evaluation and return where it is: `report_path`.

    Args:
        workdir: of the run.
        evaluation: the folder of this evaluation, runs/X/evaluation/val.
        image_of: gives the RGB image of field 0, 1, ... as the model is given it.
        annotations, detections: of the same fields in the same order, detections of every score.
        classes: names of label 1, 2, ...
        scores: of `wbcjax.evaluate.scores`, with what `cell_scores` gives as "cells" and, where images have a subtype,
            what `subtype_scores` gives as "images", or else "without_votes", the reason.
        config: of the run, as config.json has it.
        records: of its metrics.jsonl, as `read_log` gives them; () where there is none.
        original_of: gives the image before its contrast was enhanced; None where it was not.
        rows: the cells found, as `wbcjax.evaluate.cells_csv.cell_rows` describes them.
        scored: name of the split, or of other fields; None: the name of the folder.
        splits: other splits: fields as "fields", and cells of each class.
        environment: versions, devices and host.

    Raises ValueError when annotations and detections do not fit their images, OSError when it cannot be written.
    """
    fields = Fields(image_of, original_of, annotations, detections, classes, config["evaluate"]["score_threshold"])
    sections = [
        headline_section(scores),
        config_section(config),
        data_section(fields, scored or evaluation.name, splits or {}),
        training_section(records),
        precision_section(scores),
        cells_section(scores),
        image_section(scores),
        *gallery_sections(fields, scores),
        counts_section(scores),
        morphology_section(rows, classes),
        circumstances_section(environment or {}, records, config),
    ]
    subject = _subject(scores, f"{len(annotations)} fields of split {scored or evaluation.name}")
    return _write(workdir, evaluation, scored or evaluation.name, subject, config, sections)


def write_classification_report(
    workdir: Path,
    evaluation: Path,
    image_of: ImageOf,
    predictions: Predictions,
    scores: ClassificationScores,
    config: dict[str, Any],
    records: Records,
    *,
    cut: Mapping[str, Any] | None = None,
    scored: str | None = None,
    splits: Splits | None = None,
    environment: Mapping[str, str] | None = None,
) -> Path:
    """Write the page of a classifier's evaluation and return where it is: `report_path`.

    Args:
        image_of: gives the RGB image of crop 0, 1, ... of `predictions`.
        scores: of `classification_scores`.
        cut: how the crops were cut, where that is known.
        scored: name of the split, or of other crops; None: the name of the folder.
        splits: other splits: crops as "crops", and those of each class.

    The others, and what is raised, as for `write_report`.
    """
    sections = [
        classification_headline(scores),
        config_section(config),
        crops_section(predictions, scored or evaluation.name, splits or {}, cut),
        training_section(records),
        report_section(scores),
        classification_figures_section(scores),
        groups_section(scores),
        mistakes_section(predictions, image_of),
        circumstances_section(environment or {}, records, config),
    ]
    subject = _subject(scores, f"{len(predictions.names)} crops of split {scored or evaluation.name}")
    return _write(workdir, evaluation, scored or evaluation.name, subject, config, sections)


def report_path(workdir: Path, evaluation: Path) -> Path:
    """Of the best weights on the run's own val its page, runs/X/report.html; else one in the evaluation's folder."""
    of_run = evaluation == evaluation_folder(workdir, "val", "best")
    return (workdir if of_run else evaluation) / "report.html"


def _write(
    workdir: Path,
    evaluation: Path,
    scored: str,
    subject: str,
    config: Mapping[str, Any],
    sections: Sequence[Section],
) -> Path:
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    data = _data_of(config["dataset"], scored)
    subtitle = (f"{_model_name(config)}. {subject} Data: {data}. Written {now}.",)
    path = report_path(workdir, evaluation)
    page = run_page(f"Run {workdir.resolve().name}", subtitle, sections)
    write_atomically(path, page.encode())
    return path


def _subject(scores: Mapping[str, Any], fallback: str) -> str:
    """On what was scored, as an evaluation says it."""
    return scores["scored"]["sentence"] if "scored" in scores else f"Scored: {fallback}."


def _data_of(dataset: Mapping[str, Any], split: str) -> str:
    """Where what was scored is from."""
    crops = dataset.get("crops")
    if split == "test" and dataset.get("test_crops"):
        crops = dataset["test_crops"]
    elif split not in ("train", "test"):
        crops = dataset.get("val_crops") or crops
    return dataset.get("annotations") or crops or dataset.get("images") or dataset.get("name", "")


def _model_name(config: Mapping[str, Any]) -> str:
    if config.get("task") == CLASSIFICATION:
        return "Classifier"
    depth = config.get("model", {}).get("backbone", {}).get("depth")
    return f"Mask R-CNN on ResNet-{depth}" if depth else "Mask R-CNN"
