"""Convolutions as layers. With `cpu` they use `wbcjax/ops/cpu`, which gives the same values."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from wbcjax.models.initial import drawn, he_normal
from wbcjax.ops.conv import xla_conv
from wbcjax.ops.cpu.conv import conv as cpu_conv
from wbcjax.ops.cpu.depthwise import depthwise as cpu_depthwise

HE_NORMAL = nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # He et al. 2015, as torchvision's ResNet
DEPTHWISE_INIT = drawn(he_normal)


class Conv(nn.Module):
    """A convolution with a square kernel of size `kernel`, padded to keep the size at stride 1: `ops.conv.padding`."""

    features: int
    kernel: int
    stride: int = 1
    use_bias: bool = True
    dtype: DTypeLike = jnp.float32
    kernel_init: nn.initializers.Initializer = HE_NORMAL
    same: bool = False
    cpu: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 k"]:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32).astype(self.dtype)
        y = conv(x.astype(self.dtype), kernel, self.stride, self.same, self.cpu)
        if self.use_bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32).astype(self.dtype)
        return y


class DepthwiseConv(nn.Module):
    """A depthwise convolution with a square kernel of size `kernel`, without bias; padding as in `Conv`."""

    kernel: int
    stride: int = 1
    same: bool = False
    dtype: DTypeLike = jnp.float32
    cpu: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
        kernel = self.param("kernel", DEPTHWISE_INIT, (self.kernel, self.kernel, x.shape[-1]), jnp.float32)  # (k, k, c)
        return depthwise(x.astype(self.dtype), kernel.astype(self.dtype), self.stride, self.same, self.cpu)


def conv(
    x: Float[Array, "n h w c"], kernel: Float[Array, "kh kw c k"], stride: int, same: bool = False, cpu: bool = False
) -> Float[Array, "n h2 w2 k"]:
    """A convolution with an odd kernel; 1x1 is a matrix product with the pixels that the stride leaves."""
    if cpu:
        return cpu_conv(x, kernel, stride, same)
    if kernel.shape[0] > 1:
        return xla_conv(x, kernel, stride, same)
    x = x[:, ::stride, ::stride]
    return jnp.dot(x.reshape(-1, x.shape[-1]), kernel[0, 0]).reshape(*x.shape[:-1], -1)


def depthwise(
    x: Float[Array, "n h w c"], kernel: Float[Array, "k k c"], stride: int, same: bool = False, cpu: bool = False
) -> Float[Array, "n h2 w2 c"]:
    """A depthwise convolution with an odd kernel."""
    if cpu:
        return cpu_depthwise(x, kernel, stride, same)
    return xla_conv(x, kernel[:, :, None], stride, same, groups=x.shape[-1])
