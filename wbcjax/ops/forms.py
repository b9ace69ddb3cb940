"""Which form of an operation is traced, where a CPU is fast with another than an accelerator: both give the same."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import jax

_as_on_accelerators = ContextVar("as_on_accelerators", default=False)


def for_cpu() -> bool:
    """Whether what is traced now takes the forms for CPUs."""
    return jax.default_backend() == "cpu" and not _as_on_accelerators.get()


@contextlib.contextmanager
def accelerator_forms() -> Iterator[None]:
    """While it is entered, what is traced takes the forms for accelerators also where there is none."""
    token = _as_on_accelerators.set(True)
    try:
        yield
    finally:
        _as_on_accelerators.reset(token)
