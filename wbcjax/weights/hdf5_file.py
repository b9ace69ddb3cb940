"""HDF5 files of Keras, read through h5py: sizes and types that a file claims are checked before its arrays are read."""

import io
import json
import math
from collections.abc import Callable, Collection
from pathlib import Path

import h5py
import h5py.h5o
import ml_dtypes
import numpy as np

from wbcjax.weights.hdf5_layer_names import layer_names
from wbcjax.weights.keras_names import configured_layers, is_numbered, left_out, listed_names, numbered_names
from wbcjax.weights.zip_file import open_stored

WEIGHTS_MEMBER = "model.weights.h5"  # of a .keras archive

# All that h5py raises for a damaged file, ValueError and OSError apart.
_DAMAGE = (KeyError, RuntimeError, TypeError, IndexError, AttributeError, OverflowError)


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Weights of `.h5`, by their stored names, or of `.weights.h5`, by Keras's variable paths (`numbered_names`).

    Raises OSError; ValueError when the file is damaged or truncated, has links that lead elsewhere, data outside of it,
    compressed data, anything but plain numbers, or claims more bytes than it has.
    """

    def names_of(places: Collection[str]) -> dict[str, str]:
        return numbered_names(places, layer_names(path)) if is_numbered(places) else listed_names(places)

    return _read(path, path.stat().st_size, names_of)


def read_keras(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Weights of a `.keras` archive by Keras's variable paths. Raises as `read`, and as `open_stored`."""
    with open_stored(path) as archive:
        if missing := {WEIGHTS_MEMBER, "config.json"} - set(archive.namelist()):
            raise ValueError(f"the archive has no {min(missing)}; save the model again")
        weights = archive.read(WEIGHTS_MEMBER)
        config = archive.read("config.json")
    try:
        layers = configured_layers(json.loads(config))
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(f"no model's config.json in the archive ({error!r}); save the model again") from error
    return _read(io.BytesIO(weights), len(weights), lambda places: numbered_names(places, layers))


def _read(
    source: Path | io.BytesIO, size: int, names_of: Callable[[Collection[str]], dict[str, str]]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays by the names that `names_of` gives them for their places, and what is left out."""
    try:
        with h5py.File(source, "r") as file:
            datasets = _checked_datasets(file, size)
            names = names_of(datasets.keys())
            others = left_out(datasets, names)
            arrays = {name: _array(datasets[place]) for place, name in names.items()}
    except _DAMAGE as error:
        raise ValueError(f"a damaged HDF5 file ({error!r}); fetch it again") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise ValueError(f"a damaged or truncated HDF5 file ({error}); fetch it again") from error
    return arrays, {"left_out": ", ".join(others)} if others else {}


def _checked_datasets(file: h5py.File, size: int) -> dict[str, h5py.Dataset]:
    """All datasets by their places in the file, without a slash in front. No text is read: see `hdf5_layer_names`."""
    datasets: dict[str, h5py.Dataset] = {}
    waiting: list[tuple[str, h5py.Group]] = [("", file)]
    seen, claimed = {h5py.h5o.get_info(file.id).addr}, 0
    while waiting:
        place, group = waiting.pop()
        for name in group:
            member_place = f"{place}/{name}".removeprefix("/")
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ValueError(f"{member_place!r} is a link to elsewhere; save the model again")
            member = group[name]
            address = h5py.h5o.get_info(member.id).addr
            if address in seen:
                raise ValueError(f"{member_place!r} is there twice, under another name too; save the model again")
            seen.add(address)
            if isinstance(member, h5py.Group):
                waiting.append((member_place, member))
            elif isinstance(member, h5py.Dataset):
                claimed += _check(member_place, member, size)
                datasets[member_place] = member
            else:
                raise ValueError(f"{member_place!r} is neither a group nor an array; save the model again")
    if claimed > size:
        raise ValueError(f"its arrays claim {claimed} bytes, but the file has {size}; fetch it again")
    return datasets


def _check(place: str, dataset: h5py.Dataset, size: int) -> int:
    """The bytes that an array claims."""
    if dataset.dtype.kind not in "biuf" and not _is_bfloat16(dataset):
        raise ValueError(f"{place!r} has the type {dataset.dtype}; weights are plain numbers")
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"{place!r} has its data in another file; save the model again")
    if dataset.chunks is not None:
        raise ValueError(f"{place!r} is stored in chunks or compressed, which Keras does not do; save the model again")
    if dataset.shape is None:
        raise ValueError(f"{place!r} has no shape; save the model again")
    claimed = math.prod(dataset.shape) * dataset.dtype.itemsize
    if claimed > size or dataset.id.get_storage_size() != claimed:
        raise ValueError(
            f"{place!r} of shape {dataset.shape} claims {claimed} bytes; the file of {size} bytes has "
            f"{dataset.id.get_storage_size()} for it; fetch it again"
        )
    return claimed


def _is_bfloat16(dataset: h5py.Dataset) -> bool:
    return dataset.dtype == np.dtype("V2")  # Keras stores it, and nothing else, as two opaque bytes


def _array(dataset: h5py.Dataset) -> np.ndarray:
    array = np.asarray(dataset[()])
    return array.view(ml_dtypes.bfloat16) if _is_bfloat16(dataset) else array
