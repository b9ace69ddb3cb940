"""The data-parallel step: the numbers it must give, and that it gives them on any number of devices."""

import dataclasses
import itertools

import chex
import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from tests.train import toy
from tests.train.steps import NO_WISHES
from wbcjax.models.backbone import everything_trains
from wbcjax.settings.checked import checked
from wbcjax.train.layers import Layers
from wbcjax.train.optimizer import make_optimizer
from wbcjax.train.parallel import DataParallel, check_batch_size
from wbcjax.train.plan import learning_rate, plan_run
from wbcjax.train.settings import TrainSettings
from wbcjax.train.state import init_state, split_collections
from wbcjax.train.step import make_step
from wbcjax.train.wishes import Wishes

STEPS = 3


def run(settings: TrainSettings, devices: int = 8, *, task=None, layers="all", batches=None):
    """The states, in host memory, and the metrics after each of three steps on `devices` of the devices present."""
    task = task or toy.task()
    parallel = DataParallel(settings.parallel, jax.devices()[:devices])
    optimizer, layers = make_optimizer(settings), Layers(layers, task.stage_of)
    schedule = learning_rate(settings, plan_run(settings, task.images))
    step = make_step(task, settings, optimizer, schedule, layers)
    step, wishes = parallel.compile(step), parallel.place_wishes(NO_WISHES)
    state = init_state(task.init_variables(3), optimizer, layers, 3, ema=settings.ema_decay > 0)
    state, history = parallel.place_state(state), []
    for batch in batches or itertools.islice(toy.batches(toy.Images(), settings.batch_size, 3), STEPS):
        state, metrics = step(state, parallel.place_batch(batch), wishes)
        history.append(jax.device_get((parallel.local(state), parallel.local(metrics))))
    return [state for state, _ in history], [metrics for _, metrics in history]


def settings(**changes) -> TrainSettings:
    return checked(TrainSettings, toy.config(**changes).train, "config.train")


@pytest.mark.parametrize("parallel", ["shard_map", pytest.param("pmap", marks=pytest.mark.slow)])
def test_eight_devices_train_as_one_does(parallel):
    one, one_metrics = run(settings(parallel=parallel, ema_decay=0.5), devices=1)
    eight, eight_metrics = run(settings(parallel=parallel, ema_decay=0.5), devices=8)
    assert int(eight[-1].step) == STEPS
    chex.assert_trees_all_close(eight[-1].params, one[-1].params, rtol=0, atol=1e-5)
    chex.assert_trees_all_close(eight[-1].collections, one[-1].collections, rtol=0, atol=1e-5)
    chex.assert_trees_all_close(eight[-1].ema, one[-1].ema, rtol=0, atol=1e-5)
    chex.assert_trees_all_close(eight_metrics, one_metrics, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_pmap_gives_what_shard_map_gives():
    shard_map, _ = run(settings(parallel="shard_map"))
    pmap, _ = run(settings(parallel="pmap"))
    chex.assert_trees_all_close(pmap[-1].params, shard_map[-1].params, rtol=0, atol=1e-6)


def written_out(parts: int, rates: dict[str, float], decays: dict[str, float]) -> tuple[dict, dict]:
    """The toy's parameters and statistics after three steps of SGD in NumPy; rates and decays by layer, 1 not named."""
    params, collections = split_collections(toy.variables(3))
    rate, decay = (
        jax.tree_util.tree_map_with_path(lambda path, _, by_layer=by_layer: by_layer.get(path[-2].key, 1.0), params)
        for by_layer in (rates, decays)
    )
    velocity = jax.tree.map(np.zeros_like, params)

    @jax.jit
    def gradient(params, collections, batch, step, places):
        keys = jax.vmap(lambda place: jax.random.fold_in(jax.random.fold_in(jax.random.key(3), step), place))

        def total(params):
            variables = {"params": params, **collections}
            losses, moved = toy.losses(variables, batch, keys(places), everything_trains, None)
            return losses["square"] + 0.5 * losses["size"], moved

        return jax.grad(total, has_aux=True)(params)

    batches = toy.batches(toy.Images(), 8, 3)
    for step in range(STEPS):
        batch, of_parts = next(batches), []
        for places in np.split(np.arange(8), parts):
            part = toy.ToyBatch(*(leaf[places] for leaf in batch))
            grads, collections = jax.device_get(gradient(params, collections, part, step, places))
            of_parts.append(grads)
        grads = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *of_parts)
        grads = jax.tree.map(lambda g, w, d: g + d * 0.01 * w if w.ndim > 1 else g, grads, params, decay)
        velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, grads)
        params = jax.tree.map(lambda w, v, r: w - r * 0.1 * v, params, velocity, rate)
    return params, collections


PLAIN = {"weight_decay": 0.01, "clip_norm": 0.0, "warmup_steps": 0, "schedule": "step"}


@pytest.mark.parametrize(("parts", "devices"), [(1, 8), (2, 1), pytest.param(4, 1, marks=pytest.mark.slow)])
def test_the_step_equals_sgd_written_out(parts, devices):
    """The step is that of sgd written out for the whole batch or its parts."""
    params, collections = written_out(parts, {}, {})
    states, _ = run(settings(**PLAIN, accumulate=parts), devices)
    chex.assert_trees_all_close(states[-1].params, params, rtol=0, atol=1e-5)
    chex.assert_trees_all_close(states[-1].collections, collections, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_rates_that_fall_layer_by_layer_are_those_of_sgd_written_out():
    rules = (
        {"paths": "backbone/stem", "learning_rate": 0.25, "weight_decay": 0.0},
        {"paths": "backbone/(stem|layer3)", "learning_rate": 0.5, "weight_decay": 20.0},
    )
    params, _ = written_out(1, {"stem": 0.25, "layer3_0": 0.5}, {"stem": 0.0, "layer3_0": 20.0})
    states, _ = run(settings(**PLAIN, rules=rules), 1)
    chex.assert_trees_all_close(states[-1].params, params, rtol=0, atol=1e-5)


@pytest.mark.parametrize("parallel", ["shard_map", "pmap"])
def test_the_step_is_traced_once_however_many_steps_are_made(parallel):
    chex.clear_trace_counter()
    once = dataclasses.replace(toy.task(), losses=chex.assert_max_traces(toy.losses, n=1))
    run(settings(parallel=parallel), task=once)


def test_the_placed_state_is_compiled_for_once():
    parallel = DataParallel("shard_map")
    step = parallel.compile(lambda state, batch, wishes: (state + batch.sum() + wishes.save.sum(), {}))
    state = parallel.place_state(np.float32(0))
    for _ in range(3):
        state, _ = step(state, parallel.place_batch(np.ones(8, np.float32)), parallel.place_wishes(NO_WISHES))
    assert step._cache_size() == 1


@pytest.mark.slow
def test_frozen_weights_stay_and_have_no_optimizer_state():
    states, _ = run(settings(ema_decay=0.9), layers="heads")
    state = states[-1]
    before: dict = flatten_dict(toy.variables(3)["params"])
    for path, weight in dict(flatten_dict(state.params)).items():
        assert np.array_equal(np.asarray(weight), before[path]) == (path[0] == "backbone"), path
    assert sum(leaf.size for leaf in jax.tree.leaves(state.opt_state)) == before["box_head", "kernel"].size + 4
    chex.assert_trees_all_equal(state.ema["params"]["backbone"], state.params["backbone"])


@pytest.mark.slow
def test_the_averages_of_weights_and_batch_statistics_follow_their_recurrence():
    states, _ = run(settings(ema_decay=0.15))
    expected = toy.variables(3)
    for state, decay in zip(states, (1 / 10, 0.15, 0.15), strict=True):  # (1 + step) / (10 + step), at most 0.15
        variables = {"params": state.params, **state.collections}
        expected = jax.tree.map(lambda e, v, d=decay: d * e + (1 - d) * v, expected, variables)
        chex.assert_trees_all_close(state.ema, expected, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2])
def test_a_step_that_is_not_finite_is_skipped_and_the_next_one_counts(parts):
    good, after = itertools.islice(toy.batches(toy.Images(), 8, 3), 2)
    bad = next(toy.batches(toy.Images(bad=range(toy.IMAGES)), 8, 3))
    states, metrics = run(settings(ema_decay=0.9, accumulate=parts), 4, batches=[good, bad, after])
    assert [int(measured["skipped"]) for measured in metrics] == [0, 1, 0]
    assert [int(state.step) for state in states] == [1, 2, 3]
    chex.assert_trees_all_equal(states[1]._replace(step=np.int32(1)), states[0])
    chex.assert_tree_all_finite(states[2])
    assert not np.array_equal(states[2].params["box_head"]["kernel"], states[1].params["box_head"]["kernel"])


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["shard_map", "pmap"])
def test_a_wish_of_one_device_is_heard_by_all(parallel):
    devices = DataParallel(parallel)
    optimizer = make_optimizer(settings())
    step = devices.compile(make_step(toy.task(), settings(), optimizer, lambda step: 0.1, toy.layers("all")))
    state = init_state(toy.variables(3), optimizer, toy.layers("all"), 3, ema=False)
    none, of_one = np.zeros(8, np.float32), np.eye(8, dtype=np.float32)[5]
    batch = devices.place_batch(next(toy.batches(toy.Images(), 8, 3)))
    wishes = devices.place_batch(Wishes(stop=none, end=of_one, save=none))
    _, metrics = step(devices.place_state(state), batch, wishes)
    means = Wishes(stop=np.zeros(1), end=np.full(1, 0.125), save=np.zeros(1))
    chex.assert_trees_all_equal(devices.local(metrics["wishes"]), means)


def test_a_weight_for_a_loss_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"loss_weights names colour; the losses are size, square"):
        run(settings(loss_weights={"colour": 1.0}), devices=1)


def test_a_batch_that_the_devices_cannot_share_is_refused():
    with pytest.raises(ValueError, match="batch_size is 12, which 8 devices cannot share evenly"):
        check_batch_size(12, devices=8, accumulate=1)
    with pytest.raises(ValueError, match=r"8 devices cannot share evenly in 3 parts .*: choose a multiple of 24"):
        check_batch_size(16, devices=8, accumulate=3)


@pytest.mark.slow
def test_every_image_draws_its_own_numbers():
    seen = []

    def spy(variables, batch, keys, trains, axis_name):
        jax.debug.callback(lambda data: seen.extend(map(tuple, data)), jax.random.key_data(keys))
        return toy.losses(variables, batch, keys, trains, axis_name)

    task = toy.task()
    run(settings(), task=dataclasses.replace(task, losses=spy))
    jax.effects_barrier()
    assert len({tuple(map(int, key)) for key in seen}) == 8 * STEPS
