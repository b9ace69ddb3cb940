"""Kernels of a byte a weight: whole numbers, with a scale for each output channel (Krishnamoorthi 2018)."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int8, Shaped

SCALE = "::scale"  # ends the name of the scales beside a kernel's
MOST = 127  # symmetric: -128 is not used

Arrays = Mapping[str, Shaped[np.ndarray, "..."]]


def quantise(arrays: Arrays) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Kernels, whose last of two axes or more is the output channel, as int8 beside their scales; others stay."""
    found: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        if array.dtype.kind == "f" and array.ndim > 1:
            found[name], found[name + SCALE] = _quantised(array)
        else:
            found[name] = array
    return found


def dequantise(arrays: Arrays) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The kernels of `quantise` as float32, other arrays as they are. Raises ValueError for scales that do not fit."""
    kernels = {name.removesuffix(SCALE) for name in arrays if name.endswith(SCALE)}
    for name in kernels:
        kernel, scale = arrays.get(name), arrays[name + SCALE]
        if kernel is None or kernel.dtype != np.int8 or scale.shape != kernel.shape[-1:]:
            raise ValueError(f"{name + SCALE!r} is the scale of no kernel in the file; fetch it again")
    return {
        name: array.astype(np.float32) * arrays[name + SCALE] if name in kernels else array
        for name, array in arrays.items()
        if not name.endswith(SCALE)
    }


def _quantised(kernel: Float[np.ndarray, "*inputs out"]) -> tuple[Int8[np.ndarray, "*inputs out"], np.ndarray]:
    """A kernel with its scales (out,), by which its largest weight to each channel becomes `MOST`."""
    largest = np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1)))
    scale = np.where(largest > 0, largest / MOST, 1).astype(np.float32)
    return np.rint(kernel / scale).astype(np.int8), scale
