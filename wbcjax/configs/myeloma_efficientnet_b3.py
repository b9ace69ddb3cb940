"""Myeloma cells told from other cells by crops of them: the EfficientNet-B3 of Suvon et al.

Paper: Suvon et al., section 3.7: Keras's EfficientNetB3 without its top on 300 x 300 pixels, flattened, dropout 0.3 and
one dense layer; Adam at 0.0002, batches of 32, 30 epochs, 80 : 20. Ours keeps crops of one field on one side. The dense
layer has 2 outputs here, for the 2 classes; the paper's has 4 (Fig. 8: 614,404 weights), though it too names 2 classes.
Data: crops of annotated fields, in the paper 1300 + 1300 from 85 fields of the TCIA collection MiMM_SBILab:
`wbcjax crop data/myeloma/via.json data/myeloma/images --out data/myeloma/crops --negatives non-myeloma --balance`.
Cost: 65 steps an epoch of 32 crops: meant for a GPU.
Expected from ImageNet weights, by `--config.init_from=efficientnetb3_notop.h5`, the file that keras.applications
fetches: accuracy 94.68 % (the paper's Fig. 11; not trained here). From random weights: unknown, not trained.
Variant `:b0_small`: B0 on 96 x 96 pixels from scratch, for a CPU. Measured on crops of SegPC-2021, which are not the
paper's: 24 minutes on two CPU cores, accuracy 94.8 % on held-out fields (docs/results.md).
"""

from ml_collections import ConfigDict

from wbcjax.configs import base
from wbcjax.models.settings import EFFICIENTNET_KERAS
from wbcjax.settings.parts import part

VARIANTS = ("b3", "b0_small")


def get_config(variant: str = "b3") -> ConfigDict:
    if variant not in VARIANTS:
        raise ValueError(f"myeloma_efficientnet_b3:{variant} is unknown; choose one of {', '.join(VARIANTS)}")
    config = base.classifier(EFFICIENTNET_KERAS["b3" if variant == "b3" else "b0"])
    config.dataset.crops = "data/myeloma/crops"
    config.dataset.classes = ("myeloma", "non-myeloma")
    config.model.head = "flatten"

    config.augment.flip_horizontal = False  # the paper names no augmentation of the crops
    config.augment.flip_vertical = False
    # On 8 devices (not tried): --config.train.batch_size=0 --config.train.batch_size_per_device=32
    # --config.train.learning_rate_batch=32 --config.train.warmup_steps=500
    config.train.batch_size = 32
    config.train.epochs = 30.0
    config.train.optimizer = part("adamw", eps=1e-7)  # Keras's; without decay: Adam
    config.train.weight_decay = 0.0
    config.train.learning_rate = 2e-4
    if variant == "b0_small":
        small(config)
    return config


def small(config: ConfigDict) -> None:
    """B0 on small crops, with what training from scratch on a few thousand of them asks for."""
    config.dataset.canvas = (96, 96)
    config.dataset.balance = True
    config.model.head = "pool"
    config.model.norm_momentum = 0.9  # a run of few steps

    config.augment.flip_horizontal = True
    config.augment.flip_vertical = True
    config.augment.rotate = True
    config.augment.scale = (0.9, 1.25)
    config.augment.shift = True
    config.augment.brightness = 0.15
    config.augment.contrast = 0.15
    config.augment.saturation = 0.15
    config.augment.hue = 8.0

    config.loss.label_smoothing = 0.05
    config.train.epochs = 30.0
    config.train.max_minutes = 55.0
    config.train.weight_decay = 0.05
    config.train.learning_rate = 2e-3
    config.train.optimizer = part("adamw")
    config.train.clip_norm = 1.0
    config.train.warmup_steps = 200
    config.train.schedule = "cosine"
    config.train.ema_decay = 0.998
    config.train.eval_every_epochs = 2.0
