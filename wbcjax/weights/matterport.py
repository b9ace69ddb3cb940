"""Matterport's Mask R-CNN (`mask_rcnn_coco.h5`) into our variables: the table of names, and the change of layout."""

import re

import numpy as np

from wbcjax.weights.names import KERAS_CONV, KERAS_NORM, Leaves, Modules, same


def layer_name(path: str) -> str:
    """`rpn_model/rpn_conv_shared/kernel:0` as `rpn_conv_shared.kernel`; `res4d_branch2a/kernel`, of a block, as
    `res_layer3_3_branch2a.kernel`, with the numbers of its stage and of itself for the patterns of the table.

    The first name on the path is the layer's, except in the RPN, which is a model within the model.
    """
    layer, _, leaf = path.removesuffix(":0").removeprefix("rpn_model/").partition("/")
    block = re.fullmatch(r"(res|bn)([2-5])([a-z])_(branch\w+)", layer)
    if block:
        layer = f"{block[1]}_layer{int(block[2]) - 1}_{ord(block[3]) - ord('a')}_{block[4]}"
    return f"{layer}.{leaf.rpartition('/')[2]}"


def _flattened(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1, x.shape[-1])  # (bins, bins, channels, out), a convolution over the whole RoI, -> (in, out)


def _transposed_convolution(x: np.ndarray) -> np.ndarray:
    x = x.transpose(3, 0, 1, 2)  # (2, 2, out, in) -> (in, 2, 2, out)
    return x.reshape(x.shape[0], -1, x.shape[-1])  # (in, 4, out)


def _deltas(x: np.ndarray) -> np.ndarray:
    """The last axis has four for each box: dy, dx, dh, dw there, dx, dy, dw, dh here."""
    return x.reshape(*x.shape[:-1], -1, 4)[..., [1, 0, 3, 2]].reshape(x.shape)


_FLATTENED: Leaves = {"kernel": ("kernel", _flattened), "bias": ("bias", same)}
_DECONV: Leaves = {"kernel": ("kernel", _transposed_convolution), "bias": ("bias", same)}
_DELTAS: Leaves = {"kernel": ("kernel", _deltas), "bias": ("bias", _deltas)}

# The layer there, as `layer_name` gives it; ours; and the arrays they have. Names are those of mrcnn/model.py
# in https://github.com/matterport/Mask_RCNN. The last block of stage 4 is `f` in ResNet-50, `w` in ResNet-101.
MASK_R_CNN: Modules = (
    (r"conv1", r"backbone/conv1", KERAS_CONV),
    (r"bn_conv1", r"backbone/bn1", KERAS_NORM),
    (r"res_(layer\d_\d+)_branch2a", r"backbone/\1/conv1", KERAS_CONV),
    (r"res_(layer\d_\d+)_branch2b", r"backbone/\1/conv2", KERAS_CONV),
    (r"res_(layer\d_\d+)_branch2c", r"backbone/\1/conv3", KERAS_CONV),
    (r"res_(layer\d_\d+)_branch1", r"backbone/\1/downsample_conv", KERAS_CONV),
    (r"bn_(layer\d_\d+)_branch2a", r"backbone/\1/bn1", KERAS_NORM),
    (r"bn_(layer\d_\d+)_branch2b", r"backbone/\1/bn2", KERAS_NORM),
    (r"bn_(layer\d_\d+)_branch2c", r"backbone/\1/bn3", KERAS_NORM),
    (r"bn_(layer\d_\d+)_branch1", r"backbone/\1/downsample_bn", KERAS_NORM),
    (r"fpn_c([2-5])p\1", r"fpn/lateral\1", KERAS_CONV),
    (r"fpn_p([2-5])", r"fpn/output\1", KERAS_CONV),
    (r"rpn_conv_shared", r"rpn/conv", KERAS_CONV),
    (r"rpn_class_raw", r"rpn/objectness", KERAS_CONV),
    (r"rpn_bbox_pred", r"rpn/deltas", _DELTAS),
    (r"mrcnn_class_conv1", r"box_head/fc6", _FLATTENED),
    (r"mrcnn_class_bn1", r"box_head/fc6_bn", KERAS_NORM),
    (r"mrcnn_class_conv2", r"box_head/fc7", _FLATTENED),
    (r"mrcnn_class_bn2", r"box_head/fc7_bn", KERAS_NORM),
    (r"mrcnn_class_logits", r"box_head/class_logits", KERAS_CONV),
    (r"mrcnn_bbox_fc", r"box_head/box_deltas", _DELTAS),
    (r"mrcnn_mask_conv(\d)", r"mask_head/conv\1", KERAS_CONV),
    (r"mrcnn_mask_bn(\d)", r"mask_head/bn\1", KERAS_NORM),
    (r"mrcnn_mask_deconv", r"mask_head/deconv", _DECONV),
    (r"mrcnn_mask", r"mask_head/logits", _FLATTENED),
)
