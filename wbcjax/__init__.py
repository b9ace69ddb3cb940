"""wbcjax finds, outlines and names cancerous white blood cells in microscope images of stained smears.

- `load("runs/x")`: a trained model; `.predict("image.png")` finds the cells of an image
- `load_classifier("runs/y")`: a trained classifier of crops of cells
- `read(annotations, images)`: annotated fields from files of any known format
- `enhance`: the contrast of images
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wbcjax import enhance
    from wbcjax.predict.classifier import load_classifier
    from wbcjax.predict.detector import load
    from wbcjax.smear.read import read

__all__ = ["__version__", "enhance", "load", "load_classifier", "read"]

try:
    __version__ = version("wbcjax")
except PackageNotFoundError:  # a checkout that was not installed
    __version__ = "unknown"

_ROOM_OF = {"load": "predict.detector", "load_classifier": "predict.classifier", "read": "smear.read"}


def __getattr__(name: str) -> Any:
    """What `__all__` has, imported when first asked for: rooms without jax must be importable without it."""
    if name == "enhance":
        return import_module("wbcjax.enhance")
    if name in _ROOM_OF:
        return getattr(import_module(f"wbcjax.{_ROOM_OF[name]}"), name)
    raise AttributeError(f"module 'wbcjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
