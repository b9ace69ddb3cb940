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
    scores, order = jax.lax.top_k(scores, count)  # ties: the earlier first
    boxes, groups = boxes[order], groups[order]
    areas = area(boxes)
    x1, y1, x2, y2 = boxes.T  # each on its own: on a CPU twice as fast as columns of one array
    place = jnp.arange(count)
    alive = jnp.isfinite(scores)

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        i, kept, _ = carry
        return (i < count) & (kept < max_kept)

    def visit(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        i, kept, alive = carry
        width = jnp.minimum(x2[i], x2) - jnp.maximum(x1[i], x1)  # of what box i shares with each, (n,)
        height = jnp.minimum(y2[i], y2) - jnp.maximum(y1[i], y1)
        inter = jnp.maximum(width, 0.0) * jnp.maximum(height, 0.0)
        # Multiplied out, so that boxes without area (0 / 0) suppress nothing.
        overlaps = inter > iou_threshold * (areas[i] + areas - inter)
        suppressed = alive[i] & overlaps & (place > i) & (groups == groups[i])
        return i + 1, kept + alive[i], alive & ~suppressed

    zero = jnp.zeros((), jnp.int32)
    visited, _, alive = jax.lax.while_loop(unfinished, visit, (zero, zero, alive))
    alive &= place < visited  # what was not reached comes after the last kept box
    (position,) = jnp.nonzero(alive, size=max_kept, fill_value=count)
    valid = position < count
    return jnp.where(valid, order[jnp.minimum(position, count - 1)], 0), valid
