"""Forms of operations that are fast on CPUs, with the values and gradients of the plain ones.

An operation or a network uses them with `cpu=True`. A network made from a config uses them where `on_cpu()` is true,
unless the caller decides.
"""

import jax


def on_cpu() -> bool:
    """Whether JAX runs on a CPU unless told otherwise."""
    return jax.default_backend() == "cpu"
