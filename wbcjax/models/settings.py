"""The settings of a Mask R-CNN and of an EfficientNet, and those of the two published implementations of each.

`config.model` is one of the published ones, overridden where an experiment differs. A part may be another class, which
the config names by its import path: see `wbcjax.settings.parts`.
"""

import dataclasses
import operator
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import flax.linen as nn

from wbcjax.models.backbone import HEADS, STEM, Backbone
from wbcjax.models.box_head import BoxHead, DetectionSettings
from wbcjax.models.fpn import Fpn
from wbcjax.models.limits import PLACES
from wbcjax.models.mask_head import MaskHead
from wbcjax.models.resnet import ResNet
from wbcjax.models.rois import RoiSettings
from wbcjax.models.rpn import Rpn
from wbcjax.ops.losses import smooth_l1
from wbcjax.settings.checked import (
    Complete,
    ConfigError,
    Positive,
    ShareBelow1,
    build,
    problems,
)
from wbcjax.settings.parts import Bound, PartOf

Pixel = tuple[float, float, float]
Spread = tuple[Positive, Positive, Positive]

# Short names of the parts of this package.
BACKBONES = {
    "resnet": "wbcjax.models.resnet:ResNet",
    "convnext": "wbcjax.models.convnext:ConvNeXt",
    "efficientnet": "wbcjax.models.efficientnet_backbone:EfficientNetBackbone",
}
NECKS = {"fpn": "wbcjax.models.fpn:Fpn"}
RPNS = {"rpn": "wbcjax.models.rpn:Rpn"}
BOX_HEADS = {"box_head": "wbcjax.models.box_head:BoxHead", "cascade": "wbcjax.models.cascade:Cascade"}
MASK_HEADS = {"mask_head": "wbcjax.models.mask_head:MaskHead"}

# Fields that a network sets in its parts that have them; a config must not.
GIVEN = ("num_classes", "roi", "detection", "dtype", "remat", "cpu")


@dataclasses.dataclass(frozen=True)
class MaskRCNNSettings:
    """A whole Mask R-CNN. The defaults are torchvision's `maskrcnn_resnet50_fpn`."""

    pixel_mean: Pixel = (123.675, 116.28, 103.53)  # RGB, 0..255
    pixel_std: Spread = (58.395, 57.12, 57.375)
    black_padding: bool = False  # the canvas around the field is black (Matterport), or the mean pixel
    normalized_boxes: bool = False  # x2 and y2 inclusive inside the network, as Matterport's normalised boxes imply
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the convolutions; geometry and losses are float32
    remat: bool = False  # compute the backbone's blocks again for the gradient, and keep only their inputs
    backbone: Annotated[Backbone, PartOf(BACKBONES, GIVEN, base=Backbone)] = ResNet()
    fpn: Annotated[nn.Module, PartOf(NECKS, GIVEN, base=nn.Module)] = Fpn()
    rpn: Annotated[Rpn, PartOf(RPNS, GIVEN, base=Rpn)] = Rpn()
    roi: RoiSettings = RoiSettings()
    box_head: Annotated[nn.Module, PartOf(BOX_HEADS, GIVEN, base=nn.Module)] = BoxHead()
    mask_head: Annotated[nn.Module, PartOf(MASK_HEADS, GIVEN, base=nn.Module)] = MaskHead()
    # Further heads, by names of your own: each has an output for every cell.
    heads: dict[str, Annotated[nn.Module, PartOf({}, GIVEN, base=nn.Module)]] = dataclasses.field(
        default_factory=dict, hash=False
    )
    detection: DetectionSettings = DetectionSettings()

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The parts of the network, by the names of their variables."""
        named = ("backbone", "fpn", "rpn", "box_head", "mask_head")
        return {name: getattr(self, name) for name in named} | self.heads

    @property
    def limits(self) -> dict[str, int]:
        """The number of boxes of an image that each stage keeps, by the names of `wbcjax.models.limits.PLACES`."""
        return {name: operator.attrgetter(name)(self) for name in PLACES}

    @property
    def losses(self) -> tuple[str, ...]:
        """The names of its losses."""
        return tuple(name for part in self.parts.values() for name in getattr(part, "LOSSES", ()))

    def stage_of(self, path: tuple[str, ...]) -> int | None:
        """The stage of a weight by its path: that of the backbone, else HEADS."""
        return self.backbone.stage_of(path[1:]) if path[0] == "backbone" else HEADS


TORCHVISION = MaskRCNNSettings()

# https://github.com/matterport/Mask_RCNN, mrcnn/config.py and model.py: constants and behaviour. As TRAIN_BN is False,
# gamma and beta of its norms train, and the statistics are fixed.
MATTERPORT = MaskRCNNSettings(
    pixel_mean=(123.7, 116.8, 103.9),
    pixel_std=(1.0, 1.0, 1.0),
    black_padding=True,
    normalized_boxes=True,
    backbone=ResNet(
        depth=101,
        norm="bn_frozen_stats",
        norm_epsilon=1e-3,
        stride_in_1x1=True,
        conv_bias=True,
        same_pool=True,
    ),
    rpn=Rpn(
        channels=512,
        aspect_ratios=(2.0, 1.0, 0.5),  # 0.5, 1, 2 there: its ratio is width / height
        rounded_anchors=False,
        softmax=True,
        box_weights=(10.0, 10.0, 5.0, 5.0),
        per_level=False,
        before_nms_train=6000,
        before_nms_test=6000,
        proposals_train=2000,
        proposals_test=1000,
        min_size=0.0,
        box_loss=Bound(smooth_l1, beta=1.0),
        per_positive=True,
    ),
    roi=RoiSettings(
        samples=200,
        positive_fraction=0.33,
        keep_ratio=True,
        append_cells=False,
        rounded_level=True,
        convention="crop_and_resize",
    ),
    box_head=BoxHead(
        norm="bn_frozen_stats",
        norm_epsilon=1e-3,
        box_loss=Bound(smooth_l1, beta=1.0),
        per_positive=True,
        padding_is_background=True,
    ),
    mask_head=MaskHead(norm="bn_frozen_stats", norm_epsilon=1e-3),
    detection=DetectionSettings(score_threshold=0.7, nms_iou=0.3, one_class_per_roi=True, min_size=0.0),
)


@dataclasses.dataclass(frozen=True)
class EfficientNetSettings:
    """A whole EfficientNet. The defaults are B3 as Keras's `EfficientNetB3`."""

    width: Positive = 1.2  # times B0's channels
    depth: Positive = 1.4  # times B0's blocks
    stochastic_depth: ShareBelow1 = 0.2  # residual branches dropped in training: none of the first, this of the last
    head: Literal["pool", "flatten"] = "pool"  # mean over the map (Tan and Le), or flattened (Suvon et al.)
    dropout: ShareBelow1 = 0.3  # of the input of the head's dense layer
    norm_epsilon: Positive = 1e-3
    norm_momentum: ShareBelow1 = 0.99  # of the running statistics
    same_padding: bool = True  # where the stride is 2: as TensorFlow's SAME, or half the kernel on either side
    pixel_mean: Pixel = (0.0, 0.0, 0.0)  # RGB, 0..255
    pixel_std: Spread = (255.0, 255.0, 255.0)
    stored_normalization: bool = True  # a second mean and variance of the pixels, stored with the weights
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the convolutions; the dense layer is float32
    remat: bool = False  # compute the blocks again for the gradient, and keep only their inputs

    def stage_of(self, path: tuple[str, ...]) -> int:
        """The stage of a weight by its path: in the base the level of its block's features, else HEADS."""
        return _LEVELS.get(path[1].partition("_")[0], STEM) if path[0] == "base" else HEADS


# Levels of the features of EfficientNet's blocks; others have a stride of 2.
_LEVELS = {"block2": 2, "block3": 3, "block4": 4, "block5": 4, "block6": 5, "block7": 5, "top": 5}


# Width, depth and dropout of each member of the family, and the side of its images as published, pixels:
# https://github.com/tensorflow/tpu, models/official/efficientnet/efficientnet_builder.py.
_EFFICIENTNETS = {
    "b0": (1.0, 1.0, 0.2, 224),
    "b1": (1.0, 1.1, 0.2, 240),
    "b2": (1.1, 1.2, 0.3, 260),
    "b3": (1.2, 1.4, 0.3, 300),
    "b4": (1.4, 1.8, 0.4, 380),
    "b5": (1.6, 2.2, 0.4, 456),
    "b6": (1.8, 2.6, 0.5, 528),
    "b7": (2.0, 3.1, 0.5, 600),
}
EFFICIENTNET_SIDE = {name: side for name, (_, _, _, side) in _EFFICIENTNETS.items()}
EFFICIENTNET_KERAS = {
    name: EfficientNetSettings(width=width, depth=depth, dropout=dropout)
    for name, (width, depth, dropout, _) in _EFFICIENTNETS.items()
}
EFFICIENTNET_TORCHVISION = {
    name: dataclasses.replace(
        settings,
        norm_epsilon=1e-3 if name in ("b5", "b6", "b7") else 1e-5,
        norm_momentum=0.99 if name in ("b5", "b6", "b7") else 0.9,
        same_padding=False,
        pixel_mean=TORCHVISION.pixel_mean,
        pixel_std=TORCHVISION.pixel_std,
        stored_normalization=False,
    )
    for name, settings in EFFICIENTNET_KERAS.items()
}

_Settings = TypeVar("_Settings")


def from_dict(kind: type[_Settings], values: Mapping[str, Any], where: str = "config.model") -> _Settings:
    """Settings of one `kind` from a dict such as `config.model`. Raises ConfigError that names every key in error."""
    if found := problems(kind, values, where, Complete()):
        raise ConfigError("; ".join(found))
    return build(kind, values)
