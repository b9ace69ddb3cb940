"""Initial values of a network's variables, by the initialisers of its modules, without compilation."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from wbcjax.models.variables import Variables


def drawn(draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]) -> nn.initializers.Initializer:
    """The initialiser with the values of `draw`, from NumPy's generator, seeded by the key, and a shape; on the host.

    JAX's own initialisers compile a program for each shape: most of a minute for those of an EfficientNet-B3.
    """

    def initialise(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        def on_host(data: Any) -> np.ndarray:
            return draw(np.random.default_rng(np.asarray(data)), tuple(shape)).astype(dtype)

        data = jax.random.key_data(key)
        if isinstance(data, Tracer):
            return jax.pure_callback(on_host, jax.ShapeDtypeStruct(shape, dtype), data)
        return jnp.asarray(on_host(data))

    return initialise


def he_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A kernel (h, w, in, out), or (h, w, channels) of a depthwise convolution, of He et al. 2015 by its outputs."""
    outputs = shape[3] if len(shape) == 4 else 1  # channels that read each input at each position of the kernel
    return rng.standard_normal(shape, np.float32) * np.float32((2 / (shape[0] * shape[1] * outputs)) ** 0.5)


def initial_values(network: nn.Module, seed: int, *shapes: jax.ShapeDtypeStruct) -> Variables:
    """Fresh variables of `network` in host memory, for inputs of these `shapes`: those of its `init`.

    Only the shapes of its forward pass are computed. Initialisers depend on the key and not on the inputs, and are
    evaluated one by one.
    """
    found: Variables = {}
    key = jax.random.key(seed)

    def forward(*inputs: Array) -> None:
        with jax.ensure_compile_time_eval():
            found.update(network.init(key, *inputs))  # pyright: ignore[reportCallIssue, reportArgumentType]

    jax.eval_shape(forward, *shapes)
    return jax.device_get(found)
