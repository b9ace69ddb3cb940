"""Greedy non-maximum suppression, one box after the other: faster on a CPU than rounds over all pairs."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from wbcjax.ops.boxes import overlap_more


def keep_one_by_one(
    boxes: Float[Array, "n 4"], groups: Int[Array, " n"], real: Bool[Array, " n"], iou_threshold: float, max_kept: int
) -> Bool[Array, " n"]:
    """Which of the `real` boxes, best first, are kept; the first `max_kept` at most, after which it stops."""
    count = boxes.shape[0]
    corners, place = tuple(boxes.T), jnp.arange(count)  # each its own array: twice as fast as columns of one

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        i, kept, _ = carry
        return (i < count) & (kept < max_kept)

    def visit(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        i, kept, alive = carry
        overlaps = overlap_more(tuple(corner[i] for corner in corners), corners, iou_threshold)
        suppressed = alive[i] & overlaps & (place > i) & (groups == groups[i])
        return i + 1, kept + alive[i], alive & ~suppressed

    zero = jnp.zeros((), jnp.int32)
    visited, _, alive = jax.lax.while_loop(unfinished, visit, (zero, zero, real))
    return alive & (place < visited)  # boxes that were not visited come after the last kept one
