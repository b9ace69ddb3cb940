"""torchvision's Mask and Faster R-CNN and its ResNets into our variables: tables of names, and the change of layout."""

import numpy as np

from wbcjax.weights.names import TORCH_CONV, TORCH_LINEAR, TORCH_NORM, Leaves, Modules, same


def _pointwise_convolution(x: np.ndarray) -> np.ndarray:
    return x[:, :, 0, 0].T  # (out, in, 1, 1) -> (in, out)


def _transposed_convolution(x: np.ndarray) -> np.ndarray:
    x = x.transpose(0, 2, 3, 1)  # (in, out, 2, 2) -> (in, 2, 2, out)
    return x.reshape(x.shape[0], -1, x.shape[-1])  # (in, 4, out)


def _linear_on_rois(x: np.ndarray) -> np.ndarray:
    """The first layer on flattened RoI features: torchvision's have channels first, ours last."""
    outputs, bins = x.shape[0], _BOX_BINS
    x = x.reshape(outputs, -1, bins, bins).transpose(2, 3, 1, 0)  # (bins, bins, channels, out)
    return x.reshape(-1, outputs)


_BOX_BINS = 7  # torchvision's box_roi_pool output_size

POINTWISE: Leaves = {"weight": ("kernel", _pointwise_convolution), "bias": ("bias", same)}
DECONV: Leaves = {"weight": ("kernel", _transposed_convolution), "bias": ("bias", same)}
LINEAR_ON_ROIS: Leaves = {"weight": ("kernel", _linear_on_rois), "bias": ("bias", same)}


def _resnet(prefix: str) -> Modules:
    """torchvision's module, ours, and the leaves they have, of a ResNet whose names begin with `prefix`."""
    return (
        (rf"{prefix}conv1", r"backbone/conv1", TORCH_CONV),
        (rf"{prefix}bn1", r"backbone/bn1", TORCH_NORM),
        (rf"{prefix}(layer\d)\.(\d+)\.(conv\d)", r"backbone/\1_\2/\3", TORCH_CONV),
        (rf"{prefix}(layer\d)\.(\d+)\.(bn\d)", r"backbone/\1_\2/\3", TORCH_NORM),
        (rf"{prefix}(layer\d)\.(\d+)\.downsample\.0", r"backbone/\1_\2/downsample_conv", TORCH_CONV),
        (rf"{prefix}(layer\d)\.(\d+)\.downsample\.1", r"backbone/\1_\2/downsample_bn", TORCH_NORM),
    )


RESNET: Modules = _resnet("")  # of `resnet18` to `resnet101`, without `fc`

# As above, of `maskrcnn_resnet50_fpn` and `fasterrcnn_resnet50_fpn`. Files from before 2022, among them all that
# torchvision publishes, have the shorter names for the modules of the FPN, the RPN and the mask head.
R_CNN: Modules = (
    *_resnet(r"backbone\.body\."),
    (r"backbone\.fpn\.inner_blocks\.0(?:\.0)?", r"fpn/lateral2", TORCH_CONV),
    (r"backbone\.fpn\.inner_blocks\.1(?:\.0)?", r"fpn/lateral3", TORCH_CONV),
    (r"backbone\.fpn\.inner_blocks\.2(?:\.0)?", r"fpn/lateral4", TORCH_CONV),
    (r"backbone\.fpn\.inner_blocks\.3(?:\.0)?", r"fpn/lateral5", TORCH_CONV),
    (r"backbone\.fpn\.layer_blocks\.0(?:\.0)?", r"fpn/output2", TORCH_CONV),
    (r"backbone\.fpn\.layer_blocks\.1(?:\.0)?", r"fpn/output3", TORCH_CONV),
    (r"backbone\.fpn\.layer_blocks\.2(?:\.0)?", r"fpn/output4", TORCH_CONV),
    (r"backbone\.fpn\.layer_blocks\.3(?:\.0)?", r"fpn/output5", TORCH_CONV),
    (r"rpn\.head\.conv(?:\.0\.0)?", r"rpn/conv", TORCH_CONV),
    (r"rpn\.head\.cls_logits", r"rpn/objectness", TORCH_CONV),
    (r"rpn\.head\.bbox_pred", r"rpn/deltas", TORCH_CONV),
    (r"roi_heads\.box_head\.fc6", r"box_head/fc6", LINEAR_ON_ROIS),
    (r"roi_heads\.box_head\.fc7", r"box_head/fc7", TORCH_LINEAR),
    (r"roi_heads\.box_predictor\.cls_score", r"box_head/class_logits", TORCH_LINEAR),
    (r"roi_heads\.box_predictor\.bbox_pred", r"box_head/box_deltas", TORCH_LINEAR),
    (r"roi_heads\.mask_head\.(?:0\.0|mask_fcn1)", r"mask_head/conv1", TORCH_CONV),
    (r"roi_heads\.mask_head\.(?:1\.0|mask_fcn2)", r"mask_head/conv2", TORCH_CONV),
    (r"roi_heads\.mask_head\.(?:2\.0|mask_fcn3)", r"mask_head/conv3", TORCH_CONV),
    (r"roi_heads\.mask_head\.(?:3\.0|mask_fcn4)", r"mask_head/conv4", TORCH_CONV),
    (r"roi_heads\.mask_predictor\.conv5_mask", r"mask_head/deconv", DECONV),
    (r"roi_heads\.mask_predictor\.mask_fcn_logits", r"mask_head/logits", POINTWISE),
)
