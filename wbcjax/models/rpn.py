"""Region proposal network: objectness and deltas of anchors (Faster R-CNN paper, section 3.1)."""

import functools
from typing import Annotated, ClassVar, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int, Key, PRNGKeyArray

from wbcjax.models.box_losses import SMOOTH_L1, BoxLossPart
from wbcjax.models.conv import Conv
from wbcjax.models.rois import Cells, Weights
from wbcjax.ops import assign, boxes
from wbcjax.ops.anchors import pyramid_anchors
from wbcjax.ops.losses import Mean, box_regression
from wbcjax.ops.nms import nms
from wbcjax.settings.checked import Count, NotEmpty, NotNegative, Positive, Share

SMALL = nn.initializers.normal(0.01)  # Faster R-CNN paper, section 3.1.3
RpnLevel = Literal[2, 3, 4, 5, 6]  # of strides 4 to 64


class RpnOutputs(NamedTuple):
    """The RPN's outputs for the anchors of each level, ordered by row, column, anchor shape."""

    logits: list[Float[Array, "n _"]]  # of objectness
    deltas: list[Float[Array, "n _ 4"]]

    def around(self, anchors: list[Float[Array, "_ 4"]], place: Float[Array, "n 2"]) -> "RpnOutputs":
        """The outputs of the anchors around a place (x, y) of each image alone; the others' logits are -inf.

        It lies in the inner half of an anchor: half its width and half its height.
        """

        def near(anchors: Array, logits: Array) -> Array:
            centre, side = (anchors[:, :2] + anchors[:, 2:]) / 2, anchors[:, 2:] - anchors[:, :2]  # (anchors, 2)
            inside = jnp.all(jnp.abs(centre - place[:, None]) <= side / 4, axis=-1)  # (n, anchors)
            return jnp.where(inside, logits, -jnp.inf)

        return self._replace(logits=[near(*of_level) for of_level in zip(anchors, self.logits, strict=True)])


class AnchorSamples(NamedTuple):
    """Anchors of each image that the RPN is trained on."""

    place: Int[Array, "n s"]  # among the anchors of all levels
    boxes: Float[Array, "n s 4"]
    positive: Bool[Array, "n s"]
    valid: Bool[Array, "n s"]
    target: Float[Array, "n s 4"]  # the deltas to the cell


class Rpn(nn.Module):
    """One small network on every level: objectness and deltas of each anchor."""

    channels: Count = 256
    levels: Annotated[tuple[RpnLevel, ...], NotEmpty()] = (2, 3, 4, 5, 6)
    anchor_sizes: tuple[Positive, ...] = (32.0, 64.0, 128.0, 256.0, 512.0)  # one per level, pixels
    aspect_ratios: Annotated[tuple[Positive, ...], NotEmpty()] = (0.5, 1.0, 2.0)  # height / width
    rounded_anchors: bool = True
    softmax: bool = False  # two logits per anchor (Matterport) or one
    box_weights: Weights = (1.0, 1.0, 1.0, 1.0)
    positive_iou: Share = 0.7
    negative_iou: Share = 0.3
    samples: Count = 256  # of an image, as all counts below
    positive_fraction: Share = 0.5
    per_level: bool = True  # choose and suppress proposals within each level, or in all levels together
    before_nms_train: Count = 2000  # per level, or in all levels together
    before_nms_test: Count = 1000
    proposals_train: Count = 2000
    proposals_test: Count = 1000
    nms_iou: Share = 0.7
    min_size: NotNegative = 1e-3  # pixels
    box_loss: BoxLossPart = SMOOTH_L1
    per_positive: bool = False  # mean over the positives' coordinates (Matterport), or of the sum over all samples
    dtype: DTypeLike = jnp.float32
    cpu: bool = False

    LOSSES: ClassVar = ("rpn_objectness", "rpn_box")

    def setup(self) -> None:
        shapes = len(self.aspect_ratios)
        conv = functools.partial(Conv, kernel_init=SMALL, cpu=self.cpu)
        self.conv = conv(self.channels, 3, dtype=self.dtype)
        # In float32 whatever the dtype: bfloat16 has a thousand distinct logits for a hundred thousand anchors, and of
        # equal ones top_k takes those of the upper rows.
        self.objectness = conv(shapes * (2 if self.softmax else 1), 1)
        self.deltas = conv(shapes * 4, 1)

    def __call__(self, features: dict[int, Float[Array, "n _ _ c"]]) -> RpnOutputs:
        """Outputs for the anchors of `self.levels`."""
        logits, deltas = [], []
        for level in self.levels:
            x = nn.relu(self.conv(features[level]))
            n = x.shape[0]
            score = self.objectness(x)
            if self.softmax:  # background, cell: the softmax of two is the sigmoid of their difference
                score = score.reshape(n, -1, 2)
                score = score[..., 1] - score[..., 0]
            logits.append(score.reshape(n, -1))
            deltas.append(self.deltas(x).reshape(n, -1, 4))
        return RpnOutputs(logits, deltas)

    def anchors(self, canvas: tuple[int, int]) -> list[Float[Array, "_ 4"]]:
        """Anchors of each level on a canvas (height, width), in its pixels."""
        levels = pyramid_anchors(
            tuple((-(-canvas[0] // 2**k), -(-canvas[1] // 2**k)) for k in self.levels),
            tuple(2**k for k in self.levels),
            tuple((size,) for size in self.anchor_sizes),
            self.aspect_ratios,
            self.rounded_anchors,
        )
        return [jnp.asarray(level) for level in levels]

    def propose(
        self, outputs: RpnOutputs, anchors: list[Float[Array, "_ 4"]], size: Float[Array, "n 2"], train: bool
    ) -> tuple[Float[Array, "n p 4"], Float[Array, "n p"]]:
        """The best boxes of each image with their logits, after NMS; padding has logits of -inf.

        `size` is the (height, width) that boxes are clipped to. Follows torchvision's filter_proposals (per level), or
        Matterport's ProposalLayer (all levels together).
        """
        before = self.before_nms_train if train else self.before_nms_test
        after = self.proposals_train if train else self.proposals_test

        def of_image(logits: list[Array], deltas: list[Array], size: Array) -> tuple[Array, Array]:
            levels = (logits, deltas, anchors)
            if not self.per_level:
                levels = tuple([jnp.concatenate(level)] for level in levels)
            candidates, scores, groups = [], [], []
            for group, (level_logits, level_deltas, level_anchors) in enumerate(zip(*levels, strict=True)):
                score, index = jax.lax.top_k(level_logits, min(before, level_logits.shape[0]))
                box = boxes.clip(boxes.decode(level_deltas[index], level_anchors[index], self.box_weights), size)
                big = jnp.all(box[:, 2:] - box[:, :2] >= self.min_size, axis=1)
                candidates.append(box)
                scores.append(jnp.where(big, score, -jnp.inf))
                groups.append(jnp.full(score.shape, group))
            box, score, group = (jnp.concatenate(x) for x in (candidates, scores, groups))
            kept, valid = nms(box, score, group, self.nms_iou, after, self.cpu)
            return jnp.where(valid[:, None], box[kept], 0.0), jnp.where(valid, score[kept], -jnp.inf)

        return jax.vmap(of_image)(outputs.logits, outputs.deltas, size)

    def full(self, outputs: RpnOutputs, scores: Float[Array, "n p"]) -> tuple[Bool[Array, " n"], Bool[Array, " n"]]:
        """Whether more anchors are predicted as cells than go into NMS, and whether all proposals are.

        A logit above 0 predicts a cell. `scores` are the logits of the proposals of a prediction.
        """
        groups = outputs.logits if self.per_level else [jnp.concatenate(outputs.logits, axis=1)]
        before = jnp.stack([(group > 0).sum(axis=1) > self.before_nms_test for group in groups])  # (levels, n)
        return before.any(axis=0), (scores > 0).sum(axis=1) >= self.proposals_test

    def sample(self, keys: Key[Array, " n"], anchors: list[Float[Array, "_ 4"]], cells: Cells) -> AnchorSamples:
        """The anchors of each image to train on."""
        candidates = jnp.concatenate(anchors)

        def of_image(key: PRNGKeyArray, cells: Cells) -> AnchorSamples:
            found = assign.match(
                candidates, cells.boxes, cells.valid, cells.crowd, self.positive_iou, self.negative_iou, keep_best=True
            )
            index, positive, real = assign.sample(
                key, found.positive, found.negative, self.samples, self.positive_fraction, False
            )
            target = boxes.encode(cells.boxes[found.cell[index]], candidates[index], self.box_weights)
            return AnchorSamples(index, candidates[index], positive, real, target)

        return jax.vmap(of_image)(keys, cells)

    def losses(self, outputs: RpnOutputs, samples: AnchorSamples, mean: Mean) -> dict[str, Float[Array, ""]]:
        """Losses of the outputs for the samples (Faster R-CNN paper, eq. 1)."""
        logits, deltas = (of_samples(jnp.concatenate(x, axis=1), samples.place) for x in outputs)
        positive = samples.positive & samples.valid
        per_anchor = optax.sigmoid_binary_cross_entropy(logits, samples.positive.astype(jnp.float32))
        per_box = box_regression(self.box_loss, deltas, samples.target, samples.boxes, positive, self.box_weights)
        return {
            "rpn_objectness": mean(per_anchor, samples.valid),
            "rpn_box": mean(per_box / 4.0, positive) if self.per_positive else mean(per_box, samples.valid),
        }


def of_samples(x: Array, index: Int[Array, "n s"]) -> Array:
    """Entries `index` of the second axis of `x`, image by image."""
    return jax.vmap(lambda a, i: a[i])(x, index)
