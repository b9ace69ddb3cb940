"""A run packed to be shared: a folder with its config, its notes, and its weights, kernels in a byte each.

Such a folder is what `wbcjax weights pack` writes, what the starter is, and what `hf://OWNER/NAME` names. It is taken
wherever a run is asked or started from. Its files are data: nothing in them is executed, and their digests are checked.
"""

import json
from pathlib import Path
from typing import Any

from flax.traverse_util import unflatten_dict

from wbcjax.input.digest import Item
from wbcjax.models.variables import Variables
from wbcjax.runs.calibration import fitted_for
from wbcjax.runs.data_note import NAME_LISTS, NOTE, PLACES, Note, note_in
from wbcjax.runs.folder import load_config, load_facts
from wbcjax.settings.parts import Trust
from wbcjax.system import run_files
from wbcjax.system.files import write_atomically
from wbcjax.train.checkpoint import load_variables
from wbcjax.train.checkpoint_digests import find_fault, write_digests
from wbcjax.weights.files import read_weights
from wbcjax.weights.safetensors_file import write_safetensors

STEP = "step"  # of the weights, in their file's metadata


def variables_of(place: Path, which: str = "best") -> tuple[Variables, int]:
    """The variables to predict with of a run's checkpoint, or of a packed run, which has one, and their step.

    Raises as `load_variables`; ValueError for a packed run of which a file is not as it was written.
    """
    weights = Path(place) / run_files.WEIGHTS
    if not weights.is_file():
        return load_variables(Path(place), which)
    if fault := find_fault(Path(place)):
        raise ValueError(f"{fault}: fetch {place} again")
    file = read_weights(weights)
    arrays: dict[str, Any] = file.arrays
    return unflatten_dict(arrays, sep="/"), int(file.metadata[STEP])


def pack(workdir: Path, out: Path, which: str = "best", trust_parts: Trust = False) -> list[Path]:
    """Write a run to a new folder `out`, as `variables_of`, `load_config` and `load_facts` take it; its files.

    Of its data it keeps digests of the images, by which another run knows what these weights have seen, and no name and
    no path.
    Raises ValueError where `out` is there already, and as `load_config` and `load_variables`.
    """
    if out.exists():
        raise ValueError(f"{out} is there already: choose another folder, or remove it")
    config, facts = load_config(workdir, trust_parts).to_dict(), load_facts(workdir)
    variables, step = variables_of(workdir, which)
    if note := note_in(facts, workdir):
        facts |= {NOTE: _nameless(note).plain()}
    out.mkdir(parents=True)
    write_safetensors(out / run_files.WEIGHTS, variables, {STEP: str(step)}, "int8")
    _write(out / run_files.CONFIG, _placeless(config))
    _write(out / run_files.DATA, facts)
    if fitted := fitted_for(workdir, step):
        _write(out / run_files.CALIBRATION, {str(step): fitted})
    write_digests(out)
    return sorted(out.iterdir())


def _placeless(config: dict[str, Any]) -> dict[str, Any]:
    dataset = dict(config.get("dataset", {}))
    dataset |= {key: "" for key in PLACES if key in dataset}
    if "split" in dataset:
        dataset["split"] = dataset["split"] | dict.fromkeys(NAME_LISTS, ())
    return config | {"dataset": dataset}


def _nameless(note: Note) -> Note:
    def without_names(items: tuple[Item, ...]) -> tuple[Item, ...]:
        return tuple(item._replace(name=item.image, group=None) for item in items)

    parts, earlier = ({part: without_names(items) for part, items in of.items()} for of in (note.parts, note.earlier))
    return Note(parts, earlier)


def _write(path: Path, content: Any) -> None:
    write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())
