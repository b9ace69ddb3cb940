"""Everything that changes while a model trains."""

from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from wbcjax.train.layers import split_weights


class TrainState(NamedTuple):
    """One pytree of arrays; the same on every device."""

    step: Any  # () int32, optimizer steps done
    params: Any
    batch_stats: Any
    opt_state: Any  # of the weights that the present phase trains: frozen ones have none
    ema: Any  # running averages of {"params", "batch_stats"}, or None
    key: Any  # (2,) uint32 PRNG key data; never changes: steps and images fold their numbers into it


def init_state(
    variables: dict, optimizer: optax.GradientTransformation, layers: str, seed: int, *, ema: bool
) -> TrainState:
    """The state before the first step, in host memory, from {"params", "batch_stats"}."""
    variables = jax.device_get({"params": variables["params"], "batch_stats": variables["batch_stats"]})
    return TrainState(
        step=np.zeros((), np.int32),
        **variables,
        opt_state=init_optimizer(variables["params"], optimizer, layers),
        ema=jax.tree.map(np.copy, variables) if ema else None,
        key=jax.device_get(jax.random.key_data(jax.random.key(seed))),
    )


def init_optimizer(params: dict, optimizer: optax.GradientTransformation, layers: str) -> Any:
    """A fresh optimizer state, in host memory, for the weights that `layers` names."""
    return jax.device_get(optimizer.init(split_weights(params, layers)[0]))


def prediction_variables(state: TrainState) -> dict:
    """The variables {"params", "batch_stats"} to evaluate and predict with: the averaged ones where there are any.

    Batch statistics are averaged with the weights: those of the last weights do not fit the averaged ones.
    """
    return {"params": state.params, "batch_stats": state.batch_stats} if state.ema is None else state.ema
