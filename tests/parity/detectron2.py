"""detectron2's R50-FPN Mask R-CNN as functions of its weights by name. It imports torch.

Written from the description of the graph in https://github.com/facebookresearch/detectron2 (modeling/backbone/resnet.py
and fpn.py, proposal_generator/rpn.py, roi_heads), in any width. The heads take features that have been pooled already.
"""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.weights.named import BLOCKS, Shapes

PIXEL_MEAN = np.array([103.530, 116.280, 123.675], np.float32)  # blue, green, red
Weights = Mapping[str, Tensor]


def fill(shapes: Shapes, seed: int) -> dict[str, np.ndarray]:
    """Lively weights: He's, with damped residual branches, and statistics near those of an identity."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, shape in shapes.items():
        if len(shape) > 1:
            fan_in = np.prod(shape[1:]) if "deconv" not in name else shape[0]
            values = np.sqrt(2 / fan_in) * (0.25 if "conv3" in name else 1.0) * rng.standard_normal(shape)
        elif name.endswith(("norm.weight", "running_var")):
            values = rng.uniform(0.7, 1.3, shape)
        else:
            values = 0.1 * rng.standard_normal(shape)
        arrays[name] = values.astype(np.float32)
    return arrays


def features(w: Weights, red_green_blue: np.ndarray, depth: int) -> list[Tensor]:
    """Images (n, h, w, 3) of 0..255, to P2 to P6."""
    x = torch.from_numpy(red_green_blue[..., ::-1].astype(np.float32) - PIXEL_MEAN).permute(0, 3, 1, 2)
    x = F.relu(_conv_norm(w, x, "backbone.bottom_up.stem.conv1", 2, 3))
    x = F.max_pool2d(x, 3, 2, 1)
    stages = []
    for stage, blocks in enumerate(BLOCKS[depth], start=2):
        for block in range(blocks):
            name = f"backbone.bottom_up.res{stage}.{block}"
            stride = 2 if block == 0 and stage > 2 else 1
            y = F.relu(_conv_norm(w, x, f"{name}.conv1", stride))  # STRIDE_IN_1X1
            y = F.relu(_conv_norm(w, y, f"{name}.conv2", 1, 1))
            y = _conv_norm(w, y, f"{name}.conv3")
            x = F.relu(y + (_conv_norm(w, x, f"{name}.shortcut", stride) if block == 0 else x))
        stages.append(x)
    merged, levels = None, []
    for level in (5, 4, 3, 2):
        lateral = _conv(w, stages[level - 2], f"backbone.fpn_lateral{level}")
        merged = lateral if merged is None else lateral + F.interpolate(merged, scale_factor=2.0, mode="nearest")
        levels.insert(0, _conv(w, merged, f"backbone.fpn_output{level}", padding=1))
    return [*levels, F.max_pool2d(levels[-1], 1, 2)]


def rpn(w: Weights, level: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and deltas of the anchors of a level, as (n, h, w, anchor) and (n, h, w, anchor, 4)."""
    hidden = F.relu(_conv(w, level, "proposal_generator.rpn_head.conv", padding=1))
    logits = _conv(w, hidden, "proposal_generator.rpn_head.objectness_logits")
    deltas = _conv(w, hidden, "proposal_generator.rpn_head.anchor_deltas")
    n, _, height, width = deltas.shape
    return logits.permute(0, 2, 3, 1), deltas.view(n, -1, 4, height, width).permute(0, 3, 4, 1, 2)


def box_head(w: Weights, pooled: Tensor) -> tuple[Tensor, Tensor]:
    """RoIs (r, c, 7, 7), to logits of which the last is the background's, and deltas of the other classes."""
    x = pooled.flatten(1)
    for name in ("fc1", "fc2"):
        x = F.relu(_linear(w, x, f"roi_heads.box_head.{name}"))
    deltas = _linear(w, x, "roi_heads.box_predictor.bbox_pred")
    return _linear(w, x, "roi_heads.box_predictor.cls_score"), deltas.view(len(x), -1, 4)


def mask_head(w: Weights, pooled: Tensor) -> Tensor:
    """RoIs (r, c, 14, 14), to mask logits (r, cells, 28, 28) of the classes without the background."""
    x = pooled
    for i in range(1, 5):
        x = F.relu(_conv(w, x, f"roi_heads.mask_head.mask_fcn{i}", padding=1))
    name = "roi_heads.mask_head.deconv"
    x = F.relu(F.conv_transpose2d(x, w[f"{name}.weight"], w[f"{name}.bias"], stride=2))
    return _conv(w, x, "roi_heads.mask_head.predictor")


def _conv(w: Weights, x: Tensor, name: str, padding: int = 0) -> Tensor:
    return F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], padding=padding)


def _linear(w: Weights, x: Tensor, name: str) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def _conv_norm(w: Weights, x: Tensor, name: str, stride: int = 1, padding: int = 0) -> Tensor:
    x = F.conv2d(x, w[f"{name}.weight"], stride=stride, padding=padding)
    scale, bias, mean, var = (w[f"{name}.norm.{leaf}"] for leaf in ("weight", "bias", "running_mean", "running_var"))
    return F.batch_norm(x, mean, var, scale, bias, eps=1e-5)
