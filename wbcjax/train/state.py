"""Everything that changes while a model trains."""

from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from wbcjax.models.variables import Tree, Variables
from wbcjax.train.layers import Layers, split_weights


class TrainState(NamedTuple):
    """One pytree of arrays; the same on every device."""

    step: Any  # () int32, optimizer steps done
    params: Tree
    collections: Variables  # the model's other variables, by collection, as {"batch_stats": ...}; {} without any
    opt_state: Any  # of the weights that the present phase trains: frozen ones have none
    ema: Variables | None  # running averages of all variables
    key: Any  # (2,) uint32 PRNG key data; constant: the numbers of step and image are folded into it


def init_state(
    variables: Variables, optimizer: optax.GradientTransformation, layers: Layers, seed: int, *, ema: bool
) -> TrainState:
    """The state before the first step, in host memory, from a model's variables {"params", other collections}.

    Raises ValueError for a collection with a name that checkpoints use otherwise.
    """
    variables = jax.device_get(dict(variables))
    params, collections = split_collections(variables)
    if taken := {"step", "opt_state", "key"} & set(collections):  # names in a checkpoint beside the collections
        raise ValueError(f"the model has a collection of variables called {min(taken)!r}: give it another name")
    return TrainState(
        step=np.zeros((), np.int32),
        params=params,
        collections=collections,
        opt_state=init_optimizer(params, optimizer, layers),
        ema=jax.tree.map(np.copy, variables) if ema else None,
        key=jax.device_get(jax.random.key_data(jax.random.key(seed))),
    )


def init_optimizer(params: Tree, optimizer: optax.GradientTransformation, layers: Layers) -> Any:
    """A fresh optimizer state, in host memory, for the weights of `layers`."""
    return jax.device_get(optimizer.init(split_weights(params, layers)[0]))


def split_collections(variables: Variables) -> tuple[Tree, Variables]:
    """A model's parameters, and its other collections of variables by name, those that hold any."""
    return variables["params"], {name: tree for name, tree in variables.items() if name != "params" and tree}


def trained_variables(state: TrainState) -> Variables:
    """The variables {"params", other collections} after the last step."""
    return {"params": state.params, **state.collections}


def prediction_variables(state: TrainState) -> Variables:
    """The variables to evaluate and predict with: the averaged ones where there are any.

    Batch statistics are averaged too: those of the last weights do not fit averaged weights.
    """
    return trained_variables(state) if state.ema is None else state.ema
