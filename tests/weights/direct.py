"""Arrays of another library put into our variables by one table alone, as parity needs it: no source is recognised."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from wbcjax.weights import efficientnet, torchvision
from wbcjax.weights.names import fill, place


def detector_from_torchvision(state_dict: Mapping[str, np.ndarray], template: Mapping[str, Any]) -> dict[str, Any]:
    """Variables of the paths and shapes of `template`, a tree of arrays or shapes, from torchvision's Mask R-CNN."""
    placed, problems = place(_weights(state_dict), torchvision.R_CNN)
    return fill(placed, template, problems)


def efficientnet_from_torchvision(state_dict: Mapping[str, np.ndarray], template: Mapping[str, Any]) -> dict[str, Any]:
    placed, problems = place(_weights(state_dict), efficientnet.TORCHVISION)
    return fill(placed, template, problems)


def efficientnet_from_keras(weights: Mapping[str, np.ndarray], template: Mapping[str, Any]) -> dict[str, Any]:
    """From `{weight.path: np.asarray(weight) for weight in model.weights}` of Keras 3."""
    placed, problems = place(weights, efficientnet.KERAS, efficientnet.numbered)
    return fill(placed, template, problems)


def _weights(state_dict: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Without the arrays in which batch normalisation counts its batches."""
    return {name: value for name, value in state_dict.items() if not name.endswith("num_batches_tracked")}
