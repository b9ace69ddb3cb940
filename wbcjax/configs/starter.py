"""The starter: a Mask R-CNN that finds white blood cells before any training, and that other runs start from.

Data: fields of BCCD (MIT), and drawn ones of blood and of marrow at three magnifications, which
`python -m benchmarks.starter` lays together, trains on with this config, and packs. That holds out a fifth of BCCD's
fields, by hash.
The network is that of `segpc_mask_rcnn:r18_quick`, so that its weights start such runs.
Cost: a quarter of an hour on two CPU cores. Scores and limits: wbcjax/starter/README.md.
"""

from ml_collections import ConfigDict

from wbcjax.configs import base

FIELDS = "runs/starter/fields"  # made by benchmarks/starter.py


def get_config() -> ConfigDict:
    config = base.mask_rcnn()
    config.dataset.name = "coco"
    config.dataset.annotations = f"{FIELDS}/coco.json"
    config.dataset.images = f"{FIELDS}/images"
    config.dataset.classes = ("white blood cell",)
    config.dataset.canvas = (192, 256)
    config.dataset.max_cells = 32

    base.small(config)
    base.light(config)
    base.from_scratch(config)
    config.model.rpn.anchor_sizes = (24.0, 42.0, 72.0)
    config.model.rpn.aspect_ratios = base.STARTER_RATIOS
    config.model.roi.canonical_size = 150.0
    config.model.rpn.before_nms_test = 400  # in a field of marrow more white cells lie than in those of the training
    config.model.rpn.proposals_test = 200
    config.model.detection.candidates = 400
    config.model.detection.per_image = 64

    base.varied(config)
    config.augment.scale = (0.6, 1.5)
    config.augment.stain = 0.15
    config.augment.defocus = 1.0
    config.augment.jpeg = 60
    config.augment.paste.cells = 3

    config.train.epochs = 10.0
    config.train.eval_every_epochs = 10.0  # once, at the end: the held-out fields choose nothing
    return config
