"""Rules between the settings of our own tasks, and checks of their files: a line for each problem."""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from wbcjax.evaluate.cells_csv import columns
from wbcjax.evaluate.nuclei_of_cells import NUCLEUS
from wbcjax.input.settings import SYNTHETIC, DatasetSettings
from wbcjax.models.fpn import CANVAS_UNIT
from wbcjax.models.mask_rcnn import MaskRCNN
from wbcjax.models.norm import GROUPS
from wbcjax.models.resnet import ResNet
from wbcjax.models.settings import MaskRCNNSettings
from wbcjax.ops.assign import max_positives
from wbcjax.runs.data_note import PLACES
from wbcjax.runs.located import located
from wbcjax.system import run_files
from wbcjax.train.settings import TrainSettings

# The sources of the weights files that the shipped configs start from.
PUBLISHED = {
    "mask_rcnn_coco.h5": "fetch it from https://github.com/matterport/Mask_RCNN/releases/download/v2.0/"
    "mask_rcnn_coco.h5, or train without it: the variant `:scratch` of the config does",
    "efficientnetb3_notop.h5": "fetch it from https://storage.googleapis.com/keras-applications/"
    "efficientnetb3_notop.h5, or train without it: --config.init_from=",
}


def detector_problems(model: MaskRCNNSettings, canvas: tuple[int, int]) -> Iterator[str]:
    """Contradictions in `config.model` of a detector."""
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


def part_problems(model: MaskRCNNSettings, init_parts: tuple[str, ...]) -> Iterator[str]:
    """Missing fields and methods of a detector's parts, and contradictions in their names and losses."""
    known = {field.name for field in dataclasses.fields(model.backbone)}
    for name, without in (("dtype", "float32"), ("remat", False)):
        if (value := getattr(model, name)) != without and name not in known:
            yield (
                f"config.model.{name} is {value!r}, and {type(model.backbone).__name__} has no field {name}: give it "
                f"one, or leave it {without!r}"
            )
    for name, asked in _asked_of_heads(model).items():
        lacking = [method for method in asked if not hasattr(type(model.parts[name]), method)]
        if lacking:
            where = f"config.model.{'heads.' if name in model.heads else ''}{name}"
            yield f"{where}: {type(model.parts[name]).__name__} has no {', '.join(lacking)}: see docs/extending.md"
    for name in model.heads:
        if hasattr(MaskRCNN, name) or name in (field.name for field in dataclasses.fields(model)):
            yield f"config.model.heads.{name}: the network has something else of that name; give the head another"
        if name in columns(("cell", "other", NUCLEUS), pixel_size=1.0, named=True):
            yield f"config.model.heads.{name}: cells.csv has a column of that name; give the head another"
    for name, count in Counter(model.losses).items():
        if count > 1:
            yield f"config.model has {count} parts with a loss {name!r}: give each loss a name of its own"
    for number, part in enumerate(init_parts):
        if part not in model.parts:
            known = ", ".join(map(repr, model.parts))
            yield f"config.init_parts[{number}] is {part!r}: give one of {known}"


def _asked_of_heads(model: MaskRCNNSettings) -> dict[str, tuple[str, ...]]:
    """The methods that the network needs of each of its heads, by their names."""
    of_cells = ("LOSSES", "losses", "detect")
    return {"box_head": (*of_cells, "sample"), **dict.fromkeys(("mask_head", *model.heads), of_cells)}


def loss_problems(train: TrainSettings, losses: tuple[str, ...]) -> Iterator[str]:
    """Contradictions in `config.train.loss_weights` of a task with these losses."""
    for name in train.loss_weights:
        if name not in losses:
            yield f"config.train.loss_weights.{name} is unknown: the losses are {', '.join(losses)}"
    if train.loss_weights and not any(train.loss_weights.get(name, 1.0) for name in losses):
        yield f"config.train.loss_weights is {train.loss_weights}, which leaves no loss: give one above 0"


def missing_weights(place: str) -> Iterator[str]:
    """Problems of the path of the weights that a run starts from, `config.init_from`."""
    if not place:
        return
    try:
        path = located(place)
    except (OSError, ValueError) as error:
        yield f"config.init_from is {place!r}: {error}"
        return
    if path.is_file():
        if not os.access(path, os.R_OK):
            yield f"config.init_from is {place!r}, which you may not read: change its permissions"
        return
    if (path / run_files.CONFIG).is_file():
        return
    if path.is_dir():
        yield (
            f"config.init_from is {place!r}, a folder that is no run: give one with a {run_files.CONFIG}, or a weights "
            "file"
        )
        return
    remedy = PUBLISHED.get(path.name, "correct the path, or train without: --config.init_from=")
    yield f"config.init_from is {place!r}, and there is no such file: {remedy}"


def missing_data(dataset: DatasetSettings) -> Iterator[str]:
    """The paths of `config.dataset` that are not given, or do not exist."""
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
