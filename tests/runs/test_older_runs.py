"""Run folders and an export that older code left: what they predict, score and go on to is as it was.

`make_older_run.py` tells how the runs came about. `older_export.zip` is what `wbcjax export` of the same commit made of
the detector.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from pycocotools import mask as coco_mask

import wbcjax
from wbcjax.predict.classifier import load_classifier
from wbcjax.runs.folder import load_config
from wbcjax.smear.field import read_image
from wbcjax.tasks.choose import evaluate, make_task, train
from wbcjax.tasks.experiment import Scored
from wbcjax.train.checkpoint import load_variables
from wbcjax.weights.files import read_weights

pytestmark = pytest.mark.slow

MOVED_PIXELS = 3  # of a mask's outline, which rounding may move


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of two runs, `detector` and `classifier`, of what they predicted, and of the detector's `export`."""
    monkeypatch.setenv("WBCJAX_CACHE", str(tmp_path / "cache"))
    for archive in ("older.zip", "older_export.zip"):
        shutil.unpack_archive(Path(__file__).parent / archive, tmp_path)
    return tmp_path / "older"


@pytest.mark.parametrize("name", ["one_piece.png", "in_tiles.png"])
@pytest.mark.parametrize("place", ["detector", "export/model.stablehlo"])
def test_an_older_detector_finds_the_same_cells(older, place, name):
    expected = np.load(older / "cells.npz")
    found = wbcjax.load(older / place).detect(read_image(older / "images" / name), name)
    np.testing.assert_array_equal(found.labels, expected[f"{name}/labels"])
    np.testing.assert_allclose(found.scores, expected[f"{name}/scores"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(found.boxes, expected[f"{name}/boxes"], rtol=0, atol=1e-2)
    for rle, mask in zip(found.rles, expected[f"{name}/masks"], strict=True):
        assert np.count_nonzero(coco_mask.decode(rle) != mask) <= MOVED_PIXELS


def test_an_older_detector_scores_the_same_on_its_validation_part(older, tmp_path):
    expected = np.load(older / "cells.npz")
    evaluate(older / "detector", "best", Scored("val"), out=str(tmp_path / "out"))
    scores = json.loads((tmp_path / "out/scores.json").read_text())
    assert scores["mask"]["AP"] == pytest.approx(float(expected["mask_ap"]), abs=1e-3)
    assert scores["box"]["AP"] == pytest.approx(float(expected["box_ap"]), abs=1e-3)


def test_exported_weights_of_older_code_are_those_of_its_run(older):
    exported = read_weights(older / "export/parameters.safetensors").arrays
    variables, _ = load_variables(older / "detector")
    expected = flatten_dict(variables, sep="/")
    assert exported.keys() == expected.keys()
    for path, weight in expected.items():
        np.testing.assert_array_equal(exported[path], weight, err_msg=path)


def test_an_older_config_says_what_its_run_was(older):
    config = load_config(older / "detector")
    assert tuple(config.dataset.classes) == ("L1", "L2", "L3")
    assert tuple(config.dataset.canvas) == (96, 128)
    assert [phase["layers"] for phase in config.train.phases] == ["heads", "4+"]


@pytest.mark.slow  # it compiles a training step
def test_an_older_detector_goes_on_training_in_its_second_phase(older):
    run = older / "detector"
    config = load_config(run)
    config.train.steps += 1
    before = _weights(run)
    assert train(config, make_task(config, run), run, allow_config_change=True) is None
    moved = {name: float(np.abs(weight - before[name]).max()) for name, weight in _weights(run).items()}
    assert moved["backbone/conv1/kernel"] < 1e-6  # frozen
    assert 1e-5 < moved["backbone/layer3_0/conv1/kernel"] < 2 * config.train.learning_rate


def test_an_older_classifier_gives_the_same_probabilities(older):
    expected = np.load(older / "crops.npz")
    model = load_classifier(older / "classifier")
    assert model.cut_settings()["size"] == 24
    np.testing.assert_allclose(model.probabilities(expected["crops"]), expected["probabilities"], rtol=0, atol=1e-4)


def _weights(run: Path) -> dict[str, Any]:
    variables, _ = load_variables(run, "latest")
    return dict(flatten_dict(variables["params"], sep="/"))
