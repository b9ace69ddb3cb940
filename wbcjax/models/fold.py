"""Batch normalisation by stored statistics folded into the kernels before it, for EfficientNets at prediction.

It makes a Mask R-CNN no faster on a CPU (docs/performance.md).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from wbcjax.models.norm import BatchNorm
from wbcjax.models.variables import Variables


def fold(variables: Variables, epsilon: float) -> Variables:
    """Variables for a `folded` network: kernels times their norm's factor, and the norm's offset as its bias.

    A convolution without bias and its norm have names such as stem_conv and stem_bn. A folded norm has no statistics
    any more. Other norms are left as they are.
    """
    flat: dict[tuple[str, ...], Any] = flatten_dict(variables)
    for kind, *path, name, what in [path for path in flat if len(path) > 2]:
        kernel = "params", *path, f"{name.removesuffix('bn')}conv", "kernel"
        if (kind, what) != ("batch_stats", "mean") or not name.endswith("_bn") or kernel not in flat:
            continue
        mean, var = (flat.pop(("batch_stats", *path, name, statistic)) for statistic in ("mean", "var"))
        scale, bias = (("params", *path, name, weight) for weight in ("scale", "bias"))
        factor = flat[scale] / jnp.sqrt(var + epsilon)
        flat |= {kernel: flat[kernel] * factor, bias: flat[bias] - mean * factor}
    return unflatten_dict(flat)


def folded(network: Callable[..., Any]) -> Callable[..., Any]:
    """`network` on variables of `fold`: batch norms that were folded only add their bias.

    It can be pickled where `network` can.
    """
    return partial(_run_folded, network)


def _run_folded(network: Callable[..., Any], *args: Any) -> Any:
    with nn.intercept_methods(_add_bias):
        return network(*args)


def _add_bias(
    call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], context: nn.module.InterceptorContext
) -> Any:
    norm = context.module
    folds = isinstance(norm, BatchNorm) and context.method_name == "__call__"
    if not folds or norm.has_variable("batch_stats", "mean"):
        return call(*args, **kwargs)
    y = args[0] + norm.get_variable("params", "bias").astype(norm.dtype)
    return nn.swish(y) if norm.swish else y
