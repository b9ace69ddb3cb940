"""Normalisation layers of the backbone and the heads, chosen by name."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

GROUPS = 32  # GroupNorm paper, section 3


class FrozenBatchNorm(nn.Module):
    """Batch normalisation by stored statistics; scale and bias are stored too and never trained."""

    epsilon: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        def stored(name: str, fill: Callable) -> Array:
            return self.variable("batch_stats", name, fill, (x.shape[-1],)).value

        scale, bias = stored("scale", jnp.ones), stored("bias", jnp.zeros)
        mean, var = stored("mean", jnp.zeros), stored("var", jnp.ones)
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        return x * factor.astype(self.dtype) + (bias - mean * factor).astype(self.dtype)


class BatchNorm(nn.Module):
    """Batch normalisation, in training by the statistics of the batch. `wbcjax.train.layers` can overrule the call.

    With `swish`, that of what it gives. With `axis_name`, the statistics are those of the batches of all its devices.
    """

    epsilon: float = 1e-5
    momentum: float = 0.99  # of the stored statistics
    dtype: DTypeLike = jnp.float32
    train: bool = False
    swish: bool = False
    axis_name: str | None = None

    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        return self.normalize(x, use_stored=not self.train)

    @nn.compact
    def normalize(self, x: Float[Array, "*b c"], use_stored: bool) -> Float[Array, "*b c"]:
        shape = x.shape[-1:]
        ones, zeros = nn.initializers.ones, nn.initializers.zeros
        scale, bias = (jnp.asarray(self.param(*one, shape)) for one in (("scale", ones), ("bias", zeros)))
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        var = self.variable("batch_stats", "var", jnp.ones, shape)
        if use_stored:
            stored = jnp.asarray(mean.value), jnp.asarray(var.value)
            return _normalized(x, *stored, scale, bias, self.epsilon, self.swish).astype(self.dtype)
        y, *of_batch = tuple(_normalize_by_batch(x, scale, bias, self.epsilon, self.swish, self.axis_name))
        if not self.is_initializing():
            for stored, new in zip((mean, var), of_batch, strict=True):
                stored.value = self.momentum * stored.value + (1 - self.momentum) * new
        return y.astype(self.dtype)


def norm_layer(
    kind: str, epsilon: float, dtype: DTypeLike, train: bool = False, axis_name: str | None = None
) -> Callable[..., nn.Module]:
    """The constructor of a normalisation layer: `norm_layer("bn", ...)(name="bn1")`.

    In training, "bn" takes its statistics over the batches of all devices of `axis_name`. "bn_frozen_stats" keeps to
    the stored ones and trains scale and bias: Matterport's with TRAIN_BN False. "frozen_bn" trains neither.
    """
    batch_norm = functools.partial(BatchNorm, momentum=0.9, epsilon=epsilon, dtype=dtype)
    layers: dict[str, Callable[..., nn.Module]] = {
        "frozen_bn": functools.partial(FrozenBatchNorm, epsilon=epsilon, dtype=dtype),
        "bn_frozen_stats": batch_norm,
        "bn": functools.partial(batch_norm, train=train, axis_name=axis_name if train else None),
        "gn": functools.partial(nn.GroupNorm, num_groups=GROUPS, epsilon=epsilon, dtype=dtype),
    }
    if kind not in layers:
        raise ValueError(f"config.model.backbone.norm is {kind!r}; choose one of {', '.join(layers)}")
    return layers[kind]


def _normalized(
    x: Float[Array, "*b c"], mean: Array, var: Array, scale: Array, bias: Array, epsilon: float, swish: bool
) -> Float[Array, "*b c"]:
    factor = scale * jax.lax.rsqrt(var + epsilon)
    y = x * factor + (bias - mean * factor)
    return nn.swish(y) if swish else y


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _normalize_by_batch(
    x: Float[Array, "*b c"],
    scale: Float[Array, " c"],
    bias: Float[Array, " c"],
    epsilon: float,
    swish: bool,
    axis_name: str | None,
) -> tuple[Float[Array, "*b c"], Float[Array, " c"], Float[Array, " c"]]:
    """`x` normalised by the statistics of its batch, and these: mean and variance, to be stored, not to be learned by.

    The gradient is written out so that nothing but `x` need be kept for it, half of what JAX's own keeps: on a CPU
    memory traffic is what the layer costs. Accelerators fuse either; the formula is the same on all backends.
    """
    return _normalize_by_batch_forward(x, scale, bias, epsilon, swish, axis_name)[0]


def _normalize_by_batch_forward(
    x: Array, scale: Array, bias: Array, epsilon: float, swish: bool, axis_name: str | None
) -> tuple[tuple[Array, Array, Array], tuple[Array, ...]]:
    wide = x.astype(jnp.float32)
    mean, square = _means(wide, wide * wide, axis_name)
    var = jnp.maximum(square - mean * mean, 0.0)
    y = _normalized(wide, mean, var, scale, bias, epsilon, swish)
    return (y, mean, var), (x, mean, var, scale, bias)


def _normalize_by_batch_backward(
    epsilon: float, swish: bool, axis_name: str | None, saved: tuple[Array, ...], grads: tuple[Array, Array, Array]
) -> tuple[Array, Array, Array]:
    """Ioffe and Szegedy 2015, section 3."""
    x, mean, var, scale, bias = saved
    grad, centred = grads[0], x.astype(jnp.float32) - mean
    inverse = jax.lax.rsqrt(var + epsilon)
    if swish:
        y = centred * (inverse * scale) + bias
        sigmoid = nn.sigmoid(y)
        grad *= sigmoid * (1 + y * (1 - sigmoid))
    own = [jnp.sum(term, tuple(range(x.ndim - 1))) for term in (grad, grad * centred)]
    count = x.size // x.shape[-1]
    of_grad, of_product = own if axis_name is None else jax.lax.pmean(own, axis_name)
    of_x = scale * inverse * (grad - of_grad / count - centred * (inverse**2 * of_product / count))
    return of_x.astype(x.dtype), own[1] * inverse, own[0]


_normalize_by_batch.defvjp(_normalize_by_batch_forward, _normalize_by_batch_backward)


def _means(a: Float[Array, "*b c"], b: Float[Array, "*b c"], axis_name: str | None) -> tuple[Array, Array]:
    """Means over all axes but the last, and over the devices of `axis_name`."""
    axes = tuple(range(a.ndim - 1))
    means = a.mean(axes), b.mean(axes)
    return means if axis_name is None else jax.lax.pmean(means, axis_name)
