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
from wbcjax.settings.parts import as_values, part
from wbcjax.train.settings import TrainSettings

FLIPS = Augment(flip_horizontal=True, flip_vertical=True)  # a cell has no upper side
STARTER_RATIOS = (0.75, 1.0, 1.33)  # of its anchors, that is of white blood cells


def mask_rcnn(dialect: MaskRCNNSettings = TORCHVISION) -> ConfigDict:
    """A Mask R-CNN of `dialect`, with an empty data set and a plain training schedule."""
    config = ConfigDict()
    config.version = VERSION
    config.task = "detection"
    config.seed = 0
    config.init_from = ""  # weights to start from: "starter", a file of ours or another library's, or a run
    config.init_parts = ()  # of these weights, such as ("backbone", "fpn"); empty: all that fit the classes

    config.dataset = ConfigDict(as_values(FieldSetSettings()))
    config.augment = ConfigDict(as_values(FLIPS))
    config.evaluate = ConfigDict({"score_threshold": 0.5})  # for the papers' mAP, and for drawing

    config.model = ConfigDict(as_values(dialect))

    config.train = ConfigDict(as_values(TrainSettings()))  # described there
    return config


def classifier(dialect: EfficientNetSettings = EFFICIENTNET_KERAS["b3"]) -> ConfigDict:
    """An EfficientNet of `dialect` on crops of cells, with an empty data set and a plain training schedule."""
    config = ConfigDict()
    config.version = VERSION
    config.task = "classification"
    config.seed = 0
    config.init_from = ""  # weights to start from: "starter", a file of ours or another library's, or a run
    config.init_parts = ()  # of these weights, such as ("backbone", "top"); empty: all that fit the classes

    config.dataset = ConfigDict(as_values(CropSetSettings()))
    config.augment = ConfigDict(as_values(FLIPS))
    config.mix = ConfigDict(as_values(Mix()))
    config.loss = ConfigDict({"label_smoothing": 0.0})
    config.evaluate = ConfigDict({"bootstrap": 1000})  # resamplings for the intervals

    config.model = ConfigDict(as_values(dialect))
    config.train = ConfigDict(as_values(TrainSettings()))  # described there
    return config


def small(config: ConfigDict) -> None:
    """A ResNet-18 Mask R-CNN for a CPU: fewer levels, channels, proposals and RoIs than the paper's.

    It has places for about ten cells of a field. For more cells raise its limits as `wbcjax inspect` proposes.
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
    # On 8 devices (not tried): --config.train.batch_size=0 --config.train.batch_size_per_device=4
    # --config.train.learning_rate_batch=4 --config.train.warmup_steps=500
    config.train.batch_size = 4
    config.train.optimizer = part("adamw")
    config.train.learning_rate = 1e-3
    config.train.weight_decay = 0.05
    config.train.clip_norm = 1.0
    config.train.warmup_steps = 100
    config.train.schedule = "cosine"
    config.train.ema_decay = 0.998


def light(config: ConfigDict) -> None:
    """A `small` one of half the channels, for twice the steps and images a minute: what the starter is."""
    model = config.model
    model.backbone.width = 32
    model.fpn.channels = 64
    model.rpn.channels = 64
    model.box_head.channels = 256
    model.mask_head.channels = 64


def from_starter(config: ConfigDict) -> None:
    """Start a `light` one from the starter. Call it after the anchors are set."""
    light(config)
    config.init_from = "starter"
    if config.model.rpn.aspect_ratios != STARTER_RATIOS:  # for which its RPN was trained
        config.init_parts = ("backbone", "fpn", "box_head", "mask_head")


def varied(config: ConfigDict) -> None:
    """Changes of place, size and stain that leave a cell what it is, beside the flips: for a few hundred fields."""
    config.augment.rotate = True
    config.augment.scale = (0.8, 1.4)
    config.augment.shift = True
    config.augment.brightness = 0.15
    config.augment.contrast = 0.15
    config.augment.saturation = 0.15
    config.augment.hue = 8.0
