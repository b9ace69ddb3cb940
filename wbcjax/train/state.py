"""Everything that changes while a model trains."""

from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from wbcjax.train.optimizer import split_weights


class TrainState(NamedTuple):
    """One pytree of arrays; the same on every device."""

    step: Any  # () int32, optimizer steps done
    params: Any
    batch_stats: Any
    opt_state: Any  # of the weights that the present phase trains: frozen ones have none
    ema_params: Any  # running average of params, or None
    key: Any  # (2,) uint32 PRNG key data; never changes: steps and images fold their numbers into it
    failed_step: Any  # () int32, the first step with a loss or gradient that is not finite, or -1; nothing moves after


def init_state(
    variables: dict, optimizer: optax.GradientTransformation, layers: str, seed: int, *, ema: bool
) -> TrainState:
    """The state before the first step, in host memory, from {"params", "batch_stats"}."""
    params = jax.device_get(variables["params"])
    return TrainState(
        step=np.zeros((), np.int32),
        params=params,
        batch_stats=jax.device_get(variables["batch_stats"]),
        opt_state=init_optimizer(params, optimizer, layers),
        ema_params=jax.tree.map(np.copy, params) if ema else None,
        key=jax.device_get(jax.random.key_data(jax.random.key(seed))),
        failed_step=np.full((), -1, np.int32),
    )


def init_optimizer(params: dict, optimizer: optax.GradientTransformation, layers: str) -> Any:
    """A fresh optimizer state, in host memory, for the weights that `layers` names."""
    return jax.device_get(optimizer.init(split_weights(params, layers)[0]))


def prediction_variables(state: TrainState) -> dict:
    """The variables to evaluate and predict with: the averaged weights where there are any."""
    params = state.params if state.ema_params is None else state.ema_params
    return {"params": params, "batch_stats": state.batch_stats}
