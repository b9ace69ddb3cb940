"""What every test runs under: eight CPU devices, a compilation cache that outlives the run, repeatable properties."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
from hypothesis import settings

# All of it is read when jax is imported or first used, and child processes inherit it.
try:
    home = Path.home()
except RuntimeError:  # there is none
    home = Path(tempfile.gettempdir())
cache = Path(os.environ.get("WBCJAX_CACHE") or home / ".cache/wbcjax").expanduser()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
# Level 0 is LLVM's: tests compile far more than they compute, and compile a third faster without its optimisations.
ours = "--xla_backend_optimization_level=0 --xla_force_host_platform_device_count=8"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {ours}".lstrip()

# A run in the background inherits an ignored Ctrl-C, and Python then leaves it so; tests of stopping need it heard.
signal.signal(signal.SIGINT, signal.default_int_handler)

# CI draws more: `make test ARGS=--hypothesis-profile=thorough`.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=20)
settings.register_profile("thorough", derandomize=True, deadline=None, max_examples=100)
settings.load_profile("repeatable")


@pytest.fixture
def unchecked_types() -> Iterator[None]:
    """Switches the run-time check of signatures off, so that a function shows its own refusal of what they forbid."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
