"""Lymphoblasts of FAB type L1, L2, L3 in fields of acute lymphoblastic leukaemia: the Mask R-CNN of Revanda et al.

Paper: Revanda, Fatichah, Suciati, Classification of Acute Lymphoblastic Leukemia on White Blood Cell Microscopy
Images Based on Instance Segmentation Using Mask R-CNN. Matterport's implementation: ResNet-101-FPN, SGD 0.001 with
momentum 0.9, batches of 2, 20 epochs of 100 steps, confidence 0.9, training and validation 3:1.
Data: 60 training fields (20 of each type) of Dr. Soetomo hospital, outlined in VIA; not public. Put your own outlines
in `data/all/via.json` (attribute `cell` with values L1, L2, L3) and the images in `data/all/images`.
Cost: 2000 steps of two 1024 x 1024 images: meant for a GPU.
Weights: Matterport's `mask_rcnn_coco.h5` (release 2.0 of github.com/matterport/Mask_RCNN) in `data`.
Expected from them: mAP 83.65 % with EFF, 81.96 % without (the paper's table 1; not trained here, as the data are not
public).
Variant `:scratch`: random weights, group norm in the backbone; no paper has it. Expected: unknown, not trained.
"""

from ml_collections import ConfigDict

from wbcjax.configs import base
from wbcjax.models.settings import MATTERPORT

STEPS_PER_EPOCH = 100  # section 3.5: the paper's epochs are no passes over its 45 training fields
TRAINING_FIELDS = 45
VARIANTS = ("coco", "scratch")


def get_config(variant: str = "coco") -> ConfigDict:
    if variant not in VARIANTS:
        raise ValueError(f"all_mask_rcnn:{variant} is unknown; choose one of {', '.join(VARIANTS)}")
    config = base.mask_rcnn(MATTERPORT)
    if variant == "coco":
        config.init_from = "data/mask_rcnn_coco.h5"
    else:
        config.model.backbone.norm = "gn"  # there are no statistics to keep
    config.dataset.annotations = "data/all/via.json"
    config.dataset.images = "data/all/images"
    config.dataset.classes = ("L1", "L2", "L3")
    config.dataset.enhance = "eff_minmax"  # "eff", its authors' way, leaves most smears as they are (docs/enhance.md)
    config.dataset.canvas = (1024, 1024)
    config.dataset.max_cells = 100

    config.model.detection.score_threshold = 0.05  # COCO's averages need the low scores too
    config.evaluate.score_threshold = 0.9  # the paper's minimum confidence

    # On 8 devices (not tried): --config.train.batch_size=0 --config.train.batch_size_per_device=2
    # --config.train.learning_rate_batch=2 --config.train.warmup_steps=500, and an eighth of the steps
    config.train.batch_size = 2
    config.train.steps = 20 * STEPS_PER_EPOCH
    config.train.eval_every_epochs = STEPS_PER_EPOCH * config.train.batch_size / TRAINING_FIELDS
    config.train.learning_rate = 0.001
    config.train.clip_norm = 5.0  # Matterport's GRADIENT_CLIP_NORM
    config.train.l2_per_array = True
    return config
