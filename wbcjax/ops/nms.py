"""Greedy non-maximum suppression with static shapes."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from wbcjax.ops.boxes import overlap_more
from wbcjax.ops.cpu.nms import keep_one_by_one


def nms(
    boxes: Float[Array, "n 4"],
    scores: Float[Array, " n"],
    groups: Int[Array, " n"],
    iou_threshold: float,
    max_kept: int,
    cpu: bool = False,
) -> tuple[Int[Array, " k"], Bool[Array, " k"]]:
    """Indices of the boxes that greedy suppression keeps, best first, padded to `max_kept`; and which are not padding.

    A box is dropped when a kept box of the same group (class or FPN level) with a higher score overlaps it by more than
    `iou_threshold`. Boxes with score -inf are never kept. Ties keep the earlier box. As torchvision's batched_nms.
    `cpu` visits one box after the other; otherwise all are decided in a few rounds.
    """
    count = boxes.shape[0]
    scores, order = jax.lax.top_k(scores, count)  # ties: the earlier first
    boxes, groups, real = boxes[order], groups[order], jnp.isfinite(scores)
    if cpu:
        kept = keep_one_by_one(boxes, groups, real, iou_threshold, max_kept)
    else:
        kept, _ = keep_in_rounds(boxes, groups, real, iou_threshold)
    (position,) = jnp.nonzero(kept, size=max_kept, fill_value=count)
    valid = position < count
    return jnp.where(valid, order[jnp.minimum(position, count - 1)], 0), valid


def keep_in_rounds(
    boxes: Float[Array, "n 4"], groups: Int[Array, " n"], real: Bool[Array, " n"], iou_threshold: float
) -> tuple[Bool[Array, " n"], Int[Array, ""]]:
    """Which of the `real` boxes, best first, greedy suppression keeps; and the rounds until nothing changed.

    In each round a box is kept when no box that the round before kept suppresses it. Round k decides at least the first
    k boxes: n rounds are enough. The number of rounds is that of the boxes in the longest chain, each suppressed by the
    one before.
    """
    corners, place = jnp.moveaxis(boxes, -1, 0), jnp.arange(boxes.shape[0])
    better = (groups[:, None] == groups) & (place < place[:, None])  # than the box of the row, (n, n)
    suppressed_by = better & overlap_more(corners[:, :, None], corners[:, None], iou_threshold)

    def unsettled(carry: tuple[Array, Array, Array]) -> Array:
        return carry[1]

    def again(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        kept, _, rounds = carry
        settled = real & ~jnp.any(suppressed_by & kept, axis=1)
        return settled, jnp.any(settled != kept), rounds + 1

    kept, _, rounds = jax.lax.while_loop(unsettled, again, (real, jnp.array(True), jnp.zeros((), jnp.int32)))
    return kept, rounds
