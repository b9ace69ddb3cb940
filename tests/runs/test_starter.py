"""The starter as it is shipped: whole, small, without a name of its data, and of use before any training."""

import json
from pathlib import Path

import numpy as np
import pytest

import wbcjax
from wbcjax.runs.data_note import note_in
from wbcjax.runs.folder import load_config, load_facts
from wbcjax.runs.initial_weights import start_from
from wbcjax.runs.located import located
from wbcjax.runs.packed import variables_of
from wbcjax.smear.field import read_image
from wbcjax.system import run_files
from wbcjax.tasks.choose import experiment_of
from wbcjax.train.checkpoint_digests import find_fault

STARTER = located("starter")
BCCD = Path(__file__).parents[3] / "shared/data/bccd"


def test_its_files_are_those_of_a_packed_run_intact_and_small():
    assert {path.name for path in STARTER.iterdir()} <= set(run_files.PACKED)
    assert find_fault(STARTER) is None
    assert sum(path.stat().st_size for path in STARTER.iterdir()) <= 16e6


def test_it_names_no_image_and_no_place():
    note = note_in(load_facts(STARTER), STARTER)
    assert note is not None
    assert all(item.name == item.image for part in note.parts.values() for item in part)
    assert note.folder == ""
    dataset = load_config(STARTER).dataset
    assert (dataset.annotations, dataset.images) == ("", "")
    assert "/" not in json.dumps(load_facts(STARTER))


def test_a_model_of_its_shape_and_one_class_starts_from_all_of_it():
    settings = experiment_of(load_config(STARTER)).settings.model
    theirs, _ = variables_of(STARTER)
    found = start_from(STARTER, theirs, settings)
    assert not found.report.initial
    assert not found.report.left_out


@pytest.mark.slow
@pytest.mark.skipif(not BCCD.is_dir(), reason="the real fields are not beside the checkout")
@pytest.mark.parametrize("number", ["00001", "00003", "00200"])
def test_its_surest_cell_is_the_one_white_cell_of_a_blood_field(number):
    found = wbcjax.load("starter").predict(BCCD / f"images/BloodImage_{number}.jpg")
    annotated = read_image(BCCD / f"masks/BloodImage_Mask_{number}.png")[..., 0] > 127
    assert found[0].class_name == "white blood cell"
    assert len(found) <= 2
    shared, joint = found.masks[0] & annotated, found.masks[0] | annotated
    assert np.count_nonzero(shared) > 0.8 * np.count_nonzero(joint)
