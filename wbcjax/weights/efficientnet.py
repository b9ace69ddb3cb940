"""EfficientNet's arrays by torchvision's and Keras's names into our variables: the tables, and the change of layout."""

import re
from collections.abc import Mapping

import numpy as np

from wbcjax.models.settings import Pixel
from wbcjax.weights.names import (
    KERAS_CONV,
    KERAS_NORM,
    TORCH_CONV,
    TORCH_LINEAR,
    TORCH_NORM,
    Leaves,
    Modules,
    same,
    torch_depthwise,
)


def numbered(path: str) -> str:
    """`block2b_bn/gamma`, with or without Keras 2's `:0`, as `block2_1_bn.gamma`: the number is for the patterns."""
    *_, module, leaf = ["", *path.removesuffix(":0").split("/")]
    module = re.sub(r"^block(\d)([a-z])_", lambda match: f"block{match[1]}_{ord(match[2]) - ord('a')}_", module)
    return f"{module}.{leaf}"


def _keras_depthwise(x: np.ndarray) -> np.ndarray:
    return x[..., 0]  # (h, w, c, 1) -> (h, w, c)


def _variance(x: np.ndarray) -> np.ndarray:
    """Keras's ImageNet models store ImageNet's deviations as variances, and later divide by their roots once more."""
    return x * _IMAGENET_DEVIATION if np.allclose(x, _IMAGENET_DEVIATION, rtol=1e-3) else x


_IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)

_TORCH_DEPTHWISE: Leaves = {"weight": ("kernel", torch_depthwise)}

# torchvision's module, ours, and the arrays they have. Blocks of the first stage have no expansion: their parts are
# numbered one lower.
TORCHVISION: Modules = (
    (r"features\.0\.0", r"base/stem_conv", TORCH_CONV),
    (r"features\.0\.1", r"base/stem_bn", TORCH_NORM),
    (r"features\.1\.(\d+)\.block\.0\.0", r"base/block1_\1/depthwise_conv", _TORCH_DEPTHWISE),
    (r"features\.1\.(\d+)\.block\.0\.1", r"base/block1_\1/depthwise_bn", TORCH_NORM),
    (r"features\.1\.(\d+)\.block\.1\.fc1", r"base/block1_\1/squeeze", TORCH_CONV),
    (r"features\.1\.(\d+)\.block\.1\.fc2", r"base/block1_\1/excite", TORCH_CONV),
    (r"features\.1\.(\d+)\.block\.2\.0", r"base/block1_\1/project_conv", TORCH_CONV),
    (r"features\.1\.(\d+)\.block\.2\.1", r"base/block1_\1/project_bn", TORCH_NORM),
    (r"features\.([2-7])\.(\d+)\.block\.0\.0", r"base/block\1_\2/expand_conv", TORCH_CONV),
    (r"features\.([2-7])\.(\d+)\.block\.0\.1", r"base/block\1_\2/expand_bn", TORCH_NORM),
    (r"features\.([2-7])\.(\d+)\.block\.1\.0", r"base/block\1_\2/depthwise_conv", _TORCH_DEPTHWISE),
    (r"features\.([2-7])\.(\d+)\.block\.1\.1", r"base/block\1_\2/depthwise_bn", TORCH_NORM),
    (r"features\.([2-7])\.(\d+)\.block\.2\.fc1", r"base/block\1_\2/squeeze", TORCH_CONV),
    (r"features\.([2-7])\.(\d+)\.block\.2\.fc2", r"base/block\1_\2/excite", TORCH_CONV),
    (r"features\.([2-7])\.(\d+)\.block\.3\.0", r"base/block\1_\2/project_conv", TORCH_CONV),
    (r"features\.([2-7])\.(\d+)\.block\.3\.1", r"base/block\1_\2/project_bn", TORCH_NORM),
    (r"features\.8\.0", r"base/top_conv", TORCH_CONV),
    (r"features\.8\.1", r"base/top_bn", TORCH_NORM),
    (r"classifier\.1", r"head/logits", TORCH_LINEAR),
)

_KERAS_NORMALIZATION = r"normalization(?:_\d+)?"
_KERAS_DEPTHWISE: Leaves = {"kernel": ("kernel", _keras_depthwise)}
_KERAS_PIXELS: Leaves = {"mean": ("mean", same), "variance": ("var", _variance), "count": ("count", same)}

# Keras's layer, ours, and the arrays they have. Keras numbers the second layer of an unnamed kind in a process `_1`.
KERAS: Modules = (
    (_KERAS_NORMALIZATION, r"base/normalization", _KERAS_PIXELS),
    (r"((?:stem|top)_conv)", r"base/\1", KERAS_CONV),
    (r"((?:stem|top)_bn)", r"base/\1", KERAS_NORM),
    (r"(block\d_\d+)_((?:expand|project)_conv)", r"base/\1/\2", KERAS_CONV),
    (r"(block\d_\d+)_((?:expand|project)_bn)", r"base/\1/\2", KERAS_NORM),
    (r"(block\d_\d+)_dwconv", r"base/\1/depthwise_conv", _KERAS_DEPTHWISE),
    (r"(block\d_\d+)_bn", r"base/\1/depthwise_bn", KERAS_NORM),
    (r"(block\d_\d+)_se_reduce", r"base/\1/squeeze", KERAS_CONV),
    (r"(block\d_\d+)_se_expand", r"base/\1/excite", KERAS_CONV),
    (r"predictions|dense(?:_\d+)?", r"head/logits", KERAS_CONV),
)


def of_backbone(table: Modules) -> Modules:
    """A `table` of a classifier for a detector's backbone, which has the same modules."""
    return tuple((pattern, path.replace("base/", "backbone/", 1), leaves) for pattern, path, leaves in table)


def stored_pixels(arrays: Mapping[str, np.ndarray]) -> tuple[Pixel, Pixel]:
    """Mean and deviation of pixels, 0..255, of Keras's Normalization, which follows a division by 255.

    Raises ValueError where `arrays` have none.
    """
    leaves: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        module, _, leaf = numbered(name).rpartition(".")
        if re.fullmatch(_KERAS_NORMALIZATION, module):
            leaves[leaf] = array.reshape(-1)
    if not {"mean", "variance"} <= leaves.keys():
        raise ValueError("the layer `normalization` is missing, whose mean and variance of the pixels a detector needs")
    return _of_255(leaves["mean"]), _of_255(np.sqrt(_variance(leaves["variance"])))


def _of_255(values: np.ndarray) -> Pixel:
    red, green, blue = (float(f"{255 * value:.6g}") for value in values.astype(np.float64))  # as a config has them
    return red, green, blue
