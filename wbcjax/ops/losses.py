"""Losses of boxes, and means over samples that several devices share.

A box loss takes predicted and target deltas, and gives one number a box:
    (deltas (*n, 4), target (*n, 4), references (*n, 4), weights (4,)) -> (*n)
Deltas are those of `wbcjax.ops.boxes.encode`, from `references` (anchors or RoIs) and with `weights`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Shaped

from wbcjax.ops import boxes

Weights = tuple[float, float, float, float]
BoxLoss = Callable[[Array, Array, Array, Weights], Array]
Mean = Callable[[Array, Array], Array]

SMALLEST = 1e-7  # square pixels: what areas are divided by at least, as torchvision's `generalized_box_iou_loss`


def smooth_l1(
    deltas: Float[Array, "*n 4"],
    target: Float[Array, "*n 4"],
    references: Float[Array, "*n 4"],
    weights: Weights,
    beta: float = 1.0 / 9.0,
) -> Float[Array, "*n"]:
    """The sum of the deltas' errors, quadratic below `beta`, linear above (Fast R-CNN, eq. 3; detectron's beta)."""
    size = jnp.abs(deltas - target)
    return jnp.sum(jnp.where(size < beta, 0.5 * size**2 / beta, size - 0.5 * beta), axis=-1)


def giou(
    deltas: Float[Array, "*n 4"], target: Float[Array, "*n 4"], references: Float[Array, "*n 4"], weights: Weights
) -> Float[Array, "*n"]:
    """1 - GIoU of the predicted and the target boxes, 0 to 2 (Rezatofighi et al. 2019).

    1 for boxes without area.
    """
    a, b = boxes.decode(deltas, references, weights), boxes.decode(target, references, weights)
    low, high = jnp.maximum(a[..., :2], b[..., :2]), jnp.minimum(a[..., 2:], b[..., 2:])
    shared = jnp.prod(jnp.maximum(high - low, 0.0), axis=-1)
    union = boxes.area(a) + boxes.area(b) - shared
    hull = jnp.prod(jnp.maximum(a[..., 2:], b[..., 2:]) - jnp.minimum(a[..., :2], b[..., :2]), axis=-1)
    return 1.0 - shared / jnp.maximum(union, SMALLEST) + (hull - union) / jnp.maximum(hull, SMALLEST)


def mean_over_devices(axis_name: str | None) -> Mean:
    """A function of `values` and `over`: the sum of the values where `over`, divided by the number of these samples.

    The number is averaged over the devices of `axis_name`. So the mean over devices of a loss is the loss of the whole
    batch, however the samples are shared among them.
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
