"""The settings that weights of other libraries were trained with: the library's, in the sizes of the arrays."""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from wbcjax.models.efficientnet import STAGES, TOP, scaled_channels
from wbcjax.models.resnet import BLOCKS
from wbcjax.models.settings import MATTERPORT, TORCHVISION, EfficientNetSettings, MaskRCNNSettings
from wbcjax.weights.detectron2 import DETECTRON2
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


def efficientnet(family: Mapping[str, EfficientNetSettings], placed: Mapping[str, Placed], arrays: Arrays) -> Settings:
    blocks = {match[0] for match in (re.match(r"base/block\d_\d+", path) for path in placed) if match}
    top = placed["base/top_conv/kernel"].array.shape[-1] if "base/top_conv/kernel" in placed else 0
    for settings in family.values():
        repeats = sum(math.ceil(settings.depth * stage.blocks) for stage in STAGES)
        if (len(blocks), top) == (repeats, scaled_channels(TOP, settings.width)):
            return settings
    raise ValueError(f"{len(blocks)} blocks and {top} channels at the top, which none of EfficientNet-B0 to B7 has")


def _changed(settings: MaskRCNNSettings, field: str, value: Any) -> MaskRCNNSettings:
    part, _, leaf = field.partition(".")
    return dataclasses.replace(settings, **{part: getattr(settings, part).clone(**{leaf: value})})
