"""A network of one's own, as the README shows: without any statistics, from training to the exported model."""

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

import wbcjax
from tests.commands.test_export import image
from tests.experiments import scores_of
from tests.tasks.test_detection import toy_config
from tests.test_readme import plain_net
from wbcjax import cli
from wbcjax.commands.weights.files import convert_weights
from wbcjax.runs.initial_weights import settings_of, start_from
from wbcjax.tasks.choose import make_task, train
from wbcjax.train.checkpoint import load_variables


@pytest.fixture
def config(tmp_path, monkeypatch) -> ConfigDict:
    """Of small trainings of the README's backbone."""
    monkeypatch.setenv("WBCJAX_CACHE", str(tmp_path / "cache"))
    config = toy_config()
    plain_net(config, tmp_path, monkeypatch)
    return config


@pytest.mark.slow
def test_the_readmes_backbone_is_trained_resumed_scored_converted_and_exported(config, tmp_path):
    run = tmp_path / "run"
    for steps in (1, 2):
        config.train.steps = steps
        assert train(config, make_task(config), run, allow_config_change=True) is None
    variables, step = load_variables(run, "latest")
    assert (set(variables), step) == ({"params"}, 2)
    fresh = make_task(config).init_variables(config.seed)
    moved = jax.tree.map(lambda new, old: float(np.abs(new - old).max()), variables, fresh)
    assert min(moved["params"]["backbone"]["norm1"].values()) > 0

    assert scores_of(run, tmp_path / "scores", trust_parts=True)["counts"]["fields"] == 3

    convert_weights(run, tmp_path / "ours.safetensors", trust_parts=True)
    best, _ = load_variables(run)
    started = start_from(tmp_path / "ours.safetensors", fresh, settings_of(config), trust_parts=True)
    assert started.report.initial == ()
    jax.tree.map(np.testing.assert_array_equal, started.variables, best)

    cli.main(["export", str(run), "--out", str(tmp_path / "exported"), "--trust-parts"])
    exported = wbcjax.load(tmp_path / "exported" / "model.stablehlo", trust_parts=True)
    assert set(exported.network.variables) == set(flatten_dict(best, sep="/"))
    ours, theirs = (model.detect(image(96, 128, 1)) for model in (wbcjax.load(run, trust_parts=True), exported))
    np.testing.assert_allclose(theirs.scores, ours.scores, atol=1e-5)
    np.testing.assert_allclose(theirs.boxes, ours.boxes, atol=1e-2)
