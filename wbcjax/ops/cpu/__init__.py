"""Forms of operations that are fast on CPUs, with the values and gradients of the plain ones.

They are taken where an operation or a network is told `cpu=True`. A network that is made of a config is told so where
`on_cpu` says it, unless its maker decides.
"""

import jax


def on_cpu() -> bool:
    """Whether JAX runs on a CPU unless told otherwise."""
    return jax.default_backend() == "cpu"
