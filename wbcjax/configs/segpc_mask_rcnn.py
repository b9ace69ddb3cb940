"""Mask R-CNN on real myeloma cells in bone-marrow fields, trained on a CPU.

Paper: the segmentation stage of Suvon et al., on public fields, and without their COCO weights.
Data: the training part of SegPC-2021 (https://doi.org/10.21227/7np1-2q42; Gupta et al., Medical Image Analysis 65,
2020; CC BY-NC-SA 4.0: research only), 298 fields shrunk to 512 x 384 with 1643 cells as VIA polygons, in a folder
`shared/data/segpc2021_train` beside this checkout; elsewhere: `--config.dataset.annotations=...`, `...images=...`.
60 fields, chosen by hash, are held out.
`:r18`, `:r18_middle` and `:r18_quick` start from the starter and have half the channels; `:r18_quick_scratch` has too,
and starts from random weights as the others do. They differ by the canvas: the fields' own resolution, two thirds and
half of it.
Cost: `:r18_middle` 20 minutes of one CPU core, 15 on two; `:r18` 40 minutes of one core;
`:r18_quick` 13 minutes on two; `:r18_scratch` 45 to 50 minutes on two.
Expected on the held-out fields: `:r18_middle` mask AP 75 to 76 and AP50 88 to 89, `:r18` 76 and 87, with `--tta` 79 and
89; `:r18_quick` 73 and 86, `:r18_quick_scratch` 71 and 87 in 20 epochs; with earlier settings `:r18_scratch` 75 and 87
(docs/results.md). `:r34` and `:r50` were not trained.
"""

from ml_collections import ConfigDict

from wbcjax.configs import base

VARIANTS = ("r18", "r18_scratch", "r18_middle", "r18_quick", "r18_quick_scratch", "r34", "r50")


def get_config(variant: str = "r18") -> ConfigDict:
    if variant not in VARIANTS:
        raise ValueError(f"segpc_mask_rcnn:{variant} is unknown; choose one of {', '.join(VARIANTS)}")
    config = base.mask_rcnn()
    config.dataset.annotations = "../shared/data/segpc2021_train/via.json"
    config.dataset.images = "../shared/data/segpc2021_train/images"
    config.dataset.classes = ("myeloma",)
    config.dataset.split.train_fraction = 238 / 298
    config.dataset.canvas = (288, 384)
    config.dataset.max_cells = 16

    base.small(config)
    base.from_scratch(config)
    config.model.backbone.depth = int(variant[1:3])
    config.model.rpn.anchor_sizes = (40.0, 60.0, 84.0)  # 5 to 95 % of the cells are 42 to 78 pixels across
    config.model.rpn.aspect_ratios = base.STARTER_RATIOS
    config.model.roi.canonical_size = 224.0
    config.model.detection.maskness = 2.0  # sure masks first: half a point of AP and more

    base.varied(config)
    config.augment.min_visible = 0.97  # what a crop cuts teaches nothing; annotators left many cells at edges out

    config.train.epochs = 45.0
    config.train.max_minutes = 88.0
    config.train.eval_every_epochs = 5.0
    if variant == "r18":
        whole(config)
    elif variant == "r18_middle":
        middle(config)
    elif variant.startswith("r18_quick"):
        quick(config)
    if variant in ("r18", "r18_middle", "r18_quick"):
        base.from_starter(config)
    return config


def whole(config: ConfigDict) -> None:
    """The fields' own resolution and half the channels."""
    base.light(config)
    config.dataset.canvas = (384, 512)
    config.model.rpn.anchor_sizes = (53.0, 80.0, 112.0)
    config.model.roi.canonical_size = 300.0
    config.augment.stain = 0.05
    config.train.epochs = 25.0


def middle(config: ConfigDict) -> None:
    """Two thirds of the fields' resolution and half the channels, for a quarter of an hour on two cores."""
    base.light(config)
    config.dataset.canvas = (256, 352)
    config.model.rpn.anchor_sizes = (37.0, 53.0, 75.0)
    config.model.rpn.proposals_test = 50  # three for each cell of the most crowded field
    config.model.roi.canonical_size = 200.0
    config.augment.stain = 0.05
    config.train.epochs = 20.0
    config.train.max_minutes = 20.0


def quick(config: ConfigDict) -> None:
    """Half the fields' resolution and half the channels, for the fastest prediction."""
    base.light(config)
    config.dataset.canvas = (192, 256)
    config.model.rpn.anchor_sizes = (28.0, 40.0, 56.0)
    config.model.rpn.proposals_test = 50
    config.model.roi.canonical_size = 150.0
    config.train.epochs = 30.0
    config.train.max_minutes = 15.0
