"""torch's `.pth` and `.pt` files, read without torch: a zip of one pickle and of the bytes of every storage.

The format is that of `torch.save` since 1.6 (torch's notes on serialization semantics): `NAME/data.pkl` describes
tensors as views into storages, `NAME/data/KEY` has a storage's bytes.
"""

import zipfile
from pathlib import Path

import numpy as np

from wbcjax.system.pickle_data import read_pickle
from wbcjax.weights.pytorch_tensors import FUNCTIONS, TYPES, Storages, Stored, arrays
from wbcjax.weights.zip_file import open_stored


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Tensors by name, as read-only views with their strides, and the other entries as text.

    The file may hold a state dict, or a checkpoint with one (`find_weights`), of which no other storage is read.
    Raises OSError; ValueError as `open_stored`, `read_pickle` and `pytorch_tensors.arrays`.
    """
    with open_stored(path) as archive:
        root = _root(archive)
        pickled = archive.read(f"{root}/data.pkl")
        saved = read_pickle(pickled, FUNCTIONS, frozenset(TYPES), Storages().refer)
        return arrays(saved, path.stat().st_size, lambda stored: _read_storage(archive, root, stored))


def _root(archive: zipfile.ZipFile) -> str:
    names = archive.namelist()
    roots = [name.removesuffix("/data.pkl") for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise ValueError("a zip archive that neither torch nor Keras wrote: it has no data.pkl and no model.weights.h5")
    return roots[0]


def _read_storage(archive: zipfile.ZipFile, root: str, stored: Stored) -> bytes:
    name = f"{root}/data/{stored.key}"
    if name not in archive.namelist():
        raise ValueError(f"{name!r} is missing in the archive; fetch the file again")
    found = archive.getinfo(name).file_size
    if found != stored.nbytes:
        raise ValueError(f"{name!r} has {found} bytes, but {stored.count} {stored.dtype} take {stored.nbytes}")
    if f"{root}/byteorder" in archive.namelist() and archive.read(f"{root}/byteorder") != b"little":
        raise ValueError("the file was written on a machine with another byte order; save it again on a usual one")
    return archive.read(name)
