"""torchvision's `maskrcnn_resnet50_fpn` state dict into our variables: the table of names, and the change of layout."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float

ArrayOrShape = Any  # anything with a `shape`: an array or a jax.ShapeDtypeStruct
Layout = Callable[[Float[np.ndarray, "..."]], Float[np.ndarray, "..."]]


def from_torchvision(
    state_dict: Mapping[str, Float[np.ndarray, "..."]], template: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Variables {"params", "batch_stats"} of `models.mask_rcnn` filled from a torchvision state dict of NumPy arrays.

    `template` is a tree of variables of the wanted model, arrays or shapes (from `init` or `jax.eval_shape` of it); it
    says which parameters there are, their shapes, and whether a scale is trained or stored. Names follow torchvision
    0.29's module tree. Raises ValueError listing every name that is unknown, missing, or of another shape.
    """
    flat: dict[tuple[str, ...], ArrayOrShape] = flatten_dict(dict(template))
    wanted = {path[1:]: (path, leaf.shape) for path, leaf in flat.items()}
    filled, problems = {}, []
    for name, value in state_dict.items():
        if name.endswith("num_batches_tracked"):  # a counter of BatchNorm2d that holds no weight
            continue
        target = _target(name)
        if target is None or target.path not in wanted:
            problems.append(f"unexpected: {name} {value.shape}")
            continue
        path, shape = wanted.pop(target.path)
        array = np.ascontiguousarray(target.layout(value), dtype=np.float32)
        if array.shape != shape:
            problems.append(f"shape: {name} becomes {array.shape}, but {'/'.join(path)} is {shape}")
        filled[path] = array
    problems += [f"missing: {'/'.join(path)} {shape}" for path, shape in wanted.values()]
    if problems:
        listing = "\n  ".join(problems)
        raise ValueError(f"the state dict does not fit the model in {len(problems)} places:\n  {listing}")
    return unflatten_dict(filled)


class _Target(NamedTuple):
    path: tuple[str, ...]  # in our tree, without the collection
    layout: Layout


def _target(name: str) -> _Target | None:
    """Where the array called `name` goes, and how its axes are turned; None if the table does not know it."""
    module, _, leaf = name.rpartition(".")
    for pattern, path, leaves in _MODULES:
        match = re.fullmatch(pattern, module)
        if match and leaf in leaves:
            our_leaf, layout = leaves[leaf]
            return _Target((*match.expand(path).split("/"), our_leaf), layout)
    return None


def _same(x: np.ndarray) -> np.ndarray:
    return x


def _convolution(x: np.ndarray) -> np.ndarray:
    return x.transpose(2, 3, 1, 0)  # (out, in, h, w) -> (h, w, in, out)


def _pointwise_convolution(x: np.ndarray) -> np.ndarray:
    return x[:, :, 0, 0].T  # (out, in, 1, 1) -> (in, out)


def _transposed_convolution(x: np.ndarray) -> np.ndarray:
    x = x.transpose(0, 2, 3, 1)  # (in, out, 2, 2) -> (in, 2, 2, out)
    return x.reshape(x.shape[0], -1, x.shape[-1])  # (in, 4, out)


def _linear(x: np.ndarray) -> np.ndarray:
    return x.T  # (out, in) -> (in, out)


def _linear_on_rois(x: np.ndarray) -> np.ndarray:
    """The first layer on flattened RoI features: channels come first there, last here."""
    outputs, bins = x.shape[0], _BOX_BINS
    x = x.reshape(outputs, -1, bins, bins).transpose(2, 3, 1, 0)  # (bins, bins, channels, out)
    return x.reshape(-1, outputs)


_BOX_BINS = 7  # torchvision's box_roi_pool output_size

_CONV = {"weight": ("kernel", _convolution), "bias": ("bias", _same)}
_POINTWISE = {"weight": ("kernel", _pointwise_convolution), "bias": ("bias", _same)}
_DECONV = {"weight": ("kernel", _transposed_convolution), "bias": ("bias", _same)}
_LINEAR = {"weight": ("kernel", _linear), "bias": ("bias", _same)}
_LINEAR_ON_ROIS = {"weight": ("kernel", _linear_on_rois), "bias": ("bias", _same)}
_NORM = {
    "weight": ("scale", _same),
    "bias": ("bias", _same),
    "running_mean": ("mean", _same),
    "running_var": ("var", _same),
}

# torchvision's module, ours, and the leaves they have.
_MODULES = (
    (r"backbone\.body\.conv1", r"backbone/conv1", _CONV),
    (r"backbone\.body\.bn1", r"backbone/bn1", _NORM),
    (r"backbone\.body\.(layer\d)\.(\d+)\.(conv\d)", r"backbone/\1_\2/\3", _CONV),
    (r"backbone\.body\.(layer\d)\.(\d+)\.(bn\d)", r"backbone/\1_\2/\3", _NORM),
    (r"backbone\.body\.(layer\d)\.(\d+)\.downsample\.0", r"backbone/\1_\2/downsample_conv", _CONV),
    (r"backbone\.body\.(layer\d)\.(\d+)\.downsample\.1", r"backbone/\1_\2/downsample_bn", _NORM),
    (r"backbone\.fpn\.inner_blocks\.0\.0", r"fpn/lateral2", _CONV),
    (r"backbone\.fpn\.inner_blocks\.1\.0", r"fpn/lateral3", _CONV),
    (r"backbone\.fpn\.inner_blocks\.2\.0", r"fpn/lateral4", _CONV),
    (r"backbone\.fpn\.inner_blocks\.3\.0", r"fpn/lateral5", _CONV),
    (r"backbone\.fpn\.layer_blocks\.0\.0", r"fpn/output2", _CONV),
    (r"backbone\.fpn\.layer_blocks\.1\.0", r"fpn/output3", _CONV),
    (r"backbone\.fpn\.layer_blocks\.2\.0", r"fpn/output4", _CONV),
    (r"backbone\.fpn\.layer_blocks\.3\.0", r"fpn/output5", _CONV),
    (r"rpn\.head\.conv\.0\.0", r"rpn/conv", _CONV),
    (r"rpn\.head\.cls_logits", r"rpn/objectness", _CONV),
    (r"rpn\.head\.bbox_pred", r"rpn/deltas", _CONV),
    (r"roi_heads\.box_head\.fc6", r"box_head/fc6", _LINEAR_ON_ROIS),
    (r"roi_heads\.box_head\.fc7", r"box_head/fc7", _LINEAR),
    (r"roi_heads\.box_predictor\.cls_score", r"box_head/class_logits", _LINEAR),
    (r"roi_heads\.box_predictor\.bbox_pred", r"box_head/box_deltas", _LINEAR),
    (r"roi_heads\.mask_head\.0\.0", r"mask_head/conv1", _CONV),
    (r"roi_heads\.mask_head\.1\.0", r"mask_head/conv2", _CONV),
    (r"roi_heads\.mask_head\.2\.0", r"mask_head/conv3", _CONV),
    (r"roi_heads\.mask_head\.3\.0", r"mask_head/conv4", _CONV),
    (r"roi_heads\.mask_predictor\.conv5_mask", r"mask_head/deconv", _DECONV),
    (r"roi_heads\.mask_predictor\.mask_fcn_logits", r"mask_head/logits", _POINTWISE),
)
