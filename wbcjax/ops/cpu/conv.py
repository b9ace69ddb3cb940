"""Convolutions whose kernel gradients are written out for CPUs.

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

MANY_PIXELS = 32 * 32  # of the outputs for a batch, from which the kernel's gradient is faster written out
STRIP_PIXELS = 2048  # of one product in it
FEW_CHANNELS = 4  # as many as an image's


def conv(
    x: Float[Array, "n h w c"], kernel: Float[Array, "kh kw c k"], stride: int, same: bool
) -> Float[Array, "n h2 w2 k"]:
    """A convolution with an odd kernel, in the form that suits its shapes; `same` as in `wbcjax.ops.conv.padding`."""
    if kernel.shape[0] == 1:
        x = x[:, ::stride, ::stride]
        return _product(x.reshape(-1, x.shape[-1]), kernel[0, 0]).reshape(*x.shape[:-1], -1)
    if _many_pixels(x, stride):
        return _conv_of_many(x, kernel, stride, same)
    return xla_conv(x, kernel, stride, same)


def _many_pixels(x: Float[Array, "n h w c"], stride: int) -> bool:
    # Only exports have an unknown batch size. They need no gradient, and the forms differ in the gradient alone.
    n, h, w, _ = x.shape
    return not is_symbolic_dim(n) and math.prod((n, -(-h // stride), -(-w // stride))) >= MANY_PIXELS


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


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv_of_many(
    x: Float[Array, "n h w c"], kernel: Float[Array, "s s c k"], stride: int, same: bool
) -> Float[Array, "n h2 w2 k"]:
    """A convolution whose kernel gradient is written out."""
    return xla_conv(x, kernel, stride, same)


def _conv_forward(x: Array, kernel: Array, stride: int, same: bool) -> tuple[Array, tuple[Array, Array]]:
    return xla_conv(x, kernel, stride, same), (x, kernel)


def _conv_backward(stride: int, same: bool, saved: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    x, kernel = saved
    if stride == 1:
        # The kernel is flipped here: inside a loop XLA would not copy it, and run at a tenth of the speed.
        grad_x = xla_conv(grad, kernel[::-1, ::-1].swapaxes(2, 3), 1)
    else:
        grad_x = jax.vjp(lambda x: xla_conv(x, kernel, stride, same), x)[1](grad)[0]
    return grad_x, _kernel_gradient(x, grad, kernel.shape[0], stride, same).astype(kernel.dtype)


def _kernel_gradient(
    x: Float[Array, "n h w c"], grad: Float[Array, "n h2 w2 k"], size: int, stride: int, same: bool
) -> Float[Array, "s s c k"]:
    """Products of the pixels at each place of the kernel with the output's gradient, in strips that stay in cache.

    A strip is some rows of an image, or some small images.
    """
    n, h, w, k = grad.shape
    c, few = x.shape[-1], x.shape[-1] <= FEW_CHANNELS
    rows = max(r for r in range(1, h + 1) if h % r == 0 and (r == 1 or r * w <= STRIP_PIXELS))
    images = max(i for i in range(1, n + 1) if n % i == 0 and (i == 1 or i * h * w <= STRIP_PIXELS))
    padded = jnp.pad(x, ((0, 0), *paddings(x.shape[1:3], size, stride, same), (0, 0)))
    last_row, last_column = (rows - 1) * stride, (w - 1) * stride

    def add_strip(total: Array, strip: Array) -> tuple[Array, None]:
        image, row = strip // (h // rows) * images, strip % (h // rows) * rows
        pixels = jax.lax.dynamic_slice(
            padded, (image, row * stride, 0, 0), (images, last_row + size, last_column + size, c)
        )
        grads = jax.lax.dynamic_slice(grad, (image, row, 0, 0), (images, rows, w, k)).reshape(-1, k)
        # Turned where it is the left factor of nine products: they take three quarters of the time.
        pixels, grads = jax.lax.optimization_barrier((pixels, grads if few else grads.T))  # cut out once for all
        places = [
            pixels[:, i : i + last_row + 1 : stride, j : j + last_column + 1 : stride].reshape(-1, c)
            for i in range(size)
            for j in range(size)
        ]
        if few:  # side by side: products of so few columns would be slow
            return total + _over_pixels(jax.lax.optimization_barrier(jnp.concatenate(places, -1)), grads), None
        return total + jnp.stack([jnp.dot(grads, x, preferred_element_type=jnp.float32) for x in places]), None

    total = jnp.zeros((size * size * c, k) if few else (size * size, k, c), jnp.float32)
    total, _ = jax.lax.scan(add_strip, total, jnp.arange(n // images * (h // rows)))
    return (total if few else total.swapaxes(1, 2)).reshape(size, size, c, k)


_conv_of_many.defvjp(_conv_forward, _conv_backward)
