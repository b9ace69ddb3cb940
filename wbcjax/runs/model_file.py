"""The file of an exported model, X.stablehlo: a zip archive of settings, program and weights, uncompressed.

- wbcjax_model.json, the first: `FORMAT`, the config of the run, its facts on its data, and versions of the export
- module.bin: the network as `jax.export` serialises it, for any number of images and several kinds of devices; it takes
  the weights as a dictionary, then the images. No weight is in it
- parameters.safetensors: these weights, by their paths
"""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from wbcjax.system.files import write_atomically
from wbcjax.weights.zip_file import open_stored

SETTINGS, MODULE, PARAMETERS = "wbcjax_model.json", "module.bin", "parameters.safetensors"  # the members
FORMAT = 1  # raise it when the members or what they mean change
_NAME_AT = 30  # bytes from a zip archive's start to its first member's name


def write_model_file(path: Path, settings: Mapping[str, Any], module: bytes, parameters: bytes) -> None:
    """Write an exported model, whole or not at all. Raises OSError when it cannot be written.

    settings: "config", "facts" and "made", as JSON can hold them; see this module's docstring.
    """
    text = json.dumps({"format": FORMAT, **settings}, indent=2)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as members:
        for name, data in ((SETTINGS, text.encode()), (MODULE, module), (PARAMETERS, parameters)):
            members.writestr(zipfile.ZipInfo(name), data)
    write_atomically(path, archive.getvalue())


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of an exported model: "config", "facts" and "made".

    Raises OSError when the file cannot be read; ValueError, naming it, when it is truncated, damaged, of another kind,
    or of another format than this version's.
    """
    try:
        return _settings(_read(path, SETTINGS)[0])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_module(path: Path) -> tuple[bytes, dict[str, np.ndarray]]:
    """The serialised program of an exported model, and its weights by their paths. Raises as `read_settings`."""
    try:
        settings, module, parameters = _read(path, SETTINGS, MODULE, PARAMETERS)
        _settings(settings)
        return module, load(parameters)
    except (ValueError, SafetensorError) as error:
        raise ValueError(f"{path}: {error}") from error


def _read(path: Path, *names: str) -> list[bytes]:
    """Members of the archive, with their lengths and checksums verified."""
    with path.open("rb") as file:
        start = file.read(_NAME_AT + len(SETTINGS))
    if not start.startswith(b"PK\x03\x04") or start[_NAME_AT:] != SETTINGS.encode():
        raise ValueError("not a model that `wbcjax export` wrote; give such a file, or the folder of a training run")
    with open_stored(path) as archive:
        absent = {SETTINGS, MODULE, PARAMETERS} - set(archive.namelist())
        if absent:
            raise ValueError(f"{', '.join(sorted(absent))} is not in it; export the model again")
        return [archive.read(name) for name in names]


def _settings(text: bytes) -> dict[str, Any]:
    try:
        settings = json.loads(text)
        made_by = settings["made"]["wbcjax"]
        if settings["format"] != FORMAT:
            raise ValueError(f"of format {settings['format']} and not {FORMAT}: written by wbcjax {made_by}; use that")
        return {part: dict(settings[part]) for part in ("config", "facts", "made")}
    except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{SETTINGS} in it has not what a model needs ({error!r}); export it again") from error
