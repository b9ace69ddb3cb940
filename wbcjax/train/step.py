"""One optimizer step, written for one device's share of the batch."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, UInt32

from wbcjax.train.layers import frozen_statistics, join_weights, split_weights
from wbcjax.train.state import TrainState
from wbcjax.train.task import Batch, Task, Tree

AXIS = "data"  # the mesh axis over which the images of a batch are spread


def make_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    schedule: Callable,
    layers: str,
    loss_weights: Mapping[str, float],
    ema_decay: float,
) -> Callable:
    """The function (state, batch) -> (state, metrics) to run under shard_map or pmap over the axis `data`.

    It gives the same state and metrics on every device, and the same on N devices as on one. metrics: the weighted
    `loss`, each loss by its name, `grad_norm` before clipping, `learning_rate`, and `failed_step` (see TrainState).
    `loss_weights` multiply the losses they name; the others count fully. `ema_decay` 0 keeps no average.
    """

    weights = dict.fromkeys(task.watched, 0.0) | dict(loss_weights)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        keys = image_keys(state.key, state.step, len(batch.index))
        trained, frozen = split_weights(state.params, layers)

        def objective(trained):
            params = join_weights(trained, frozen)
            with frozen_statistics(layers):
                losses, batch_stats = task.losses(params, state.batch_stats, batch, keys, AXIS)
            return _weighted_sum(losses, weights), (losses, batch_stats)

        # Told that the weights differ per device, jax.grad leaves the sum over devices to the pmean below.
        varying = jax.lax.pcast(trained, (AXIS,), to="varying")
        (loss, (losses, batch_stats)), grads = jax.value_and_grad(objective, has_aux=True)(varying)
        loss, losses, batch_stats, grads = jax.lax.pmean((loss, losses, batch_stats, grads), AXIS)

        rate, grad_norm = schedule(state.step), optax.tree.norm(grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, trained)
        params = join_weights(jax.tree.map(lambda weight, update: weight - rate * update, trained, updates), frozen)
        variables = {"params": params, "batch_stats": batch_stats}
        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        failed_step = jnp.where((state.failed_step < 0) & ~finite, state.step, state.failed_step)
        moved = state._replace(
            step=state.step + 1,
            params=params,
            batch_stats=batch_stats,
            opt_state=opt_state,
            ema=_average(state.ema, variables, state.step, ema_decay) if ema_decay else None,
        )
        # The host looks only now and then, so a failed step and those after it must change nothing by themselves.
        new = jax.tree.map(lambda after, before: jnp.where(failed_step < 0, after, before), moved, state)
        metrics = {"loss": loss, **losses, "grad_norm": grad_norm, "learning_rate": rate, "failed_step": failed_step}
        return new._replace(failed_step=failed_step), metrics

    return step


def image_keys(key: UInt32[Array, "2"], step: Int[Array, ""], images: int) -> Key[Array, " images"]:
    """One PRNG key for each image of this device's share, made of the step and the image's place in the whole batch.

    Every image draws its own numbers, and draws the same ones however many devices share the batch.
    """
    step_key = jax.random.fold_in(jax.random.wrap_key_data(key), step)
    places = jax.lax.axis_index(AXIS) * images + jnp.arange(images)
    return jax.vmap(lambda place: jax.random.fold_in(step_key, place))(places)


def _weighted_sum(losses: Mapping[str, Float[Array, ""]], weights: Mapping[str, float]) -> Float[Array, ""]:
    unknown = set(weights) - set(losses)
    if unknown:
        raise ValueError(
            f"config.train.loss_weights names {', '.join(sorted(unknown))}; the losses are {', '.join(sorted(losses))}"
        )
    return jnp.sum(jnp.stack([weights.get(name, 1.0) * loss for name, loss in losses.items()]))


def _average(averaged: Tree, variables: Tree, step: Int[Array, ""], decay: float) -> Tree:
    """Exponential moving average; early steps forget faster, as in tf.train.ExponentialMovingAverage(num_updates)."""
    kept = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda average, value: average + (1.0 - kept) * (value - average), averaged, variables)
