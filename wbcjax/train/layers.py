"""The layers that a phase trains; neither weights nor statistics of frozen layers change."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from wbcjax.models.backbone import HEADS, STEM, Trains
from wbcjax.models.variables import Tree, Variables
from wbcjax.settings.checked import ConfigError

# The lowest stage that is trained, by the names of Matterport's Mask R-CNN (`train(layers=...)`).
LAYERS = {"all": STEM, "3+": 3, "4+": 4, "5+": 5, "heads": HEADS}

Path = tuple[str, ...]
StageOf = Callable[[Path], int | None]  # the stage of a weight by its path; None where the model gives none


@dataclass(frozen=True)
class Layers:
    """The weights that a phase trains: those of stages, or those whose path a regular expression matches.

    named: a name of `LAYERS`, or a regular expression matched from the start of paths like "box_head/fc6/kernel".
    stage_of: gives the stages, see `wbcjax.models.backbone.Backbone.stage_of`.
    """

    named: str
    stage_of: StageOf

    def __contains__(self, path: Path) -> bool:
        """Whether the weight of this path is trained. Raises ConfigError where its stage is needed and unknown."""
        if self.named not in LAYERS:
            return re.match(self.named, "/".join(path)) is not None
        lowest, stage = LAYERS[self.named], self.stage_of(path)
        if stage is None and lowest not in (STEM, HEADS):
            raise ConfigError(
                f"layers {self.named!r} of config.train.phases: the model gives no stage of {'/'.join(path)}. Give its "
                'class a method stage_of(path), or train "all", "heads" or weights named by a regular expression'
            )
        return lowest == STEM or (stage or STEM) >= lowest

    def stages(self, params: Tree) -> Trains:
        """Whether a stage trains: all of its weights do. Batch norms of other stages use and keep stored statistics.

        Statistics of the batch would shift the features of frozen weights.
        """
        frozen = {self.stage_of(path) for path in flatten_dict(params) if path not in self}
        return lambda stage: not frozen & {stage, None}


def split_weights(params: Tree, layers: Layers) -> tuple[Tree, Tree]:
    """Two trees that make up `params`: the weights in `layers`, and the frozen ones.

    Raises ConfigError when there are none in `layers`.
    """
    flat = flatten_dict(params)
    trained = {path: weight for path, weight in flat.items() if path in layers}
    if not trained:
        raise ConfigError(
            f"layers {layers.named!r} of config.train.phases match no weight: give one of {', '.join(LAYERS)} or a "
            f"regular expression matched from the start of paths under {', '.join(sorted(params))}"
        )
    frozen = {path: weight for path, weight in flat.items() if path not in trained}
    return unflatten_dict(trained), unflatten_dict(frozen)


def join_weights(trained: Tree, frozen: Tree) -> Tree:
    """The inverse of `split_weights`."""
    return unflatten_dict(flatten_dict(trained) | flatten_dict(frozen))


def keep_frozen(after: Variables, before: Variables, params: Tree, layers: Layers) -> Variables:
    """The collections `after` a step; those of modules that `layers` does not train as they were `before`.

    A module without parameters is treated as the nearest module around it that has some.
    """
    weights = list(flatten_dict(params))

    def is_trained(module: Path) -> bool:
        below = [weight for weight in weights if weight[: len(module)] == module]
        if not below and module:
            return is_trained(module[:-1])
        return any(weight in layers for weight in below)

    def choose(path: tuple[Any, ...], new: Any, old: Any) -> Any:
        return new if is_trained(tuple(key.key for key in path[1:-1])) else old

    return jax.tree_util.tree_map_with_path(choose, after, before)


def never_trained(params: Tree, phases: list[Layers]) -> dict[str, int]:
    """The number of weights that no phase trains, by the first two names of their module."""
    counts: dict[str, int] = {}
    weights: dict[Path, Any] = flatten_dict(params)
    for path, weight in weights.items():
        if not any(path in layers for layers in phases):
            module = "/".join(path[:-1][:2])
            counts[module] = counts.get(module, 0) + weight.size
    return counts
