"""Greedy non-maximum suppression with static shapes."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from wbcjax.ops.boxes import area


def nms(
    boxes: Float[Array, "n 4"],
    scores: Float[Array, " n"],
    groups: Int[Array, " n"],
    iou_threshold: float,
    max_kept: int,
) -> tuple[Int[Array, " k"], Bool[Array, " k"]]:
    """Indices of the boxes that greedy suppression keeps, best first, padded to `max_kept`; and which are real.

    A box is dropped when a kept box of the same group (class or FPN level) with a higher score overlaps it by more than
    `iou_threshold`. Boxes with score -inf are never kept. Ties keep the earlier box. As torchvision's batched_nms.
    """
    count = boxes.shape[0]
    order = jnp.argsort(-scores, stable=True)
    boxes, groups = boxes[order], groups[order]
    areas = area(boxes)
    alive = jnp.isfinite(scores[order])

    def unfinished(carry):
        i, kept, _ = carry
        return (i < count) & (kept < max_kept)

    def visit(carry):
        i, kept, alive = carry
        low = jnp.maximum(boxes[i, :2], boxes[:, :2])  # (n, 2)
        high = jnp.minimum(boxes[i, 2:], boxes[:, 2:])
        inter = jnp.prod(jnp.maximum(high - low, 0.0), axis=-1)  # (n,)
        # Multiplied out, so that boxes without area (0 / 0) suppress nothing.
        overlaps = inter > iou_threshold * (areas[i] + areas - inter)
        later = jnp.arange(count) > i
        suppressed = alive[i] & overlaps & later & (groups == groups[i])
        return i + 1, kept + alive[i], alive & ~suppressed

    zero = jnp.zeros((), jnp.int32)
    visited, _, alive = jax.lax.while_loop(unfinished, visit, (zero, zero, alive))
    alive &= jnp.arange(count) < visited  # what was not reached comes after the last kept box
    (position,) = jnp.nonzero(alive, size=max_kept, fill_value=count)
    valid = position < count
    return jnp.where(valid, order[jnp.minimum(position, count - 1)], 0), valid
