"""Losses of boxes, and means over samples that several devices share.

A box loss takes what a head says of some boxes and what it should have said, and gives one number a box:
    (deltas (*n, 4), target (*n, 4), references (*n, 4), weights (4,)) -> (*n)
`deltas` and `target` are as `wbcjax.ops.boxes.encode` gives them of `references` (anchors or RoIs) and `weights`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Shaped

Weights = tuple[float, float, float, float]
BoxLoss = Callable[[Array, Array, Array, Weights], Array]
Mean = Callable[[Array, Array], Array]


def smooth_l1(
    deltas: Float[Array, "*n 4"],
    target: Float[Array, "*n 4"],
    references: Float[Array, "*n 4"],
    weights: Weights,
    beta: float = 1.0 / 9.0,
) -> Float[Array, "*n"]:
    """The sum of the deltas' errors, squared below `beta`, straight above (Fast R-CNN, eq. 3; detectron's beta)."""
    size = jnp.abs(deltas - target)
    return jnp.sum(jnp.where(size < beta, 0.5 * size**2 / beta, size - 0.5 * beta), axis=-1)


def mean_over_devices(axis_name: str | None) -> Mean:
    """What gives the sum of `values` where `over`, per sample there is on all devices of `axis_name`.

    The count is averaged over the devices, so that the mean over devices of a loss is the loss of the whole batch,
    however the samples fall.
    """

    def mean(values: Shaped[Array, "*n"], over: Bool[Array, "*n"]) -> Float[Array, ""]:
        count = jnp.sum(over).astype(jnp.float32)
        if axis_name is not None:
            count = jax.lax.pmean(count, axis_name)
        return jnp.sum(jnp.where(over, values, 0.0)) / jnp.where(count > 0.0, count, 1.0)

    return mean


def box_regression(
    loss: BoxLoss,
    deltas: Float[Array, "*n 4"],
    target: Float[Array, "*n 4"],
    references: Float[Array, "*n 4"],
    positive: Bool[Array, "*n"],
    weights: Weights,
) -> Float[Array, "*n"]:
    """`loss` of the positives, 0 of all others, which have no target."""
    deltas, target = (jnp.where(positive[..., None], x, 0.0) for x in (deltas, target))
    return jnp.where(positive, loss(deltas, target, references, weights), 0.0)
