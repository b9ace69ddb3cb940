"""Box head: the class of each RoI, and its deltas per class or for all alike (Fast R-CNN; two layers as in FPN's)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int, Key

from wbcjax.models.box_losses import SMOOTH_L1, BoxLossPart
from wbcjax.models.norm import FROZEN, norm_layer
from wbcjax.models.rois import Cells, Found, Pool, RoiSamples, RoiSettings, sample_rois
from wbcjax.ops import boxes
from wbcjax.ops.losses import Mean, box_regression
from wbcjax.ops.nms import nms
from wbcjax.settings.checked import Count, NotNegative, Share

HeadNorm = Literal["none", "frozen_bn", "bn_frozen_stats"]


@dataclass(frozen=True)
class DetectionSettings:
    """How class scores and boxes become detections."""

    score_threshold: Share = 0.05
    nms_iou: Share = 0.5
    per_image: Count = 100
    candidates: Count = 2000  # the most boxes over the threshold that enter NMS
    one_class_per_roi: bool = False  # an RoI is its best class only (Matterport), or every class over the threshold
    min_size: NotNegative = 1e-2  # pixels
    # Scores times the mean probability inside the mask to this power: maskness (SOLO, Wang et al. 2020); 0: as they are
    maskness: NotNegative = 0.0


class BoxHead(nn.Module):
    """Two fully connected layers, then class logits, and deltas of each class or of all."""

    bins: Count = 7
    channels: Count = 1024
    norm: HeadNorm = "none"  # batch normalisation after both layers (Matterport)
    norm_epsilon: NotNegative = 1e-5
    class_agnostic: bool = False  # the same deltas whatever the class
    box_loss: BoxLossPart = SMOOTH_L1
    per_positive: bool = False  # mean over the positives' coordinates (Matterport), or of the sum over all samples
    padding_is_background: bool = False  # padded RoIs train the class as background (Matterport)
    num_classes: int = 2
    roi: RoiSettings = RoiSettings()
    detection: DetectionSettings = DetectionSettings()
    dtype: DTypeLike = jnp.float32
    cpu: bool = False

    LOSSES: ClassVar = ("class", "box")

    @nn.compact
    def __call__(
        self, pooled: Float[Array, "*r bins bins c"]
    ) -> tuple[Float[Array, "*r classes"], Float[Array, "*r boxes 4"]]:
        x = pooled.reshape(*pooled.shape[:-3], -1)  # rows, columns, channels
        for layer in ("fc6", "fc7"):
            x = nn.Dense(self.channels, dtype=self.dtype, kernel_init=nn.initializers.he_normal(), name=layer)(x)
            if self.norm != "none":
                x = norm_layer(self.norm, self.norm_epsilon, self.dtype)(name=f"{layer}_bn")(x)
            x = nn.relu(x)
        small, smaller = nn.initializers.normal(0.01), nn.initializers.normal(0.001)  # Fast R-CNN paper, section 4.2
        # In float32 whatever the dtype, as the RPN's: scores are compared, and equal ones would be ordered by position.
        logits = nn.Dense(self.num_classes, dtype=jnp.float32, kernel_init=small, name="class_logits")(x)
        boxes_each = 1 if self.class_agnostic else self.num_classes
        deltas = nn.Dense(boxes_each * 4, dtype=jnp.float32, kernel_init=smaller, name="box_deltas")(x)
        return logits, deltas.reshape(*deltas.shape[:-1], boxes_each, 4)

    @property
    def keeps_statistics(self) -> bool:
        """Whether its norms use stored statistics also while they train."""
        return self.norm in FROZEN

    def sample(
        self, keys: Key[Array, " n"], proposals: Float[Array, "n p 4"], real: Bool[Array, "n p"], cells: Cells
    ) -> RoiSamples:
        """The RoIs of each image to train all heads on."""
        return sample_rois(keys, proposals, real, cells, self.roi)

    def losses(self, pool: Pool, rois: RoiSamples, cells: Cells, mean: Mean) -> dict[str, Float[Array, ""]]:
        """Losses of the outputs for the RoIs (Fast R-CNN paper, eq. 1); `cells` is for heads that match RoIs anew."""
        return self.losses_of(*self(pool(rois.boxes, self.bins)), rois, mean)

    def losses_of(
        self, logits: Float[Array, "n r classes"], deltas: Float[Array, "n r boxes 4"], rois: RoiSamples, mean: Mean
    ) -> dict[str, Float[Array, ""]]:
        """Losses of logits and deltas of the RoIs."""
        own = deltas[:, :, 0] if self.class_agnostic else of_label(deltas, rois.label)
        positive = (rois.label > 0) & rois.valid
        per_roi = optax.softmax_cross_entropy_with_integer_labels(logits, rois.label)
        per_box = box_regression(self.box_loss, own, rois.target, rois.boxes, positive, self.roi.box_weights)
        return {
            "class": mean(per_roi, rois.valid | self.padding_is_background),
            "box": mean(per_box / 4.0, positive) if self.per_positive else mean(per_box, rois.valid),
        }

    def detect(
        self, pool: Pool, proposals: Float[Array, "n p 4"], real: Bool[Array, "n p"], size: Float[Array, "n 2"]
    ) -> Found:
        """The cells detected from the proposals of each image; boxes are clipped to `size` (height, width)."""
        logits, deltas = self(pool(proposals, self.bins))
        return self.found(nn.softmax(logits), deltas, proposals, real, size)

    def found(
        self,
        scores: Float[Array, "n r classes"],
        deltas: Float[Array, "n r boxes 4"],
        rois: Float[Array, "n r 4"],
        real: Bool[Array, "n r"],
        size: Float[Array, "n 2"],
    ) -> Found:
        """The cells detected from RoIs with these scores and deltas."""

        def of_image(scores: Array, deltas: Array, rois: Array, real: Array, size: Array) -> tuple[Array, ...]:
            found = boxes.clip(boxes.decode(deltas, rois[:, None], self.roi.box_weights), size)
            return detect(scores, found, real, self.detection, self.cpu)

        return Found(*jax.vmap(of_image)(scores, deltas, rois, real, size))


def detect(
    scores: Float[Array, "r classes"],
    found: Float[Array, "r #classes 4"],
    valid: Bool[Array, " r"],
    settings: DetectionSettings,
    cpu: bool,
) -> tuple[Float[Array, "d 4"], Int[Array, " d"], Float[Array, " d"], Bool[Array, " d"], Bool[Array, ""]]:
    """Boxes, labels and scores of one image's detections, best first, padded; which are real.

    `found` are the RoIs' decoded boxes, one for each class or one for all. Follows torchvision's
    postprocess_detections, or Matterport's refine_detections with `one_class_per_roi`. The last result is whether more
    boxes were over the threshold than `settings.candidates`.
    """
    r, classes = scores.shape
    if settings.one_class_per_roi:
        best = jnp.argmax(scores, axis=1, keepdims=True)
        scores = jnp.where(jnp.arange(classes) == best, scores, 0.0)
    found = jnp.broadcast_to(found, (r, classes, 4))
    big = jnp.all(found[..., 2:] - found[..., :2] >= settings.min_size, axis=-1)
    scores = jnp.where(big & valid[:, None] & (scores > settings.score_threshold), scores, -jnp.inf)
    # Without the background, as one list of candidates.
    scores = scores[:, 1:].reshape(-1)
    found = found[:, 1:].reshape(-1, 4)
    labels = jnp.tile(jnp.arange(1, classes), r)
    more = jnp.isfinite(scores).sum() > settings.candidates
    scores, order = jax.lax.top_k(scores, min(settings.candidates, scores.shape[0]))
    found, labels = found[order], labels[order]
    kept, real = nms(found, scores, labels, settings.nms_iou, settings.per_image, cpu)
    return (
        jnp.where(real[:, None], found[kept], 0.0),
        jnp.where(real, labels[kept], 0),
        jnp.where(real, scores[kept], 0.0),
        real,
        more,
    )


def of_label(deltas: Float[Array, "n r classes 4"], label: Int[Array, "n r"]) -> Float[Array, "n r 4"]:
    """The deltas of each RoI's own class."""
    return jnp.take_along_axis(deltas, label[..., None, None], axis=2)[:, :, 0]
