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


class BatchNorm(nn.BatchNorm):
    """Batch normalisation, in training by the statistics of the batch. `wbcjax.train.layers` can overrule the call."""

    train: bool = False

    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        return super().__call__(x, use_running_average=not self.train)


def norm_layer(
    kind: str, epsilon: float, dtype: DTypeLike, train: bool, axis_name: str | None
) -> Callable[..., nn.Module]:
    """The constructor of a normalisation layer: `norm_layer("bn", ...)(name="bn1")`.

    In training, "bn" takes its statistics over the batches of all devices of `axis_name`.
    """
    batch_norm = functools.partial(BatchNorm, momentum=0.9, epsilon=epsilon, dtype=dtype)
    layers: dict[str, Callable[..., nn.Module]] = {
        "frozen_bn": functools.partial(FrozenBatchNorm, epsilon=epsilon, dtype=dtype),
        "bn": functools.partial(batch_norm, train=train, axis_name=axis_name if train else None),
        "gn": functools.partial(nn.GroupNorm, num_groups=GROUPS, epsilon=epsilon, dtype=dtype),
    }
    if kind not in layers:
        raise ValueError(f"config.model.backbone.norm is {kind!r}; choose one of {', '.join(layers)}")
    return layers[kind]
