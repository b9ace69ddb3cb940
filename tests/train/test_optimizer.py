"""Optimizers against their papers' formulas, and the naming of layers."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import all_mask_rcnn, myeloma_efficientnet_b3, myeloma_mask_rcnn
from tests.train import toy
from wbcjax.train.optimizer import make_optimizer
from wbcjax.train.settings import TrainSettings

PARAMS = {"kernel": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "bias": jnp.array([1.0, -1.0])}
GRADS = [
    {"kernel": jnp.array([[0.3, 0.1], [-0.2, 0.4]]) * scale, "bias": jnp.array([0.5, -0.6]) * scale}
    for scale in (1.0, -2.0, 0.7)
]


def updates(**changes) -> list[dict]:
    """What the optimizer makes of GRADS, one after the other; the weights stay in place."""
    optimizer = make_optimizer(TrainSettings.from_config(toy.config(**changes).train))
    state, results = optimizer.init(PARAMS), []
    for grads in GRADS:
        update, state = optimizer.update(grads, state, PARAMS)
        results.append(update)
    return results


def test_sgd_adds_the_decay_before_the_momentum_and_spares_biases():
    actual = updates(optimizer="sgd", momentum=0.8, weight_decay=0.1, clip_norm=0.0)
    for name, decay in (("kernel", 0.1), ("bias", 0.0)):
        velocity = 0.0
        for grads, update in zip(GRADS, actual, strict=True):
            velocity = 0.8 * velocity + np.asarray(grads[name]) + decay * np.asarray(PARAMS[name])
            np.testing.assert_allclose(update[name], velocity, rtol=1e-6)


@pytest.mark.parametrize("epsilon", [1e-8, 1e-7, 0.3])
def test_adamw_decays_apart_from_the_gradient_and_spares_biases(epsilon):
    actual = updates(optimizer="adamw", weight_decay=0.1, clip_norm=0.0, adam_epsilon=epsilon)
    for name, decay in (("kernel", 0.1), ("bias", 0.0)):
        mean = square = 0.0
        for count, (grads, update) in enumerate(zip(GRADS, actual, strict=True), 1):
            grad = np.asarray(grads[name], np.float64)
            mean, square = 0.9 * mean + 0.1 * grad, 0.999 * square + 0.001 * grad**2
            adam = mean / (1 - 0.9**count) / (np.sqrt(square / (1 - 0.999**count)) + epsilon)
            np.testing.assert_allclose(update[name], adam + decay * np.asarray(PARAMS[name]), rtol=0, atol=1e-5)


def test_long_gradients_are_shortened_and_short_ones_left():
    actual = updates(optimizer="sgd", momentum=0.0, weight_decay=0.0, clip_norm=1.0)
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


def test_matterports_l2_term_is_learnt_as_a_part_of_the_loss():
    settings = toy.config(optimizer="sgd", momentum=MOMENTUM, weight_decay=DECAY, clip_norm=CLIP, l2_per_array=True)
    optimizer = make_optimizer(TrainSettings.from_config(settings.train))
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
    settings = toy.config(optimizer="sgd", momentum=0.0, weight_decay=DECAY, clip_norm=0.0, l2_per_array=True)
    optimizer = make_optimizer(TrainSettings.from_config(settings.train))
    heads = {"logits": NETWORK["logits"]}
    still = jax.tree.map(jnp.zeros_like, heads)
    update: Any = optimizer.update(still, optimizer.init(heads), heads)[0]
    np.testing.assert_allclose(update["logits"]["kernel"], 2 * DECAY / 3 * heads["logits"]["kernel"], rtol=1e-6)
    np.testing.assert_allclose(update["logits"]["bias"], 2 * DECAY * heads["logits"]["bias"], rtol=1e-6)


def test_the_papers_configs_train_as_their_libraries_do():
    for config in (all_mask_rcnn.get_config(), myeloma_mask_rcnn.get_config()):
        assert TrainSettings.from_config(config.train).l2_per_array
        parts = (config.model[name] for name in ("backbone", "box_head", "mask_head"))
        assert {part.norm for part in parts} == {"bn_frozen_stats"}
    assert TrainSettings.from_config(myeloma_efficientnet_b3.get_config().train).adam_epsilon == 1e-7  # Keras's
