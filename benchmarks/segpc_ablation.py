"""What each change to the training on SegPC-2021 is worth, by itself and with the others: a config for an experiment.

From the root of the repository, about 6 minutes of one core for each variant and seed:

    wbcjax experiment --config benchmarks/segpc_ablation.py --workdir runs/ablation --vary variant base scratch ...

The last weights are scored on the 60 held-out fields. docs/pages/segpc_ablation.html is the page of all variants.
"""

from collections.abc import Callable

from ml_collections import ConfigDict

from wbcjax.configs import segpc_mask_rcnn
from wbcjax.settings.parts import part


def scratch(config: ConfigDict) -> None:
    """From random weights."""
    config.init_from = ""


def cut_cells(config: ConfigDict) -> None:
    """Cells that a crop cuts are taught, where a quarter of them is left."""
    config.augment.min_visible = 0.25


def by_class_alone(config: ConfigDict) -> None:
    """Scores are those of the class, and not also of the mask."""
    config.model.detection.maskness = 0.0


def own_colours(config: ConfigDict) -> None:
    """The camera's colours are not changed: those of a smear may tell plasma cells from others."""
    for name in ("brightness", "contrast", "saturation", "hue"):
        config.augment[name] = 0.0


def wide_scale(config: ConfigDict) -> None:
    config.augment.scale = (0.5, 2.0)


def turn(config: ConfigDict) -> None:
    config.augment.turn = 180.0


def elastic(config: ConfigDict) -> None:
    config.augment.elastic.strength = 8.0
    config.augment.elastic.spacing = 48.0


def paste(config: ConfigDict) -> None:
    config.augment.paste.cells = 4


def stain(config: ConfigDict) -> None:
    config.augment.stain = 0.05


def microscope(config: ConfigDict) -> None:
    """Blur, noise and compression."""
    config.augment.defocus = 1.0
    config.augment.shot_noise = 6.0
    config.augment.read_noise = 3.0
    config.augment.jpeg = 50


def every(config: ConfigDict) -> None:
    """All augmentations of this file at once."""
    for change in (wide_scale, turn, elastic, paste, stain, microscope):
        change(config)


def fine_canvas(config: ConfigDict) -> None:
    """Four pixels in place of three: a step takes 1.3 times as long."""
    config.dataset.canvas = (256, 352)
    config.model.rpn.anchor_sizes = (37.0, 53.0, 75.0)
    config.model.roi.canonical_size = 200.0


def wide_head(config: ConfigDict) -> None:
    """A box head of 1024 channels for 256; it alone starts from random weights."""
    config.model.box_head.channels = 1024
    config.init_parts = ("backbone", "fpn", "rpn", "mask_head")


def robust(config: ConfigDict) -> None:
    """Background by a bounded loss."""
    config.model.box_head = part("benchmarks.robust_box_head:RobustBoxHead", channels=256)


CHANGES: dict[str, Callable[[ConfigDict], None] | None] = {
    "base": None,
    "scratch": scratch,
    "cut_cells": cut_cells,
    "by_class_alone": by_class_alone,
    "own_colours": own_colours,
    "wide_scale": wide_scale,
    "turn": turn,
    "elastic": elastic,
    "paste": paste,
    "stain": stain,
    "microscope": microscope,
    "every": every,
    "robust": robust,
    "wide_head": wide_head,
    "fine_canvas": fine_canvas,
}


def get_config(variant: str = "base") -> ConfigDict:
    if variant not in CHANGES:
        raise ValueError(f"segpc_ablation:{variant} is unknown; choose one of {', '.join(CHANGES)}")
    config = segpc_mask_rcnn.get_config("r18_quick")
    config.train.epochs = 8.0
    config.train.max_minutes = 0.0
    config.train.eval_every_epochs = 0.0
    if change := CHANGES[variant]:
        change(config)
    return config
