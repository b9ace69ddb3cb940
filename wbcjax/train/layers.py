"""Which layers a phase trains; what is frozen moves neither its weights nor its statistics."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import flax.linen as nn
import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from wbcjax.models.norm import BatchNorm
from wbcjax.settings.checked import ConfigError

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
    Raises ConfigError when no weight matches.
    """
    pattern = layers_pattern(layers)
    flat = flatten_dict(params)
    trained = {path: weight for path, weight in flat.items() if pattern.match("/".join(path))}
    if not trained:
        raise ConfigError(
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

    Others of the batch would shift what frozen weights were trained to give. Of this package's batch norm, and flax's.
    """
    trained = layers_pattern(layers)

    def keep_stored(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        norm = context.module
        if not isinstance(norm, BatchNorm | nn.BatchNorm) or trained.match("/".join((*norm.path, "scale"))):
            return call(*args, **kwargs)
        if isinstance(norm, nn.BatchNorm):  # told by its attribute or by the call, and both together it refuses
            object.__setattr__(norm, "use_running_average", None)
            return call(args[0], **kwargs | {"use_running_average": True})
        return call(*args, **kwargs | ({"use_stored": True} if "use_stored" in kwargs else {}))

    return nn.intercept_methods(keep_stored)


def keep_frozen(after: dict, before: dict, params: dict, layers: str) -> dict:
    """Collections as they are `after` a step, those of modules that `layers` does not train as `before`.

    A module without parameters goes with the next one above it that has some.
    """
    pattern, weights = layers_pattern(layers), list(flatten_dict(params))

    def is_trained(module: tuple[str, ...]) -> bool:
        below = [weight for weight in weights if weight[: len(module)] == module]
        if not below and module:
            return is_trained(module[:-1])
        return any(pattern.match("/".join(weight)) for weight in below)

    def choose(path: tuple[Any, ...], new: Any, old: Any) -> Any:
        return new if is_trained(tuple(key.key for key in path[1:-1])) else old

    return jax.tree_util.tree_map_with_path(choose, after, before)


def layers_pattern(layers: str) -> re.Pattern:
    """What matches, from the start of their paths, the weights that `layers` names."""
    return re.compile(LAYERS.get(layers, layers))
