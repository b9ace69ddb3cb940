"""Variables besides the parameters: whatever collections a model has, or none, go through training unharmed."""

import dataclasses
import functools
import signal

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train import toy
from tests.train.test_loop import killer
from tests.train.test_step import run, settings
from tests.train.toy import train
from wbcjax.batch import CropBatch
from wbcjax.configs import myeloma_efficientnet_b3
from wbcjax.models import efficientnet
from wbcjax.models.backbone import HEADS, STEM, everything_trains
from wbcjax.models.settings import EFFICIENTNET_KERAS
from wbcjax.tasks.classification import crop_losses
from wbcjax.train.checkpoint import load_variables
from wbcjax.train.layers import Layers, keep_frozen
from wbcjax.train.optimizer import make_optimizer
from wbcjax.train.state import init_state
from wbcjax.train.task import Task


class Counting(nn.Module):
    """Its input less the mean of a batch, which it keeps, as it does a number that grows with the batches."""

    @nn.compact
    def __call__(self, x, axis_name):
        mean = self.variable("own", "mean", jnp.zeros, x.shape[-1])
        seen = self.variable("counters", "seen", lambda: jnp.zeros((), jnp.int32))
        if not self.is_initializing():
            of_batch = jax.lax.stop_gradient(x.mean((0, 1, 2)))
            mean.value = jax.lax.pmean(of_batch, axis_name) if axis_name else of_batch
            seen.value += 2**24 + 1  # which no float32 holds
        return x - jax.lax.stop_gradient(mean.value)


class Backbone(nn.Module):
    counting: bool

    @nn.compact
    def __call__(self, x, axis_name):
        x = nn.GroupNorm(1, name="norm")(x)
        return Counting(name="count")(x, axis_name) if self.counting else x


class Net(nn.Module):
    """A network without any statistics, or, `counting`, with those of two collections of its own."""

    counting: bool

    @nn.compact
    def __call__(self, image, axis_name=None):
        x = Backbone(self.counting, name="backbone")(nn.Dense(4, name="stem")(image), axis_name)
        if self.counting:
            self.variable("own", "untouched", jnp.ones, (2,))
        return nn.Dense(4, name="box_head")(nn.relu(x).mean((1, 2)))


def task(counting: bool, images=None, evaluate=None) -> Task:
    def losses(variables, batch, keys, trains, axis_name):
        collections = [name for name in variables if name != "params"]
        output, changed = Net(counting).apply(variables, batch.image, axis_name, mutable=collections)
        return {"square": jnp.mean((output - batch.target) ** 2), "size": jnp.mean(jnp.abs(output))}, changed

    return dataclasses.replace(
        toy.task(images, evaluate), init_variables=functools.partial(variables, counting), losses=losses
    )


@functools.cache
def variables(counting: bool, seed: int) -> dict:
    return jax.device_get(jax.jit(Net(counting).init)(jax.random.key(seed), jnp.zeros((1, 6, 6, 3))))


COLLECTIONS = {False: {"params"}, True: {"params", "own", "counters"}}


@pytest.mark.slow
@pytest.mark.parametrize("counting", COLLECTIONS)
@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_a_model_of_any_collections_is_trained_saved_resumed_and_evaluated(tmp_path, counting, ema_decay):
    evaluated = []
    config = toy.config(steps=4, ema_decay=ema_decay)
    straight = task(counting, evaluate=lambda found: evaluated.append(jax.device_get(found)) or {"mask AP": 0.5})
    assert train(config, straight, tmp_path / "straight") is None
    assert train(config, task(counting, killer(8 * 2 + 3, signal.SIGTERM)), tmp_path / "pieces") == signal.SIGTERM
    assert train(config, task(counting), tmp_path / "pieces") is None
    (whole, step), (pieces, _) = (load_variables(tmp_path / name) for name in ("straight", "pieces"))
    assert step == 4
    assert set(whole) == COLLECTIONS[counting]
    for found in (pieces, evaluated[0]):
        chex.assert_trees_all_equal(found, whole)
    kernel = whole["params"]["box_head"]["kernel"]
    assert np.abs(kernel - variables(counting, 3)["params"]["box_head"]["kernel"]).max() > 1e-3
    if counting:
        seen = whole["counters"]["backbone"]["count"]["seen"]
        assert (seen.dtype, int(seen)) == (np.int32, 4 * (2**24 + 1))
        assert np.abs(whole["own"]["backbone"]["count"]["mean"]).max() > 0
        np.testing.assert_array_equal(whole["own"]["untouched"], np.ones(2))


@pytest.mark.slow
def test_statistics_of_any_collection_are_those_of_all_devices():
    (one, _), (eight, _) = (run(settings(ema_decay=0.5), devices, task=task(True)) for devices in (1, 8))
    chex.assert_trees_all_close(eight[-1], one[-1], rtol=0, atol=1e-5)


def test_frozen_layers_keep_their_statistics_in_any_collection():
    states, _ = run(settings(ema_decay=0.5), 1, task=task(True), layers="box_head|stem/kernel")
    before, state = variables(True, 3), states[-1]
    for found in (state.collections, state.ema):
        np.testing.assert_array_equal(
            found["own"]["backbone"]["count"]["mean"], before["own"]["backbone"]["count"]["mean"]
        )
        assert int(found["counters"]["backbone"]["count"]["seen"]) == 0
    np.testing.assert_array_equal(
        state.params["backbone"]["norm"]["scale"], before["params"]["backbone"]["norm"]["scale"]
    )


def test_statistics_go_with_the_weights_beside_them_or_else_above():
    params = {"backbone": {"norm": {"scale": 0}, "stem": {"kernel": 0}}, "head": {"kernel": 0}}
    before = {"own": {"backbone": {"norm": {"mean": 1}, "other": {"mean": 2}}, "head": {"mean": 3}, "all": 4}}
    after = jax.tree.map(lambda number: -number, before)

    def stage_of(path: tuple[str, ...]) -> int:
        return STEM if path[0] == "backbone" else HEADS

    def moved(layers: str) -> list[int]:
        kept = keep_frozen(after, before, params, Layers(layers, stage_of))
        return sorted(-leaf for leaf in jax.tree.leaves(kept) if leaf < 0)

    assert moved("all") == [1, 2, 3, 4]
    assert moved("heads") == [3, 4]
    assert moved("backbone/norm") == [1, 2, 4]
    assert moved("backbone/stem") == [2, 4]


def test_a_collection_called_as_what_a_checkpoint_has_beside_it_is_refused():
    optimizer, variables = make_optimizer(settings()), {"params": {"head": np.zeros(2)}, "key": {"a": np.zeros(2)}}
    with pytest.raises(ValueError, match="called 'key': give it another name"):
        init_state(variables, optimizer, toy.layers("all"), 0, ema=False)


class Plain(efficientnet.Classifier):
    """A classifier that stores nothing beside its parameters."""

    def setup(self):
        self.dense = nn.Dense(self.num_classes, kernel_init=nn.initializers.zeros)

    def __call__(self, image, keys=None, axis_name=None, trains=everything_trains):
        return self.dense(image.astype(jnp.float32).mean((1, 2)))


def test_a_classifier_without_statistics_has_its_losses():
    config = myeloma_efficientnet_b3.get_config()
    config.loss.label_smoothing = 0.0
    image, target = jnp.ones((2, 4, 4, 3), jnp.uint8), jnp.eye(3)[:2]
    batch = CropBatch(image, target, jnp.arange(2))  # pyright: ignore[reportArgumentType]
    model = Plain(EFFICIENTNET_KERAS["b0"], 3)
    variables, keys = model.init(jax.random.key(0), batch.image), jax.random.split(jax.random.key(0), 2)
    losses, changed = crop_losses(model, config.loss.label_smoothing)(variables, batch, keys, everything_trains, "")
    assert changed == {}
    assert float(losses["class"]) == pytest.approx(np.log(3))
