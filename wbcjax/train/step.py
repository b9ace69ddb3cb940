"""One optimizer step, written for one device's share of the batch."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, Key, UInt32

from wbcjax.models.variables import Tree, Variables
from wbcjax.train.layers import Layers, join_weights, keep_frozen, split_weights
from wbcjax.train.plan import Schedule
from wbcjax.train.settings import TrainSettings
from wbcjax.train.state import TrainState, trained_variables
from wbcjax.train.task import Batch, Task

AXIS = "data"  # the mesh axis over which the images of a batch are spread

TrainStep = Callable[[TrainState, Batch, Tree], tuple[TrainState, dict[str, Any]]]  # see `make_step`
Losses = dict[str, Float[Array, ""]]
Measured = tuple[Float[Array, ""], tuple[Losses, Variables]]  # loss, losses by name, and collections after the batch
Gradient = Callable[[Tree, Variables, Batch, Key[Array, " n"]], tuple[Measured, Tree]]  # and the gradient of the loss


def make_step(
    task: Task,
    settings: TrainSettings,
    optimizer: optax.GradientTransformation,
    schedule: Schedule,
    layers: Layers,
) -> TrainStep:
    """The function (state, batch, wishes) -> (state, metrics) to run under shard_map or pmap over the axis `data`.

    It gives the same state and metrics on every device, and the same on N devices as on one. metrics: the weighted
    `loss`, each loss by its name, `grad_norm` before clipping, `learning_rate`, `skipped` (1 where the loss or the
    gradient is not finite: then only the step number changes), and the mean `wishes` of all devices, a tree of
    numbers. `schedule` gives the learning rate of a step. With `settings.accumulate` the batch is processed in that
    many parts, one after the other, and losses and gradients are averaged. Normalisers of losses, and batch statistics,
    are each part's own.
    """
    weights = dict.fromkeys(task.watched, 0.0) | settings.loss_weights

    def step(state: TrainState, batch: Batch, wishes: Tree) -> tuple[TrainState, dict[str, Any]]:
        keys = image_keys(state.key, state.step, len(batch.index))
        trained, frozen = split_weights(state.params, layers)
        trains = layers.stages(state.params)

        def objective(trained: Tree, collections: Variables, batch: Batch, keys: Key[Array, " n"]) -> Measured:
            variables = {"params": join_weights(trained, frozen), **collections}
            losses, changed = task.losses(variables, batch, keys, trains, AXIS)
            return _weighted_sum(losses, weights), (losses, {**collections, **changed})

        # Marked as varying, the weights get gradients per device: jax.grad leaves the sum over devices to the pmean.
        varying = jax.lax.pcast(trained, (AXIS,), to="varying")
        gradient: Gradient = jax.value_and_grad(objective, has_aux=True)
        if settings.accumulate > 1:
            gradient = _in_parts(gradient, settings.accumulate)
        (loss, (losses, collections)), grads = gradient(varying, state.collections, batch, keys)
        metrics = {"loss": loss, **losses, "wishes": wishes}
        collections = keep_frozen(collections, state.collections, state.params, layers)
        metrics, changed, grads = _mean_over_devices((metrics, _changed(collections, state.collections), grads))
        collections = join_weights(collections, changed)

        rate, grad_norm = schedule(state.step), optax.tree.norm(grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, trained)
        params = join_weights(jax.tree.map(lambda weight, update: weight - rate * update, trained, updates), frozen)
        moved = state._replace(params=params, collections=collections, opt_state=opt_state)
        if settings.ema_decay:
            moved = moved._replace(ema=_average(state.ema, trained_variables(moved), state.step, settings.ema_decay))
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(grad_norm)
        new = jax.tree.map(lambda after, before: jnp.where(finite, after, before), moved, state)
        metrics |= {"grad_norm": grad_norm, "learning_rate": rate, "skipped": 1 - finite.astype(jnp.int32)}
        return new._replace(step=state.step + 1), metrics

    return step


def image_keys(key: UInt32[Array, "2"], step: Int[Array, ""], images: int) -> Key[Array, " images"]:
    """One PRNG key for each image of this device's share, from the step and the image's position in the whole batch.

    So every image has random numbers of its own, and the same ones for any number of devices.
    """
    step_key = jax.random.fold_in(jax.random.wrap_key_data(key), step)
    places = jax.lax.axis_index(AXIS) * images + jnp.arange(images)
    return jax.vmap(lambda place: jax.random.fold_in(step_key, place))(places)


def _in_parts(gradient: Gradient, parts: int) -> Gradient:
    """`gradient`, as the mean over `parts` of the batch: only one part's activations are held at a time."""

    def mean_gradient(
        trained: Tree, collections: Variables, batch: Batch, keys: Key[Array, " n"]
    ) -> tuple[Measured, Tree]:
        split = jax.tree.map(lambda leaf: leaf.reshape(parts, -1, *leaf.shape[1:]), (batch, keys))

        def add_part(
            carry: tuple[Tree, Variables], part: tuple[Batch, Array]
        ) -> tuple[tuple[Tree, Variables], tuple[Array, Losses]]:
            total, collections = carry
            (loss, (losses, collections)), grads = gradient(trained, collections, *part)
            return (jax.tree.map(jnp.add, total, grads), collections), (loss, losses)

        start = jax.tree.map(jnp.zeros_like, trained), collections
        (total, collections), measured = jax.lax.scan(add_part, start, split)
        loss, losses = jax.tree.map(lambda of_parts: of_parts.mean(0), measured)
        return (loss, (losses, collections)), jax.tree.map(lambda grad: grad / parts, total)

    return mean_gradient


def _mean_over_devices(tree: Tree) -> Tree:
    """The mean of `tree`, reduced as one vector: one all-reduce per leaf would each wait for the slowest device."""
    if jax.lax.axis_size(AXIS) == 1:
        return tree
    vector, to_tree = ravel_pytree(tree)
    return to_tree(jax.lax.pmean(vector, AXIS))


def _changed(after: Tree, before: Tree) -> Tree:
    """The floats that the model changed: statistics that it passes on are the same on all devices already."""
    before, made = flatten_dict(before), dict[tuple[str, ...], Any](flatten_dict(after))
    changed = {path: leaf for path, leaf in made.items() if leaf is not before[path]}
    return unflatten_dict({path: leaf for path, leaf in changed.items() if _is_float(leaf)})


def _weighted_sum(losses: Mapping[str, Float[Array, ""]], weights: Mapping[str, float]) -> Float[Array, ""]:
    unknown = set(weights) - set(losses)
    if unknown:
        raise ValueError(
            f"config.train.loss_weights names {', '.join(sorted(unknown))}; the losses are {', '.join(sorted(losses))}"
        )
    return jnp.sum(jnp.stack([weights.get(name, 1.0) * loss for name, loss in losses.items()]))


def _average(averaged: Tree, variables: Tree, step: Int[Array, ""], decay: float) -> Tree:
    """Exponential moving average; early steps forget faster, as in tf.train.ExponentialMovingAverage(num_updates).

    Arrays that are no floats, such as counters, are not averaged.
    """
    kept = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(
        lambda average, value: average + (1.0 - kept) * (value - average) if _is_float(value) else value,
        averaged,
        variables,
    )


def _is_float(leaf: Array) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.floating))
