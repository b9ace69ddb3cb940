"""The start of a run from trained weights, of a file or of an earlier run (`config.init_from`)."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from wbcjax.models.backbone import STEM
from wbcjax.models.resnet import ResNet
from wbcjax.models.settings import EfficientNetSettings, MaskRCNNSettings, from_dict
from wbcjax.runs.folder import CLASSIFICATION, DETECTION, kind_of, load_config
from wbcjax.runs.located import located
from wbcjax.runs.packed import variables_of
from wbcjax.settings.parts import Trust
from wbcjax.train.layers import Layers
from wbcjax.weights.files import read_weights
from wbcjax.weights.initialise import Initialised, initialise, initialise_from_ours
from wbcjax.weights.ours import TRAINED_WITH, noted_settings
from wbcjax.weights.state_dict import ENTRY

log = logging.getLogger(__name__)

Variables = dict[str, Any]
Settings = MaskRCNNSettings | EfficientNetSettings
_MODELS = {DETECTION: MaskRCNNSettings, CLASSIFICATION: EfficientNetSettings}  # whose weights another run can load


class UnusableWeights(ValueError):
    """The weights to start from do not fit the run."""


@dataclass(frozen=True)
class InitialWeights:
    """The weights that a run starts from, and settings of the run that must fit them."""

    place: str  # a weights file, or a run as `located` knows it; "": none (`config.init_from`)
    parts: tuple[str, ...]  # of the model to load; none: all (`config.init_parts`)
    trust_parts: Trust  # paths that the config of that run, or the note in that file, may import
    classes: tuple[str, ...]  # of the run
    layers: str  # that the run trains first, as in `wbcjax.train.layers`


def starting_weights(initial: InitialWeights, settings: Settings) -> Callable[[Variables], Variables]:
    """A function that loads `initial` weights, where there are some, into fresh variables of a model of `settings`.

    It logs the arrays that were loaded, those left out and why, variables with initial values, and norms without
    statistics. It raises UnusableWeights for weights that do not fit.
    """
    place = initial.place

    def start(variables: Variables) -> Variables:
        started = load(variables) if place else variables
        if parts := unnormalised(started, settings, initial.layers):
            log.warning(
                "nothing is normalised in %s: its batch norms are frozen, and their statistics are the initial ones "
                "(mean 0, variance 1). Start from weights that have them (config.init_from), or %s",
                " and ".join(parts),
                ", or ".join(_remedy(part, settings) for part in parts),
            )
        return started

    def load(variables: Variables) -> Variables:
        try:
            started = start_from(located(place), variables, settings, initial.parts, initial.trust_parts)
        except (OSError, ValueError) as error:
            raise UnusableWeights(f"config.init_from is {place!r}: {error}") from error
        log.info("starting from %s: %s", place, started.report.text())
        flat: dict[str, Any] = flatten_dict(started.variables, sep="/")
        if any(path.endswith(_CLASS_KERNELS) and flat[path].shape[-1] > 1 for path in started.report.loaded.values()):
            _compare_classes(place, _classes(located(place), initial.trust_parts), list(initial.classes))
        return started.variables

    return start


_CLASS_KERNELS = "logits/kernel"  # ends the paths of kernels with an output for each class, or one for all


def _compare_classes(place: str, theirs: list[str], ours: list[str]) -> None:
    """Warn of classes with other names; raise UnusableWeights where one of them has another label."""
    if any(name in ours and ours.index(name) != row for row, name in enumerate(theirs)):
        raise UnusableWeights(
            f"config.init_from is {place!r}: its classes are {theirs}, and config.dataset.classes is {ours}: its heads "
            f'would confuse them. Give --config.dataset.classes="{tuple(theirs)}", or leave the heads out by '
            "config.init_parts, such as ('backbone', 'fpn')"
        )
    if theirs and theirs != ours:
        log.warning("its classes are %s, here %s: their weights are loaded in this order", theirs, ours)


_REMEDY = "let the first of config.train.phases train these layers"
_REMEDIES = {
    "backbone": "set --config.model.backbone.norm=gn (or bn, all of it trained from the first phase on)",  # a ResNet's
    "box_head": "--config.model.box_head.norm=none",
    "mask_head": "--config.model.mask_head.norm=none",
}


def _remedy(part: str, settings: Settings) -> str:
    """The remedy for the norms of a part; a backbone of another kind may have no choice of norms."""
    if part == "backbone" and not (isinstance(settings, MaskRCNNSettings) and isinstance(settings.backbone, ResNet)):
        return _REMEDY
    return _REMEDIES.get(part, _REMEDY)


def unnormalised(variables: Variables, settings: Settings, layers: str) -> list[str]:
    """Parts with batch norms that use stored statistics while `layers` are trained, but have the initial ones.

    layers: as in `wbcjax.train.layers`. Norms of frozen layers use stored statistics, whatever their kind.
    """
    modules = settings.parts if isinstance(settings, MaskRCNNSettings) else {}
    frozen = {name for name, part in modules.items() if getattr(part, "keeps_statistics", False)}
    stored: dict[tuple[str, ...], Any] = flatten_dict(variables.get("batch_stats", {}))
    trains, parts = Layers(layers, settings.stage_of).stages(variables["params"]), set()
    for (*module, name), var in stored.items():
        if name != "var" or (*module, "count") in stored:  # the latter is of pixels: Keras's Normalization
            continue
        uses_stored = module[0] in frozen or not trains(settings.stage_of((*module, "scale")) or STEM)
        if uses_stored and np.all(var == 1) and not np.any(stored[*module, "mean"]):
            parts.add(module[0])
    return sorted(parts)


def start_from(
    place: Path, variables: Variables, settings: Settings, only: Sequence[str] = (), trust_parts: Trust = False
) -> Initialised:
    """`variables` of a model of `settings` with the weights of a file, or of a run's best checkpoint.

    `only` names the parts of the model to load (`backbone`, `fpn`, ...); all of them when it is empty. Raises OSError
    or ValueError for weights that cannot be read or do not fit, Untrusted as `load_config`.
    """
    if place.is_dir():
        trained_with = settings_of(load_config(place, trust_parts))
        found, _ = variables_of(place)
        arrays: dict[str, Any] = flatten_dict(found, sep="/")
        return initialise_from_ours(variables, arrays, settings, trained_with, only)
    weights = read_weights(place)
    if TRAINED_WITH in weights.metadata:
        trained_with = noted_settings(weights.metadata, trust_parts)
        return initialise_from_ours(variables, weights.arrays, settings, trained_with, only)
    variables, report = initialise(variables, weights.arrays, settings, only)
    return Initialised(variables, report._replace(entry=weights.metadata.get(ENTRY, "")))


def _classes(place: Path, trust_parts: Trust) -> list[str]:
    """The classes that weights of ours were trained on; [] where that is not known."""
    if place.is_dir():
        return list(load_config(place, trust_parts).dataset.classes)
    metadata = read_weights(place).metadata
    return json.loads(metadata["classes"]) if TRAINED_WITH in metadata and "classes" in metadata else []


def settings_of(config: ConfigDict) -> Settings:
    """The settings of the model of a whole experiment's `config`. Raises ValueError for a task from outside."""
    kind = kind_of(config)
    if kind not in _MODELS:
        raise ValueError(
            f"config.task is {config.task!r}, whose model is not known: give a run of {' or '.join(_MODELS)}"
        )
    return from_dict(_MODELS[kind], config.model.to_dict())
