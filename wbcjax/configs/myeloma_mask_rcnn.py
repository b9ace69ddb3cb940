"""Myeloma cells in bone-marrow fields: the Mask R-CNN of Suvon et al.

Paper: Suvon et al., who outline the cells by Mask R-CNN and name them by EfficientNet-B3. Matterport's implementation
from COCO weights. The paper gives no schedule: this is Matterport's default SGD (0.001, momentum 0.9) for 40 epochs of
100 steps, a choice of ours.
Data: 85 fields of 2560 x 1920 pixels of the TCIA collection MiMM_SBILab (https://doi.org/10.7937/tcia.2019.pnn6aypl),
which have to be outlined in VIA: `data/myeloma/via.json` (attribute `cell`, value myeloma), `data/myeloma/images`.
Cost: 4000 steps of two 1024 x 1024 images: meant for a GPU.
Weights: Matterport's `mask_rcnn_coco.h5` (release 2.0 of github.com/matterport/Mask_RCNN) in `data`.
Expected from them: mAP 93 % (the paper, section 4.1; losses: box 0.2985, class 0.0908, mask 0.3046; not trained here,
as the fields' outlines are not public).
Variant `:scratch`: random weights, group norm in the backbone; no paper has it. Expected: unknown, not trained.
"""

from ml_collections import ConfigDict

from wbcjax.configs import base
from wbcjax.models.settings import MATTERPORT

VARIANTS = ("coco", "scratch")


def get_config(variant: str = "coco") -> ConfigDict:
    if variant not in VARIANTS:
        raise ValueError(f"myeloma_mask_rcnn:{variant} is unknown; choose one of {', '.join(VARIANTS)}")
    config = base.mask_rcnn(MATTERPORT)
    if variant == "coco":
        config.init_from = "data/mask_rcnn_coco.h5"
    else:
        config.model.backbone.norm = "gn"  # there are no statistics to keep
    config.dataset.annotations = "data/myeloma/via.json"
    config.dataset.images = "data/myeloma/images"
    config.dataset.classes = ("myeloma",)
    config.dataset.split.train_fraction = 0.8
    config.dataset.canvas = (1024, 1024)
    config.dataset.max_cells = 100

    config.model.detection.score_threshold = 0.05  # COCO's averages need the low scores too
    config.evaluate.score_threshold = 0.7  # Matterport's DETECTION_MIN_CONFIDENCE

    # On 8 devices (not tried): --config.train.batch_size=0 --config.train.batch_size_per_device=2
    # --config.train.learning_rate_batch=2 --config.train.warmup_steps=500, and an eighth of the steps
    config.train.batch_size = 2
    config.train.steps = 4000
    config.train.learning_rate = 0.001
    config.train.clip_norm = 5.0  # Matterport's GRADIENT_CLIP_NORM
    config.train.l2_per_array = True
    return config
