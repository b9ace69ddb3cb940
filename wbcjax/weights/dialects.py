"""The settings that weights of other libraries were trained with: the library's, in the sizes of the arrays."""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from wbcjax.models.convnext import SIZES as CONVNEXT_SIZES
from wbcjax.models.convnext import ConvNeXt
from wbcjax.models.efficientnet import STAGES, scaled_channels
from wbcjax.models.efficientnet_backbone import EfficientNetBackbone
from wbcjax.models.resnet import BLOCKS
from wbcjax.models.settings import (
    EFFICIENTNET_TORCHVISION,
    MATTERPORT,
    TORCHVISION,
    EfficientNetSettings,
    MaskRCNNSettings,
)
from wbcjax.weights.detectron2 import DETECTRON2
from wbcjax.weights.efficientnet import stored_pixels
from wbcjax.weights.names import Placed

Settings = MaskRCNNSettings | EfficientNetSettings
Arrays = Mapping[str, np.ndarray]


def matterport(placed: Mapping[str, Placed], arrays: Arrays) -> Settings:
    return _sized(MATTERPORT, placed)


def torchvision(placed: Mapping[str, Placed], arrays: Arrays) -> Settings:
    """torchvision's, with or without the epsilon of frozen batch normalisation.

    The files that torchvision publishes are from before 2020, when it had none: torchvision itself sets it to zero for
    them (models/detection/mask_rcnn.py). They are recognised by names of that time. Once saved again, they have the
    names of others.
    """
    settings = _sized(TORCHVISION, placed)
    return _changed(settings, "backbone.norm_epsilon", 0.0) if "rpn.head.conv.weight" in arrays else settings


def resnet(placed: Mapping[str, Placed], arrays: Arrays) -> Settings:
    return _sized(TORCHVISION, placed)


def detectron2(placed: Mapping[str, Placed], arrays: Arrays) -> Settings:
    deviation = arrays.get("pixel_std", np.ones(3))
    if not np.array_equal(deviation.reshape(-1), np.ones(3)):
        raise ValueError(
            f"these detectron2 weights were trained on pixels divided by {deviation.reshape(-1).tolist()}: only models "
            "with MSRA's ResNets can be read, which divide by 1"
        )
    return _sized(DETECTRON2, placed)


def _sized(settings: MaskRCNNSettings, placed: Mapping[str, Placed]) -> MaskRCNNSettings:
    """`settings` with the depth, width and channels that the arrays have."""
    settings = _changed(settings, "backbone.depth", _resnet_depth(placed))
    for field, path in _CHANNELS.items():
        if path in placed:
            settings = _changed(settings, field, placed[path].array.shape[-1])
    if "box_head/fc6/kernel" in placed:
        inputs = placed["box_head/fc6/kernel"].array.shape[0]
        settings = _changed(settings, "box_head.bins", round(math.sqrt(inputs / settings.fpn.channels)))
    return settings


_CHANNELS = {  # the field, and the array whose last axis has as many
    "backbone.width": "backbone/conv1/kernel",
    "fpn.channels": "fpn/lateral5/kernel",
    "rpn.channels": "rpn/conv/kernel",
    "box_head.channels": "box_head/fc7/kernel",
    "mask_head.channels": "mask_head/conv1/kernel",
}


def _resnet_depth(placed: Mapping[str, Placed]) -> int:
    blocks = {match[0] for match in (re.match(r"backbone/layer\d_\d+", path) for path in placed) if match}
    stages = tuple(sum(f"/layer{stage}_" in block for block in blocks) for stage in range(1, 5))
    bottleneck = "backbone/layer1_0/conv3/kernel" in placed
    for depth, wanted in BLOCKS.items():
        if stages == wanted and bottleneck == (depth >= 50):
            return depth
    known = ", ".join(map(str, BLOCKS))
    raise ValueError(f"the backbone has stages of {stages} blocks, which none of ResNet-{known} has")


def convnext(placed: Mapping[str, Placed], arrays: Arrays) -> Settings:
    """A detector on the ConvNeXt of these blocks and channels, with the pixels of torchvision's classifiers."""
    paths = {match[0] for match in (re.match(r"backbone/level\d_\d+", path) for path in placed) if match}
    blocks = tuple(sum(f"/level{level}_" in path for path in paths) for level in (2, 3, 4, 5))
    width = placed["backbone/stem/kernel"].array.shape[-1] if "backbone/stem/kernel" in placed else 0
    for size, (channels, repeats) in CONVNEXT_SIZES.items():
        if (width, blocks) == (channels, repeats):
            backbone = ConvNeXt().clone(size=size, width=width, blocks=repeats)
            return dataclasses.replace(TORCHVISION, backbone=backbone)
    known = ", ".join(CONVNEXT_SIZES)
    raise ValueError(f"{width} channels and levels of {blocks} blocks, which none of ConvNeXt {known} has")


def efficientnet(family: Mapping[str, EfficientNetSettings], placed: Mapping[str, Placed], arrays: Arrays) -> Settings:
    return family[_efficientnet_size("base", placed)]


def efficientnet_of_torchvision(placed: Mapping[str, Placed], arrays: Arrays) -> Settings:
    """A detector on torchvision's EfficientNet, whose pixels are those of all its classifiers."""
    backbone = EfficientNetBackbone().clone(size=_efficientnet_size("backbone", placed))
    return dataclasses.replace(TORCHVISION, backbone=backbone)


def efficientnet_of_keras(placed: Mapping[str, Placed], arrays: Arrays) -> Settings:
    """A detector on Keras's EfficientNet, with the mean and deviation of pixels that are stored with its weights."""
    backbone = EfficientNetBackbone(dialect="keras").clone(size=_efficientnet_size("backbone", placed))
    mean, deviation = stored_pixels(arrays)
    return dataclasses.replace(TORCHVISION, backbone=backbone, pixel_mean=mean, pixel_std=deviation)


def _efficientnet_size(part: str, placed: Mapping[str, Placed]) -> str:
    """The size by the number of blocks and the channels of the last, below `part`."""
    blocks = {match[0] for match in (re.match(rf"{part}/block\d_\d+", path) for path in placed) if match}
    last = f"{part}/block7_0/project_conv/kernel"
    channels = placed[last].array.shape[-1] if last in placed else 0
    for size, settings in EFFICIENTNET_TORCHVISION.items():
        repeats = sum(math.ceil(settings.depth * stage.blocks) for stage in STAGES)
        if (len(blocks), channels) == (repeats, scaled_channels(STAGES[-1].channels, settings.width)):
            return size
    raise ValueError(f"{len(blocks)} blocks, the last of {channels} channels, as none of EfficientNet-B0 to B7 has")


def _changed(settings: MaskRCNNSettings, field: str, value: Any) -> MaskRCNNSettings:
    part, _, leaf = field.partition(".")
    return dataclasses.replace(settings, **{part: getattr(settings, part).clone(**{leaf: value})})
