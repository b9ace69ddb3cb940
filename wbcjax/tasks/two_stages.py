"""The cells that a detector found, named by a classifier of crops: both stages of Suvon et al. scored together."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from wbcjax.evaluate.detections import FieldAnnotations, FieldDetections
from wbcjax.evaluate.two_stages import two_stage_scores
from wbcjax.input.field_set import Source
from wbcjax.predict.classifier import CropClassifier, load_classifier
from wbcjax.runs.data_note import note_in
from wbcjax.runs.folder import load_facts
from wbcjax.tasks.experiment import Scored


def asked_classifier(asked: Scored, checkpoint: str, classes: Sequence[str], fields: Source) -> CropClassifier:
    """The classifier to name cells with. Raises ValueError for one that lacks a class, or was trained on the fields."""
    assert asked.classifier is not None
    place: Path = asked.classifier
    classifier = load_classifier(place, checkpoint, trust_parts=True)
    if lacking := [name for name in classes if name not in classifier.classes]:
        raise ValueError(
            f"{place} names {', '.join(classifier.classes)}, and the detector finds {', '.join(lacking)}: give a "
            "classifier of crops of that class"
        )
    classifier.cut_settings()  # known, or refused before anything is searched
    note = note_in(load_facts(place), place) if place.is_dir() else None
    trained = {item.group for item in note.seen("train")} if note else set()
    known = {item.name for item in fields.items if {item.name, item.group} & trained}
    if known:
        raise ValueError(
            f"{place} was trained on crops of {len(known)} of these {len(fields)} fields, such as {min(known)}: cut "
            "the crops by `wbcjax crop --run` with the detector, whose split they keep"
        )
    return classifier.with_tta() if asked.tta else classifier


def two_stages(
    classifier: CropClassifier,
    image_of: Callable[[int], UInt8[np.ndarray, "_ _ 3"]],
    annotated: Sequence[FieldAnnotations],
    detections: Sequence[FieldDetections],
    classes: Sequence[str],
    min_score: float,
) -> dict[str, Any]:
    """The scores of `two_stage_scores`; `image_of` gives the image of field 0, 1, ... as it is."""
    columns = np.array([classifier.classes.index(name) for name in classes])
    probabilities = []
    for number, found in enumerate(detections):
        by_crop = classifier.probabilities_of(image_of(number), found)  # (d, classes of the classifier)
        probabilities.append(by_crop[np.arange(len(by_crop)), columns[found.labels - 1]])
    return two_stage_scores(annotated, detections, probabilities, classes, min_score)
