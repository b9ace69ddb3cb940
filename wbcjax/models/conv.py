"""Convolutions, in the forms that are fast on CPUs and on accelerators (`wbcjax/ops/forms.py`).

A 1x1 convolution is a matrix product, and written as one it takes half the time on a CPU; accelerators compile both to
the same code. The gradients of a 1x1 kernel and of a 3x3 kernel over many pixels, and depthwise convolutions
altogether, are written out for CPUs; accelerators keep XLA's.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from wbcjax.models.initial import drawn, he_normal
from wbcjax.ops.forms import for_cpu

MANY_PIXELS = 48 * 64  # of a batch of feature maps, from which the form for many pays
STRIP_PIXELS = 2048  # of one product in its kernel gradient
FEW_CHANNELS = 4  # as many as an image's
HE_NORMAL = nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # He et al. 2015, as torchvision's ResNet

DEPTHWISE_INIT = drawn(he_normal)


class Conv(nn.Module):
    """A convolution of square `kernel` and padding that keeps the size (before the stride): see `padding`."""

    features: int
    kernel: int
    stride: int = 1
    use_bias: bool = True
    dtype: DTypeLike = jnp.float32
    kernel_init: nn.initializers.Initializer = HE_NORMAL
    same: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 k"]:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32).astype(self.dtype)
        x = x.astype(self.dtype)
        y = conv1x1(x, kernel[0, 0], self.stride) if self.kernel == 1 else conv(x, kernel, self.stride, self.same)
        if self.use_bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32).astype(self.dtype)
        return y


class DepthwiseConv(nn.Module):
    """A convolution of square `kernel` within each channel, without bias; padding as in `Conv`."""

    kernel: int
    stride: int = 1
    same: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
        kernel = self.param("kernel", DEPTHWISE_INIT, (self.kernel, self.kernel, x.shape[-1]), jnp.float32)  # (k, k, c)
        return depthwise(x.astype(self.dtype), kernel.astype(self.dtype), self.stride, self.same)


def conv1x1(x: Float[Array, "n h w c"], kernel: Float[Array, "c k"], stride: int) -> Float[Array, "n h2 w2 k"]:
    """A 1x1 convolution as a matrix product of the pixels that the stride leaves."""
    x = x[:, ::stride, ::stride]
    product = _product if for_cpu() else jnp.dot
    return product(x.reshape(-1, x.shape[-1]), kernel).reshape(*x.shape[:-1], -1)


def conv(
    x: Float[Array, "n h w c"], kernel: Float[Array, "kh kw c k"], stride: int, same: bool = False
) -> Float[Array, "n h2 w2 k"]:
    """A convolution of odd kernel; `same` as in `padding`."""
    if stride == 1 and kernel.shape[0] == 3 and _many_pixels(x) and for_cpu():
        return _conv3x3_many(x, kernel)
    if stride > 1 and kernel.shape[0] == 3 and x.shape[-1] <= FEW_CHANNELS and for_cpu():
        return _conv3x3_few(x, kernel, stride, same)
    return _lax_conv(x, kernel, stride, same)


def depthwise(
    x: Float[Array, "n h w c"], kernel: Float[Array, "k k c"], stride: int, same: bool = False
) -> Float[Array, "n h2 w2 c"]:
    """A convolution of odd kernel of each channel by itself; `same` as in `padding`."""
    if for_cpu():
        return _shifted_depthwise(x, kernel, stride, same)
    return _lax_conv(x, kernel[:, :, None], stride, same, groups=x.shape[-1])


def _many_pixels(x: Float[Array, "n h w c"]) -> bool:
    # Exported for any number of images it is not differentiated, and the forms differ in the gradient alone.
    return isinstance(x.shape[0], int) and math.prod(x.shape[:3]) >= MANY_PIXELS


def padding(size: int, kernel: int, stride: int, same: bool) -> tuple[int, int]:
    """Zeros before and after `size` pixels that leave ceil(size / stride) of them.

    Half the kernel on either side, as PyTorch's; `same` needs no pixel more than the stride uses, as TensorFlow's SAME,
    which puts one less before where the stride is 2 and the size even.
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return (total // 2, total - total // 2) if same else (kernel // 2, kernel // 2)


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


def _lax_conv(x: Array, kernel: Array, stride: int, same: bool = False, groups: int = 1) -> Array:
    pad = [padding(size, kernel.shape[0], stride, same) for size in x.shape[1:3]]
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), pad, dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
    )


@jax.custom_vjp
def _product(x: Float[Array, "p c"], kernel: Float[Array, "c k"]) -> Float[Array, "p k"]:
    """`x @ kernel`, whose kernel gradient is written out, for CPUs: both as they lie in memory, fewer channels first.

    Left to itself, XLA makes what gives `grad` anew in transposed order; and with more channels first it takes up to
    twice as long.
    """
    return jnp.dot(x, kernel)


def _product_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return jnp.dot(x, kernel), (x, kernel)


def _product_backward(saved: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    x, kernel = saved
    x, grad = jax.lax.optimization_barrier((x, grad))
    if x.shape[1] <= grad.shape[1]:
        of_kernel = _over_pixels(x, grad)
    else:  # behind a barrier, or XLA would turn the product round again
        of_kernel = jax.lax.optimization_barrier(_over_pixels(grad, x)).T
    return jnp.dot(grad, kernel.T), of_kernel.astype(kernel.dtype)


def _over_pixels(x: Float[Array, "p c"], grad: Float[Array, "p k"]) -> Float[Array, "c k"]:
    return jax.lax.dot_general(x, grad, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)


_product.defvjp(_product_forward, _product_backward)


@jax.custom_vjp
def _conv3x3_many(x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c k"]) -> Float[Array, "n h w k"]:
    """A 3x3 convolution whose kernel gradient is written out, for CPUs (benchmarks/conv.py)."""
    return _lax_conv(x, kernel, 1)


def _conv3x3_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _lax_conv(x, kernel, 1), (x, kernel)


def _conv3x3_backward(saved: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    x, kernel = saved
    # Written out, or inside a loop XLA would leave the kernel as it lies, at a tenth of the speed.
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    return _lax_conv(grad, turned, 1), _kernel_gradient(x, grad)


def _kernel_gradient(x: Float[Array, "n h w c"], grad: Float[Array, "n h w k"]) -> Float[Array, "3 3 c k"]:
    """Nine matrix products of shifted pixels with the output's gradient, strip by strip of rows that stay in cache."""
    n, h, w, c = x.shape
    k = grad.shape[-1]
    rows = max(r for r in range(1, h + 1) if h % r == 0 and (r == 1 or r * w <= STRIP_PIXELS))
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))

    def add_strip(total: Array, strip: Array) -> tuple[Array, None]:
        image, row = strip // (h // rows), strip % (h // rows) * rows
        pixels = jax.lax.dynamic_slice(padded, (image, row, 0, 0), (1, rows + 2, w + 2, c))[0]
        grads = jax.lax.dynamic_slice(grad, (image, row, 0, 0), (1, rows, w, k)).reshape(-1, k)
        pixels, grads = jax.lax.optimization_barrier((pixels, grads))  # cut out once, not in each product
        products = [
            _over_pixels(pixels[i : i + rows, j : j + w].reshape(-1, c), grads) for i in range(3) for j in range(3)
        ]
        return total + jnp.stack(products).reshape(3, 3, c, k), None

    total, _ = jax.lax.scan(add_strip, jnp.zeros((3, 3, c, k), jnp.float32), jnp.arange(n * (h // rows)))
    return total.astype(x.dtype)


_conv3x3_many.defvjp(_conv3x3_forward, _conv3x3_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv3x3_few(
    x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c k"], stride: int, same: bool
) -> Float[Array, "n h2 w2 k"]:
    """A 3x3 convolution of few channels whose kernel gradient is written out, for CPUs (benchmarks/conv.py)."""
    return _lax_conv(x, kernel, stride, same)


def _conv3x3_few_forward(x: Array, kernel: Array, stride: int, same: bool) -> tuple[Array, tuple[Array, Array]]:
    return _lax_conv(x, kernel, stride, same), (x, kernel)


def _conv3x3_few_backward(stride: int, same: bool, saved: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    """The kernel's as one matrix product with the pixels of all its nine places side by side."""
    x, kernel = saved
    of_x = jax.vjp(lambda x: _lax_conv(x, kernel, stride, same), x)[1](grad)[0]
    padded = jnp.pad(x, ((0, 0), *_paddings(x.shape[1:3], 3, stride, same), (0, 0)))
    last_row, last_column = ((size - 1) * stride for size in grad.shape[1:3])
    places = [
        padded[:, i : i + last_row + 1 : stride, j : j + last_column + 1 : stride] for i in range(3) for j in range(3)
    ]
    seen, grad = jax.lax.optimization_barrier((jnp.concatenate(places, -1), grad))  # (n, h2, w2, 9 c)
    of_kernel = _over_pixels(seen.reshape(-1, seen.shape[-1]), grad.reshape(-1, grad.shape[-1]))
    return of_x, of_kernel.reshape(kernel.shape).astype(kernel.dtype)


_conv3x3_few.defvjp(_conv3x3_few_forward, _conv3x3_few_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _shifted_depthwise(
    x: Float[Array, "n h w c"], kernel: Float[Array, "k k c"], stride: int, same: bool
) -> Float[Array, "n h2 w2 c"]:
    """A depthwise convolution as a sum of shifted maps, for CPUs, where XLA's own takes tens of times as long.

    Not differentiated, it is XLA's own for other devices, for which a CPU may export it.
    """
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, kernel: _sum_of_shifted(x, kernel, stride, same),
        default=lambda x, kernel: _lax_conv(x, kernel[:, :, None], stride, same, groups=x.shape[-1]),
    )


def _sum_of_shifted(
    x: Float[Array, "n h w c"], kernel: Float[Array, "k k c"], stride: int, same: bool
) -> Float[Array, "n h2 w2 c"]:
    n, height, width, c = x.shape
    size, (top, bottom), (left, right) = kernel.shape[0], *_paddings(x.shape[1:3], kernel.shape[0], stride, same)
    padded = _padded(x, (top, bottom), (left, right))
    last_row, last_column = (height - 1) // stride * stride, (width - 1) // stride * stride
    products = (
        jax.lax.slice(padded, (0, i, j, 0), (n, i + last_row + 1, j + last_column + 1, c), (1, stride, stride, 1))
        * kernel[i, j].astype(jnp.float32)
        for i in range(size)
        for j in range(size)
    )
    return sum(products, jnp.zeros((), jnp.float32)).astype(x.dtype)


def _shifted_depthwise_forward(x: Array, kernel: Array, stride: int, same: bool) -> tuple[Array, tuple[Array, Array]]:
    return _sum_of_shifted(x, kernel, stride, same), (x, kernel)


def _shifted_depthwise_backward(
    stride: int, same: bool, saved: tuple[Array, Array], grad: Array
) -> tuple[Array, Array]:
    x, kernel = saved
    grad_x = _depthwise_input_gradient(grad, kernel, x.shape, stride, same)
    return grad_x, _depthwise_kernel_gradient(x, grad, kernel.shape[0], stride, same).astype(kernel.dtype)


def _depthwise_input_gradient(
    grad: Float[Array, "n h2 w2 c"],
    kernel: Float[Array, "k k c"],
    shape: tuple[int, ...],
    stride: int,
    same: bool,
) -> Float[Array, "n h w c"]:
    """Sums of shifted gradients, one for each remainder of row and column by the stride, woven together."""
    size, half = kernel.shape[0], kernel.shape[0] // 2
    _, height, width, _ = shape
    n, rows, columns, c = grad.shape
    (top, _), (left, _) = _paddings(shape[1:3], size, stride, same)
    padded = _padded(grad, (half, half), (half, half))

    def taps(remainder: int, before: int) -> list[tuple[int, int]]:
        """Places of the kernel that pixels of this remainder are seen at, and how far off the seeing output is."""
        return [(i, (remainder + before - i) // stride) for i in range(size) if (remainder + before - i) % stride == 0]

    def of_remainder(a: int, b: int) -> Array:
        products = (
            padded[:, half + di : half + di + rows, half + dj : half + dj + columns] * kernel[i, j].astype(jnp.float32)
            for i, di in taps(a, top)
            for j, dj in taps(b, left)
        )
        return sum(products, jnp.zeros((n, rows, columns, c), jnp.float32))

    woven = _woven([_woven([of_remainder(a, b) for b in range(stride)], 2) for a in range(stride)], 1)
    return woven[:, :height, :width].astype(grad.dtype)


def _woven(maps: list[Float[Array, "n h w c"]], axis: int) -> Float[Array, "n h2 w2 c"]:
    """Maps in turns along `axis`, each place by choice: were they stacked, XLA would take three times as long."""
    shape = [size * len(maps) if i == axis else size for i, size in enumerate(maps[0].shape)]
    turn = jax.lax.broadcasted_iota(jnp.int32, shape, axis) % len(maps)
    return jax.lax.select_n(turn, *(jnp.repeat(one, len(maps), axis) for one in maps))


def _depthwise_kernel_gradient(
    x: Float[Array, "n h w c"], grad: Float[Array, "n h2 w2 c"], size: int, stride: int, same: bool
) -> Float[Array, "k k c"]:
    """Products of shifted rows with the rows of the output's gradient, summed over rows first, over columns last."""
    n, rows, columns, c = grad.shape
    padded = _padded(x, *_paddings(x.shape[1:3], size, stride, same))
    seen_from = jnp.arange(size)[:, None] + stride * jnp.arange(columns)  # (k, columns), by each place of the kernel

    def add_row(total: Array, index: Array) -> tuple[Array, None]:
        image, row = index // rows, index % rows
        seen = jax.lax.dynamic_slice(padded, (image, row * stride, 0, 0), (1, size, padded.shape[2], c))[0]
        of_row = jax.lax.dynamic_slice(grad, (image, row, 0, 0), (1, 1, columns, c))[0, 0].astype(jnp.float32)
        return total + seen[:, seen_from] * of_row, None  # (k, k, columns, c)

    total, _ = jax.lax.scan(add_row, jnp.zeros((size, size, columns, c), jnp.float32), jnp.arange(n * rows))
    return total.sum(2)


def _paddings(size: tuple[int, ...], kernel: int, stride: int, same: bool) -> tuple[tuple[int, int], tuple[int, int]]:
    return padding(size[0], kernel, stride, same), padding(size[1], kernel, stride, same)


def _padded(x: Array, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
    """`x` with zeros round it, written out once and not made anew in each product."""
    return jax.lax.optimization_barrier(jnp.pad(x, ((0, 0), rows, columns, (0, 0))))


_shifted_depthwise.defvjp(_shifted_depthwise_forward, _shifted_depthwise_backward)
