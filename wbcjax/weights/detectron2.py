"""detectron2's Mask and Faster R-CNN with FPN into our variables: the table of names, and the change of layout.

The model zoo's R50-FPN and R101-FPN have the ResNets of MSRA (He et al. 2016), trained in Caffe: blue comes before
green and red, pixels are not divided, and blocks halve the resolution in their first 1x1 convolution.
"""

import dataclasses

import numpy as np

from wbcjax.models.settings import TORCHVISION
from wbcjax.weights.names import TORCH_CONV, TORCH_LINEAR, TORCH_NORM, Leaves, Modules, torch_convolution
from wbcjax.weights.torchvision import DECONV, LINEAR_ON_ROIS

# detectron2/config/defaults.py and configs/Base-RCNN-FPN.yaml in https://github.com/facebookresearch/detectron2. Ours
# takes two samples of each bin's side in RoIAlign, where detectron2 takes as many as the bin is features wide.
DETECTRON2 = dataclasses.replace(
    TORCHVISION,
    pixel_std=(1.0, 1.0, 1.0),
    backbone=dataclasses.replace(TORCHVISION.backbone, stride_in_1x1=True),
    rpn=dataclasses.replace(TORCHVISION.rpn, rounded_anchors=False),
    roi=dataclasses.replace(TORCHVISION.roi, convention="aligned"),
)


def _of_blue_green_red(x: np.ndarray) -> np.ndarray:
    return torch_convolution(x[:, ::-1])  # (out, bgr, 7, 7) -> (7, 7, rgb, out)


def _background_first(x: np.ndarray) -> np.ndarray:
    return np.roll(x, 1, axis=0).T  # (classes, in) or (classes,), the background last -> (in, classes)


def _deltas(x: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros_like(x[:4]), x]).T  # (4 cells, in) or (4 cells,) -> (in, 4 classes)


def _masks(x: np.ndarray) -> np.ndarray:
    x = x.reshape(x.shape[:2])  # (cells, in, 1, 1) or (cells,) -> (cells, in) or (cells,)
    return np.concatenate([np.zeros_like(x[:1]), x]).T


_STEM: Leaves = {"weight": ("kernel", _of_blue_green_red)}
_CLASSES: Leaves = {"weight": ("kernel", _background_first), "bias": ("bias", _background_first)}
# detectron2 has no box and no mask of the background. Ours are never used, and are zeros.
_DELTAS: Leaves = {"weight": ("kernel", _deltas), "bias": ("bias", _deltas)}
_MASKS: Leaves = {"weight": ("kernel", _masks), "bias": ("bias", _masks)}


def _stage(number: int) -> Modules:
    """detectron2's module, ours, and the arrays they have, of a stage of the ResNet: its `res2` is our `layer1`."""
    theirs, ours = rf"backbone\.bottom_up\.res{number}\.(\d+)\.", rf"backbone/layer{number - 1}_\1/"
    return (
        (rf"{theirs}(conv\d)", rf"{ours}\2", TORCH_CONV),
        (rf"{theirs}conv(\d)\.norm", rf"{ours}bn\2", TORCH_NORM),
        (rf"{theirs}shortcut", rf"{ours}downsample_conv", TORCH_CONV),
        (rf"{theirs}shortcut\.norm", rf"{ours}downsample_bn", TORCH_NORM),
    )


# As above, of the whole.
R_CNN: Modules = (
    (r"backbone\.bottom_up\.stem\.conv1", r"backbone/conv1", _STEM),
    (r"backbone\.bottom_up\.stem\.conv1\.norm", r"backbone/bn1", TORCH_NORM),
    *_stage(2),
    *_stage(3),
    *_stage(4),
    *_stage(5),
    (r"backbone\.fpn_(lateral|output)([2-5])", r"fpn/\1\2", TORCH_CONV),
    (r"proposal_generator\.rpn_head\.conv", r"rpn/conv", TORCH_CONV),
    (r"proposal_generator\.rpn_head\.objectness_logits", r"rpn/objectness", TORCH_CONV),
    (r"proposal_generator\.rpn_head\.anchor_deltas", r"rpn/deltas", TORCH_CONV),
    (r"roi_heads\.box_head\.fc1", r"box_head/fc6", LINEAR_ON_ROIS),
    (r"roi_heads\.box_head\.fc2", r"box_head/fc7", TORCH_LINEAR),
    (r"roi_heads\.box_predictor\.cls_score", r"box_head/class_logits", _CLASSES),
    (r"roi_heads\.box_predictor\.bbox_pred", r"box_head/box_deltas", _DELTAS),
    (r"roi_heads\.mask_head\.mask_fcn([1-4])", r"mask_head/conv\1", TORCH_CONV),
    (r"roi_heads\.mask_head\.deconv", r"mask_head/deconv", DECONV),
    (r"roi_heads\.mask_head\.predictor", r"mask_head/logits", _MASKS),
)
