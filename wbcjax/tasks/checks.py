"""Everything that a config and the machine decide, checked in one place before a data set is built.

Each problem is one line: the key, its value, the remedy.
"""

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from wbcjax.input.settings import SYNTHETIC, dataset_problems
from wbcjax.models import efficientnet, mask_rcnn
from wbcjax.models.fpn import CANVAS_UNIT
from wbcjax.models.mask_rcnn import MaskRCNN
from wbcjax.models.norm import GROUPS
from wbcjax.models.resnet import ResNet
from wbcjax.models.settings import MaskRCNNSettings
from wbcjax.ops.assign import max_positives
from wbcjax.runs.data_note import PLACES
from wbcjax.runs.folder import CLASSIFICATION, DETECTION, task_of
from wbcjax.settings.checked import ConfigError, build, problems
from wbcjax.system import run_files
from wbcjax.system.runtime import device_count
from wbcjax.tasks.settings import ClassificationConfig, DetectionConfig, dataset_of
from wbcjax.train.classification_losses import LOSSES as CROP_LOSSES
from wbcjax.train.layers import LAYERS, Layers, StageOf, split_weights
from wbcjax.train.optimizer import make_optimizer
from wbcjax.train.parallel import check_batch_size, check_parallel
from wbcjax.train.plan import check_length
from wbcjax.train.rules import rule_problems
from wbcjax.train.settings import PhaseSetting, RuleSetting, TrainSettings
from wbcjax.train.transformations import adamw, sgd

KINDS = {DETECTION: DetectionConfig, CLASSIFICATION: ClassificationConfig}
SHOWN = 12  # problems of one config

# Where the files that the shipped configs start from come from.
PUBLISHED = {
    "mask_rcnn_coco.h5": "fetch it from https://github.com/matterport/Mask_RCNN/releases/download/v2.0/"
    "mask_rcnn_coco.h5, or train without it: the variant `:scratch` of the config does",
    "efficientnetb3_notop.h5": "fetch it from https://storage.googleapis.com/keras-applications/"
    "efficientnetb3_notop.h5, or train without it: --config.init_from=",
}


def check_config(config: ConfigDict, file: str) -> None:
    """Raise ConfigError for what no run of the config of `file` could use: unknown and missing keys, values of the
    wrong kind or out of their range, and keys that contradict each other. A line for each."""
    if found := config_problems(config):
        raise ConfigError(listed(file, found))


def listed(file: str, found: list[str]) -> str:
    """What to say of a config's problems: one in one line, more below each other."""
    if len(found) == 1:
        return f"{file}: {found[0]}"
    more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return "\n  ".join([f"{file}: {len(found)} problems", *found[:SHOWN], *more])


def check_machine(config: ConfigDict) -> None:
    """Raise ConfigError for what this machine lacks for a training of `config`: files, folders, fitting devices."""
    found = [*_missing_weights(config), *_missing_data(config)]
    try:
        check_batch_size(config.train.batch_size, device_count(), config.train.accumulate)
        check_parallel(config.train.parallel)
    except ConfigError as error:
        found.append(str(error))
    if found:
        raise ConfigError("\n".join(found))


def config_problems(config: ConfigDict) -> list[str]:
    """What `check_config` raises, line by line."""
    task = config.get("task", DETECTION)
    if task not in KINDS:
        return [f"config.task is {task!r}: give one of {', '.join(map(repr, KINDS))}"]
    values = config.to_dict()
    found = problems(KINDS[task], values, "config")
    if found:  # of what follows each rule takes the values that it reads for whole
        return found
    whole: Any = build(KINDS[task], values)
    found = [*dataset_problems(whole.dataset)]
    if task == DETECTION:
        found += [*_of_detector(whole.model, whole.dataset.canvas), *_of_parts(whole.model, whole.init_parts)]
    found += _of_training(whole.train, whole.model.losses if task == DETECTION else CROP_LOSSES)
    return found or [
        *_of_phases(whole.train.phases, config, whole.model.stage_of),
        *_of_rules(whole.train.rules, config),
        *_of_optimizer(whole.train, config),
    ]


def _of_detector(model: MaskRCNNSettings, canvas: tuple[int, int]) -> Iterator[str]:
    rpn, roi = model.rpn, model.roi
    if any(side % CANVAS_UNIT for side in canvas):
        yield f"config.dataset.canvas is {canvas}: give (height, width) in multiples of {CANVAS_UNIT} pixels"
    if len(rpn.anchor_sizes) != len(rpn.levels):
        yield (
            f"config.model.rpn.anchor_sizes is {rpn.anchor_sizes} and config.model.rpn.levels is {rpn.levels}: give "
            f"one size for each level, {len(rpn.levels)} in all"
        )
    if tuple(sorted(set(rpn.levels))) != rpn.levels:
        yield f"config.model.rpn.levels is {rpn.levels}: give each level once, the lowest first"
    if tuple(range(roi.levels[0], roi.levels[-1] + 1)) != roi.levels:
        yield f"config.model.roi.levels is {roi.levels}: give levels that follow each other, such as (2, 3, 4, 5)"
    for name, part in (("rpn", rpn), ("roi", roi)):
        if part.negative_iou > part.positive_iou:
            yield (
                f"config.model.{name}.negative_iou is {part.negative_iou} and positive_iou {part.positive_iou}: a box "
                "would be cell and background at once; give a negative_iou that is no larger"
            )
        if not max_positives(part.samples, part.positive_fraction):
            yield (
                f"config.model.{name}.samples is {part.samples} and positive_fraction {part.positive_fraction}, which "
                "leaves no room for a cell: give more samples, or a larger fraction"
            )
    if isinstance(model.backbone, ResNet) and model.backbone.norm == "gn" and model.backbone.width % GROUPS:
        yield (
            f"config.model.backbone.width is {model.backbone.width}: give a multiple of {GROUPS}, the groups of norm "
            "'gn', or another norm"
        )


def _of_parts(model: MaskRCNNSettings, init_parts: tuple[str, ...]) -> Iterator[str]:
    for name in model.heads:
        if hasattr(MaskRCNN, name) or name in (field.name for field in dataclasses.fields(model)):
            yield f"config.model.heads.{name}: the network has something else of that name; give the head another"
    for name, count in Counter(model.losses).items():
        if count > 1:
            yield f"config.model has {count} parts with a loss {name!r}: give each loss a name of its own"
    for number, part in enumerate(init_parts):
        if part not in model.parts:
            known = ", ".join(map(repr, model.parts))
            yield f"config.init_parts[{number}] is {part!r}: give one of {known}"


def _of_training(train: TrainSettings, losses: tuple[str, ...]) -> Iterator[str]:
    for name in train.loss_weights:
        if name not in losses:
            yield f"config.train.loss_weights.{name} is unknown: the losses are {', '.join(losses)}"
    if train.loss_weights and not any(train.loss_weights.get(name, 1.0) for name in losses):
        yield f"config.train.loss_weights is {train.loss_weights}, which leaves no loss: give one above 0"
    if train.batch_size % train.accumulate:
        yield (
            f"config.train.accumulate is {train.accumulate} and batch_size {train.batch_size}: give an accumulate "
            "that divides it"
        )
    if list(train.boundaries) != sorted(set(train.boundaries)):
        yield f"config.train.boundaries is {train.boundaries}: give each epoch once, the first one first"
    try:
        check_length(train)
    except ConfigError as error:
        yield str(error)


def _of_phases(phases: tuple[PhaseSetting, ...], config: ConfigDict, stage_of: StageOf) -> Iterator[str]:
    """Of those that choose weights by a pattern of their own, or by stages that a backbone may not know."""
    for number, phase in enumerate(phases):
        if phase.layers in ("all", "heads"):
            continue
        try:
            split_weights(_shapes(config), Layers(phase.layers, stage_of))
        except ConfigError as error:
            yield f"config.train.phases[{number}]: {error}"
        except re.error as error:
            yield (
                f"config.train.phases[{number}].layers is {phase.layers!r}, no regular expression ({error}): give one, "
                f"or one of {', '.join(LAYERS)}"
            )


def _of_rules(rules: tuple[RuleSetting, ...], config: ConfigDict) -> Iterator[str]:
    if rules:
        yield from rule_problems(_shapes(config), rules)


def _of_optimizer(train: TrainSettings, config: ConfigDict) -> Iterator[str]:
    """Of one that is not ours: of its arguments only it can judge."""
    if getattr(train.optimizer, "func", None) in (sgd, adamw):
        return
    weights = _shapes(config)
    try:
        optimizer = make_optimizer(train)
        jax.eval_shape(optimizer.update, weights, jax.eval_shape(optimizer.init, weights), weights)
    except Exception as error:  # whatever a function of the user's does
        yield (
            f"config.train.optimizer cannot be used ({type(error).__name__}: {' '.join(str(error).split())}): correct "
            "its arguments, or name another one"
        )


def _shapes(config: ConfigDict) -> Any:
    """The weights of the network, as shapes."""
    classes = len(config.dataset.classes)
    if task_of(config) == CLASSIFICATION:
        classifier = efficientnet.from_config(config.model, classes)
        return efficientnet.shapes(classifier, tuple(config.dataset.canvas))["params"]
    detector = mask_rcnn.from_config(config.model, classes + 1)
    return jax.eval_shape(lambda: mask_rcnn.init(detector, 0))["params"]


def _missing_weights(config: ConfigDict) -> Iterator[str]:
    place = config.get("init_from", "")
    if not place:
        return
    if Path(place).is_file():
        if not os.access(place, os.R_OK):
            yield f"config.init_from is {place!r}, which you may not read: change its permissions"
        return
    if (Path(place) / run_files.CONFIG).is_file():
        return
    if Path(place).is_dir():
        yield (
            f"config.init_from is {place!r}, a folder that is no run: give one with a {run_files.CONFIG}, or a weights "
            "file"
        )
        return
    remedy = PUBLISHED.get(Path(place).name, "correct the path, or train without: --config.init_from=")
    yield f"config.init_from is {place!r}, and there is no such file: {remedy}"


def _missing_data(config: ConfigDict) -> Iterator[str]:
    dataset = dataset_of(config)
    if dataset.name == SYNTHETIC:
        return
    for key in PLACES:
        place = getattr(dataset, key, None)
        if place == "" and key not in ("val_crops", "test_crops"):
            yield f"config.dataset.{key} is '': give its place, --config.dataset.{key}=PATH"
        if place and not Path(place).exists():
            yield (
                f"config.dataset.{key} is {place!r}, and there is no such file or folder here in {Path.cwd()}: put the "
                f"data there, or give --config.dataset.{key}=PATH"
            )
