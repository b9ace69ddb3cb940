"""Optimizers against their papers' formulas, and the naming of layers."""

from collections.abc import Iterator
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from tests.train import toy
from wbcjax.configs import all_mask_rcnn, myeloma_efficientnet_b3, myeloma_mask_rcnn
from wbcjax.settings.checked import checked
from wbcjax.settings.parts import Bound, part
from wbcjax.train.optimizer import make_optimizer
from wbcjax.train.settings import TrainSettings
from wbcjax.train.transformations import adamw

PARAMS = {"kernel": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "bias": jnp.array([1.0, -1.0])}
GRADS = [
    {"kernel": jnp.array([[0.3, 0.1], [-0.2, 0.4]]) * scale, "bias": jnp.array([0.5, -0.6]) * scale}
    for scale in (1.0, -2.0, 0.7)
]


def updates(**changes) -> list[dict]:
    """What the optimizer makes of GRADS, one after the other; the weights stay in place."""
    optimizer = make_optimizer(checked(TrainSettings, toy.config(**changes).train, "config.train"))
    state, results = optimizer.init(PARAMS), []
    for grads in GRADS:
        update, state = optimizer.update(grads, state, PARAMS)
        results.append(update)
    return results


def test_sgd_adds_the_decay_before_the_momentum_and_spares_biases():
    actual = updates(optimizer=part("sgd", momentum=0.8), weight_decay=0.1, clip_norm=0.0)
    for name, decay in (("kernel", 0.1), ("bias", 0.0)):
        velocity = 0.0
        for grads, update in zip(GRADS, actual, strict=True):
            velocity = 0.8 * velocity + np.asarray(grads[name]) + decay * np.asarray(PARAMS[name])
            np.testing.assert_allclose(update[name], velocity, rtol=1e-6)


@pytest.mark.parametrize("epsilon", [1e-8, 1e-7, 0.3])
def test_adamw_decays_apart_from_the_gradient_and_spares_biases(epsilon):
    actual = updates(optimizer=part("adamw", eps=epsilon), weight_decay=0.1, clip_norm=0.0)
    for name, decay in (("kernel", 0.1), ("bias", 0.0)):
        mean = square = 0.0
        for count, (grads, update) in enumerate(zip(GRADS, actual, strict=True), 1):
            grad = np.asarray(grads[name], np.float64)
            mean, square = 0.9 * mean + 0.1 * grad, 0.999 * square + 0.001 * grad**2
            adam = mean / (1 - 0.9**count) / (np.sqrt(square / (1 - 0.999**count)) + epsilon)
            np.testing.assert_allclose(update[name], adam + decay * np.asarray(PARAMS[name]), rtol=0, atol=1e-5)


def test_long_gradients_are_shortened_and_short_ones_left():
    actual = updates(optimizer=part("sgd", momentum=0.0), weight_decay=0.0, clip_norm=1.0)
    for grads, update in zip(GRADS, actual, strict=True):
        norm = np.sqrt(sum(np.sum(np.square(grad)) for grad in grads.values()))
        for name in grads:
            np.testing.assert_allclose(update[name], grads[name] / max(norm, 1.0), rtol=1e-6)


DECAY, CLIP, MOMENTUM = 0.3, 0.5, 0.9
NETWORK = {
    "conv1": {"kernel": jnp.arange(12.0).reshape(2, 2, 3) / 10, "bias": jnp.array([0.3, -0.2, 0.1])},
    "bn1": {"scale": jnp.array([1.0, 2.0, 3.0]), "bias": jnp.array([0.5, -0.5, 0.25])},
    "logits": {"kernel": jnp.array([[2.0], [-1.0], [0.5]]), "bias": jnp.array([4.0])},
}


def loss(params: Any) -> Any:
    x = jnp.linspace(-1, 1, 2)
    x = jnp.tanh(jnp.einsum("i,ijk->k", x, params["conv1"]["kernel"]) + params["conv1"]["bias"])
    x = x * params["bn1"]["scale"] + params["bn1"]["bias"]
    return jnp.sum((x @ params["logits"]["kernel"] + params["logits"]["bias"]) ** 2)


def regularised(params: Any) -> Any:
    """Matterport's loss: Keras's l2(DECAY), a sum of squares, over the size of each array that is no gamma or beta."""
    arrays = [params["conv1"]["kernel"], params["conv1"]["bias"], params["logits"]["kernel"], params["logits"]["bias"]]
    return loss(params) + sum(DECAY * jnp.sum(w**2) / w.size for w in arrays)


@pytest.mark.slow
def test_matterports_l2_term_is_learnt_as_a_part_of_the_loss():
    settings = toy.config(
        optimizer=part("sgd", momentum=MOMENTUM), weight_decay=DECAY, clip_norm=CLIP, l2_per_array=True
    )
    optimizer = make_optimizer(checked(TrainSettings, settings.train, "config.train"))
    ours: Any = NETWORK
    theirs: Any = NETWORK
    state, velocity = optimizer.init(NETWORK), jax.tree.map(jnp.zeros_like, NETWORK)
    for _ in range(4):
        update, state = optimizer.update(jax.grad(loss)(ours), state, ours)
        ours = jax.tree.map(lambda w, u: w - 0.1 * u, ours, update)
        grads = jax.grad(regularised)(theirs)
        shorter = jnp.minimum(1.0, CLIP / optax.tree.norm(grads))  # the norm of all gradients, as Keras 2's clipnorm
        velocity = jax.tree.map(lambda v, g, shorter=shorter: MOMENTUM * v - 0.1 * shorter * g, velocity, grads)
        theirs = jax.tree.map(jnp.add, theirs, velocity)
    chex.assert_trees_all_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_matterports_l2_term_leaves_what_a_phase_does_not_train():
    settings = toy.config(optimizer=part("sgd", momentum=0.0), weight_decay=DECAY, clip_norm=0.0, l2_per_array=True)
    optimizer = make_optimizer(checked(TrainSettings, settings.train, "config.train"))
    heads = {"logits": NETWORK["logits"]}
    still = jax.tree.map(jnp.zeros_like, heads)
    update: Any = optimizer.update(still, optimizer.init(heads), heads)[0]
    np.testing.assert_allclose(update["logits"]["kernel"], 2 * DECAY / 3 * heads["logits"]["kernel"], rtol=1e-6)
    np.testing.assert_allclose(update["logits"]["bias"], 2 * DECAY * heads["logits"]["bias"], rtol=1e-6)


def test_the_papers_configs_train_as_their_libraries_do():
    for config in (all_mask_rcnn.get_config(), myeloma_mask_rcnn.get_config()):
        assert checked(TrainSettings, config.train, "config.train").l2_per_array
        assert (config.model.backbone.norm, config.model.box_head.norm) == ("bn_frozen_stats", "bn_frozen_stats")
    kerass = checked(TrainSettings, myeloma_efficientnet_b3.get_config().train, "config.train")
    assert kerass.optimizer == Bound(adamw, eps=1e-7)


def lions(grads: list[np.ndarray], weight: np.ndarray, decay: float) -> Iterator[np.ndarray]:
    """The updates of Lion (Chen et al. 2023, algorithm 2) with b1 0.8 and b2 0.9."""
    mean = np.zeros_like(weight)
    for grad in grads:
        yield np.sign(0.8 * mean + 0.2 * grad) + decay * weight
        mean = 0.9 * mean + 0.1 * grad


def test_an_optax_optimizer_by_name_descends_with_decay():
    """An optimizer of optax by name has its sign its arguments and the decay."""
    actual = updates(optimizer=part("optax:lion", b1=0.8, b2=0.9), weight_decay=0.1, clip_norm=0.0)
    for name, decay in (("kernel", 0.1), ("bias", 0.0)):
        expected = lions([np.asarray(grads[name]) for grads in GRADS], np.asarray(PARAMS[name]), decay)
        np.testing.assert_allclose([update[name] for update in actual], list(expected), rtol=1e-6)


@pytest.mark.parametrize("l2_per_array", [False, True])
@pytest.mark.parametrize("ours", [part("sgd", momentum=0.8), part("adamw", b1=0.7, b2=0.9, eps=1e-3)])
def test_our_optimizers_and_those_of_optax_give_the_same_updates(ours, l2_per_array):
    theirs = ours.copy_and_resolve_references()
    theirs.part = f"optax:{ours.part}"
    settings = {"weight_decay": 0.1, "clip_norm": 1.0, "l2_per_array": l2_per_array}
    chex.assert_trees_all_close(
        updates(optimizer=theirs, **settings), updates(optimizer=ours, **settings), rtol=1e-6, atol=1e-7
    )


def decaying(learning_rate, weight_decay=7.0):
    """An optimizer that cannot be told which weights decay."""
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.scale(-learning_rate))


@pytest.mark.parametrize("named", [f"{__name__}:decaying", "optax:lars", "optax:identity"])
def test_the_decay_is_that_of_the_config_and_no_other(named):
    actual = updates(optimizer=part(named), weight_decay=0.0, clip_norm=0.0)[0]
    expected = GRADS[0]
    if named == "optax:lars":
        expected = jax.tree.map(
            lambda weight, grad: 0.001 * grad * jnp.linalg.norm(weight) / jnp.linalg.norm(grad), PARAMS, expected
        )
    chex.assert_trees_all_close(actual, expected, rtol=1e-5)


@pytest.mark.parametrize("named", [f"{__name__}:decaying", "optax:identity"])
def test_an_optimizer_without_a_masked_decay_has_it_ahead(named):
    actual = updates(optimizer=part(named), weight_decay=0.1, clip_norm=0.0)[0]
    np.testing.assert_allclose(actual["kernel"], GRADS[0]["kernel"] + 0.1 * PARAMS["kernel"], rtol=1e-6)
    np.testing.assert_allclose(actual["bias"], GRADS[0]["bias"], rtol=1e-6)


@pytest.mark.parametrize("l2_per_array", [False, True])
@pytest.mark.parametrize("named", ["sgd", "adamw"])
def test_states_lie_where_older_checkpoints_have_them(named, l2_per_array):
    settings = checked(
        TrainSettings, toy.config(optimizer=part(named), l2_per_array=l2_per_array).train, "config.train"
    )
    state: Any = make_optimizer(settings).init(PARAMS)
    nothing, decay = optax.EmptyState(), optax.MaskedState(optax.EmptyState())
    step = optax.trace(0.9).init(PARAMS) if named == "sgd" else optax.scale_by_adam().init(PARAMS)
    order = (nothing, decay, step) if named == "sgd" else (nothing, step, decay)
    chex.assert_trees_all_equal(state, (nothing, nothing, step) if l2_per_array else order)
    assert jax.tree.structure(state) == jax.tree.structure((nothing, nothing, step) if l2_per_array else order)


LAYERWISE = (
    {"paths": "conv1/kernel", "learning_rate": 0.25, "weight_decay": 0.0},
    {"paths": "conv1|bn1", "learning_rate": 0.5},
    {"paths": "logits/kernel", "weight_decay": 3.0},
)
RATES = {"conv1/kernel": 0.25, "conv1/bias": 0.5, "bn1/scale": 0.5, "bn1/bias": 0.5}  # 1 where not named
DECAYS = {"conv1/kernel": 0.0, "logits/kernel": 3.0}


@pytest.mark.parametrize("named", ["sgd", "adamw", "optax:lion"])
def test_rules_change_the_rates_and_decays_of_the_weights_they_match_first(named):
    settings = toy.config(optimizer=part(named), weight_decay=DECAY, clip_norm=0.0, rules=LAYERWISE)
    optimizer = make_optimizer(checked(TrainSettings, settings.train, "config.train"))
    state, gradients = optimizer.init(NETWORK), []
    for scale in (1.0, -2.0, 0.7):
        grads = jax.tree.map(lambda weight, scale=scale: jnp.cos(weight) * scale, NETWORK)
        update, state = optimizer.update(grads, state, NETWORK)
        gradients.append((flatten_dict(grads, sep="/"), flatten_dict(update, sep="/")))
    weights: Any = flatten_dict(NETWORK, sep="/")
    for path, weight in weights.items():
        decay = DECAY * DECAYS.get(path, 1.0) if weight.ndim > 1 else 0.0
        alone = make_optimizer(
            checked(
                TrainSettings,
                toy.config(optimizer=part(named), weight_decay=decay, clip_norm=0.0).train,
                "config.train",
            )
        )
        its_state = alone.init({"it": weight})
        for grads, update in gradients:
            expected: Any
            expected, its_state = alone.update({"it": grads[path]}, its_state, {"it": weight})
            np.testing.assert_allclose(update[path], RATES.get(path, 1.0) * expected["it"], rtol=1e-6, err_msg=path)


def test_a_rule_is_for_matterports_l2_term_too():
    rules = ({"paths": "logits", "weight_decay": 2.0}, {"paths": "conv1", "weight_decay": 0.0})
    settings = toy.config(optimizer=part("sgd"), weight_decay=DECAY, clip_norm=0.0, l2_per_array=True, rules=rules)
    optimizer = make_optimizer(checked(TrainSettings, settings.train, "config.train"))
    still = jax.tree.map(jnp.zeros_like, NETWORK)
    update: Any = optimizer.update(still, optimizer.init(NETWORK), NETWORK)[0]
    np.testing.assert_allclose(update["logits"]["kernel"], 4 * DECAY / 3 * NETWORK["logits"]["kernel"], rtol=1e-6)
    np.testing.assert_allclose(update["conv1"]["kernel"], 0.0)
