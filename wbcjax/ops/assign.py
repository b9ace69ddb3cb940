"""Which candidate boxes (anchors or proposals) belong to which cells, and which of them are trained on."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from wbcjax.ops.boxes import iou, share_inside

# A candidate is no negative when more than this share of its own area lies in a crowd. The constant is Matterport's.
# Matterport compares it with the IoU, by which a candidate inside a crowd a thousand times its size is negative.
CROWD_SHARE = 0.001


class Match(NamedTuple):
    """Which candidate boxes are positive or negative, and their cells."""

    cell: Int[Array, " n"]  # the cell with the largest overlap; meaningless where there is none
    positive: Bool[Array, " n"]
    negative: Bool[Array, " n"]  # neither: not trained on


def match(
    candidates: Float[Array, "n 4"],
    boxes: Float[Array, "m 4"],
    valid: Bool[Array, " m"],
    crowd: Bool[Array, " m"],
    positive_iou: float,
    negative_iou: float,
    keep_best: bool,
) -> Match:
    """Pairs candidates with cells by overlap (Faster R-CNN paper, section 3.1.2).

    Positive: IoU >= `positive_iou`; negative: IoU < `negative_iou`. With `keep_best` the candidates that overlap a cell
    most are positive too, however little they overlap it (all of them on a tie): torchvision's
    allow_low_quality_matches. Crowds match nothing. Candidates that lie in one are not negative either.
    """
    overlap = iou(boxes, candidates)  # (m, n)
    to_cells = jnp.where((valid & ~crowd)[:, None], overlap, -1.0)
    cell = jnp.argmax(to_cells, axis=0)
    best = jnp.max(to_cells, axis=0)  # (n,); -1 in a field without cells
    positive = best >= positive_iou
    if keep_best:
        best_of_cell = jnp.max(to_cells, axis=1, keepdims=True)  # (m, 1)
        positive |= jnp.any((to_cells == best_of_cell) & (best_of_cell > 0.0), axis=0)
    in_crowd = jnp.any((valid & crowd)[:, None] & (share_inside(boxes, candidates) > CROWD_SHARE), axis=0)
    return Match(cell, positive, (best < negative_iou) & ~positive & ~in_crowd)


def sample(
    key: PRNGKeyArray,
    positive: Bool[Array, " n"],
    negative: Bool[Array, " n"],
    count: int,
    positive_fraction: float,
    keep_ratio: bool,
) -> tuple[Int[Array, " count"], Bool[Array, " count"], Bool[Array, " count"]]:
    """A random choice of `count` candidates: their indices, which are positive, which are real; positives come first.

    At most `positive_fraction` of `count` are positive, so positives lie in the first `max_positives` places.
    Negatives fill up the rest; with `keep_ratio` only as many as keep the fraction to the positives, as in Matterport.
    """
    chance = jax.random.uniform(key, positive.shape)
    most = min(max_positives(count, positive_fraction), positive.shape[0])
    _, chosen = jax.lax.top_k(jnp.where(positive, chance, -1.0), most)
    is_chosen = jnp.zeros_like(positive).at[chosen].set(True) & positive
    # Chosen positives above all negatives above what may not be chosen.
    priority = jnp.where(is_chosen, 2.0 + chance, jnp.where(negative, chance, -1.0))
    found, index = jax.lax.top_k(priority, min(count, positive.shape[0]))
    is_positive, real = found >= 2.0, found >= 0.0
    if keep_ratio:
        positives = jnp.sum(is_positive)
        real &= jnp.arange(real.shape[0]) < (positives / positive_fraction).astype(jnp.int32)
    short = count - index.shape[0]  # fewer candidates than places
    index, is_positive, real = (jnp.pad(a, (0, short)) for a in (index, is_positive & real, real))
    return index, is_positive, real


def max_positives(count: int, positive_fraction: float) -> int:
    """The most positives that a sample of `count` may hold."""
    return int(count * positive_fraction)
