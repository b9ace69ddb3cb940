"""Checkpoints: what comes back, which are kept, and what is refused."""

import contextlib
import shutil
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests.train import toy
from tests.train.saved import batches, place
from wbcjax.settings.checked import checked
from wbcjax.train import checkpoint
from wbcjax.train.checkpoint import Checkpoints, checkpoint_directory, load_variables
from wbcjax.train.misfit import find_misfit
from wbcjax.train.optimizer import make_optimizer
from wbcjax.train.settings import TrainSettings
from wbcjax.train.state import TrainState, init_state


def state(step: int, *, ema=True, optimizer="adamw", layers="all") -> TrainState:
    """A state whose every array differs from any other's, and from those of other steps."""
    settings = checked(TrainSettings, toy.config(optimizer={"part": optimizer}).train, "config.train")
    fresh = init_state(toy.variables(3), make_optimizer(settings), toy.layers(layers), 3, ema=ema)
    random = np.random.default_rng(step)
    noise = jax.tree.map(lambda leaf: np.asarray(100 * random.random(leaf.shape), leaf.dtype), fresh)
    return noise._replace(step=np.full((), step, np.int32))


def test_a_state_and_the_place_in_the_data_come_back(tmp_path):
    data = batches()
    for _ in range(2):
        next(data)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state(5), data.get_state(), 0.4)
    expected = next(data)
    resumed = batches()
    with Checkpoints(tmp_path) as checkpoints:
        assert (checkpoints.latest, checkpoints.best, checkpoints.evaluated(5)) == (5, 5, True)
        chex.assert_trees_all_equal(checkpoints.restore(5, state(0), resumed), state(5))
    chex.assert_trees_all_equal(next(resumed), expected)


@pytest.mark.parametrize("named", ["sgd", "optax:lion"])
def test_the_state_of_weights_with_decays_of_their_own_comes_back(tmp_path, named):
    rules = ({"paths": "backbone", "weight_decay": 0.5}, {"paths": "box_head", "weight_decay": 0.0})
    settings = checked(TrainSettings, toy.config(optimizer={"part": named}, rules=rules).train, "config.train")
    before = init_state(toy.variables(3), make_optimizer(settings), toy.layers("all"), 3, ema=False)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(before, place(), 0.5)
        after = checkpoints.restore(0, before, batches())
    chex.assert_trees_all_equal(after, before)
    assert sum(leaf.size for leaf in jax.tree.leaves(after.opt_state) if leaf.ndim) == sum(
        leaf.size for leaf in jax.tree.leaves(after.params)
    )


def test_the_two_latest_and_the_best_are_kept_and_no_other(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        for step, score in ((1, 0.3), (2, 0.5), (3, 0.5), (4, None), (5, float("nan")), (6, 0.2)):
            checkpoints.save(state(step), place(), score)
            assert checkpoints.latest == step
    assert {path.name for path in tmp_path.iterdir()} == {"3", "5", "6"}
    with Checkpoints(tmp_path) as checkpoints:
        assert (checkpoints.latest, checkpoints.best) == (6, 3)


def test_a_checkpoint_without_an_evaluation_is_ranked_once_it_has_one(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state(1), place(), 0.3)
        checkpoints.save(state(2), place(), None)
        assert not checkpoints.evaluated(2)
        assert checkpoints.best == 1
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state(2), place(), 0.5)
        assert checkpoints.evaluated(2)
        checkpoints.save(state(2), place(), None)
        assert checkpoints.evaluated(2)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state(3), place(), 0.4)
        assert (checkpoints.latest, checkpoints.best, checkpoints.evaluated(2)) == (3, 2, True)
        chex.assert_trees_all_equal(checkpoints.restore(2, state(0), batches()), state(2))


class Killed(BaseException):
    pass


def killed(*_, **__):
    raise Killed


@pytest.mark.parametrize("cut", ["replace", "open"])
def test_the_only_checkpoint_is_not_lost_where_writing_its_score_is_cut_short(tmp_path, monkeypatch, cut):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state(1), place(), None)
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            patch.setattr(Path, cut, killed)
            checkpoints.save(state(1), place(), 0.5)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest == 1
        chex.assert_trees_all_equal(checkpoints.restore(1, state(0), batches()), state(1))
        checkpoints.save(state(1), place(), 0.5)
        assert checkpoints.evaluated(1)


@pytest.mark.parametrize(
    ("cut", "short"),
    [(ocp.StandardCheckpointHandler, "finalize"), (checkpoint, "write_digests"), (Path, "rename")],
)
def test_a_checkpoint_whose_writing_was_cut_short_is_none_and_goes(tmp_path, monkeypatch, cut, short):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state(1), place(), 0.5)
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            patch.setattr(cut, short, killed)
            checkpoints.save(state(2), place(), 0.6)
    assert len(list(tmp_path.iterdir())) == 2
    with Checkpoints(tmp_path) as checkpoints:
        assert [path.name for path in tmp_path.iterdir()] == ["1"]
        assert checkpoints.latest == 1
        checkpoints.save(state(2), place(), 0.6)
        chex.assert_trees_all_equal(checkpoints.restore(2, state(0), batches()), state(2))


def test_a_checkpoint_whose_deletion_was_cut_short_is_none_and_goes(tmp_path, monkeypatch):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state(1), place(), 0.3)
        checkpoints.save(state(2), place(), 0.4)
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            patch.setattr(shutil, "rmtree", killed)
            checkpoints.save(state(3), place(), 0.5)
    assert {path.name for path in tmp_path.iterdir()} == {"1.deleted", "2", "3"}
    with Checkpoints(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {"2", "3"}


@pytest.mark.parametrize("ema", [True, False])
def test_prediction_gets_the_averaged_variables_where_there_are_any(tmp_path, ema):
    with Checkpoints(checkpoint_directory(tmp_path)) as checkpoints:
        checkpoints.save(state(1, ema=ema), place(), 0.5)
        checkpoints.save(state(2, ema=ema), place(), 0.1)
    for which, step in (("best", 1), ("latest", 2)):
        variables, found = load_variables(tmp_path, which)
        assert found == step
        expected = state(step, ema=ema)
        trained = {"params": expected.params, **expected.collections}
        chex.assert_trees_all_equal(variables, expected.ema if ema else trained)


def test_a_run_without_checkpoints_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="checkpoints does not exist: give the workdir"):
        load_variables(tmp_path)
    assert not checkpoint_directory(tmp_path).exists()
    checkpoint_directory(tmp_path).mkdir()
    with pytest.raises(FileNotFoundError, match="holds no checkpoint yet"):
        load_variables(tmp_path)


@pytest.mark.parametrize(
    ("bias", "described"),
    [(np.zeros(7, np.float32), r"float32 \(7,\)"), (np.zeros(4, jnp.bfloat16), r"bfloat16 \(4,\)")],
)
def test_weights_of_another_shape_or_type_are_refused_by_name(tmp_path, bias, described):
    other = state(1)
    other.params["box_head"]["bias"] = bias
    message = rf"  training/params/box_head/bias: {described} in the checkpoint, float32 \(4,\) in the model\nGive"
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(other, place(), 0.5)
        with pytest.raises(ValueError, match=message):
            checkpoints.restore(1, state(0), batches())


def test_an_optimizer_of_another_kind_is_refused(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state(1, optimizer="adamw"), place(), 0.5)
        with pytest.raises(ValueError, match="does not fit the model and optimizer of this config"):
            checkpoints.restore(1, state(0, optimizer="sgd"), batches())


def test_what_does_not_fit_is_told_in_few_lines():
    saved = {f"layer{number:02}": np.zeros(number) for number in range(30)}
    assert find_misfit(saved, saved) == ""
    lines = find_misfit(saved, {}).splitlines()
    assert len(lines) == 11
    assert lines[0] == "  layer00: float64 (0,) in the checkpoint, absent in the model"
    assert lines[-1] == "  and 20 more"
