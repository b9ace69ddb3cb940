"""safetensors files: read from any library, and written with the paths of our variables for names."""

import json
import struct
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import ml_dtypes
import numpy as np
from flax.traverse_util import flatten_dict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from wbcjax.system.files import write_atomically
from wbcjax.weights.quantised import dequantise, quantise

_NUMBERS = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL")
Dtype = Literal["float32", "bfloat16", "int8"]  # int8: kernels are, see `wbcjax.weights.quantised`; the rest float32
_FLOATS = {"bfloat16": np.dtype(ml_dtypes.bfloat16)}


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays by name, kernels in int8 as float32, and the file's metadata.

    Raises OSError; ValueError when it is damaged, or a name twice in it.
    """
    try:
        with safe_open(path, framework="np") as file:
            names = file.keys()
            _refuse_twice(path)
            for name in names:
                if (kind := file.get_slice(name).get_dtype()) not in _NUMBERS:
                    raise ValueError(f"{name!r} is of the type {kind}; weights are of {', '.join(_NUMBERS)}")
            return dequantise({name: file.get_tensor(name) for name in names}), file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"a damaged or truncated safetensors file ({error}); fetch it again") from error


def write_safetensors(
    path: Path,
    variables: Mapping[str, Any],
    metadata: Mapping[str, str],
    dtype: Dtype = "float32",
) -> None:
    """Write nested variables so that `read_weights` has them by their paths, as `params/backbone/conv1/kernel`.

    Floats become `dtype`. The file is there whole or not at all. Raises OSError when it cannot be
    written; ValueError naming weights that are not finite, in bfloat16 where that is asked for.
    """
    flat = flatten_dict(dict(variables), sep="/")
    arrays = {name: as_written(array, dtype) for name, array in flat.items()}
    broken = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if broken:
        raise ValueError(f"{path}: not written: NaN or infinity in {len(broken)} weights, {broken[0]!r} first")
    write_atomically(path, save(quantise(arrays) if dtype == "int8" else arrays, dict(metadata)))


def as_written(array: Any, dtype: Dtype = "float32") -> np.ndarray:
    """An array as `write_safetensors` has it, before kernels become int8; whole numbers, as a counter's, stay so."""
    floats = _FLOATS.get(dtype, np.dtype(np.float32))
    return np.asarray(array, None if np.asarray(array).dtype.kind in "iub" else floats, order="C")


def _refuse_twice(path: Path) -> None:
    """The library takes the last of two arrays of one name."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = file.read(length)  # the library has checked that the file is so long
    json.loads(header, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        repeated = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"{repeated!r} is there twice")
    return found
