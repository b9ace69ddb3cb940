"""Mask head: the outline of the cell in each RoI, per class (Mask R-CNN paper, figure 4, right)."""

from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from wbcjax.batch import Batch
from wbcjax.models.box_head import HeadNorm
from wbcjax.models.conv import Conv
from wbcjax.models.norm import FROZEN, norm_layer
from wbcjax.models.rois import Found, Pool, RoiSamples, RoiSettings
from wbcjax.models.rpn import of_samples
from wbcjax.ops.cpu.in_parts import in_parts
from wbcjax.ops.losses import Mean
from wbcjax.ops.mask_targets import crop_masks
from wbcjax.settings.checked import Count, NotNegative

SAMPLES_AT_ONCE = 16  # RoIs of a batch whose masks are computed together on a CPU in training: most are cells
FOUND_AT_ONCE = 4  # the same of detections, of which most images have few


class MaskHead(nn.Module):
    """Four 3x3 convolutions, a twofold upsampling, and one mask of logits per class, or one for all."""

    bins: Count = 14  # the mask has twice as many
    channels: Count = 256
    norm: HeadNorm = "none"
    norm_epsilon: NotNegative = 1e-5
    class_agnostic: bool = False
    num_classes: int = 2
    roi: RoiSettings = RoiSettings()
    dtype: DTypeLike = jnp.float32
    cpu: bool = False

    LOSSES: ClassVar = ("mask",)

    @nn.compact
    def __call__(self, pooled: Float[Array, "r bins bins c"]) -> Float[Array, "r 2*bins 2*bins masks"]:
        x = pooled
        for i in range(1, 5):
            x = Conv(self.channels, 3, dtype=self.dtype, cpu=self.cpu, name=f"conv{i}")(x)
            if self.norm != "none":
                x = norm_layer(self.norm, self.norm_epsilon, self.dtype)(name=f"bn{i}")(x)
            x = nn.relu(x)
        x = nn.relu(Deconv2x2(self.channels, self.dtype, name="deconv")(x))  # (r, bins, bins, 4, channels)
        # Pointwise, so it may come before the 2x2 blocks are laid out: far less to move.
        init, masks = nn.initializers.normal(0.001), 1 if self.class_agnostic else self.num_classes
        logits = nn.Dense(masks, dtype=self.dtype, kernel_init=init, name="logits")(x)
        return lay_out_blocks(logits.astype(jnp.float32))

    @property
    def keeps_statistics(self) -> bool:
        """Whether its norms use stored statistics also while they train."""
        return self.norm in FROZEN

    def losses(self, pool: Pool, rois: RoiSamples, batch: Batch, mean: Mean) -> dict[str, Float[Array, ""]]:
        """The mask loss of RoIs whose cell is outlined (Mask R-CNN paper, section 3)."""
        corners = of_samples(batch.corners, rois.cell)  # (n, r, 2)
        in_windows = rois.boxes - jnp.tile(corners, 2)
        targets = jax.vmap(crop_masks, in_axes=(0, 0, 0, None, None, None))(
            batch.masks, in_windows, rois.cell, 2 * self.bins, self.roi.convention, self.cpu
        )
        if self.roi.convention == "crop_and_resize":  # Matterport rounds; torchvision trains on the averages
            targets = jnp.round(targets)
        logits = self.sample_logits(pool(rois.boxes, self.bins), rois.label)
        self.sow("samples", "masks", (logits, targets))
        per_mask = jnp.mean(optax.sigmoid_binary_cross_entropy(logits, targets), axis=(2, 3))
        return {"mask": mean(per_mask, (rois.label > 0) & of_samples(batch.outlined, rois.cell))}

    def detect(self, pool: Pool, found: Found) -> Float[Array, "n d s s"]:
        """Mask probabilities inside the box of each cell that was found."""
        if not self.cpu or self.is_initializing():
            return nn.sigmoid(self.own_logits(pool(found.boxes, self.bins), found.labels))
        own_logits = self._in_loops()

        def some(rois: Array, labels: Array) -> Array:
            return own_logits(pool(rois, self.bins), labels)

        return nn.sigmoid(in_parts(some, found.labels > 0, FOUND_AT_ONCE, found.boxes, found.labels))

    def sample_logits(
        self, pooled: Float[Array, "n r bins bins c"], labels: Int[Array, "n r"]
    ) -> Float[Array, "n r s s"]:
        """Mask logits of pooled RoIs for their own classes; those of RoIs of class 0, which come last, mean nothing.

        All are pooled at once: inside a part that may be left out, JAX fills in a gradient of zeros for all features.
        """
        if not self.cpu or self.is_initializing():
            return self.own_logits(pooled, labels)
        return in_parts(self._in_loops(), labels > 0, SAMPLES_AT_ONCE, pooled, labels)

    def _in_loops(self) -> Callable[[Array, Array], Array]:
        """`own_logits` for JAX's loops, into which flax lets no bound module.

        On a CPU a few RoIs at a time, without parts that hold no cell: images have far fewer cells than the padded
        number, and masks for all of that would take as long as the backbone.
        """
        head, variables = self.unbind()
        return lambda pooled, labels: head.apply(variables, pooled, labels, method="own_logits")  # type: ignore[return-value]

    def own_logits(self, pooled: Float[Array, "n r bins bins c"], labels: Int[Array, "n r"]) -> Float[Array, "n r s s"]:
        """Mask logits of pooled RoIs for their own classes, all at once."""
        n, r = pooled.shape[:2]
        logits = self(pooled.reshape(n * r, *pooled.shape[2:]))  # (n * r, s, s, masks)
        which = jnp.zeros_like(labels) if self.class_agnostic else labels
        own = jnp.take_along_axis(logits, which.reshape(-1, 1, 1, 1), axis=-1)[..., 0]
        return own.reshape(n, r, *own.shape[1:])


class Deconv2x2(nn.Module):
    """A transposed convolution of kernel 2 and stride 2: every pixel becomes its own 2x2 block, by one matrix product.

    The blocks have an axis of their own (upper left, upper right, lower left, lower right).
    """

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "r h w c"]) -> Float[Array, "r h w 4 k"]:
        channels = x.shape[-1]
        init = nn.initializers.variance_scaling(2.0, "fan_in", "normal", in_axis=0, out_axis=2)
        kernel = self.param("kernel", init, (channels, 4, self.features), jnp.float32).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32).astype(self.dtype)
        blocks = jnp.dot(x.astype(self.dtype), kernel.reshape(channels, -1))
        return blocks.reshape(*x.shape[:-1], 4, self.features) + bias


def lay_out_blocks(x: Float[Array, "r h w 4 k"]) -> Float[Array, "r 2*h 2*w k"]:
    """The 2x2 blocks of all pixels laid out as an image."""
    r, h, w, _, k = x.shape
    return x.reshape(r, h, w, 2, 2, k).transpose(0, 1, 3, 2, 4, 5).reshape(r, 2 * h, 2 * w, k)
