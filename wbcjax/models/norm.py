"""Normalisation layers of the backbone and the heads, chosen by name."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from wbcjax.ops.batch_norm import normalize, normalize_by_batch

GROUPS = 32  # GroupNorm paper, section 3
FROZEN = ("frozen_bn", "bn_frozen_stats")  # kinds that use stored statistics also in training


class FrozenBatchNorm(nn.Module):
    """Batch normalisation by stored statistics; scale and bias are stored too and never trained."""

    epsilon: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        def stored(name: str, fill: Callable[..., Array]) -> Array:
            return self.variable("batch_stats", name, fill, (x.shape[-1],)).value

        scale, bias = stored("scale", jnp.ones), stored("bias", jnp.zeros)
        mean, var = stored("mean", jnp.zeros), stored("var", jnp.ones)
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        return x * factor.astype(self.dtype) + (bias - mean * factor).astype(self.dtype)


class BatchNorm(nn.Module):
    """Batch normalisation, with `train` by the statistics of the batch.

    `swish` applies that activation too. With `axis_name`, the statistics are those of the batches of all its devices.
    """

    epsilon: float = 1e-5
    momentum: float = 0.99  # of the stored statistics
    dtype: DTypeLike = jnp.float32
    train: bool = False
    swish: bool = False
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        shape = x.shape[-1:]
        ones, zeros = nn.initializers.ones, nn.initializers.zeros
        scale, bias = (jnp.asarray(self.param(*one, shape)) for one in (("scale", ones), ("bias", zeros)))
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        var = self.variable("batch_stats", "var", jnp.ones, shape)
        if not self.train:
            stored = jnp.asarray(mean.value), jnp.asarray(var.value)
            return normalize(x, *stored, scale, bias, self.epsilon, self.swish).astype(self.dtype)
        y, *of_batch = tuple(normalize_by_batch(x, scale, bias, self.epsilon, self.swish, self.axis_name))
        if not self.is_initializing():
            for stored, new in zip((mean, var), of_batch, strict=True):
                stored.value = self.momentum * stored.value + (1 - self.momentum) * new
        return y.astype(self.dtype)


def norm_layer(
    kind: str, epsilon: float, dtype: DTypeLike, train: bool = False, axis_name: str | None = None
) -> Callable[..., nn.Module]:
    """The constructor of a normalisation layer: `norm_layer("bn", ...)(name="bn1")`.

    In training, "bn" uses the statistics of the batches of all devices of `axis_name`. "bn_frozen_stats" uses the
    stored ones and trains scale and bias: Matterport's with TRAIN_BN False. "frozen_bn" trains neither.
    """
    batch_norm = functools.partial(BatchNorm, momentum=0.9, epsilon=epsilon, dtype=dtype)
    layers: dict[str, Callable[..., nn.Module]] = {
        "frozen_bn": functools.partial(FrozenBatchNorm, epsilon=epsilon, dtype=dtype),
        "bn_frozen_stats": batch_norm,
        "bn": functools.partial(batch_norm, train=train, axis_name=axis_name if train else None),
        "gn": functools.partial(nn.GroupNorm, num_groups=GROUPS, epsilon=epsilon, dtype=dtype),
    }
    return layers[kind]
