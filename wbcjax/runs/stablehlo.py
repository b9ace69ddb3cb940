"""Networks as StableHLO that `jax.export` serialises: one for any number of images, on CPU, CUDA and TPU."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array, export
from jax.typing import DTypeLike

from wbcjax.runs.model_file import read_module

PLATFORMS = ("cpu", "cuda", "tpu")
# The custom calls that a program may make: this one fails where numbers of images differ. By another a malicious
# program could reach any code that JAX is linked with.
CUSTOM_CALLS = {"shape_assertion"}

Input = tuple[tuple[int, ...], DTypeLike]  # shape without the first axis, and dtype of an array
Weights = Mapping[str, Array | np.ndarray]
# (weights by name, arrays with the images along their first axis...) -> arrays by name
Network = Callable[..., Any]


def serialise(network: Network, inputs: Sequence[Input], weights: Weights) -> bytes:
    """`network` as a program, which takes weights of the shapes of `weights`."""
    (images,) = export.symbolic_shape("images")
    shapes = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in weights.items()}
    arrays = [jax.ShapeDtypeStruct((images, *shape), dtype) for shape, dtype in inputs]
    return bytes(export.export(jax.jit(network), platforms=PLATFORMS)(shapes, *arrays).serialize())


class ExportedNetwork:
    """The network of a serialised program; it is pickled as this program.

    Raises ValueError for a program of a newer JAX, or one with a custom call that is not allowed.
    """

    def __init__(self, program: bytes) -> None:
        self._program, self._call = program, _deserialise(program)

    def __call__(self, weights: Weights, *arrays: Array | np.ndarray) -> Any:
        return self._call(weights, *arrays)

    def __reduce__(self) -> tuple[type, tuple[bytes]]:
        return ExportedNetwork, (self._program,)


def load_network(path: Path) -> tuple[ExportedNetwork, dict[str, np.ndarray]]:
    """The network of an exported model's file, and its weights.

    Raises OSError when the file cannot be read; ValueError, naming it, when it is no such file or damaged, when its
    program is of a newer JAX, or has a custom call that is not allowed.
    """
    program, weights = read_module(path)
    try:
        return ExportedNetwork(program), weights
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _deserialise(program: bytes) -> Network:
    try:
        exported = export.deserialize(bytearray(program))
        text = exported.mlir_module()
    except Exception as error:  # the parsers of flatbuffers and of MLIR may raise anything
        raise ValueError(
            f"jax {jax.__version__} cannot read its program ({error!r}): export the model again, or update jax"
        ) from error
    called = set(re.findall(r'custom_call\W*("[^"]*"|[\w.$-]+)', text))
    if foreign := sorted(called - CUSTOM_CALLS):
        raise ValueError(f"its program calls {', '.join(foreign)}, which no model of wbcjax does; do not use it")
    return exported.call
