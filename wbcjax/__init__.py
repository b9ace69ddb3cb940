"""wbcjax finds, outlines and names cancerous white blood cells in microscope images of stained smears."""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wbcjax.predict.detector import load as load

try:
    __version__ = version("wbcjax")
except PackageNotFoundError:  # a checkout that was not installed
    __version__ = "unknown"


def __getattr__(name: str) -> Any:
    """`wbcjax.load`, imported when first asked for: rooms without jax must be importable without it."""
    if name == "load":
        from wbcjax.predict.detector import load

        return load
    raise AttributeError(f"module 'wbcjax' has no attribute {name!r}")
