"""The optimizer, and which weights it moves."""

import re
from typing import Any

import jax
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array

from wbcjax.train.settings import TrainSettings

# Layers by the names of Matterport's Mask R-CNN (`train(layers=...)`): its ResNet stages 3, 4, 5 are torchvision's
# layer2, layer3, layer4. Regular expressions, matched from the start of a weight's path.
LAYERS = {
    "all": "",
    "heads": r"(?!backbone/)",
    "3+": r"(?!backbone/)|backbone/layer[234]_",
    "4+": r"(?!backbone/)|backbone/layer[34]_",
    "5+": r"(?!backbone/)|backbone/layer4_",
}


def make_optimizer(settings: TrainSettings) -> optax.GradientTransformation:
    """Clipping, momentum or Adam, and weight decay; the result is still to be multiplied by minus the learning rate.

    SGD decays by L2: the decay joins the gradient ahead of the momentum, as in torch.optim.SGD. AdamW decays apart
    from the gradient (Loshchilov & Hutter 2019). Vectors and scalars (biases, norms) do not decay.
    """
    clip = optax.clip_by_global_norm(settings.clip_norm) if settings.clip_norm > 0 else optax.identity()
    decay = optax.add_decayed_weights(settings.weight_decay, mask=lambda params: jax.tree.map(_decays, params))
    if settings.optimizer == "sgd":
        return optax.chain(clip, decay, optax.trace(settings.momentum))
    return optax.chain(clip, optax.scale_by_adam(), decay)


def split_weights(params: Any, layers: str) -> tuple[dict, dict]:
    """Two trees that make up `params`: the weights that `layers` names, and the frozen rest.

    layers: a name of LAYERS, or a regular expression matched from the start of paths like "box_head/fc1/kernel".
    Raises ValueError when no weight matches.
    """
    pattern = re.compile(LAYERS.get(layers, layers))
    flat = flatten_dict(params)
    trained = {path: weight for path, weight in flat.items() if pattern.match("/".join(path))}
    if not trained:
        raise ValueError(
            f"layers {layers!r} of config.train.phases match no weight: give one of {', '.join(LAYERS)} or a regular "
            f"expression matched from the start of paths under {', '.join(sorted(params))}"
        )
    frozen = {path: weight for path, weight in flat.items() if path not in trained}
    return unflatten_dict(trained), unflatten_dict(frozen)


def join_weights(trained: dict, frozen: dict) -> dict:
    """The inverse of `split_weights`."""
    return unflatten_dict(flatten_dict(trained) | flatten_dict(frozen))


def _decays(weight: Array | np.ndarray) -> bool:
    return weight.ndim > 1
