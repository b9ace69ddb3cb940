"""The forms of convolution for CPUs, and pooling, against XLA's own: values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbcjax.ops.conv import max_pool_3x3, padding
from wbcjax.ops.cpu.conv import MANY_PIXELS, conv
from wbcjax.ops.cpu.depthwise import depthwise


def arrays(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def plain(x, kernel, stride, pad):
    pads = pad if pad == "SAME" else [(pad, pad), (pad, pad)]
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def plain_depthwise(x, kernel, stride, same):
    pad = kernel.shape[0] // 2
    return jax.lax.conv_general_dilated(
        x,
        kernel[:, :, None],
        (stride, stride),
        "SAME" if same else [(pad, pad), (pad, pad)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def assert_same_values_and_gradients(ours, theirs, *inputs):
    """Equal outputs, and equal gradients of a random weighting of them, within float32's rounding."""
    (weights,) = arrays(jax.eval_shape(theirs, *inputs).shape, seed=1)

    def value_and_gradients(function):
        weighted = jax.grad(lambda *x: jnp.sum(function(*x) * weights), argnums=tuple(range(len(inputs))))
        return jax.jit(lambda *x: (function(*x), weighted(*x)))(*inputs)

    for a, b in zip(*(jax.tree.leaves(value_and_gradients(f)) for f in (ours, theirs)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * float(jnp.max(jnp.abs(b))))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("height", "width", "channels", "features"), [(6, 8, 5, 7), (7, 5, 9, 3), (1, 1, 4, 4)])
def test_a_1x1_convolution_as_a_product_equals_xlas(height, width, channels, features, stride):
    x, kernel = arrays((2, height, width, channels), (1, 1, channels, features))
    assert_same_values_and_gradients(
        lambda x, k: conv(x, k, stride, False), lambda x, k: plain(x, k, stride, 0), x, kernel
    )


@pytest.mark.parametrize("channels", [3, pytest.param(6, marks=pytest.mark.slow)])  # an image's, and more
@pytest.mark.parametrize(
    ("kernel", "stride", "same", "n", "height", "width"),
    [
        (3, 1, False, 2, 48, 64),
        (3, 1, False, 2, 50, 64),
        (3, 1, False, 1, 53, 60),  # a prime number of rows: strips of one
        (3, 1, False, 17, 14, 14),  # a prime number of small images
        (3, 1, True, 12, 14, 14),  # several small images in a strip
        (3, 2, False, 1, 97, 130),
        (3, 2, True, 1, 96, 130),
        (3, 2, True, 6, 28, 31),
        (7, 2, False, 1, 96, 128),  # ResNet's stem
        (5, 1, True, 2, 48, 64),
    ],
)
def test_a_convolution_of_many_pixels_equals_xlas(kernel, stride, same, n, height, width, channels):
    x, weights = arrays((n, height, width, channels), (kernel, kernel, channels, 4))
    assert n * -(-height // stride) * -(-width // stride) >= MANY_PIXELS
    pad = "SAME" if same else kernel // 2
    assert_same_values_and_gradients(
        lambda x, k: conv(x, k, stride, same), lambda x, k: plain(x, k, stride, pad), x, weights
    )


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize(("height", "width"), [(8, 7), (9, 6), (1, 2)])
def test_a_3x3_convolution_of_few_pixels_by_two_equals_xlas(height, width, same):
    x, kernel = arrays((2, height, width, 3), (3, 3, 3, 4))
    assert_same_values_and_gradients(
        lambda x, k: conv(x, k, 2, same), lambda x, k: plain(x, k, 2, "SAME" if same else 1), x, kernel
    )


@pytest.mark.slow
@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("kernel", "height", "width"), [(3, 7, 8), (5, 8, 7), (5, 2, 1)])
def test_a_depthwise_convolution_as_shifted_sums_equals_xlas(kernel, height, width, stride, same):
    x, weights = arrays((2, height, width, 6), (kernel, kernel, 6))
    assert_same_values_and_gradients(
        lambda x, k: depthwise(x, k, stride, same), lambda x, k: plain_depthwise(x, k, stride, same), x, weights
    )


def test_a_depthwise_convolution_in_bfloat16_rounds_its_results_only():
    x, weights, seen = (a.astype(jnp.bfloat16) for a in arrays((2, 9, 8, 6), (5, 5, 6), (2, 5, 4, 6)))

    def value_and_gradients(function, *inputs):
        value, pull = jax.vjp(lambda x, k: function(x, k, 2, True), *inputs)
        return value, *pull(seen.astype(value.dtype))

    ours = jax.jit(lambda *inputs: value_and_gradients(depthwise, *inputs))(x, weights)
    exact = value_and_gradients(plain_depthwise, x.astype(jnp.float32), weights.astype(jnp.float32))
    for a, b in zip(ours, exact, strict=True):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_allclose(a.astype(jnp.float32), b, rtol=2**-8, atol=1e-6)


@given(size=st.integers(1, 40), kernel=st.sampled_from([1, 3, 5, 7]), stride=st.sampled_from([1, 2]))
def test_same_padding_is_tensorflows_and_any_padding_leaves_one_output_for_each_stride(size, kernel, stride):
    assert [padding(size, kernel, stride, True)] == jax.lax.padtype_to_pads((size,), (kernel,), (stride,), "SAME")
    for same in (True, False):
        padded = size + sum(padding(size, kernel, stride, same))
        assert (padded - kernel) // stride + 1 == -(-size // stride)


@pytest.mark.parametrize("same", [True, False])
def test_pooling_by_slices_equals_xlas_window_maximum(same):
    (x,) = arrays((2, 8, 12, 3))
    pad = (0, 1) if same else (1, 1)

    def by_window(x):
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), pad, pad, (0, 0)))

    assert_same_values_and_gradients(lambda x: max_pool_3x3(x, same), by_window, x)
