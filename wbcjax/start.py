"""Where a run starts: from weights that others, or an earlier run, have trained (`config.init_from`)."""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from wbcjax.models.settings import EfficientNetSettings, MaskRCNNSettings, from_dict
from wbcjax.run import CLASSIFICATION, load_config, task_of
from wbcjax.train.checkpoint import load_variables
from wbcjax.weights.files import read_weights
from wbcjax.weights.initialise import Initialised, initialise, initialise_from_ours
from wbcjax.weights.ours import TRAINED_WITH, noted_settings
from wbcjax.weights.state_dict import ENTRY

log = logging.getLogger(__name__)

Variables = dict[str, Any]
Settings = MaskRCNNSettings | EfficientNetSettings


class UnusableWeights(ValueError):
    """Weights that a run was to start from do not fit it."""


def starting_weights(config: ConfigDict, settings: Settings) -> Callable[[Variables], Variables] | None:
    """What puts the weights of `config.init_from` into fresh variables of a model of `settings`; None without any.

    `init_from` is a weights file, or the folder of a run, and `init_parts` the parts to take over. What was loaded,
    what was left out and why, and what kept its initial value is told in the log. What is returned raises
    UnusableWeights for weights that do not fit.
    """
    place = config.get("init_from", "")  # runs from before there was a choice have none
    if not place:
        return None

    def start(variables: Variables) -> Variables:
        try:
            started = start_from(Path(place), variables, settings, tuple(config.get("init_parts", ())))
        except (OSError, ValueError) as error:
            raise UnusableWeights(f"config.init_from is {place!r}: {error}") from error
        log.info("starting from %s: %s", place, started.report.text())
        theirs, ours = _classes(Path(place)), list(config.dataset.classes)
        if len(theirs) == len(ours) and theirs != ours:
            log.warning("its classes are %s, here %s: what it knows of them is taken over in this order", theirs, ours)
        return started.variables

    return start


def start_from(place: Path, variables: Variables, settings: Settings, only: Sequence[str] = ()) -> Initialised:
    """`variables` of a model of `settings` with the weights of a file, or of a run's best checkpoint, in their places.

    `only` names the parts of the model to take over (`backbone`, `fpn`, ...); all of them when it is empty. Raises
    OSError or ValueError for what cannot be read or does not fit.
    """
    if place.is_dir():
        trained_with = settings_of(load_config(place))
        found, _ = load_variables(place)
        arrays: dict[str, Any] = flatten_dict(found, sep="/")
        return initialise_from_ours(variables, arrays, settings, trained_with, only)
    weights = read_weights(place)
    if TRAINED_WITH in weights.metadata:
        return initialise_from_ours(variables, weights.arrays, settings, noted_settings(weights.metadata), only)
    variables, report = initialise(variables, weights.arrays, settings, only)
    return Initialised(variables, report._replace(entry=weights.metadata.get(ENTRY, "")))


def _classes(place: Path) -> list[str]:
    """The classes that weights of ours were trained on; [] where that is not known."""
    if place.is_dir():
        return list(load_config(place).dataset.classes)
    metadata = read_weights(place).metadata
    return json.loads(metadata["classes"]) if TRAINED_WITH in metadata and "classes" in metadata else []


def settings_of(config: ConfigDict) -> Settings:
    """The settings of the model of a whole experiment's `config`."""
    kind = EfficientNetSettings if task_of(config) == CLASSIFICATION else MaskRCNNSettings
    return from_dict(kind, config.model.to_dict())
