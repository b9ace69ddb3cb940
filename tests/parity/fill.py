"""Weights without a weight file: every array is drawn from its torchvision name, so both sides can be filled alike."""

import math
import re
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Float

NAMES = Path(__file__).parent / "torchvision_names.txt"

# Scales that keep a randomly filled network lively: residual branches are damped so that sixteen blocks do not blow
# up, the last layers are set so that scores spread and boxes move, but not so far that every decision saturates.
_SCALES = {
    r"bn3\.weight": 0.25,
    r"fpn\.inner_blocks\..*weight": 0.25,
    r"fpn\.layer_blocks\..*weight": 0.7,
    r"rpn\.head\.cls_logits\.weight": 0.6,
    r"rpn\.head\.bbox_pred\.weight": 0.2,
    r"box_predictor\.cls_score\.weight": 1.0,
    r"box_predictor\.bbox_pred\.weight": 0.5,
    r"mask_predictor\.mask_fcn_logits\.weight": 1.0,
}


def fill(name: str, shape: tuple[int, ...], seed: int) -> Float[np.ndarray, "..."]:
    """The array for one torchvision parameter: He-scaled weights, frozen statistics near (scale 1, mean 0, var 1)."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    scale = next((value for pattern, value in _SCALES.items() if re.search(pattern, name)), 1.0)
    if name.endswith("running_var"):
        values = rng.uniform(0.7, 1.4, shape)
    elif name.endswith(("running_mean", "bias")):
        values = 0.1 * rng.standard_normal(shape)
    elif len(shape) == 1:  # the scale of a batch normalisation
        values = scale * rng.uniform(0.8, 1.2, shape)
    else:
        values = scale * math.sqrt(2 / _fan_in(name, shape)) * rng.standard_normal(shape)
    return values.astype(np.float32)


def state_dict(seed: int) -> dict[str, Float[np.ndarray, "..."]]:
    """Every parameter of maskrcnn_resnet50_fpn with 4 classes, by torchvision name, in torchvision's layout."""
    return {name: fill(name, shape, seed) for name, shape in names().items()}


def names() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the state dict, as `make_reference.py` found them."""
    lines = [line.split() for line in NAMES.read_text().splitlines()]
    return {name: tuple(int(size) for size in sizes) for name, *sizes in lines}


def _fan_in(name: str, shape: tuple[int, ...]) -> int:
    if name.endswith("conv5_mask.weight"):
        return shape[0]  # transposed, stride 2 and kernel 2: each output pixel sees one input pixel
    return math.prod(shape[1:])
