"""Feature pyramid network: C2..C5 to P2..P6 (Lin et al. 2017)."""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from wbcjax.models.conv import Conv
from wbcjax.settings.checked import Count

CANVAS_UNIT = 32  # pixels: the stride of C5, whose size must double exactly at each level of the top-down pathway

LECUN = nn.initializers.lecun_normal()


class Fpn(nn.Module):
    """Features of equal channels at strides 4 to 64; P6 is every second pixel of P5 (FPN paper, footnote 2)."""

    channels: Count = 256
    dtype: DTypeLike = jnp.float32
    cpu: bool = False

    @nn.compact
    def __call__(self, c: dict[int, Float[Array, "n _ _ _"]]) -> dict[int, Float[Array, "n _ _ k"]]:
        conv = functools.partial(Conv, self.channels, dtype=self.dtype, kernel_init=LECUN, cpu=self.cpu)
        levels = sorted(c)
        p = {}
        merged = None
        for level in reversed(levels):
            lateral = conv(1, name=f"lateral{level}")(c[level])
            merged = lateral if merged is None else lateral + upsample(merged)
            p[level] = conv(3, name=f"output{level}")(merged)
        p[levels[-1] + 1] = p[levels[-1]][:, ::2, ::2]
        return p  # {level: (n, h / 2^level, w / 2^level, channels)}


def upsample(x: Float[Array, "n h w c"]) -> Float[Array, "n 2*h 2*w c"]:
    """Nearest-neighbour upsampling by 2. Sizes match since the canvas is a multiple of CANVAS_UNIT."""
    n, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None, :], (n, h, 2, w, 2, c)).reshape(n, 2 * h, 2 * w, c)
