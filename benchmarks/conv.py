"""How long our forms of convolution and pooling take on this machine, against XLA's own: `python benchmarks/conv.py`.

Forward and backward together, float32, one row a layer of ResNet-18-FPN at 384 x 512 in batches of 4, or, by
stride 2, of EfficientNet-B3 in batches of 8. Both forms are timed in turn, in one process; the table gives medians and
their ratio (below 1 ours is faster).
"""

import sys
from collections.abc import Callable
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a script it sees its own folder alone

from benchmarks.timing import Task, median, race
from wbcjax.ops.conv import max_pool_3x3
from wbcjax.ops.cpu.conv import conv
from wbcjax.ops.cpu.depthwise import depthwise

ROUNDS = 9


def xla_conv(x: jax.Array, kernel: jax.Array, stride: int = 1, groups: int = 1) -> jax.Array:
    pad, dimensions = kernel.shape[0] // 2, ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), [(pad, pad)] * 2, dimension_numbers=dimensions, feature_group_count=groups
    )


def xla_depthwise_by_2(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return xla_conv(x, kernel[:, :, None], 2, x.shape[-1])


def xla_pool(x: jax.Array, _: jax.Array) -> jax.Array:
    return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))  # type: ignore[arg-type]


CASES: dict[str, tuple[Callable, Callable, tuple[int, ...], tuple[int, ...]]] = {
    "3x3, 96x128, 64 channels": (lambda x, k: conv(x, k, 1, False), xla_conv, (4, 96, 128, 64), (3, 3, 64, 64)),
    "3x3, 96x128, 128 channels": (lambda x, k: conv(x, k, 1, False), xla_conv, (4, 96, 128, 128), (3, 3, 128, 128)),
    "1x1, 96x128, 64 to 128": (lambda x, k: conv(x, k, 1, False), xla_conv, (4, 96, 128, 64), (1, 1, 64, 128)),
    "1x1, 12x16, 512 to 128": (lambda x, k: conv(x, k, 1, False), xla_conv, (4, 12, 16, 512), (1, 1, 512, 128)),
    "3x3 by 2, 300x300, 3 to 40": (
        lambda x, k: conv(x, k, 2, False),
        lambda x, k: xla_conv(x, k, 2),
        (8, 300, 300, 3),
        (3, 3, 3, 40),
    ),
    "depthwise 5x5 by 2, 75x75": (
        lambda x, k: depthwise(x, k, 2, False),
        xla_depthwise_by_2,
        (8, 75, 75, 192),
        (5, 5, 192),
    ),
    "pool 3x3, 192x256, 64": (lambda x, _: max_pool_3x3(x, False), xla_pool, (4, 192, 256, 64), (1,)),
}


def main() -> None:
    print(f"{'layer':28}{'XLA, ms':>10}{'ours, ms':>10}{'ratio':>8}")
    rng = np.random.default_rng(0)
    for name, (ours, theirs, shape, kernel_shape) in CASES.items():
        x, kernel = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in (shape, kernel_shape))
        times = race({"XLA": gradient(theirs, x, kernel), "ours": gradient(ours, x, kernel)}, ROUNDS)
        xla, own = (1000 * median(taken).wall for taken in times.values())
        print(f"{name:28}{xla:10.1f}{own:10.1f}{own / xla:8.2f}")


def gradient(layer: Callable, x: jax.Array, kernel: jax.Array) -> Task:
    step = jax.jit(jax.grad(lambda x, kernel: jnp.sum(layer(x, kernel) ** 2), argnums=(0, 1)))
    return lambda: jax.block_until_ready(step(x, kernel))


if __name__ == "__main__":
    main()
