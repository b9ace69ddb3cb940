"""1x1 and 3x3 convolutions whose kernel gradients are written out for CPUs.

benchmarks/conv.py times them against XLA's.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.export import is_symbolic_dim
from jaxtyping import Float

from wbcjax.ops.conv import paddings, xla_conv

MANY_PIXELS = 48 * 64  # of a batch of feature maps, from which `_conv3x3_many` is faster
STRIP_PIXELS = 2048  # of one product in its kernel gradient
FEW_CHANNELS = 4  # as many as an image's


def conv(
    x: Float[Array, "n h w c"], kernel: Float[Array, "kh kw c k"], stride: int, same: bool
) -> Float[Array, "n h2 w2 k"]:
    """A convolution with an odd kernel, in the form that suits its shapes; `same` as in `wbcjax.ops.conv.padding`."""
    size = kernel.shape[0]
    if size == 1:
        x = x[:, ::stride, ::stride]
        return _product(x.reshape(-1, x.shape[-1]), kernel[0, 0]).reshape(*x.shape[:-1], -1)
    if size == 3 and stride == 1 and _many_pixels(x):
        return _conv3x3_many(x, kernel)
    if size == 3 and stride > 1 and x.shape[-1] <= FEW_CHANNELS:
        return _conv3x3_few(x, kernel, stride, same)
    return xla_conv(x, kernel, stride, same)


def _many_pixels(x: Float[Array, "n h w c"]) -> bool:
    # Only exports have an unknown batch size. They need no gradient, and the forms differ in the gradient alone.
    return not is_symbolic_dim(x.shape[0]) and math.prod(x.shape[:3]) >= MANY_PIXELS


@jax.custom_vjp
def _product(x: Float[Array, "p c"], kernel: Float[Array, "c k"]) -> Float[Array, "p k"]:
    """`x @ kernel`, whose kernel gradient reads both operands in their memory layout, that of fewer channels first.

    XLA by itself recomputes `grad` in transposed order. With more channels first the product takes up to twice as long.
    """
    return jnp.dot(x, kernel)


def _product_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return jnp.dot(x, kernel), (x, kernel)


def _product_backward(saved: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    x, kernel = saved
    x, grad = jax.lax.optimization_barrier((x, grad))
    if x.shape[1] <= grad.shape[1]:
        grad_kernel = _over_pixels(x, grad)
    else:  # the barrier keeps XLA from swapping the operands back
        grad_kernel = jax.lax.optimization_barrier(_over_pixels(grad, x)).T
    return jnp.dot(grad, kernel.T), grad_kernel.astype(kernel.dtype)


def _over_pixels(x: Float[Array, "p c"], grad: Float[Array, "p k"]) -> Float[Array, "c k"]:
    return jax.lax.dot_general(x, grad, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)


_product.defvjp(_product_forward, _product_backward)


@jax.custom_vjp
def _conv3x3_many(x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c k"]) -> Float[Array, "n h w k"]:
    """A 3x3 convolution whose kernel gradient is written out."""
    return xla_conv(x, kernel, 1)


def _conv3x3_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return xla_conv(x, kernel, 1), (x, kernel)


def _conv3x3_backward(saved: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    x, kernel = saved
    # The kernel is flipped here: inside a loop XLA would not copy it, and run at a tenth of the speed.
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    return xla_conv(grad, flipped, 1), _kernel_gradient(x, grad)


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
    """A 3x3 convolution of few channels whose kernel gradient is written out."""
    return xla_conv(x, kernel, stride, same)


def _conv3x3_few_forward(x: Array, kernel: Array, stride: int, same: bool) -> tuple[Array, tuple[Array, Array]]:
    return xla_conv(x, kernel, stride, same), (x, kernel)


def _conv3x3_few_backward(stride: int, same: bool, saved: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    """The kernel's gradient is one matrix product with the pixels of its nine positions side by side (im2col)."""
    x, kernel = saved
    grad_x = jax.vjp(lambda x: xla_conv(x, kernel, stride, same), x)[1](grad)[0]
    padded = jnp.pad(x, ((0, 0), *paddings(x.shape[1:3], 3, stride, same), (0, 0)))
    last_row, last_column = ((size - 1) * stride for size in grad.shape[1:3])
    places = [
        padded[:, i : i + last_row + 1 : stride, j : j + last_column + 1 : stride] for i in range(3) for j in range(3)
    ]
    seen, grad = jax.lax.optimization_barrier((jnp.concatenate(places, -1), grad))  # (n, h2, w2, 9 c)
    grad_kernel = _over_pixels(seen.reshape(-1, seen.shape[-1]), grad.reshape(-1, grad.shape[-1]))
    return grad_x, grad_kernel.reshape(kernel.shape).astype(kernel.dtype)


_conv3x3_few.defvjp(_conv3x3_few_forward, _conv3x3_few_backward)
