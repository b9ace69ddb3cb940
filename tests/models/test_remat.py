"""Rematerialised blocks: the same training with less memory."""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models import small
from wbcjax.models import mask_rcnn
from wbcjax.models import settings as s
from wbcjax.models.efficientnet import EfficientNet
from wbcjax.models.resnet import ResNet
from wbcjax.settings.older_runs import upgrade_model
from wbcjax.settings.parts import as_values

pytestmark = pytest.mark.slow

IMAGES = 2
OPTIONS = {
    "xla_disable_hlo_passes": "cse_barrier_expander",  # after it a CPU's compiler joins what is to be computed twice
    "xla_backend_optimization_level": 0,  # LLVM's: it compiles in half the time without
}


def resnet(remat: bool) -> ResNet:
    return ResNet(depth=18, width=8, norm="bn", remat=remat)


def efficient_net(remat: bool) -> EfficientNet:
    settings = dataclasses.replace(s.EFFICIENTNET_KERAS["b0"], width=0.25, depth=0.3, stochastic_depth=0.5)
    return EfficientNet(dataclasses.replace(settings, remat=remat), cpu=True)


def the_last_strides(stage: int) -> bool:
    return stage >= 4


def arguments(model: Any) -> tuple[Any, ...]:
    """Of a training call of `model`: images, and what makes it one."""
    image = jnp.asarray(np.random.default_rng(0).uniform(0, 255, (IMAGES, 64, 96, 3)), jnp.float32)
    if isinstance(model, ResNet):
        return image, the_last_strides
    return image, jax.random.split(jax.random.key(1), IMAGES), None, the_last_strides


def fresh(model: Any) -> Any:
    wanted = jax.eval_shape(lambda: model.init(jax.random.key(0), *arguments(model)))
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: rng.uniform(0.0, 0.2, leaf.shape).astype(np.float32), wanted)


def step(model: Any) -> Any:
    """(params, batch_stats) to features and statistics, and to the gradient, compiled; the last strides train."""

    def objective(params, batch_stats):
        variables = {"params": params, "batch_stats": batch_stats}
        features, changed = model.apply(variables, *arguments(model), mutable=["batch_stats"])
        total = sum(jnp.mean(jnp.sin(leaf)) for leaf in jax.tree.leaves(features))
        return total, (features, changed["batch_stats"])

    variables = fresh(model)
    lowered = jax.jit(jax.value_and_grad(objective, has_aux=True)).lower(variables["params"], variables["batch_stats"])
    return lowered.compile(OPTIONS)


@pytest.fixture(scope="module", params=[resnet, efficient_net])
def pair(request: pytest.FixtureRequest) -> Any:
    """A model without and with rematerialisation, and the steps of both."""
    models = [request.param(remat) for remat in (False, True)]
    return models, [step(model) for model in models]


def test_weights_keep_their_names_and_shapes(pair: Any):
    plain, rematerialised = (jax.tree.map(jnp.shape, fresh(model)) for model in pair[0])
    assert plain == rematerialised


def test_features_gradients_and_statistics_do_not_change(pair: Any):
    (model, _), steps = pair
    variables = fresh(model)
    plain, rematerialised = (run(variables["params"], variables["batch_stats"]) for run in steps)
    largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(plain[1]))
    assert largest > 1e-4
    chex.assert_trees_all_close(rematerialised[0], plain[0], rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(rematerialised[1], plain[1], rtol=1e-4, atol=1e-4 * largest)


def test_frozen_layers_keep_their_statistics_inside_rematerialised_blocks(pair: Any):
    (_, model), (_, run) = pair
    variables = fresh(model)
    (_, (_, after)), _ = run(variables["params"], variables["batch_stats"])
    frozen, trained = ("layer2_1", "layer3_1") if isinstance(model, ResNet) else ("block2_0", "block6_1")
    moved = jax.tree.map(lambda old, new: not np.array_equal(old, new), variables["batch_stats"], after)
    assert not any(jax.tree.leaves(moved[frozen]))
    assert all(jax.tree.leaves(moved[trained]))


def test_the_compiled_step_holds_less(pair: Any):
    plain, rematerialised = (run.memory_analysis().temp_size_in_bytes for run in pair[1])
    assert rematerialised < 0.9 * plain


def test_the_setting_reaches_every_block_of_either_model():
    detector, fields = small.model(), small.batch(IMAGES, 0)
    detector = detector.clone(settings=dataclasses.replace(detector.settings, remat=True))
    variables = jax.eval_shape(lambda: mask_rcnn.init(detector, 0))
    keys = jax.random.split(jax.random.key(0), IMAGES)
    traced = jax.make_jaxpr(lambda v, b: detector.apply(v, b, keys, method="losses"))(variables, fields)
    assert str(traced).count(" remat2[") == 8  # two in each of ResNet-18's four stages

    network = efficient_net(True)
    inputs = arguments(network)
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), *inputs))
    traced = jax.make_jaxpr(lambda v: network.apply(v, *inputs, mutable=["batch_stats"]))(variables)
    assert str(traced).count(" remat2[") == 8  # one in each of seven stages, and another in one of them


def test_configs_of_runs_from_before_there_was_a_choice_are_read_as_without():
    settings = s.EFFICIENTNET_KERAS["b3"]
    values = as_values(settings)
    del values["remat"]
    assert s.from_dict(s.EfficientNetSettings, upgrade_model(values)) == settings


def test_another_missing_setting_is_refused_still():
    values = as_values(s.MATTERPORT)
    del values["dtype"]
    with pytest.raises(ValueError, match=r"config\.model\.dtype is missing"):
        s.from_dict(s.MaskRCNNSettings, values)
