"""Region proposal network: which anchors hold a cell, and its deltas (Faster R-CNN paper, section 3.1)."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, PRNGKeyArray

from wbcjax.models.conv import Conv
from wbcjax.models.settings import RpnSettings
from wbcjax.ops import assign, boxes
from wbcjax.ops.nms import nms

SMALL = nn.initializers.normal(0.01)  # Faster R-CNN paper, section 3.1.3


class Rpn(nn.Module):
    """One small network slid over every level: per anchor a score of holding a cell, and deltas."""

    settings: RpnSettings
    dtype: DTypeLike = jnp.float32
    cpu: bool = False

    def setup(self) -> None:
        s = self.settings
        shapes = len(s.aspect_ratios)
        conv = functools.partial(Conv, kernel_init=SMALL, cpu=self.cpu)
        self.conv = conv(s.channels, 3, dtype=self.dtype)
        # In float32 whatever the rest is in: bfloat16 has a thousand log-odds for a hundred thousand anchors, and among
        # equals the top k are those of the upper rows.
        self.objectness = conv(shapes * (2 if s.softmax else 1), 1)
        self.deltas = conv(shapes * 4, 1)

    def __call__(
        self, features: dict[int, Float[Array, "n _ _ c"]]
    ) -> tuple[list[Float[Array, "n _"]], list[Float[Array, "n _ 4"]]]:
        """Log-odds and deltas of the anchors of each level, ordered by row, column, anchor shape."""
        logits, deltas = [], []
        for level in self.settings.levels:
            x = nn.relu(self.conv(features[level]))
            n = x.shape[0]
            score = self.objectness(x)
            if self.settings.softmax:  # background, cell: the softmax of two is the sigmoid of their difference
                score = score.reshape(n, -1, 2)
                score = score[..., 1] - score[..., 0]
            logits.append(score.reshape(n, -1))
            deltas.append(self.deltas(x).reshape(n, -1, 4))
        return logits, deltas


def propose(
    logits: list[Float[Array, "_"]],
    deltas: list[Float[Array, "_ 4"]],
    anchors: list[Float[Array, "_ 4"]],
    size: Float[Array, "2"],
    settings: RpnSettings,
    train: bool,
) -> tuple[Float[Array, "p 4"], Float[Array, " p"]]:
    """The best boxes of one image with their log-odds, overlapping ones suppressed; padding has log-odds -inf.

    `size` is the (height, width) that boxes are clipped to. Follows torchvision's filter_proposals (per level), or
    Matterport's ProposalLayer (all levels as one).
    """
    before = settings.before_nms_train if train else settings.before_nms_test
    after = settings.proposals_train if train else settings.proposals_test
    if not settings.per_level:
        logits, deltas, anchors = ([jnp.concatenate(x)] for x in (logits, deltas, anchors))
    candidates, scores, groups = [], [], []
    for group, (level_logits, level_deltas, level_anchors) in enumerate(zip(logits, deltas, anchors, strict=True)):
        score, index = jax.lax.top_k(level_logits, min(before, level_logits.shape[0]))
        box = boxes.decode(level_deltas[index], level_anchors[index], settings.box_weights)
        box = boxes.clip(box, size)
        big = jnp.all(box[:, 2:] - box[:, :2] >= settings.min_size, axis=1)
        candidates.append(box)
        scores.append(jnp.where(big, score, -jnp.inf))
        groups.append(jnp.full(score.shape, group))
    box, score, group = (jnp.concatenate(x) for x in (candidates, scores, groups))
    kept, valid = nms(box, score, group, settings.nms_iou, after)
    return jnp.where(valid[:, None], box[kept], 0.0), jnp.where(valid, score[kept], -jnp.inf)


def full_rpn(
    logits: list[Float[Array, "n _"]], scores: Float[Array, "n p"], settings: RpnSettings
) -> tuple[Bool[Array, " n"], Bool[Array, " n"]]:
    """Whether the RPN takes more for cells than it has room for, by its anchors before NMS and by its proposals.

    It takes for a cell what has log-odds over 0. `logits` are of all anchors of each level, `scores` the log-odds of
    the proposals that are left of them in prediction.
    """
    groups = logits if settings.per_level else [jnp.concatenate(logits, axis=1)]
    before = jnp.stack([(group > 0).sum(axis=1) > settings.before_nms_test for group in groups])  # (levels, n)
    return before.any(axis=0), (scores > 0).sum(axis=1) >= settings.proposals_test


def sample_anchors(
    key: PRNGKeyArray,
    anchors: Float[Array, "a 4"],
    cells: Float[Array, "m 4"],
    valid: Array,
    crowd: Array,
    settings: RpnSettings,
) -> dict[str, Array]:
    """The anchors of one image to train on: their index, which are positive, which are real, and their deltas."""
    s = settings
    found = assign.match(anchors, cells, valid, crowd, s.positive_iou, s.negative_iou, keep_best=True)
    index, positive, real = assign.sample(key, found.positive, found.negative, s.samples, s.positive_fraction, False)
    target = boxes.encode(cells[found.cell[index]], anchors[index], s.box_weights)
    return {"index": index, "positive": positive, "valid": real, "target": target}
