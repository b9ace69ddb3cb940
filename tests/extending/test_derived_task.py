"""A task of one's own that derives from detection: its runs are used as runs of detection."""

import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import wbcjax
from tests.experiments import scores_of
from tests.tasks.test_detection import toy_config
from tests.train import toy
from wbcjax.commands.export.model import export_run
from wbcjax.commands.weights.files import convert_weights
from wbcjax.runs.initial_weights import UnusableWeights
from wbcjax.settings.parts import Untrusted
from wbcjax.smear import synthetic
from wbcjax.tasks.choose import make_task, train
from wbcjax.train.checkpoint import load_variables
from wbcjax.weights.files import read_weights

pytestmark = pytest.mark.slow

IMAGE = synthetic.render(synthetic.SyntheticSmear(height=96, width=128), 5).image()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of one step, beside the task's file."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copy(Path(__file__).with_name("by_boxes.py"), folder / "by_boxes.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "by_boxes", raising=False)
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        patch.setenv("WBCJAX_CACHE", str(folder / "cache"))
        config = toy_config()
        config.task, config.train.steps, config.train.epochs = "by_boxes:ByBoxes", 1, 0.0
        assert train(config, make_task(config), folder / "run") is None
        yield folder / "run"
        sys.modules.pop("by_boxes", None)


def test_the_change_reaches_the_run(run):
    (kept,) = toy.records(run, "eval")
    assert load_variables(run, "best")[1] == kept["step"] == 1
    assert scores_of(run, run.parent / "scores", trust_parts=True)["box"]["AP"] == pytest.approx(kept["box/AP"])


def test_its_run_and_its_export_find_the_same_cells(run):
    with pytest.raises(Untrusted, match=r"config\.task is 'by_boxes:ByBoxes'"):
        wbcjax.load(run)
    exported = export_run(run, run.parent / "out", trust_parts=True)
    live, loaded = (wbcjax.load(place, trust_parts=True) for place in (run, exported.model))
    np.testing.assert_allclose(loaded.detect(IMAGE).boxes, live.detect(IMAGE).boxes, atol=1e-5)
    assert exported.card.read_text().startswith("# Mask R-CNN on ResNet-18 for white blood cells")


def test_another_run_starts_from_its_weights(run):
    convert_weights(run, run.parent / "weights.safetensors", trust_parts=True)
    config, (best, _) = toy_config(), load_variables(run)
    assert read_weights(run.parent / "weights.safetensors").metadata["classes"] == '["L1", "L2", "L3"]'
    for place in (run, run.parent / "weights.safetensors"):
        config.init_from, config.init_trust_parts = str(place), True
        task = make_task(config)
        assert task.start is not None
        started = task.start(task.init_variables(0))
        jax.tree.map(np.testing.assert_array_equal, started, best)
    config.init_from, config.init_trust_parts = str(run), False
    task = make_task(config)
    assert task.start is not None
    with pytest.raises(UnusableWeights, match="init_trust_parts=True"):
        task.start(task.init_variables(0))
