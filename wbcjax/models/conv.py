"""Convolutions, in the one place that knows which form is fast where.

A 1x1 convolution is a matrix product, and written as one it takes half the time on a CPU; accelerators compile both to
the same code. The gradient of a 3x3 kernel over a large map is written out for CPUs; accelerators keep XLA's.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

LARGE_MAP = 48 * 64  # pixels of a feature map from which the form for large maps pays
STRIP_PIXELS = 2048  # of one product in its kernel gradient
HE_NORMAL = nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # He et al. 2015, as torchvision's ResNet


class Conv(nn.Module):
    """A convolution of square `kernel` and symmetric padding that keeps the size (before the stride)."""

    features: int
    kernel: int
    stride: int = 1
    use_bias: bool = True
    dtype: DTypeLike = jnp.float32
    kernel_init: nn.initializers.Initializer = HE_NORMAL

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 k"]:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32).astype(self.dtype)
        x = x.astype(self.dtype)
        y = conv1x1(x, kernel[0, 0], self.stride) if self.kernel == 1 else conv(x, kernel, self.stride)
        if self.use_bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32).astype(self.dtype)
        return y


def conv1x1(x: Float[Array, "n h w c"], kernel: Float[Array, "c k"], stride: int) -> Float[Array, "n h2 w2 k"]:
    """A 1x1 convolution as a matrix product of the pixels that the stride leaves."""
    return jnp.dot(x[:, ::stride, ::stride], kernel)


def conv(x: Float[Array, "n h w c"], kernel: Float[Array, "kh kw c k"], stride: int) -> Float[Array, "n h2 w2 k"]:
    """A convolution padded by half the kernel on every side, as PyTorch's; TensorFlow's SAME pads less at the start."""
    if stride == 1 and kernel.shape[0] == 3 and x.shape[1] * x.shape[2] >= LARGE_MAP and jax.default_backend() == "cpu":
        return _conv3x3_large(x, kernel)
    return _lax_conv(x, kernel, stride)


def max_pool_3x3(x: Float[Array, "n h w c"], same: bool) -> Float[Array, "n h/2 w/2 c"]:
    """Maximum over 3x3 pixels at every second one; `same` pads below and right only, as TensorFlow, else all round.

    As maxima of slices: forward and backward on a CPU they take less than half the time of XLA's window reduction
    (benchmarks/conv.py). Sizes are even.
    """
    return _pool_axis(_pool_axis(x, 1, same), 2, same)


def _pool_axis(x: Array, axis: int, same: bool) -> Array:
    even, odd = (jax.lax.slice_in_dim(x, start, None, 2, axis) for start in (0, 1))
    edge = jnp.full_like(jax.lax.slice_in_dim(x, 0, 1, 1, axis), -jnp.inf)
    if same:  # pixels 2i, 2i + 1, 2i + 2
        third = jnp.concatenate([jax.lax.slice_in_dim(even, 1, None, 1, axis), edge], axis)
    else:  # pixels 2i - 1, 2i, 2i + 1
        third = jnp.concatenate([edge, jax.lax.slice_in_dim(odd, 0, -1, 1, axis)], axis)
    return jnp.maximum(jnp.maximum(even, odd), third)


def _lax_conv(x: Array, kernel: Array, stride: int) -> Array:
    pad = kernel.shape[0] // 2
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), [(pad, pad), (pad, pad)], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@jax.custom_vjp
def _conv3x3_large(x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c k"]) -> Float[Array, "n h w k"]:
    """A 3x3 convolution whose kernel gradient is written out, for CPUs (benchmarks/conv.py)."""
    return _lax_conv(x, kernel, 1)


def _conv3x3_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _lax_conv(x, kernel, 1), (x, kernel)


def _conv3x3_backward(saved: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    x, kernel = saved
    (grad_x,) = jax.vjp(lambda x: _lax_conv(x, kernel, 1), x)[1](grad)
    return grad_x, _kernel_gradient(x, grad)


def _kernel_gradient(x: Float[Array, "n h w c"], grad: Float[Array, "n h w k"]) -> Float[Array, "3 3 c k"]:
    """Nine matrix products of shifted pixels with the output's gradient, strip by strip of rows that stay in cache."""
    n, h, w, c = x.shape
    k = grad.shape[-1]
    rows = max(r for r in range(1, h + 1) if h % r == 0 and (r == 1 or r * w <= STRIP_PIXELS))
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))

    def add_strip(total: Array, strip: Array) -> tuple[Array, None]:
        image, row = strip // (h // rows), strip % (h // rows) * rows
        pixels = jax.lax.dynamic_slice(padded, (image, row, 0, 0), (1, rows + 2, w + 2, c))[0].transpose(2, 0, 1)
        grads = jax.lax.dynamic_slice(grad, (image, row, 0, 0), (1, rows, w, k)).reshape(-1, k)
        pixels, grads = jax.lax.optimization_barrier((pixels, grads))  # transposed once, not in each product
        products = [
            jnp.dot(pixels[:, i : i + rows, j : j + w].reshape(c, -1), grads, preferred_element_type=jnp.float32)
            for i in range(3)
            for j in range(3)
        ]
        return total + jnp.stack(products).reshape(3, 3, c, k), None

    total, _ = jax.lax.scan(add_strip, jnp.zeros((3, 3, c, k), jnp.float32), jnp.arange(n * (h // rows)))
    return total.astype(x.dtype)


_conv3x3_large.defvjp(_conv3x3_forward, _conv3x3_backward)
