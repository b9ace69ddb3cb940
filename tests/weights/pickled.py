"""Pickles and torch's files made by hand, without torch: what a test wants in them, attacks too."""

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

STORAGES = {"float32": "FloatStorage", "float64": "DoubleStorage", "float16": "HalfStorage", "int64": "LongStorage"}
STORAGES |= {"bfloat16": "BFloat16Storage", "int32": "IntStorage", "uint8": "ByteStorage", "bool": "BoolStorage"}


class Name:
    """Becomes the pickle's opcode for something in a module, which need not be there."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name


class Call:
    """Becomes a call of a `Name`, and sets a state of the result."""

    def __init__(self, name: Name, *arguments: Any, state: Any = None):
        self.name, self.arguments, self.state = name, arguments, state


class Reference(NamedTuple):
    """Becomes a persistent id."""

    parts: tuple


def _save_name(pickler: Any, name: Name):
    if pickler.proto >= 4:
        pickler.save(name.module)
        pickler.save(name.name)
        pickler.write(pickle.STACK_GLOBAL)
    else:
        pickler.write(pickle.GLOBAL + f"{name.module}\n{name.name}\n".encode())


def _save_call(pickler: Any, call: Call):
    pickler.save(call.name)
    pickler.save(call.arguments)
    pickler.write(pickle.REDUCE)
    if call.state is not None:
        pickler.save(call.state)
        pickler.write(pickle.BUILD)


def _save_reference(pickler: Any, reference: Reference):
    pickler.save(tuple(reference.parts))
    pickler.write(pickle.BINPERSID)


class Pickler(pickle._Pickler):
    dispatch: ClassVar[dict[type, Any]] = {
        **pickle._Pickler.dispatch,
        Name: _save_name,
        Call: _save_call,
        Reference: _save_reference,
    }


def dumps(value: Any, protocol: int = 2) -> bytes:
    file = io.BytesIO()
    Pickler(file, protocol).dump(value)
    return file.getvalue()


def storage(key: str, dtype: str, count: int) -> Reference:
    return Reference(("storage", Name("torch", STORAGES[dtype]), key, "cpu", count))


def tensor(stored: Reference, offset: int, size: tuple, stride: tuple) -> Call:
    return Call(Name("torch._utils", "_rebuild_tensor_v2"), stored, offset, size, stride, False, ordered({}))


def ordered(items: dict, state: Any = None) -> Call:
    return Call(Name("collections", "OrderedDict"), [[key, value] for key, value in items.items()], state=state)


def whole(key: str, array: np.ndarray) -> Call:
    """The tensor that is all of the storage `key`, in C order."""
    strides = tuple(step // array.itemsize for step in np.ascontiguousarray(array).strides)
    return tensor(storage(key, str(array.dtype), array.size), 0, array.shape, strides[: array.ndim])


def write_zip(path: Path, pickled: bytes, storages: dict[str, bytes], **members: bytes) -> Path:
    stored = {f"data/{key}": data for key, data in storages.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {"data.pkl": pickled, **members, **stored, "version": b"3\n"}.items():
            # By the name alone it would hold the time of the test, and no damage to it could be repeated.
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), data)
    return path


def write_torch(path: Path, arrays: dict[str, np.ndarray], **others: Any) -> Path:
    """A file as `torch.save({"model": state dict, **others})` writes it; the state dict alone without others."""
    state = {name: whole(str(i), array) for i, (name, array) in enumerate(arrays.items())}
    saved = {"model": state, **others} if others else state
    return write_zip(path, dumps(saved), {str(i): array.tobytes() for i, array in enumerate(arrays.values())})


def viewed(stored: Reference, view: tuple | None = None) -> Reference:
    """The reference as torch had it before 1.6: perhaps to a part (key, offset, count) of what is stored."""
    return Reference((*stored.parts, view))


def legacy_whole(key: str, array: np.ndarray) -> Call:
    """As `whole`, of torch before 1.6."""
    described = whole(key, array)
    stored, *others = described.arguments
    return Call(described.name, viewed(stored), *others)


def legacy(saved: bytes, storages: dict[str, np.ndarray], /, **replaced: bytes) -> bytes:
    """A file of torch before 1.6, of the pickle `saved`; `replaced` are others of its parts."""
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = {"magic": dumps(0x1950A86A20F9469CFC6C), "version": dumps(1001), "machine": dumps(machine), "saved": saved}
    parts["keys"] = dumps(list(storages))
    parts["data"] = b"".join(struct.pack("<q", array.size) + array.tobytes() for array in storages.values())
    return b"".join((parts | replaced).values())


def legacy_torch(arrays: dict[str, np.ndarray]) -> bytes:
    """A file as torch before 1.6 saved a state dict."""
    keys = [str(94774495940192 + 64 * i) for i in range(len(arrays))]  # addresses in memory, they were
    state = {name: legacy_whole(key, array) for key, (name, array) in zip(keys, arrays.items(), strict=True)}
    return legacy(dumps(ordered(state)), dict(zip(keys, arrays.values(), strict=True)))


def safetensors(header: bytes, data: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + data
