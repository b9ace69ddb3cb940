"""Weights files of torch, Keras, detectron2 and our own, recognised by content. Nothing in them is executed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wbcjax.system.files import open_regular
from wbcjax.weights import hdf5_file, pickle_file, pytorch_file, pytorch_legacy_file, safetensors_file, zip_file

Contents = tuple[dict[str, np.ndarray], dict[str, str]]


# Compared by identity: arrays inside make `==` by value ambiguous.
@dataclass(frozen=True, eq=False)
class WeightsFile:
    """The contents of a weights file: arrays by the names of their source, and metadata.

    Arrays are as stored, in the stored type (bfloat16 is ml_dtypes's), and may be read-only views with strides.
    `metadata` has the file's own entries as text. Its `left_out` names entries that were not read, such as an
    optimizer's state. `kind` is the format in words.
    """

    kind: str
    arrays: dict[str, np.ndarray]
    metadata: dict[str, str]


def read_weights(path: Path) -> WeightsFile:
    """Read torch's `.pth` and `.pt`, `.safetensors`, Keras's `.h5`, `.weights.h5` and `.keras`, or a `.pkl`.

    The format is recognised by the file's first bytes, whatever its name. Names are the source's: torch's and
    detectron2's state-dict names; Keras's variable paths as `stem_conv/kernel`, followed by `:0` where Keras 2 wrote
    them. Raises OSError when the file cannot be read or is a pipe or a device; ValueError naming it when it is empty,
    truncated, of another kind, claims more than it holds, asks for anything to be executed, or holds weights that are
    not finite.
    """
    try:
        kind, read = _format(path)
        arrays, metadata = read(path)
        _refuse_useless(arrays)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except MemoryError as error:
        raise ValueError(
            f"{path}: memory does not suffice to read its {path.stat().st_size} bytes: give the process more"
        ) from error
    return WeightsFile(kind, arrays, metadata)


class _Format(NamedTuple):
    kind: str
    read: Callable[[Path], Contents]


def _format(path: Path) -> _Format:
    with open_regular(path) as file:
        start = file.read(512)
    if not start:
        raise ValueError("the file is empty; fetch it again")
    if start[257:262] == b"ustar":
        raise ValueError(
            "a tar archive, as of torch before 0.1.10; from a source that you trust, "
            "`torch.save(torch.load(IN, weights_only=False), OUT)` in torch saves it anew"
        )
    if pytorch_legacy_file.is_legacy(start):
        return _Format("a file of torch before 1.6", pytorch_legacy_file.read)
    if start.startswith(b"PK\x03\x04"):
        return _format_of_zip(path)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return _Format("an HDF5 file, as of Keras", hdf5_file.read)
    if start.startswith(_PICKLES):
        return _Format("a pickle of arrays, as of detectron2", pickle_file.read)
    if start[8:9] == b"{":  # after the length of the header
        return _Format("a safetensors file", safetensors_file.read)
    found = next((kind for magic, kind in _FOREIGN.items() if start.startswith(magic)), f"it begins {start[:8]!r}")
    raise ValueError(f"no weights file ({found}); expected .pth, .pt, .safetensors, .h5, .weights.h5, .keras or .pkl")


def _format_of_zip(path: Path) -> _Format:
    with zip_file.open_stored(path) as archive:
        if hdf5_file.WEIGHTS_MEMBER in archive.namelist():
            return _Format("an archive of Keras", hdf5_file.read_keras)
    return _Format("a file of torch", pytorch_file.read)


# A pickle of protocol 2 or later begins with that number; no weights file uses earlier ones.
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
# Other files that are mistaken for weights.
_FOREIGN = {
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG": "a PNG image",
    b"<": "a web page: the download went wrong",
    b"version https://git-lfs": "a Git LFS pointer: fetch the file itself with `git lfs pull`",
    b"\x1f\x8b": "a gzip archive: unpack it first",
}


def _refuse_useless(arrays: dict[str, np.ndarray]) -> None:
    if not arrays:
        raise ValueError("no weights in it")
    broken = [name for name, array in arrays.items() if array.dtype.kind in "fV" and not np.isfinite(array).all()]
    if broken:
        listing = ", ".join(map(repr, broken[:5])) + (", ..." if len(broken) > 5 else "")
        raise ValueError(f"NaN or infinity in {len(broken)} of {len(arrays)} weights: {listing}; has its run diverged?")
