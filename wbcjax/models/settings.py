"""Every choice that makes one Mask R-CNN or EfficientNet differ from another, and the two published dialects of each.

`config.model` is one of these dialects as a dict, overridden where an experiment differs.
"""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from wbcjax.ops.roi_align import Convention
from wbcjax.settings.checked import (
    Complete,
    ConfigError,
    Count,
    NotEmpty,
    NotNegative,
    Positive,
    Share,
    ShareBelow1,
    build,
    problems,
)

Weights = tuple[Positive, Positive, Positive, Positive]
Pixel = tuple[float, float, float]
Spread = tuple[Positive, Positive, Positive]
RpnLevel = Literal[2, 3, 4, 5, 6]  # of strides 4 to 64
RoiLevel = Literal[2, 3, 4, 5]


@dataclasses.dataclass(frozen=True)
class BackboneSettings:
    """ResNet: `norm` "frozen_bn" and "bn_frozen_stats" keep stored statistics (pretrained weights), the second trains
    scale and bias; "bn" and "gn" train from scratch.
    """

    depth: Literal[18, 34, 50, 101] = 50
    width: Count = 64  # channels of the stem; 64 in the paper
    norm: Literal["frozen_bn", "bn_frozen_stats", "bn", "gn"] = "frozen_bn"
    norm_epsilon: NotNegative = 1e-5  # 0 in torchvision's published detectors
    stride_in_1x1: bool = False  # where a bottleneck block halves the resolution: its 1x1 (Matterport) or its 3x3
    conv_bias: bool = False
    same_pool: bool = False  # the stem's pooling padded right and below only, as TensorFlow's SAME


@dataclasses.dataclass(frozen=True)
class FpnSettings:
    """Feature pyramid network."""

    channels: Count = 256


@dataclasses.dataclass(frozen=True)
class RpnSettings:
    """Region proposal network; counts are per image."""

    channels: Count = 256
    levels: Annotated[tuple[RpnLevel, ...], NotEmpty()] = (2, 3, 4, 5, 6)
    anchor_sizes: tuple[Positive, ...] = (32.0, 64.0, 128.0, 256.0, 512.0)  # one per level, pixels
    aspect_ratios: Annotated[tuple[Positive, ...], NotEmpty()] = (0.5, 1.0, 2.0)  # height / width
    rounded_anchors: bool = True
    softmax: bool = False  # two logits per anchor (Matterport) or one
    box_weights: Weights = (1.0, 1.0, 1.0, 1.0)
    positive_iou: Share = 0.7
    negative_iou: Share = 0.3
    samples: Count = 256
    positive_fraction: Share = 0.5
    per_level: bool = True  # choose and suppress proposals within each level, or over all of them
    before_nms_train: Count = 2000  # per level, or over all of them
    before_nms_test: Count = 1000
    proposals_train: Count = 2000
    proposals_test: Count = 1000
    nms_iou: Share = 0.7
    min_size: NotNegative = 1e-3  # pixels


@dataclasses.dataclass(frozen=True)
class RoiSettings:
    """How proposals become RoIs to train on, and how features are cut out for them."""

    samples: Count = 512
    positive_fraction: Share = 0.25
    keep_ratio: bool = False  # fewer negatives where there are fewer positives
    positive_iou: Share = 0.5
    negative_iou: Share = 0.5
    append_cells: bool = True  # annotated boxes join the proposals
    levels: Annotated[tuple[RoiLevel, ...], NotEmpty()] = (2, 3, 4, 5)
    canonical_size: Positive = 224.0  # pixels of a box that is pooled from P4
    rounded_level: bool = False
    convention: Convention = "legacy"
    sampling_ratio: Count = 2
    box_weights: Weights = (10.0, 10.0, 5.0, 5.0)


@dataclasses.dataclass(frozen=True)
class BoxHeadSettings:
    """The head that names an RoI and moves its box."""

    bins: Count = 7
    channels: Count = 1024
    norm: bool = False  # batch normalisation after both layers (Matterport): of the kind `head_norm`


@dataclasses.dataclass(frozen=True)
class MaskHeadSettings:
    """The head that outlines the cell in an RoI."""

    bins: Count = 14  # the mask has twice as many
    channels: Count = 256
    norm: bool = False


@dataclasses.dataclass(frozen=True)
class DetectionSettings:
    """From class scores and boxes to detections."""

    score_threshold: Share = 0.05
    nms_iou: Share = 0.5
    per_image: Count = 100
    candidates: Count = 2000  # the most boxes over the threshold that enter NMS
    one_class_per_roi: bool = False  # an RoI is its best class only (Matterport), or every class over the threshold
    min_size: NotNegative = 1e-2  # pixels


@dataclasses.dataclass(frozen=True)
class LossSettings:
    """How the five losses are measured and averaged."""

    rpn_beta: Positive = 1.0 / 9.0  # where smooth L1 turns from square to straight
    box_beta: Positive = 1.0 / 9.0
    padding_is_background: bool = False  # places left empty for want of RoIs train the class (Matterport)
    per_positive: bool = False  # box losses averaged over positives' coordinates, or summed and divided by all samples


@dataclasses.dataclass(frozen=True)
class MaskRCNNSettings:
    """A whole Mask R-CNN. The defaults are torchvision's `maskrcnn_resnet50_fpn`."""

    pixel_mean: Pixel = (123.675, 116.28, 103.53)  # RGB, 0..255
    pixel_std: Spread = (58.395, 57.12, 57.375)
    black_padding: bool = False  # around the field the network sees black (Matterport), or the mean pixel
    normalized_boxes: bool = False  # x2 and y2 inclusive inside the network, as Matterport's normalised boxes imply
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the convolutions; geometry and losses are float32
    remat: bool = False  # compute the backbone's blocks again for the gradient, keeping only what enters each
    head_norm: Literal["frozen_bn", "bn_frozen_stats"] = "frozen_bn"  # of heads with norms; see BackboneSettings
    backbone: BackboneSettings = BackboneSettings()
    fpn: FpnSettings = FpnSettings()
    rpn: RpnSettings = RpnSettings()
    roi: RoiSettings = RoiSettings()
    box_head: BoxHeadSettings = BoxHeadSettings()
    mask_head: MaskHeadSettings = MaskHeadSettings()
    detection: DetectionSettings = DetectionSettings()
    loss: LossSettings = LossSettings()


TORCHVISION = MaskRCNNSettings()

# https://github.com/matterport/Mask_RCNN, mrcnn/config.py and model.py: constants and behaviour.
MATTERPORT = MaskRCNNSettings(
    pixel_mean=(123.7, 116.8, 103.9),
    pixel_std=(1.0, 1.0, 1.0),
    black_padding=True,
    normalized_boxes=True,
    head_norm="bn_frozen_stats",  # TRAIN_BN is False: gamma and beta train, the statistics are fixed
    backbone=BackboneSettings(
        depth=101,
        norm="bn_frozen_stats",
        norm_epsilon=1e-3,
        stride_in_1x1=True,
        conv_bias=True,
        same_pool=True,
    ),
    rpn=RpnSettings(
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
    ),
    roi=RoiSettings(
        samples=200,
        positive_fraction=0.33,
        keep_ratio=True,
        append_cells=False,
        rounded_level=True,
        convention="crop_and_resize",
    ),
    box_head=BoxHeadSettings(norm=True),
    mask_head=MaskHeadSettings(norm=True),
    detection=DetectionSettings(score_threshold=0.7, nms_iou=0.3, one_class_per_roi=True, min_size=0.0),
    loss=LossSettings(rpn_beta=1.0, box_beta=1.0, padding_is_background=True, per_positive=True),
)


@dataclasses.dataclass(frozen=True)
class EfficientNetSettings:
    """A whole EfficientNet. The defaults are B3 as Keras's `EfficientNetB3`."""

    width: Positive = 1.2  # times B0's channels
    depth: Positive = 1.4  # times B0's blocks
    stochastic_depth: ShareBelow1 = 0.2  # residual branches left out in training: none of the first, this of the last
    head: Literal["pool", "flatten"] = (
        "pool"  # features averaged over the map (Tan and Le), or each taken (Suvon et al.)
    )
    dropout: ShareBelow1 = 0.3  # of what enters the head's dense layer
    norm_epsilon: Positive = 1e-3
    norm_momentum: ShareBelow1 = 0.99  # of the running statistics
    same_padding: bool = True  # where the stride is 2: as TensorFlow's SAME, or half the kernel on either side
    pixel_mean: Pixel = (0.0, 0.0, 0.0)  # RGB, 0..255
    pixel_std: Spread = (255.0, 255.0, 255.0)
    stored_normalization: bool = True  # a second mean and variance of the pixels, stored with the weights
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the convolutions; the dense layer is float32
    remat: bool = False  # compute the blocks again for the gradient, keeping only what enters each


# Width, depth and dropout of each member of the family, and the side of the images it was published with, pixels:
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

# Settings that came when there were runs already, whose configs lack them: those runs had what is now the default.
LATER = frozenset({"remat", "head_norm"})


def from_dict(kind: type[_Settings], values: Mapping[str, Any], where: str = "config.model") -> _Settings:
    """Settings of one `kind` from a dict such as `config.model`. Raises ConfigError that names every key in error.

    What is newer than the first runs (`LATER`) may be missing and is then the default.
    """
    if found := problems(kind, values, where, Complete(LATER)):
        raise ConfigError("; ".join(found))
    return build(kind, values)
