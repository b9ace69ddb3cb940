"""Kernels of a byte a weight, against their definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from wbcjax.weights.files import read_weights
from wbcjax.weights.quantised import MOST, SCALE, dequantise, quantise
from wbcjax.weights.safetensors_file import write_safetensors

KERNELS = arrays_of.arrays(
    np.float32,
    arrays_of.array_shapes(min_dims=2, max_dims=4, max_side=4),
    elements=st.floats(-1e3, 1e3, width=32),
)


@given(KERNELS)
def test_a_weight_moves_by_half_a_step_of_its_channel_at_most(kernel):
    found = quantise({"kernel": kernel})
    assert found["kernel"].dtype == np.int8
    assert found["kernel"].min(initial=0) >= -MOST
    scale = found["kernel" + SCALE]
    back = dequantise(found)["kernel"]
    assert np.all(np.abs(back - kernel) <= 0.5001 * scale)
    largest = np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1)))
    np.testing.assert_allclose(np.where(largest > 0, scale * MOST, 0), largest, rtol=1e-6)


def test_biases_norms_and_counters_stay_what_they_are():
    rng = np.random.default_rng(0)
    arrays = {"bias": rng.normal(size=5).astype(np.float32), "count": np.array(7), "table": np.arange(6).reshape(2, 3)}
    found = dequantise(quantise(arrays))
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    "arrays",
    [
        {"a" + SCALE: np.ones(3, np.float32)},
        {"a": np.ones((2, 3), np.float32), "a" + SCALE: np.ones(3, np.float32)},
        {"a": np.ones((2, 3), np.int8), "a" + SCALE: np.ones(2, np.float32)},
    ],
)
def test_scales_that_belong_to_no_kernel_are_refused(arrays):
    with pytest.raises(ValueError, match="'a::scale' is the scale of no kernel in the file; fetch it again"):
        dequantise(arrays)


def test_a_file_of_int8_holds_a_quarter_and_reads_as_float32(tmp_path):
    kernel = np.random.default_rng(1).normal(size=(3, 3, 64, 64)).astype(np.float32)
    write_safetensors(tmp_path / "w.safetensors", {"params": {"kernel": kernel}}, {}, "int8")
    assert (tmp_path / "w.safetensors").stat().st_size < 0.26 * kernel.nbytes
    found = read_weights(tmp_path / "w.safetensors").arrays
    assert list(found) == ["params/kernel"]
    assert found["params/kernel"].dtype == np.float32
    np.testing.assert_allclose(found["params/kernel"], kernel, atol=0.5 * np.abs(kernel).max() / MOST)
