"""Mask R-CNN on synthetic smears: the demonstration that runs anywhere, in minutes on two CPU cores.

Paper: the method of Revanda et al. (classes L1, L2, L3 of lymphoblasts), on drawn cells.
Data: rendered by wbcjax/smear/synthetic.py on first use; nothing to download. Its scores say nothing about patients.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.mask_rcnn()
    config.dataset.name = "synthetic"
    config.dataset.classes = ("L1", "L2", "L3")
    config.dataset.synthetic.count = 400
    config.dataset.canvas = (192, 256)
    config.dataset.max_cells = 16

    small(config)

    config.train.batch_size = 4
    config.train.epochs = 10.0
    config.train.optimizer = "adamw"
    config.train.learning_rate = 1e-3
    config.train.weight_decay = 0.05
    config.train.clip_norm = 1.0
    config.train.warmup_steps = 50
    config.train.schedule = "cosine"
    config.train.ema_decay = 0.99
    config.train.eval_every_epochs = 5.0
    return config


def small(config: ConfigDict) -> None:
    """A ResNet-18 Mask R-CNN for a CPU, trained from scratch: fewer channels, RoIs and proposals than the paper's."""
    model = config.model
    model.backbone.depth = 18
    model.backbone.norm = "bn"
    model.fpn.channels = 128
    model.rpn.channels = 128
    model.rpn.levels = (3, 4, 5)
    model.rpn.anchor_sizes = (24.0, 40.0, 64.0)
    model.rpn.before_nms_train = 200
    model.rpn.before_nms_test = 200
    model.rpn.proposals_train = 200
    model.rpn.proposals_test = 100
    model.roi.samples = 48
    model.roi.convention = "aligned"
    model.roi.canonical_size = 112.0
    model.box_head.channels = 512
    model.mask_head.channels = 128
    model.detection.per_image = 32
    model.detection.candidates = 200
