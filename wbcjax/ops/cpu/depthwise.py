"""Depthwise convolutions for CPUs, forward and backward (benchmarks/conv.py times them against XLA's)."""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from wbcjax.ops.conv import paddings


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise(
    x: Float[Array, "n h w c"], kernel: Float[Array, "k k c"], stride: int, same: bool
) -> Float[Array, "n h2 w2 c"]:
    """A depthwise convolution with an odd kernel as a sum of shifted maps: XLA's takes tens of times as long."""
    return _sum_of_shifted(x, kernel, stride, same)


def _sum_of_shifted(
    x: Float[Array, "n h w c"], kernel: Float[Array, "k k c"], stride: int, same: bool
) -> Float[Array, "n h2 w2 c"]:
    n, height, width, c = x.shape
    size, (top, bottom), (left, right) = kernel.shape[0], *paddings(x.shape[1:3], kernel.shape[0], stride, same)
    padded = _padded(x, (top, bottom), (left, right))
    last_row, last_column = (height - 1) // stride * stride, (width - 1) // stride * stride
    products = (
        jax.lax.slice(padded, (0, i, j, 0), (n, i + last_row + 1, j + last_column + 1, c), (1, stride, stride, 1))
        * kernel[i, j].astype(jnp.float32)
        for i in range(size)
        for j in range(size)
    )
    return sum(products, jnp.zeros((), jnp.float32)).astype(x.dtype)


def _forward(x: Array, kernel: Array, stride: int, same: bool) -> tuple[Array, tuple[Array, Array]]:
    return _sum_of_shifted(x, kernel, stride, same), (x, kernel)


def _backward(stride: int, same: bool, saved: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    x, kernel = saved
    grad_x = _input_gradient(grad, kernel, x.shape, stride, same)
    return grad_x, _kernel_gradient(x, grad, kernel.shape[0], stride, same).astype(kernel.dtype)


def _input_gradient(
    grad: Float[Array, "n h2 w2 c"],
    kernel: Float[Array, "k k c"],
    shape: tuple[int, ...],
    stride: int,
    same: bool,
) -> Float[Array, "n h w c"]:
    """Sums of shifted gradients, one for each remainder of row and column by the stride, interleaved."""
    size, half = kernel.shape[0], kernel.shape[0] // 2
    _, height, width, _ = shape
    n, rows, columns, c = grad.shape
    (top, _), (left, _) = paddings(shape[1:3], size, stride, same)
    padded = _padded(grad, (half, half), (half, half))

    def taps(remainder: int, before: int) -> list[tuple[int, int]]:
        """Kernel positions that read pixels of this remainder, and the offset of the output that does."""
        return [(i, (remainder + before - i) // stride) for i in range(size) if (remainder + before - i) % stride == 0]

    def of_remainder(a: int, b: int) -> Array:
        products = (
            padded[:, half + di : half + di + rows, half + dj : half + dj + columns] * kernel[i, j].astype(jnp.float32)
            for i, di in taps(a, top)
            for j, dj in taps(b, left)
        )
        return sum(products, jnp.zeros((n, rows, columns, c), jnp.float32))

    rows_of = [_interleaved([of_remainder(a, b) for b in range(stride)], 2) for a in range(stride)]
    return _interleaved(rows_of, 1)[:, :height, :width].astype(grad.dtype)


def _interleaved(maps: list[Float[Array, "n h w c"]], axis: int) -> Float[Array, "n h2 w2 c"]:
    """Maps in turn along `axis`, by selection: stacking them would take XLA three times as long."""
    shape = [size * len(maps) if i == axis else size for i, size in enumerate(maps[0].shape)]
    turn = jax.lax.broadcasted_iota(jnp.int32, shape, axis) % len(maps)
    return jax.lax.select_n(turn, *(jnp.repeat(one, len(maps), axis) for one in maps))


def _kernel_gradient(
    x: Float[Array, "n h w c"], grad: Float[Array, "n h2 w2 c"], size: int, stride: int, same: bool
) -> Float[Array, "k k c"]:
    """Products of shifted rows with the rows of the output's gradient, summed over rows first, over columns last."""
    n, rows, columns, c = grad.shape
    padded = _padded(x, *paddings(x.shape[1:3], size, stride, same))
    seen_from = jnp.arange(size)[:, None] + stride * jnp.arange(columns)  # (k, columns), by each place of the kernel

    def add_row(total: Array, index: Array) -> tuple[Array, None]:
        image, row = index // rows, index % rows
        seen = jax.lax.dynamic_slice(padded, (image, row * stride, 0, 0), (1, size, padded.shape[2], c))[0]
        of_row = jax.lax.dynamic_slice(grad, (image, row, 0, 0), (1, 1, columns, c))[0, 0].astype(jnp.float32)
        return total + seen[:, seen_from] * of_row, None  # (k, k, columns, c)

    total, _ = jax.lax.scan(add_row, jnp.zeros((size, size, columns, c), jnp.float32), jnp.arange(n * rows))
    return total.sum(2)


def _padded(x: Array, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
    """`x` with zeros around it, written to memory once rather than recomputed in each product."""
    return jax.lax.optimization_barrier(jnp.pad(x, ((0, 0), rows, columns, (0, 0))))


depthwise.defvjp(_forward, _backward)
