"""Box head: the class of each RoI and, per class, its deltas to the cell (Fast R-CNN paper; two layers as in FPN's)."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int

from wbcjax.models.settings import BoxHeadSettings, DetectionSettings, Weights
from wbcjax.ops import boxes
from wbcjax.ops.nms import nms


class BoxHead(nn.Module):
    """Two fully connected layers, then class logits and class-specific deltas."""

    settings: BoxHeadSettings
    num_classes: int
    norm: Callable[..., nn.Module]  # makes a layer by its name
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, pooled: Float[Array, "*r bins bins c"]
    ) -> tuple[Float[Array, "*r classes"], Float[Array, "*r classes 4"]]:
        x = pooled.reshape(*pooled.shape[:-3], -1)  # rows, columns, channels
        for layer in ("fc6", "fc7"):
            x = nn.Dense(self.settings.channels, dtype=self.dtype, kernel_init=nn.initializers.he_normal(), name=layer)(
                x
            )
            if self.settings.norm:
                x = self.norm(name=f"{layer}_bn")(x)
            x = nn.relu(x)
        small, smaller = nn.initializers.normal(0.01), nn.initializers.normal(0.001)  # Fast R-CNN paper, section 4.2
        # In float32 whatever the rest is in, as the RPN's: scores are compared, and equal ones would go by their place.
        logits = nn.Dense(self.num_classes, dtype=jnp.float32, kernel_init=small, name="class_logits")(x)
        deltas = nn.Dense(self.num_classes * 4, dtype=jnp.float32, kernel_init=smaller, name="box_deltas")(x)
        return logits, deltas.reshape(*deltas.shape[:-1], self.num_classes, 4)


def detect(
    logits: Float[Array, "r classes"],
    deltas: Float[Array, "r classes 4"],
    proposals: Float[Array, "r 4"],
    valid: Bool[Array, " r"],
    size: Float[Array, "2"],
    box_weights: Weights,
    settings: DetectionSettings,
) -> tuple[Float[Array, "d 4"], Int[Array, " d"], Float[Array, " d"], Bool[Array, " d"], Bool[Array, ""]]:
    """Boxes, labels and scores of one image's detections, best first, padded; which are real.

    Follows torchvision's postprocess_detections, or Matterport's refine_detections with `one_class_per_roi`. The last
    result tells whether more boxes were over the threshold than there is room for among `settings.candidates`.
    """
    r, classes = logits.shape
    scores = jax.nn.softmax(logits)
    if settings.one_class_per_roi:
        best = jnp.argmax(scores, axis=1, keepdims=True)
        scores = jnp.where(jnp.arange(classes) == best, scores, 0.0)
    found = boxes.clip(boxes.decode(deltas, proposals[:, None], box_weights), size)  # (r, classes, 4)
    big = jnp.all(found[..., 2:] - found[..., :2] >= settings.min_size, axis=-1)
    scores = jnp.where(big & valid[:, None] & (scores > settings.score_threshold), scores, -jnp.inf)
    # Without the background, as one list of candidates.
    scores = scores[:, 1:].reshape(-1)
    found = found[:, 1:].reshape(-1, 4)
    labels = jnp.tile(jnp.arange(1, classes), r)
    more = jnp.isfinite(scores).sum() > settings.candidates
    scores, order = jax.lax.top_k(scores, min(settings.candidates, scores.shape[0]))
    found, labels = found[order], labels[order]
    kept, real = nms(found, scores, labels, settings.nms_iou, settings.per_image)
    return (
        jnp.where(real[:, None], found[kept], 0.0),
        jnp.where(real, labels[kept], 0),
        jnp.where(real, scores[kept], 0.0),
        real,
        more,
    )
