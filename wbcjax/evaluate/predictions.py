"""True classes and predictions of crops, and the file that keeps both for a whole set."""

import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from wbcjax.system.files import write_atomically

SUM_TOLERANCE = 1e-3  # of a crop's probabilities


# Compared by identity: arrays inside make `==` by value ambiguous.
@dataclass(frozen=True, eq=False)
class Predictions:
    """The true classes of crops, and the probabilities that a classifier gives each class.

    Raises ValueError, naming the crop, when the parts do not fit together, or without a crop and two classes.
    """

    names: tuple[str, ...]  # of the crops; unique in a set
    groups: tuple[str, ...]  # the field (slide, patient) of each crop; () where that is not known
    labels: Int[np.ndarray, " n"]  # the true class of each crop: 0..c-1
    probabilities: Float[np.ndarray, "n c"]  # of each class; a row sums to 1
    classes: tuple[str, ...]  # names of label 0, 1, ...

    def __post_init__(self) -> None:
        _check_parts(self)
        _check_values(self)

    @cached_property
    def predicted(self) -> Int[np.ndarray, " n"]:
        """The most probable class of each crop; of equals the first."""
        return self.probabilities.argmax(axis=1)

    @cached_property
    def confidence(self) -> Float[np.ndarray, " n"]:
        """The probability of that class."""
        return self.probabilities.max(axis=1)

    @cached_property
    def right(self) -> Bool[np.ndarray, " n"]:
        """Whether each crop is classified rightly."""
        return self.predicted == self.labels


def save_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions as a JSON file for `load_predictions`, whole or not at all."""
    groups = predictions.groups or [None] * len(predictions.names)
    crops = zip(predictions.names, groups, predictions.labels, predictions.probabilities, strict=True)
    data = {
        "classes": predictions.classes,
        "crops": [
            {"name": name, "group": group, "label": predictions.classes[label], "probabilities": row.tolist()}
            for name, group, label, row in crops
        ],
    }
    write_atomically(path, (json.dumps(data, indent=1) + "\n").encode())


def load_predictions(path: Path) -> Predictions:
    """Read what `save_predictions` wrote; probabilities come as float64, of the values saved.

    Raises OSError when the file cannot be read, ValueError naming it when it is not such a file.
    """
    try:
        data = json.loads(path.read_bytes())
        crops, classes = data["crops"], tuple(data["classes"])
        return Predictions(
            names=tuple(crop["name"] for crop in crops),
            groups=tuple(crop["group"] for crop in crops if crop["group"] is not None),
            labels=np.array([classes.index(crop["label"]) for crop in crops], np.int64),
            probabilities=np.array([crop["probabilities"] for crop in crops], np.float64).reshape(len(crops), -1),
            classes=classes,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: not a whole file of saved predictions ({error!r}); evaluate again to write it"
        ) from error


def _check_parts(predictions: Predictions) -> None:
    names, groups, classes = predictions.names, predictions.groups, predictions.classes
    shape = predictions.probabilities.shape
    if not names:
        raise ValueError("there are no crops to score; check the folder or the split")
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise ValueError(f"a classifier needs two classes or more, of different names; found {list(classes)}")
    if predictions.labels.shape != (len(names),) or shape != (len(names), len(classes)):
        raise ValueError(
            f"{len(names)} crops and {len(classes)} classes need as many labels and rows of probabilities, "
            f"found {predictions.labels.shape} and {shape}"
        )
    if groups and len(groups) != len(names):
        raise ValueError(f"{len(names)} crops need as many groups, or none at all; found {len(groups)}")
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"{repeated[0]}: {len(repeated)} names are given to more than one crop; name each differently")


def _check_values(predictions: Predictions) -> None:
    labels, rows = predictions.labels, predictions.probabilities
    unknown = (labels < 0) | (labels >= len(predictions.classes))
    if unknown.any():
        name, label = predictions.names[unknown.argmax()], labels[unknown.argmax()]
        raise ValueError(f"{name}: label {label} has no class; the {len(predictions.classes)} classes count from 0")
    if not np.isfinite(rows).all():
        name = predictions.names[(~np.isfinite(rows)).any(axis=1).argmax()]
        raise ValueError(f"{name}: a probability is not finite; has the training diverged?")
    odd = (rows < 0).any(axis=1) | (np.abs(rows.sum(axis=1, dtype=np.float64) - 1) > SUM_TOLERANCE)
    if odd.any():
        name, row = predictions.names[odd.argmax()], rows[odd.argmax()].tolist()
        raise ValueError(f"{name}: {row} are no probabilities that sum to 1; were logits given?")
