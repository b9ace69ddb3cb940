"""Which layers a phase trains; what is frozen moves neither its weights nor its statistics."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import flax.linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from wbcjax.models.norm import BatchNorm

# Layers by the names of Matterport's Mask R-CNN (`train(layers=...)`): its ResNet stages 3, 4, 5 are torchvision's
# layer2, layer3, layer4; of EfficientNet the blocks at strides 8, 16, 32. Regular expressions, matched from the start
# of a weight's path.
_STAGES = (r"layer2_|block3_", r"layer3_|block[45]_", r"layer4_|block[67]_|top_")
LAYERS = {
    "all": "",
    "heads": r"(?!backbone/|base/)",
    "3+": rf"(?!backbone/|base/)|(?:backbone|base)/(?:{'|'.join(_STAGES)})",
    "4+": rf"(?!backbone/|base/)|(?:backbone|base)/(?:{'|'.join(_STAGES[1:])})",
    "5+": rf"(?!backbone/|base/)|(?:backbone|base)/(?:{_STAGES[2]})",
}


def split_weights(params: Any, layers: str) -> tuple[dict, dict]:
    """Two trees that make up `params`: the weights that `layers` names, and the frozen rest.

    layers: a name of LAYERS, or a regular expression matched from the start of paths like "box_head/fc1/kernel".
    Raises ValueError when no weight matches.
    """
    pattern = _pattern(layers)
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


def frozen_statistics(layers: str) -> AbstractContextManager:
    """While it is entered, batch norms whose scale `layers` does not name use and keep their stored statistics.

    Others of the batch would shift what frozen weights were trained to give.
    """
    trained = _pattern(layers)

    def keep_stored(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        norm = isinstance(context.module, BatchNorm) and "use_stored" in kwargs
        if norm and not trained.match("/".join((*context.module.path, "scale"))):
            kwargs = kwargs | {"use_stored": True}
        return call(*args, **kwargs)

    return nn.intercept_methods(keep_stored)


def _pattern(layers: str) -> re.Pattern:
    return re.compile(LAYERS.get(layers, layers))
