"""detectron2's `.pkl` files: a pickled dict of NumPy arrays, {"model": {name: array}, "__author__", ...}.

The pickled form of arrays is NumPy's, by `ndarray.__reduce__` and `dtype.__reduce__`.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from wbcjax.weights.pickle_data import Global, is_shape, ordered_dict, read_pickle
from wbcjax.weights.state_dict import find_weights

_NUMBERS = {kind: np.dtype(kind) for kind in ("b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8")}


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays by name, and the other entries as text. Raises OSError; ValueError as `read_pickle` and `find_weights`."""
    saved = read_pickle(path.read_bytes(), _FUNCTIONS, frozenset({"numpy.ndarray"}))
    weights, metadata = find_weights(saved, _Array)
    return {name: weight.array() for name, weight in weights.items()}, metadata


class _Dtype:
    """A dtype under construction."""

    def __init__(self, kind: Any, *_: Any) -> None:
        if _text(kind) not in _NUMBERS:
            raise ValueError(f"it has an array of type {_text(kind)!r}; weights are plain numbers")
        self.dtype = _NUMBERS[kind]

    def set_state(self, state: Any) -> None:
        _, order, *_ = state
        if order not in ("<", ">", "|", "="):
            raise ValueError(f"it has an array of byte order {_text(order)!r}")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """An array under construction: nothing is allocated before its bytes are known to be there."""

    def __init__(self, shape: Any = (), dtype: _Dtype | None = None, data: Any = b"", fortran: bool = False) -> None:
        self.shape, self.dtype, self.data, self.fortran = shape, dtype, data, fortran

    def set_state(self, state: Any) -> None:
        _, self.shape, self.dtype, self.fortran, self.data = state

    def array(self) -> np.ndarray:
        data = self.data.encode("latin-1") if isinstance(self.data, str) else self.data  # text: of Python 2
        if not (isinstance(self.dtype, _Dtype) and isinstance(data, (bytes, bytearray)) and is_shape(self.shape)):
            raise ValueError("it has an array that is not whole; fetch the file again")
        dtype = self.dtype.dtype
        if math.prod(self.shape) * dtype.itemsize != len(data):
            raise ValueError(f"it has an array of shape {self.shape} and {dtype}, but {len(data)} bytes for it")
        return np.frombuffer(data, dtype).reshape(self.shape, order="F" if self.fortran else "C")


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    return _Array(shape, dtype, data, fortran=order == "F")


def _encode(text: Any, encoding: Any) -> bytes:
    if encoding != "latin1":
        raise ValueError(f"its pickle has bytes in the encoding {_text(encoding)!r}; expected latin1")
    return text.encode("latin-1")


def _text(value: Any) -> str:
    """`value` if it is text, else its type: nested tuples may take very long to hash or print, or break the stack."""
    return value if isinstance(value, str) else type(value).__name__


def _reconstruct(kind: Global, *_: Any) -> _Array:
    if kind != Global("numpy.ndarray"):
        raise ValueError("its pickle has an array of a kind other than numpy.ndarray")
    return _Array()


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": ordered_dict,
    "_codecs.encode": _encode,  # bytes, in pickles of protocol 2
    "__builtin__.bytes": lambda: b"",  # empty bytes, in the same
    "numpy.dtype": _Dtype,
}
for _core in ("numpy.core", "numpy._core"):  # before NumPy 2, and since
    _FUNCTIONS[f"{_core}.multiarray._reconstruct"] = _reconstruct
    _FUNCTIONS[f"{_core}.multiarray.scalar"] = lambda dtype, data: _Array((), dtype, data)
    _FUNCTIONS[f"{_core}.numeric._frombuffer"] = _from_buffer  # in pickles of protocol 5
