"""What all experiments have in common; each file overrides what differs. Not an experiment itself.

`config.model` is a whole dialect (wbcjax/models/settings.py), so that any of its fields can be overridden from the
command line: `--config.model.fpn.channels=128`.
"""

from ml_collections import ConfigDict

from wbcjax.input.augment import Augment
from wbcjax.input.mix import Mix
from wbcjax.input.settings import CropSetSettings, FieldSetSettings
from wbcjax.models.settings import EFFICIENTNET_KERAS, TORCHVISION, EfficientNetSettings, MaskRCNNSettings
from wbcjax.settings.older_runs import VERSION
from wbcjax.settings.parts import as_values

FLIPS = Augment(flip_horizontal=True, flip_vertical=True)  # a cell has no upper side


def mask_rcnn(dialect: MaskRCNNSettings = TORCHVISION) -> ConfigDict:
    """A Mask R-CNN of `dialect`, with an empty data set and a plain training schedule."""
    config = ConfigDict()
    config.version = VERSION
    config.task = "detection"
    config.seed = 0
    config.init_from = ""  # weights to start from: a file of another library's or ours, or the folder of a run
    config.init_parts = ()  # of these: ("backbone", "fpn"), say; empty: all that fit the classes

    config.dataset = ConfigDict(dataclasses.asdict(FieldSetSettings()))
    config.augment = ConfigDict(dataclasses.asdict(FLIPS))
    config.evaluate = ConfigDict({"score_threshold": 0.5})  # of the papers' mAP, and what is drawn

    config.model = ConfigDict(as_values(dialect))

    config.train = _train()
    return config


def classifier(dialect: EfficientNetSettings = EFFICIENTNET_KERAS["b3"]) -> ConfigDict:
    """An EfficientNet of `dialect` on crops of cells, with an empty data set and a plain training schedule."""
    config = ConfigDict()
    config.version = VERSION
    config.task = "classification"
    config.seed = 0
    config.init_from = ""  # weights to start from: a file of another library's or ours, or the folder of a run
    config.init_parts = ()  # of these: ("backbone", "fpn"), say; empty: all that fit the classes

    config.dataset = ConfigDict(dataclasses.asdict(CropSetSettings()))
    config.augment = ConfigDict(dataclasses.asdict(FLIPS))
    config.mix = ConfigDict(dataclasses.asdict(Mix()))
    config.loss = ConfigDict({"label_smoothing": 0.0})
    config.evaluate = ConfigDict({"bootstrap": 1000})  # resamplings that intervals come from

    config.model = ConfigDict(as_values(dialect))
    config.train = _train()
    return config


def small(config: ConfigDict) -> None:
    """A ResNet-18 Mask R-CNN for a CPU: fewer levels, channels, proposals and RoIs than the paper's.

    It has places for about ten cells of a field; for more of them raise its limits as `wbcjax inspect` proposes.
    """
    model = config.model
    model.backbone.depth = 18
    model.fpn.channels = 128
    model.rpn.channels = 128
    model.rpn.levels = (3, 4, 5)  # whose anchor sizes the experiment gives
    model.rpn.before_nms_train = 200
    model.rpn.before_nms_test = 200
    model.rpn.proposals_train = 200
    model.rpn.proposals_test = 100
    model.roi.samples = 48
    model.box_head.channels = 512
    model.mask_head.channels = 128
    model.detection.per_image = 32
    model.detection.candidates = 200


def from_scratch(config: ConfigDict) -> None:
    """Training without pretrained weights, on a few hundred fields: trained norms, AdamW, and averaged weights."""
    config.model.backbone.norm = "bn"
    config.model.roi.convention = "aligned"
    config.train.batch_size = 4
    config.train.optimizer = "adamw"
    config.train.learning_rate = 1e-3
    config.train.weight_decay = 0.05
    config.train.clip_norm = 1.0
    config.train.warmup_steps = 100
    config.train.schedule = "cosine"
    config.train.ema_decay = 0.998


def _train() -> ConfigDict:
    return ConfigDict(
        {
            "batch_size": 2,  # over all devices
            "accumulate": 1,  # parts in which each device sees its share, where all of it at once needs too much memory
            "epochs": 0.0,  # the length of the run: epochs, or steps, or the phases' epochs together
            "steps": 0,
            "max_minutes": 0.0,  # stop after so much time, 0: never
            "phases": (),  # {"layers": "heads" | "3+" | "4+" | "5+" | "all" | regex, "epochs", "learning_rate_scale"}
            "optimizer": "sgd",  # or "adamw"
            "learning_rate": 0.001,
            "learning_rate_batch": 0,  # the batch size that the rate is meant for: others scale it; 0: it is as given
            "momentum": 0.9,
            "adam_epsilon": 1e-8,  # torch's; Keras's is 1e-7
            "weight_decay": 1e-4,  # not of norms and biases
            "l2_per_array": False,  # True: Matterport's decay, of biases too and divided by the size of each array
            "clip_norm": 0.0,  # of all gradients together, 0: off
            "warmup_steps": 0,
            "schedule": "step",  # or "cosine"
            "boundaries": (),  # epochs after which the learning rate is multiplied by gamma
            "gamma": 0.1,
            "ema_decay": 0.0,  # predict with an exponential average of the weights, 0: off
            "loss_weights": {},  # 1 where not given; --config.train.loss_weights.mask=2, for one
            "log_every": 10,  # steps
            "eval_every_epochs": 1.0,  # 0: only at the end
            "max_skipped_in_a_row": 10,  # steps whose loss or gradient is not finite; then the run stops
            "checkpoint_minutes": 10.0,  # saved so often between evaluations too, 0: only at evaluations
            "parallel": "shard_map",  # or "pmap"
        }
    )
