"""Batch normalisation with its written-out gradient against flax's own, and over devices against one."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wbcjax.models.norm import BatchNorm, norm_layer

EPSILON, MOMENTUM = 1e-3, 0.9


def batch(shape, seed=0, mean=2.0):
    """Pixels, the two weights of each channel, and what multiplies the outputs in a loss."""
    rng = np.random.default_rng(seed)
    x, scale, bias, seen = (rng.normal(size=s) for s in (shape, shape[-1:], shape[-1:], shape))
    return [jnp.asarray(a, jnp.float32) for a in (x + mean, scale, bias, seen)]


def ours(swish=False, axis_name=None, dtype=jnp.float32):
    return BatchNorm(EPSILON, MOMENTUM, dtype, train=True, swish=swish, axis_name=axis_name).apply


def flaxs(swish=False, dtype=jnp.float32):
    norm = nn.BatchNorm(False, momentum=MOMENTUM, epsilon=EPSILON, dtype=dtype)

    def apply(variables, x, mutable):
        y, moved = norm.apply(variables, x, mutable=mutable)
        return (nn.swish(y) if swish else y), moved

    return apply


def value_gradients_and_statistics(apply, x, scale, bias, seen):
    count = x.shape[-1]
    stored = {"mean": jnp.linspace(-1, 1, count), "var": jnp.linspace(1, 2, count)}

    def loss(x, scale, bias):
        variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": stored}
        y, moved = apply(variables, x, mutable=["batch_stats"])
        return jnp.sum(y.astype(jnp.float32) * seen), (y, moved["batch_stats"])

    gradients, (y, moved) = jax.grad(loss, (0, 1, 2), has_aux=True)(x, scale, bias)
    return y, gradients, moved


def assert_near(a, b, tolerance=2e-5):
    for u, v in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        u, v = (np.asarray(w, np.float32) for w in (u, v))
        np.testing.assert_allclose(u, v, rtol=0, atol=tolerance * max(np.abs(v).max(), 1e-3))


@pytest.mark.slow
@settings(deadline=None, max_examples=6)
@given(
    rows=st.integers(1, 5),
    columns=st.integers(2, 7),
    channels=st.integers(1, 9),
    swish=st.booleans(),
    seed=st.integers(0, 99),
)
def test_values_gradients_and_statistics_are_those_of_flax(rows, columns, channels, swish, seed):
    inputs = batch((3, rows, columns, channels), seed)
    assert_near(
        value_gradients_and_statistics(ours(swish), *inputs), value_gradients_and_statistics(flaxs(swish), *inputs)
    )


@pytest.mark.parametrize("swish", [False, True])
def test_in_bfloat16_only_results_are_rounded(swish):
    x, scale, bias, seen = batch((4, 5, 6, 8))
    narrow = x.astype(jnp.bfloat16)
    rounded = value_gradients_and_statistics(ours(swish, dtype=jnp.bfloat16), narrow, scale, bias, seen)
    exact = value_gradients_and_statistics(ours(swish), narrow.astype(jnp.float32), scale, bias, seen)
    assert rounded[0].dtype == rounded[1][0].dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves((rounded[1][1:], rounded[2]))} == {jnp.dtype(jnp.float32)}
    assert_near(rounded, exact, 2**-7)
    assert_near(rounded[2], exact[2])


def test_a_channel_that_is_the_same_everywhere_gets_finite_gradients():
    x, scale, bias, seen = batch((2, 3, 3, 4))
    y, gradients, _ = value_gradients_and_statistics(ours(True), jnp.full_like(x, 7.0), scale, bias, seen)
    np.testing.assert_allclose(y, jnp.broadcast_to(nn.swish(bias), y.shape), atol=1e-3)
    chex.assert_tree_all_finite(gradients)


@pytest.mark.parametrize("swish", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_statistics_and_gradients_span_all_devices(swish):
    x, scale, bias, seen = batch((4, 3, 3, 5))
    whole = value_gradients_and_statistics(ours(swish), x, scale, bias, seen)

    def of_one_device(x, seen):
        y, (of_x, *of_weights), moved = value_gradients_and_statistics(ours(swish, "data"), x, scale, bias, seen)
        return y, (of_x, *jax.lax.psum(of_weights, "data")), moved

    split = [a.reshape(2, 2, *a.shape[1:]) for a in (x, seen)]
    y, (of_x, *of_weights), moved = jax.vmap(of_one_device, axis_name="data")(*split)
    of_each = (
        y.reshape(x.shape),
        (of_x.reshape(x.shape), *(a[0] for a in of_weights)),
        {k: v[0] for k, v in moved.items()},
    )
    assert_near(of_each, whole)
    for leaf in jax.tree.leaves(moved):
        np.testing.assert_array_equal(leaf[0], leaf[1])


def test_stored_statistics_are_used_and_kept_outside_training():
    x, scale, bias, _ = batch((2, 3, 3, 5))
    mean, var = jnp.linspace(-1, 1, 5), jnp.linspace(1, 2, 5)
    variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": {"mean": mean, "var": var}}
    y, moved = BatchNorm(EPSILON, MOMENTUM, swish=True).apply(variables, x, mutable=["batch_stats"])
    np.testing.assert_allclose(y, nn.swish((x - mean) / jnp.sqrt(var + EPSILON) * scale + bias), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(moved["batch_stats"]["mean"], mean)


def test_frozen_statistics_are_used_and_kept_in_training_while_scale_and_bias_learn():
    x, scale, bias, seen = (np.asarray(a) for a in batch((2, 3, 3, 5)))
    mean, var = np.linspace(-1, 1, 5), np.linspace(1, 2, 5)
    norm = norm_layer("bn_frozen_stats", EPSILON, jnp.float32, train=True, axis_name="data")()

    def loss(params):
        variables = {"params": params, "batch_stats": {"mean": jnp.asarray(mean), "var": jnp.asarray(var)}}
        y, moved = norm.apply(variables, jnp.asarray(x), mutable=["batch_stats"])
        return jnp.sum(y * seen), (y, moved["batch_stats"])

    gradient, (y, moved) = jax.grad(loss, has_aux=True)({"scale": jnp.asarray(scale), "bias": jnp.asarray(bias)})
    whitened = (x - mean) / np.sqrt(var + EPSILON)
    np.testing.assert_allclose(y, whitened * scale + bias, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradient["scale"], (whitened * seen).sum((0, 1, 2)), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(gradient["bias"], seen.sum((0, 1, 2)), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(moved["mean"], mean.astype(np.float32))
    np.testing.assert_array_equal(moved["var"], var.astype(np.float32))
