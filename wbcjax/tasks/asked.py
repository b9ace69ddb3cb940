"""How a run is asked when it is scored: alone or with others, once or in several views, and calibrated or not."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float

from wbcjax.evaluate.cell_scores import labelled_detections
from wbcjax.evaluate.detections import FieldAnnotations, FieldDetections
from wbcjax.evaluate.overlap import mask_overlaps
from wbcjax.evaluate.predictions import Predictions
from wbcjax.evaluate.reliability import reliability
from wbcjax.evaluate.temperature import fit_score_temperature, fit_temperature, scaled, scaled_scores
from wbcjax.input.settings import FieldSetSettings
from wbcjax.predict.classifier import CropClassifier, load_classifier
from wbcjax.predict.detector import load
from wbcjax.predict.search import Search, check_together, ensemble_of
from wbcjax.runs.calibration import PLAIN, TTA, note_temperature
from wbcjax.runs.data_note import Part, note_in, without
from wbcjax.runs.folder import load_facts
from wbcjax.runs.packed import variables_of
from wbcjax.system.processes import is_first
from wbcjax.tasks.experiment import Scored
from wbcjax.tasks.scored_part import UNSEEN

log = logging.getLogger(__name__)

P = TypeVar("P", bound=Part)


def check_asked(scored: Scored, workdir: Path) -> None:
    """Raise ValueError for a calibration that is not of one run, on its own part val."""
    if scored.calibrate and (scored.is_other or scored.split != "val"):
        raise ValueError(f"{workdir} is calibrated on its own part val: score it on other data by a call of its own")
    if scored.calibrate and scored.with_runs:
        raise ValueError(f"a temperature is kept with one run: calibrate {workdir} alone")


def asked_detector(workdir: Path, checkpoint: str, asked: Scored, dataset: FieldSetSettings) -> Search:
    """The detector to score on fields of such a set; trust was settled by the experiment's config.

    Raises ValueError for runs that cannot be asked together.
    """
    places = (workdir, *asked.with_runs)
    members = [load(place, which=checkpoint, trust_parts=True) for place in places]
    for member, place in zip(members, places, strict=True):
        if member.enhance.identity != dataset.enhancement.identity:
            raise ValueError(
                f"{place} was trained on images enhanced by {member.enhance.method!r}, {workdir} by "
                f"{dataset.enhance!r}, or to another stain: one set cannot be scored by both; score them apart"
            )
    model: Search = ensemble_of(members, places)
    model = model.with_tta() if asked.tta else model
    if asked.calibrate:
        model.temperature = 1.0
    return model


def asked_classifiers(workdir: Path, checkpoint: str, asked: Scored) -> list[CropClassifier]:
    """The classifiers to score, whose probabilities are averaged. Raises ValueError for other classes."""
    places = (workdir, *asked.with_runs)
    models = [load_classifier(place, checkpoint, trust_parts=True) for place in places]
    check_together([model.classes for model in models], places)
    models = [model.with_tta() for model in models] if asked.tta else models
    # Of several the mean is to be calibrated, and no run keeps a temperature for that.
    as_they_are = asked.calibrate or len(models) > 1
    return [dataclasses.replace(model, temperature=1.0) for model in models] if as_they_are else models


def unseen_by(part: P, name: str, runs: Sequence[Path], *, apart: bool) -> P:
    """A part of the data without what other runs, such as those of other folds, have seen; see `own_part`.

    name: of the part of the first run's data. Raises ValueError when nothing is left.
    """
    for run in runs:
        note = note_in(load_facts(run), run)
        if note is None:
            log.warning("%s is of an earlier version and notes no data: it may have been trained on these", run)
        elif UNSEEN[name]:
            part = without(part, f"{name} for {run}", note.seen(*UNSEEN[name]), apart=apart)
    return part


def asked_how(workdir: Path, asked: Scored, views: int) -> str:
    """The end of the sentence on what was scored: how the run was asked. "" for a run alone, as it is."""
    runs = ", ".join(str(run) for run in (workdir, *asked.with_runs))
    each = f"each image in {views} views" if asked.tta else ""
    if asked.with_runs:
        return f" Asked together: {runs}{'; ' if each else ''}{each}."
    return f" Asked for {each}." if each else ""


def calibrate_detections(
    workdir: Path,
    checkpoint: str,
    asked: Scored,
    annotated: Sequence[FieldAnnotations],
    detections: Sequence[FieldDetections],
    classes: Sequence[str],
) -> float:
    """Fit and keep the temperature of a detector's scores on val. Raises ValueError where val is too small for it."""
    scores, right = _labelled(annotated, detections, classes)
    what = f"detections of val, by {workdir},"
    return _kept(workdir, checkpoint, asked, fit_score_temperature(scores, right, what), f"{len(right)} detections")


def calibrate_predictions(workdir: Path, checkpoint: str, asked: Scored, found: Predictions) -> float:
    """The same for a classifier's probabilities."""
    temperature = fit_temperature(found.probabilities, found.labels, f"crops of val, by {workdir},")
    return _kept(workdir, checkpoint, asked, temperature, f"{len(found.labels)} crops")


def detections_before(
    annotated: Sequence[FieldAnnotations],
    detections: Sequence[FieldDetections],
    classes: Sequence[str],
    temperature: float,
) -> dict[str, Any]:
    """The reliability of calibrated scores before they were: the entry "uncalibrated"."""
    scores, right = _labelled(annotated, detections, classes)
    return {"temperature": temperature} | reliability(scaled_scores(scores, 1 / temperature), right, "detections")


def predictions_before(found: Predictions, temperature: float) -> dict[str, Any]:
    """The same for a classifier's probabilities."""
    confidence = scaled(found.probabilities, 1 / temperature).max(axis=1)
    return {"temperature": temperature} | reliability(confidence, found.right, "crops")


def _labelled(
    annotated: Sequence[FieldAnnotations], detections: Sequence[FieldDetections], classes: Sequence[str]
) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    overlaps = [mask_overlaps(*field) for field in zip(annotated, detections, strict=True)]
    return labelled_detections(annotated, detections, overlaps, classes)


def _kept(workdir: Path, checkpoint: str, asked: Scored, temperature: float, fitted_on: str) -> float:
    if is_first():
        _, step = variables_of(workdir, checkpoint)
        note_temperature(workdir, step, TTA if asked.tta else PLAIN, temperature, f"{fitted_on} of val")
    return temperature
