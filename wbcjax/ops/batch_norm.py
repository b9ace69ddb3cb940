"""Batch normalisation (Ioffe and Szegedy 2015) with a gradient of its own, the same on all backends."""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def normalize(
    x: Float[Array, "*b c"], mean: Array, var: Array, scale: Array, bias: Array, epsilon: float, swish: bool
) -> Float[Array, "*b c"]:
    """`x` normalised by the given statistics, then scaled and shifted; `swish` applies that activation too."""
    factor = scale * jax.lax.rsqrt(var + epsilon)
    y = x * factor + (bias - mean * factor)
    return jax.nn.swish(y) if swish else y


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def normalize_by_batch(
    x: Float[Array, "*b c"],
    scale: Float[Array, " c"],
    bias: Float[Array, " c"],
    epsilon: float,
    swish: bool,
    axis_name: str | None,
) -> tuple[Float[Array, "*b c"], Float[Array, " c"], Float[Array, " c"]]:
    """`x` normalised by the mean and variance of its batch, and these two, through which no gradient flows.

    The gradient is written out, so that only `x` is kept for it: half of what JAX's own gradient keeps. On a CPU the
    layer's cost is memory traffic. Accelerators fuse either form; the formula is the same on all backends.
    """
    return _forward(x, scale, bias, epsilon, swish, axis_name)[0]


def _forward(
    x: Array, scale: Array, bias: Array, epsilon: float, swish: bool, axis_name: str | None
) -> tuple[tuple[Array, Array, Array], tuple[Array, ...]]:
    wide = x.astype(jnp.float32)
    mean, square = _means(wide, wide * wide, axis_name)
    var = jnp.maximum(square - mean * mean, 0.0)
    y = normalize(wide, mean, var, scale, bias, epsilon, swish)
    return (y, mean, var), (x, mean, var, scale, bias)


def _backward(
    epsilon: float, swish: bool, axis_name: str | None, saved: tuple[Array, ...], grads: tuple[Array, Array, Array]
) -> tuple[Array, Array, Array]:
    """Ioffe and Szegedy 2015, section 3."""
    x, mean, var, scale, bias = saved
    grad, centred = grads[0], x.astype(jnp.float32) - mean
    inverse = jax.lax.rsqrt(var + epsilon)
    if swish:
        y = centred * (inverse * scale) + bias
        sigmoid = jax.nn.sigmoid(y)
        grad *= sigmoid * (1 + y * (1 - sigmoid))
    own = [jnp.sum(term, tuple(range(x.ndim - 1))) for term in (grad, grad * centred)]
    count = x.size // x.shape[-1]
    of_grad, of_product = own if axis_name is None else jax.lax.pmean(own, axis_name)
    grad_x = scale * inverse * (grad - of_grad / count - centred * (inverse**2 * of_product / count))
    return grad_x.astype(x.dtype), own[1] * inverse, own[0]


normalize_by_batch.defvjp(_forward, _backward)


def _means(a: Float[Array, "*b c"], b: Float[Array, "*b c"], axis_name: str | None) -> tuple[Array, Array]:
    """Means over all axes but the last, and over the devices of `axis_name`."""
    axes = tuple(range(a.ndim - 1))
    means = a.mean(axes), b.mean(axes)
    return means if axis_name is None else jax.lax.pmean(means, axis_name)
