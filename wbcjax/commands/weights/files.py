"""`wbcjax weights`: the contents of a weights file as text, and such a file, or a run, as a file of ours."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Shaped

from wbcjax.runs.folder import load_config
from wbcjax.runs.initial_weights import settings_of
from wbcjax.runs.packed import variables_of
from wbcjax.settings.parts import Trust
from wbcjax.system.places import check_writable
from wbcjax.system.terminal import Block, Table
from wbcjax.weights.convert import Converted, convert
from wbcjax.weights.files import WeightsFile, read_weights
from wbcjax.weights.ours import TRAINED_WITH, note_settings, noted_settings
from wbcjax.weights.safetensors_file import Dtype, write_safetensors
from wbcjax.weights.state_dict import ENTRY

SUFFIX = ".safetensors"
SHOWN = 20  # arrays, and characters of a note times five

Arrays = Mapping[str, Shaped[np.ndarray, "..."]]


def contents(path: Path, every: bool = False, trust_parts: Trust = False) -> list[Block]:
    """The contents of a weights file: its library, the settings it needs, and the first or `every` array.

    Weights that cannot be used are shown with the reason. Raises OSError and ValueError as `read_weights`.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give a weights file, or convert the run that it is of to one")
    file = read_weights(path)
    try:
        use = _converted(file, trust_parts).text()
    except ValueError as error:
        use = f"of no use here: {error}"
    lines = [f"{path}: {file.kind}, {path.stat().st_size / 1e6:.3g} MB", _count(file.arrays)]
    lines += [f"{name}: {_shortened(text)}" for name, text in file.metadata.items() if name != TRAINED_WITH]
    return [lines, use.splitlines(), _table(file.arrays, every)]


def convert_weights(
    place: Path,
    out: Path,
    dtype: Dtype = "float32",
    parts: Sequence[str] = (),
    trust_parts: Trust = False,
) -> list[str]:
    """Write the weights of a file, or the best of the run in a folder, to a file that `config.init_from` takes.

    Its arrays have our paths for names. Its metadata has the settings that the weights were trained with, their origin,
    and a run's classes. It holds these `parts` of the model (`backbone`, `fpn`, ...), by default all. Returns a summary
    in lines. Raises OSError; ValueError as `read_weights` and `convert`, for an unknown part, when `out` is there
    already, and when its name has another ending; Untrusted as `load_config`.
    """
    if out.suffix != SUFFIX:
        raise ValueError(f"{out}: the name of the file to write must end in {SUFFIX}")
    if out.exists():
        raise ValueError(f"{out} is there already; give another name")
    check_writable(out.parent)
    try:
        converted, origin = _of_run(place, trust_parts) if place.is_dir() else _of_file(place, trust_parts)
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith(str(place)) else f"{place}: {error}") from error
    arrays = _of_parts(converted.arrays, parts)
    metadata = note_settings(converted.settings) | origin
    write_safetensors(out, unflatten_dict(arrays, sep="/"), metadata, dtype)
    written = f"{out}: {_count(arrays, dtype)}, {out.stat().st_size / 1e6:.3g} MB"
    return [*converted.text().splitlines(), written]


def _converted(file: WeightsFile, trust_parts: Trust) -> Converted:
    trained_with = noted_settings(file.metadata, trust_parts) if TRAINED_WITH in file.metadata else None
    converted = convert(file.arrays, trained_with)
    return converted._replace(report=converted.report._replace(entry=file.metadata.get(ENTRY, "")))


def _of_file(path: Path, trust_parts: Trust) -> tuple[Converted, dict[str, str]]:
    file = read_weights(path)
    converted = _converted(file, trust_parts)
    if TRAINED_WITH in file.metadata:
        return converted, file.metadata
    return converted, {"origin": f"weights of {converted.report.source}, from {path.name}"}


def _of_run(workdir: Path, trust_parts: Trust) -> tuple[Converted, dict[str, str]]:
    config = load_config(workdir, trust_parts)
    variables, step = variables_of(workdir)
    arrays: dict[str, Any] = flatten_dict(variables, sep="/")
    converted = convert(arrays, settings_of(config))
    origin = f"the best checkpoint of a run, of step {step}"
    return converted, {"origin": origin, "classes": json.dumps(list(config.dataset.classes))}


def _of_parts(arrays: dict[str, Any], parts: Sequence[str]) -> dict[str, Any]:
    part_of = {path: path.split("/")[1] for path in arrays}
    if unknown := set(parts) - set(part_of.values()):
        raise ValueError(f"there is no part {min(unknown)!r}; give some of {', '.join(sorted(set(part_of.values())))}")
    return {path: array for path, array in arrays.items() if not parts or part_of[path] in parts}


def _count(arrays: Arrays, dtype: str | None = None) -> str:
    types = Counter(dtype or str(array.dtype) for array in arrays.values())
    of_types = ", ".join(f"{count} of {name}" for name, count in types.items()) if len(types) > 1 else next(iter(types))
    return f"{len(arrays)} arrays with {sum(array.size for array in arrays.values()):,} parameters, {of_types}"


def _shortened(text: str) -> str:
    return text if len(text) <= 5 * SHOWN else f"{text[: 5 * SHOWN]} ..."


def _table(arrays: Arrays, every: bool) -> Table:
    named = list(arrays.items())
    rows = tuple(
        (name, " x ".join(map(str, array.shape)) or "one number", str(array.dtype))
        for name, array in (named if every else named[:SHOWN])
    )
    left = len(named) - len(rows)
    return Table("Arrays", ("name", "shape", "type"), rows, f"and {left} more: --all" if left else "")
