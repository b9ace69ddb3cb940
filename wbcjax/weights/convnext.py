"""torchvision's ConvNeXt into our backbone: the table of names, and the change of layout."""

import numpy as np

from wbcjax.weights.names import TORCH_CONV, TORCH_LINEAR, Leaves, Modules, same, torch_depthwise


def _scale(x: np.ndarray) -> np.ndarray:
    return x[:, 0, 0]  # (c, 1, 1) -> (c,)


_NORM: Leaves = {"weight": ("scale", same), "bias": ("bias", same)}
_DEPTHWISE: Leaves = {"weight": ("depthwise/kernel", torch_depthwise), "bias": ("depthwise_bias", same)}


def _blocks(level: int) -> Modules:
    """torchvision's modules of the blocks of a level, and ours."""
    theirs, ours = rf"features\.{2 * level - 3}\.(\d+)", rf"backbone/level{level}_\1"
    return (
        (rf"{theirs}\.block\.0", ours, _DEPTHWISE),
        (rf"{theirs}\.block\.2", rf"{ours}/norm", _NORM),
        (rf"{theirs}\.block\.3", rf"{ours}/expand", TORCH_LINEAR),
        (rf"{theirs}\.block\.5", rf"{ours}/project", TORCH_LINEAR),
        (theirs, ours, {"layer_scale": ("scale", _scale)}),
    )


def _downsampling(level: int) -> Modules:
    """The same of the step to a level from the one below."""
    return (
        (rf"features\.{2 * level - 4}\.0", f"backbone/level{level}_down_norm", _NORM),
        (rf"features\.{2 * level - 4}\.1", f"backbone/level{level}_down", TORCH_CONV),
    )


TORCHVISION: Modules = (  # of `convnext_tiny` and `convnext_small`, without `classifier`
    (r"features\.0\.0", r"backbone/stem", TORCH_CONV),
    (r"features\.0\.1", r"backbone/stem_norm", _NORM),
    *(module for level in (2, 3, 4, 5) for module in _blocks(level)),
    *(module for level in (3, 4, 5) for module in _downsampling(level)),
)
