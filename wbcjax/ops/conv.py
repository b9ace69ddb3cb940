"""Convolutions as XLA has them, the padding of PyTorch and TensorFlow, and pooling."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def xla_conv(
    x: Float[Array, "n h w c"], kernel: Float[Array, "kh kw _ k"], stride: int, same: bool = False, groups: int = 1
) -> Float[Array, "n h2 w2 k"]:
    """A convolution with an odd square kernel, in `groups` of the channels; `same` as in `padding`."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        paddings(x.shape[1:3], kernel.shape[0], stride, same),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def padding(size: int, kernel: int, stride: int, same: bool) -> tuple[int, int]:
    """Zeros before and after `size` pixels that leave ceil(size / stride) of them.

    Half the kernel on either side, as in PyTorch. With `same` only as many as the stride uses, as TensorFlow's SAME:
    where their number is odd, one less before than after.
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return (total // 2, total - total // 2) if same else (kernel // 2, kernel // 2)


def paddings(size: tuple[int, ...], kernel: int, stride: int, same: bool) -> tuple[tuple[int, int], tuple[int, int]]:
    """`padding` of height and width."""
    return padding(size[0], kernel, stride, same), padding(size[1], kernel, stride, same)


def max_pool_3x3(x: Float[Array, "n h w c"], same: bool) -> Float[Array, "n h/2 w/2 c"]:
    """Max pooling, 3x3 with stride 2; `same` pads below and on the right only, as TensorFlow does, else on all sides.

    Written as maxima of slices. On a CPU they take less than half the time of XLA's window reduction, forward and
    backward (benchmarks/conv.py). Sizes are even.
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
