"""Packed runs: what they keep of a run, what they leave out, and what is refused of them."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from wbcjax.runs.data_note import note_in
from wbcjax.runs.folder import load_config, load_facts
from wbcjax.runs.initial_weights import start_from
from wbcjax.runs.packed import pack, variables_of
from wbcjax.system import run_files
from wbcjax.tasks.choose import evaluate, experiment_of
from wbcjax.tasks.experiment import Scored
from wbcjax.weights.quantised import quantise


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of a detector's run, which `make_older_run.py` trained."""
    folder = tmp_path_factory.mktemp("older")
    shutil.unpack_archive(Path(__file__).parent / "older.zip", folder)
    return folder / "older/detector"


@pytest.fixture(scope="module")
def packed(run, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("packed") / "shared"
    assert pack(run, out) == sorted(out.iterdir())
    return out


def test_the_weights_are_those_of_the_run_but_for_rounding(run, packed):
    (theirs, step), (found, of_step) = variables_of(run), variables_of(packed)
    assert of_step == step
    before: dict[str, np.ndarray] = flatten_dict(theirs, sep="/")  # pyright: ignore[reportAssignmentType]
    after: dict[str, np.ndarray] = flatten_dict(found, sep="/")  # pyright: ignore[reportAssignmentType]
    assert after.keys() == before.keys()
    steps = quantise(before)
    for name, array in before.items():
        step_of_channel = steps.get(f"{name}::scale", np.zeros(()))
        assert np.all(np.abs(after[name] - array) <= 0.5001 * step_of_channel), name


def test_a_packed_run_has_no_name_and_no_path_of_its_data(run, packed):
    note, of_run = note_in(load_facts(packed), packed), note_in(load_facts(run), run)
    assert note is not None
    assert of_run is not None
    assert note.images() == of_run.images()
    names = {item.name for part in of_run.parts.values() for item in part}
    text = "".join(path.read_text() for path in packed.iterdir() if path.suffix == ".json")
    assert names
    assert not [name for name in names if name in text]
    dataset = load_config(packed).dataset
    assert (dataset.annotations, dataset.images) == ("", "")
    assert load_config(packed).model == load_config(run).model


def test_a_run_starts_from_a_packed_one_with_all_its_weights(packed):
    settings = experiment_of(load_config(packed)).settings
    theirs, _ = variables_of(packed)
    fresh = jax.tree.map(np.zeros_like, theirs)
    found = start_from(packed, fresh, settings.model)
    jax.tree.map(np.testing.assert_array_equal, found.variables, theirs)


def test_a_file_that_was_altered_is_refused_by_its_name(packed, tmp_path):
    shutil.copytree(packed, tmp_path / "altered")
    weights = tmp_path / "altered" / run_files.WEIGHTS
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ValueError, match=r"weights.safetensors is not what was written: .*fetch .*altered again"):
        variables_of(tmp_path / "altered")


def test_nothing_is_written_over_a_folder_or_into_a_packed_run(run, packed):
    before = {path: path.read_bytes() for path in packed.iterdir()}
    with pytest.raises(ValueError, match="shared is there already"):
        pack(run, packed)
    with pytest.raises(ValueError, match="is a packed run, which is only read: give --out"):
        evaluate(packed, "best", Scored("val"))
    assert {path: path.read_bytes() for path in packed.iterdir()} == before
