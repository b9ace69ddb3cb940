"""torch's `.pth` and `.pt` files of before 1.6, read without torch, torchvision's COCO detectors of 2019 among them.

The format (torch/serialization.py, `_legacy_save`) is five pickles in a row: a magic number, the version, the machine,
the saved object, with tensors as views into storages, and the list of the storages' keys. The storages follow in that
order, each as the count of its numbers, in eight bytes, and the numbers.
"""

import io
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wbcjax.system.pickle_data import read_next_pickle
from wbcjax.weights.pytorch_tensors import FUNCTIONS, TYPES, Storages, Stored, arrays

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001


def is_legacy(start: bytes) -> bool:
    """Whether a file that begins with `start` (some 32 bytes) is of this format."""
    return start[:1] == b"\x80" and b"\x8a\x0a" + MAGIC.to_bytes(10, "little") in start[:32]


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Tensors by name, as read-only views with their strides, and the other entries as text: see `pytorch_file.read`.

    Raises OSError; ValueError as `read_next_pickle` and `pytorch_tensors.arrays`, and when the file is of another
    version or byte order, or has other storages than its pickle refers to.
    """
    data = path.read_bytes()
    file = io.BytesIO(data)
    _check_start(file)
    storages = Storages()
    saved = read_next_pickle(file, FUNCTIONS, frozenset(TYPES), storages.refer)
    keys = read_next_pickle(file, {})
    places = _places(data, file.tell(), keys, storages.stored)
    return arrays(saved, len(data), lambda stored: data[places[stored.key] : places[stored.key] + stored.nbytes])


def _check_start(file: io.BytesIO) -> None:
    magic, version, machine = (read_next_pickle(file, {}) for _ in range(3))
    if magic != MAGIC or version != VERSION or not isinstance(machine, dict):
        raise ValueError("a file of torch before 1.6, but of a version that is not known; fetch it again")
    if machine.get("little_endian") is not True:
        raise ValueError("the file was written on a machine with another byte order; save it again on a usual one")


def _places(data: bytes, place: int, keys: Any, storages: Mapping[str, Stored]) -> dict[str, int]:
    """Where the numbers of each storage begin in `data`, if they are all there: the first storage is at `place`."""
    if not (isinstance(keys, list) and all(isinstance(key, str) for key in keys) and sorted(keys) == sorted(storages)):
        raise ValueError("its list of storages is not that of those its pickle refers to; fetch the file again")
    places = {}
    for key in keys:
        stored = storages[key]
        places[key] = place + _COUNT.size
        end = places[key] + stored.nbytes
        if end > len(data):
            raise ValueError(f"it ends within the storage {key!r}, at byte {len(data)} of {end}; fetch the file again")
        (count,) = _COUNT.unpack_from(data, place)
        if count != stored.count:
            raise ValueError(f"the storage {key!r} has {count} numbers, but its pickle refers to {stored.count}")
        place = end
    if place != len(data):
        raise ValueError(f"{len(data) - place} bytes behind the last storage; fetch the file again")
    return places


_COUNT = struct.Struct("<q")
