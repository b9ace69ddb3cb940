"""Optimizers against their papers' formulas, and the naming of layers."""

import jax.numpy as jnp
import numpy as np

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


def test_adamw_decays_apart_from_the_gradient_and_spares_biases():
    actual = updates(optimizer="adamw", weight_decay=0.1, clip_norm=0.0)
    for name, decay in (("kernel", 0.1), ("bias", 0.0)):
        mean = square = 0.0
        for count, (grads, update) in enumerate(zip(GRADS, actual, strict=True), 1):
            grad = np.asarray(grads[name], np.float64)
            mean, square = 0.9 * mean + 0.1 * grad, 0.999 * square + 0.001 * grad**2
            adam = mean / (1 - 0.9**count) / (np.sqrt(square / (1 - 0.999**count)) + 1e-8)
            np.testing.assert_allclose(update[name], adam + decay * np.asarray(PARAMS[name]), rtol=0, atol=1e-5)


def test_long_gradients_are_shortened_and_short_ones_left():
    actual = updates(optimizer="sgd", momentum=0.0, weight_decay=0.0, clip_norm=1.0)
    for grads, update in zip(GRADS, actual, strict=True):
        norm = np.sqrt(sum(np.sum(np.square(grad)) for grad in grads.values()))
        for name in grads:
            np.testing.assert_allclose(update[name], grads[name] / max(norm, 1.0), rtol=1e-6)
