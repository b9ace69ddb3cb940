"""Tensors as a pickle of torch describes them, views into the storages of its file; and the arrays made from them.

Tensors are calls of functions of `torch._utils`, storages are persistent ids (torch/serialization.py, `persistent_id`).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from wbcjax.system.pickle_data import Global, is_shape, ordered_dict
from wbcjax.weights.state_dict import find_weights


class Stored(NamedTuple):
    """The numbers stored in a file under a key."""

    key: str
    dtype: np.dtype
    count: int

    @property
    def nbytes(self) -> int:
        return self.count * self.dtype.itemsize


class Storages:
    """All storages that a pickle refers to."""

    def __init__(self) -> None:
        self.stored: dict[str, Stored] = {}

    def refer(self, reference: Any) -> "Storage":
        """The storage behind a persistent id ("storage", type, key, device, count), before torch 1.6 with a view.

        A view (key, offset, count) is a part of the storage. Raises ValueError on anything else, and on a key to which
        two references give different types or counts.
        """
        kind, storage_type, key, _, count, *views = reference
        known = isinstance(storage_type, Global) and storage_type.name in TYPES
        if not (kind == "storage" and known and isinstance(key, str) and is_shape((count,))):
            raise ValueError("its pickle refers to what is no storage; fetch the file again")
        stored = Stored(key, TYPES[storage_type.name], count)
        if self.stored.setdefault(key, stored) != stored:
            raise ValueError(f"its pickle has the storage {key!r} in two types or sizes; fetch the file again")
        if views in ([], [None]):
            return Storage(stored, 0, count)
        ((_, start, part),) = views
        if not is_shape((start, part)) or start + part > count:
            raise ValueError(f"its pickle has a view that is no part of the storage {key!r}; fetch the file again")
        return Storage(stored, start, part)


@dataclass(frozen=True)
class Storage:
    """`count` of the numbers stored under a key, from number `start` on."""

    stored: Stored
    start: int
    count: int


@dataclass(frozen=True)
class Tensor:
    """A tensor as a pickle describes it; offset and strides in numbers, as in torch."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def arrays(saved: Any, file_size: int, read: Callable[[Stored], bytes]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The weights of a saved object, as read-only views with their strides, and its other entries as text.

    `read` gives the bytes of a storage, as many as it claims. Storages that no weight needs are not read. Raises
    ValueError as `find_weights`, on a tensor outside its storage, and when tensors claim more than the file has.
    """
    tensors, metadata = find_weights(saved, Tensor)
    claimed = sum(math.prod(tensor.size) * tensor.storage.stored.dtype.itemsize for tensor in tensors.values())
    if claimed > _MOST_SHARED * file_size:
        raise ValueError(f"its tensors claim {claimed} bytes, but the file has {file_size}")
    wanted = {tensor.storage.stored.key: tensor.storage.stored for tensor in tensors.values()}
    data = {key: read(stored) for key, stored in wanted.items()}
    return {name: _view(name, tensor, data) for name, tensor in tensors.items()}, metadata


_MOST_SHARED = 8  # bytes claimed for a byte of the file: tied weights are counted twice or more


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """Takes the place of `torch._utils._rebuild_tensor_v2`; gradients and hooks are left out."""
    whole = isinstance(storage, Storage) and is_shape((offset,)) and is_shape(size) and is_shape(stride)
    if not whole or len(size) != len(stride):
        raise ValueError("its pickle has a tensor that is not whole; fetch the file again")
    return Tensor(storage, offset, size, stride)


def _rebuild_parameter(tensor: Any, *_: Any) -> Any:
    return tensor


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": ordered_dict,
    "torch._utils._rebuild_tensor": _rebuild_tensor,  # torch before 0.4
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
}
TYPES = {
    "torch.BoolStorage": np.dtype(np.bool_),
    "torch.ByteStorage": np.dtype(np.uint8),
    "torch.CharStorage": np.dtype(np.int8),
    "torch.ShortStorage": np.dtype(np.int16),
    "torch.IntStorage": np.dtype(np.int32),
    "torch.LongStorage": np.dtype(np.int64),
    "torch.HalfStorage": np.dtype(np.float16),
    "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch.FloatStorage": np.dtype(np.float32),
    "torch.DoubleStorage": np.dtype(np.float64),
}


def _view(name: str, tensor: Tensor, data: Mapping[str, bytes]) -> np.ndarray:
    stored, count = tensor.storage.stored, math.prod(tensor.size)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.size, tensor.stride, strict=True))
    if count and (last >= tensor.storage.count or count > tensor.storage.count):
        raise ValueError(
            f"{name!r} of shape {tensor.size}, strides {tensor.stride} and offset {tensor.offset} does not fit into "
            f"its storage of {tensor.storage.count} numbers"
        )
    if not count:
        return np.zeros(tensor.size, stored.dtype)
    width = stored.dtype.itemsize
    offset = (tensor.storage.start + tensor.offset) * width
    # An axis of one has any stride.
    strides = [step * width if n > 1 else 0 for n, step in zip(tensor.size, tensor.stride, strict=True)]
    return np.ndarray(tensor.size, stored.dtype, data[stored.key], offset, strides)
