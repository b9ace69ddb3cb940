"""Mask head: the outline of the cell in each RoI, per class (Mask R-CNN paper, figure 4, right)."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from wbcjax.models.conv import Conv
from wbcjax.models.settings import MaskHeadSettings


class MaskHead(nn.Module):
    """Four 3x3 convolutions, a twofold upsampling, and one mask of logits per class."""

    settings: MaskHeadSettings
    num_classes: int
    norm: Callable[..., nn.Module]  # makes a layer by its name
    dtype: DTypeLike = jnp.float32
    cpu: bool = False

    @nn.compact
    def __call__(self, pooled: Float[Array, "r bins bins c"]) -> Float[Array, "r 2*bins 2*bins classes"]:
        channels = self.settings.channels
        x = pooled
        for i in range(1, 5):
            x = Conv(channels, 3, dtype=self.dtype, cpu=self.cpu, name=f"conv{i}")(x)
            if self.settings.norm:
                x = self.norm(name=f"bn{i}")(x)
            x = nn.relu(x)
        x = nn.relu(Deconv2x2(channels, self.dtype, name="deconv")(x))  # (r, bins, bins, 4, channels)
        # Pointwise, so it may come before the 2x2 blocks are laid out: far less to move.
        init = nn.initializers.normal(0.001)
        logits = nn.Dense(self.num_classes, dtype=self.dtype, kernel_init=init, name="logits")(x)
        return lay_out_blocks(logits.astype(jnp.float32))


class Deconv2x2(nn.Module):
    """A transposed convolution of kernel 2 and stride 2: every pixel becomes its own 2x2 block, by one matrix product.

    The blocks are left on an axis of their own (upper left, upper right, lower left, lower right).
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
    """Each pixel's 2x2 block in its place."""
    r, h, w, _, k = x.shape
    return x.reshape(r, h, w, 2, 2, k).transpose(0, 1, 3, 2, 4, 5).reshape(r, 2 * h, 2 * w, k)
