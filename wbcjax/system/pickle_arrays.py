"""NumPy arrays in pickles, read as data: the form that `ndarray.__reduce__` and `dtype.__reduce__` give them."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from wbcjax.system.pickle_data import Global, is_shape, ordered_dict, read_pickle

_NUMBERS = ("b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8")
_KINDS = {kind: np.dtype(kind) for kind in _NUMBERS} | {"O8": np.dtype(object)}


def read_arrays(data: bytes, what: str) -> Any:
    """The value of a pickle of lists, dicts, texts, numbers and arrays, each array a `PickledArray`.

    Raises ValueError as `read_pickle`; `what` it should hold, in the plural.
    """
    functions = {**_FUNCTIONS, "numpy.dtype": partial(PickledDtype, what)}
    return read_pickle(data, functions, frozenset({"numpy.ndarray"}), what=what)


class PickledDtype:
    """A dtype under construction."""

    def __init__(self, what: str, kind: Any, *_: Any) -> None:
        if _text(kind) not in _KINDS:
            raise ValueError(f"it has an array of type {_text(kind)!r}; {what} are plain numbers")
        self.what, self.dtype = what, _KINDS[kind]

    def set_state(self, state: Any) -> None:
        _, order, *_ = state
        if order not in ("<", ">", "|", "="):
            raise ValueError(f"it has an array of byte order {_text(order)!r}")
        self.dtype = self.dtype.newbyteorder(order)


class PickledArray:
    """An array under construction: nothing is allocated before its bytes are known to be there."""

    def __init__(
        self, shape: Any = (), dtype: PickledDtype | None = None, data: Any = b"", fortran: bool = False
    ) -> None:
        self.shape, self.dtype, self.data, self.fortran = shape, dtype, data, fortran

    def set_state(self, state: Any) -> None:
        _, self.shape, self.dtype, self.fortran, self.data = state

    def objects(self) -> list[Any] | None:
        """The elements of an array of Python objects; None of an array of numbers."""
        of_objects = isinstance(self.dtype, PickledDtype) and self.dtype.dtype == np.dtype(object)
        return self.data if of_objects and isinstance(self.data, list) else None

    def array(self) -> np.ndarray:
        """The array of numbers. Raises ValueError when it is none, or not whole."""
        data = self.data.encode("latin-1") if isinstance(self.data, str) else self.data  # text: of Python 2
        if isinstance(self.dtype, PickledDtype) and self.dtype.dtype == np.dtype(object):
            raise ValueError(f"it has an array of type 'O8'; {self.dtype.what} are plain numbers")
        if not (isinstance(self.dtype, PickledDtype) and isinstance(data, (bytes, bytearray)) and is_shape(self.shape)):
            raise ValueError("it has an array that is not whole; fetch the file again")
        dtype = self.dtype.dtype
        if math.prod(self.shape) * dtype.itemsize != len(data):
            raise ValueError(f"it has an array of shape {self.shape} and {dtype}, but {len(data)} bytes for it")
        return np.frombuffer(data, dtype).reshape(self.shape, order="F" if self.fortran else "C")


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> PickledArray:
    return PickledArray(shape, dtype, data, fortran=order == "F")


def _encode(text: Any, encoding: Any) -> bytes:
    if encoding != "latin1":
        raise ValueError(f"its pickle has bytes in the encoding {_text(encoding)!r}; expected latin1")
    return text.encode("latin-1")


def _text(value: Any) -> str:
    """`value` if it is text, else its type: nested tuples may take very long to hash or print, or break the stack."""
    return value if isinstance(value, str) else type(value).__name__


def _reconstruct(kind: Global, *_: Any) -> PickledArray:
    if kind != Global("numpy.ndarray"):
        raise ValueError("its pickle has an array of a kind other than numpy.ndarray")
    return PickledArray()


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": ordered_dict,
    "_codecs.encode": _encode,  # bytes, in pickles of protocol 2
    "__builtin__.bytes": lambda: b"",  # empty bytes, in the same
}
for _core in ("numpy.core", "numpy._core"):  # before NumPy 2, and since
    _FUNCTIONS[f"{_core}.multiarray._reconstruct"] = _reconstruct
    _FUNCTIONS[f"{_core}.multiarray.scalar"] = lambda dtype, data: PickledArray((), dtype, data)
    _FUNCTIONS[f"{_core}.numeric._frombuffer"] = _from_buffer  # in pickles of protocol 5
