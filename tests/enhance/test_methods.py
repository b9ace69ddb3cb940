"""What every method of `wbcjax.enhance` does alike."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.enhance.make import dim_smear
from wbcjax.enhance import METHODS
from wbcjax.enhance.pixels import split

DTYPES = (np.uint8, np.uint16, np.float16, np.float32, np.float64)
methods = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())


def test_all_methods_of_the_paper_are_there_and_eff_in_both_normalisations():
    assert list(METHODS) == ["none", "he", "dhe", "clahe", "eff", "eff_minmax", "reinhard", "macenko"]


@methods
@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    depth=st.sampled_from([None, 1, 2, 3, 4]),
    dtype=st.sampled_from(DTYPES),
    brightest=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 100),
)
def test_shape_dtype_range_alpha_and_the_image_itself_are_kept(method, height, width, depth, dtype, brightest, seed):
    shape = (height, width) if depth is None else (height, width, depth)
    largest = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1
    image = (np.random.default_rng(seed).random(shape) * brightest * largest).astype(dtype)
    before = image.copy()
    enhanced = method(image)
    assert (enhanced.shape, enhanced.dtype) == (image.shape, image.dtype)
    np.testing.assert_array_equal(image, before)
    assert not np.shares_memory(enhanced, image)
    assert np.isfinite(enhanced).all()
    assert enhanced.min() >= 0
    assert enhanced.max() <= largest
    if depth in (2, 4):
        np.testing.assert_array_equal(enhanced[..., -1], image[..., -1])


@methods
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 40, 3), (40, 1, 3), (1, 1), (2, 3)])
def test_images_of_one_pixels_width_are_enhanced(method, shape):
    image = np.random.default_rng(0).integers(0, 120, shape, np.uint8)
    assert method(image).shape == shape


@methods
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [0, 1])
def test_black_stays_black_and_white_white_but_for_clahe_which_keeps_it_even(method, value, dtype):
    image = np.full((20, 30, 3), value, dtype) * (np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else dtype(1))
    enhanced = method(image)
    if method is METHODS["clahe"]:
        assert np.ptp(enhanced, axis=(0, 1)).max() < 1e-7
    else:
        np.testing.assert_array_equal(enhanced, image)


@methods
def test_grey_of_two_and_of_three_dimensions_is_the_same(method):
    grey = dim_smear(40, 51)[..., 0]
    np.testing.assert_array_equal(method(grey[..., None])[..., 0], method(grey))


@methods
def test_colours_under_an_alpha_are_those_without_one(method):
    image = dim_smear(40, 51)
    alpha = np.random.default_rng(0).integers(0, 256, (40, 51, 1), np.uint8)
    enhanced = method(np.concatenate([image, alpha], axis=2))
    np.testing.assert_array_equal(enhanced[..., :3], method(image))
    np.testing.assert_array_equal(enhanced[..., 3:], alpha)


@methods
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(method, wrong):
    image = np.full((4, 5, 3), 0.5, np.float32)
    image[1, 2, 0] = wrong
    with pytest.raises(ValueError, match="1 of the image's values are NaN or infinite: replace them first"):
        method(image)


@pytest.mark.parametrize(
    ("image", "max_value", "message"),
    [
        (np.zeros((4, 5, 5), np.uint8), None, r"shape is \(4, 5, 5\): expected h x w, or h x w x 1, 2, 3 or 4"),
        (np.zeros(4, np.uint8), None, r"shape is \(4,\)"),
        (np.zeros((0, 5, 3), np.uint8), None, r"shape is \(0, 5, 3\)"),
        (np.zeros((4, 5), np.int32), None, "dtype is int32: convert it to uint8, uint16, or a float within 0 and 1"),
        (np.zeros((4, 5), bool), None, "dtype is bool"),
        (np.full((4, 5), 2.5), None, "values up to 2.5: expected none above white, 1"),
        (np.full((4, 5), -0.5), None, "values down to -0.5: expected none below 0"),
        (np.full((4, 5), 5000, np.uint16), 4095, "values up to 5000: expected none above white, 4095"),
        (np.zeros((4, 5), np.uint16), 0, "max_value = 0: expected a number above 0"),
        (np.zeros((4, 5)), np.nan, "max_value = nan: expected a number above 0"),
    ],
)
def test_what_is_no_image_is_refused_saying_why(image, max_value, message):
    with pytest.raises(ValueError, match=message):
        split(image, max_value)


def test_white_is_the_dtypes_largest_value_or_the_one_given():
    assert split(np.zeros((2, 2), np.uint8)).white == 255
    assert split(np.zeros((2, 2), np.uint16)).white == 65535
    assert split(np.zeros((2, 2), np.uint16), 4095).white == 4095
    assert split(np.zeros((2, 2), np.float32)).white == 1
    assert split(np.full((2, 2), 200.0), 255).white == 255
