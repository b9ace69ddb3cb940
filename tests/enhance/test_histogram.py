from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.enhance.make import dim_smear
from wbcjax.enhance import clahe, dhe, he
from wbcjax.enhance.histogram import dhe_curve, dhe_parts, he_curve


def counts(**levels: int) -> np.ndarray:
    """A histogram: counts(l10=3) is three pixels of level 10."""
    histogram = np.zeros(256, np.int64)
    for name, count in levels.items():
        histogram[int(name[1:])] = count
    return histogram


def opencv_clahe(grey: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.createCLAHE(2.0, (8, 8)).apply(grey))


PALE = (180 + dim_smear(120, 150, brightness=1.0) // 8).astype(np.uint8)  # little colour: any luminance can be shown
ON_GREY = [(he, cv2.equalizeHist), (clahe, opencv_clahe)]


# HE and CLAHE are OpenCV's


@pytest.mark.parametrize(("method", "opencv"), ON_GREY)
@pytest.mark.parametrize(
    "image", [dim_smear(120, 151), np.random.default_rng(0).integers(90, 99, (40, 50, 3), np.uint8)]
)
def test_grey_is_equalised_as_by_opencv(method, opencv, image):
    grey = np.ascontiguousarray(image[..., 1])
    np.testing.assert_array_equal(method(grey), opencv(grey))
    np.testing.assert_array_equal(method(grey[..., None])[..., 0], opencv(grey))


@pytest.mark.parametrize(("method", "opencv"), ON_GREY)
def test_each_colour_is_equalised_as_by_opencv_when_asked(method, opencv):
    image = dim_smear(120, 151)
    expected = [opencv(np.ascontiguousarray(image[..., channel])) for channel in range(3)]
    np.testing.assert_array_equal(method(image, mode="per_channel"), np.stack(expected, axis=2))


@pytest.mark.parametrize(("method", "opencv"), ON_GREY)
def test_the_luminance_is_equalised_as_by_opencv_and_the_colour_stays(method, opencv):
    before = cv2.cvtColor(PALE, cv2.COLOR_RGB2Lab).astype(int)
    enhanced = method(PALE)
    after = cv2.cvtColor(enhanced, cv2.COLOR_RGB2Lab).astype(int)
    shown = (enhanced > 0).all(axis=2) & (enhanced < 255).all(axis=2)  # the others' colours lie outside RGB
    assert shown.mean() > 0.8
    expected = opencv(before[..., 0].astype(np.uint8)).astype(int)
    assert np.abs(after[..., 0] - expected)[shown].max() <= 2  # of 256, for RGB is rounded too
    assert np.abs(after[..., 0] - expected)[shown].mean() < 0.5
    assert np.abs(after[..., 1:] - before[..., 1:])[shown].max() <= 4
    assert np.abs(after[..., 1:] - before[..., 1:])[shown].mean() < 1


@given(seed=st.integers(0, 500), low=st.integers(0, 255), high=st.integers(0, 255))
def test_the_curve_is_opencvs(seed, low, high):
    low, high = sorted((low, high))
    grey = np.random.default_rng(seed).integers(low, high + 1, (7, 9), np.uint8)
    curve = he_curve(np.bincount(grey.ravel(), minlength=256))
    np.testing.assert_array_equal(curve[grey], cv2.equalizeHist(grey))


def test_stain_colours_survive_on_the_luminance_and_not_on_each_channel():
    image = dim_smear(120, 150, brightness=1.0)

    def hue_change(enhanced: np.ndarray) -> float:
        a, b = (cv2.cvtColor(x.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[..., 1:] for x in (image, enhanced))
        return float(np.abs(a - b).mean())

    assert hue_change(he(image)) < 0.5 * hue_change(he(image, mode="per_channel"))


# DHE, by hand


def test_two_parts_with_a_gap_are_cut_where_the_smoothed_histogram_has_fallen():
    # Sums of three: 12 12 6 0 at levels 10 to 13, then 0, and 3 6 6 at 199 to 201
    assert dhe_parts(counts(l10=6, l11=6, l200=3, l201=3)) == [10, 13, 202]


def test_parts_share_the_levels_by_their_spans_alone_when_x_is_0():
    curve = dhe_curve(counts(l10=6, l11=6, l200=3, l201=3), x=0)
    first = 255 * 3 / (3 + 189)
    assert curve[10] == pytest.approx(first / 2)
    np.testing.assert_allclose(curve[11:200], first)
    assert curve[200] == pytest.approx(first + (255 - first) / 2)
    assert (curve[201:] == 255).all()
    assert (curve[:10] == 0).all()


@pytest.mark.parametrize("x", [1.0, 2.0])
def test_a_parts_count_widens_its_range_by_its_logarithm_to_the_x(x):
    curve = dhe_curve(counts(l10=6, l11=6, l200=3, l201=3), x)
    dark, bright = 3 * np.log10(12) ** x, 189 * np.log10(6) ** x
    assert curve[11] == pytest.approx(255 * dark / (dark + bright))


def test_a_sparse_part_is_cut_at_its_standard_deviation():
    """A part with too little in its middle is cut at its standard deviation."""
    # Mean 11, deviation 0.71: half of the pixels are at 11, less than 68.3 %
    assert dhe_parts(counts(l10=4, l11=8, l12=4)) == [10, 11, 12, 13]
    # Mean 11, deviation 0.53: 71 % are at 11
    assert dhe_parts(counts(l10=2, l11=10, l12=2)) == [10, 13]


def test_parts_that_were_cut_are_tested_again():
    histogram = counts(l0=20, l1=20, l2=20, l9=1, l10=1, l18=20, l19=20, l20=20)
    parts = dhe_parts(histogram)
    for low, high in pairwise(parts):
        levels = np.repeat(np.arange(low, high), histogram[low:high])
        if len(levels):
            assert (np.abs(levels - levels.mean()) <= levels.std() + 1e-9).mean() >= 0.683


def test_a_flat_histogram_is_left_as_it_is_nearly():
    curve = dhe_curve(np.full(256, 9), x=0)
    np.testing.assert_allclose(curve, np.arange(256), atol=1.5)


def test_parts_of_one_pixel_each_share_by_their_spans():
    curve = dhe_curve(counts(l10=1, l250=1), x=2)
    assert curve[250] == 255
    assert 0 < curve[10] < 255


@given(st.lists(st.integers(0, 40), min_size=256, max_size=256).map(np.array), st.sampled_from([0.0, 0.5, 2.0]))
def test_the_curve_never_falls_and_ends_at_white(histogram, x):
    if not histogram.any():
        histogram[100] = 1
    curve = dhe_curve(histogram, x)
    assert (np.diff(curve) >= -1e-9).all()
    assert curve[0] >= 0
    assert curve[-1] == pytest.approx(255)


@given(st.lists(st.integers(0, 3), min_size=256, max_size=256).map(np.array))
def test_the_parts_cover_what_there_is_once(histogram):
    histogram[77] += 1
    cuts = dhe_parts(histogram)
    present = np.flatnonzero(histogram)
    assert (cuts[0], cuts[-1]) == (present[0], present[-1] + 1)
    assert (np.diff(cuts) > 0).all()


def test_an_image_gets_the_levels_of_the_curve():
    grey = dim_smear(60, 70)[..., 0]
    curve = dhe_curve(np.bincount(grey.ravel(), minlength=256))
    np.testing.assert_array_equal(dhe(grey), np.rint(curve)[grey])
    assert not np.array_equal(dhe(grey, x=2.0), dhe(grey))


# Deeper images


@pytest.mark.parametrize("method", [he, dhe])
def test_16_bit_levels_between_the_256_keep_their_order(method):
    rng = np.random.default_rng(0)
    grey = np.sort(rng.integers(10_000, 50_000, (1, 5000)).astype(np.uint16))
    assert (np.diff(method(grey).astype(int)) >= 0).all()
    assert len(np.unique(method(grey))) > 1000


@pytest.mark.parametrize("method", [he, dhe, clahe])
def test_16_bits_and_floats_are_enhanced_as_8_bits(method):
    grey = dim_smear(120, 150)[..., 0]
    expected = method(grey).astype(float)
    np.testing.assert_allclose(method(grey.astype(np.uint16) * 257) / 257, expected, atol=0.6)
    np.testing.assert_allclose(method(grey.astype(np.uint16) * 16, max_value=4080) / 16, expected, atol=0.6)
    np.testing.assert_allclose(255 * method(grey.astype(np.float32) / 255), expected, atol=0.6)


@pytest.mark.parametrize("method", [he, dhe, clahe])
def test_luminance_of_wide_images_is_not_rounded(method):
    """The luminance of 16 bits and floats is that of 8 bits not rounded."""
    image = dim_smear(120, 150)
    deep, expected = method(image.astype(np.uint16) * 257) / 257, method(image).astype(float)
    assert np.abs(deep - expected).mean() < 6  # HE makes several grey levels of one of OpenCV's 8-bit luminance
    np.testing.assert_allclose(255 * method(image.astype(np.float32) / 255), deep, atol=0.02)


def test_clahe_takes_a_stronger_limit_and_more_tiles():
    grey = dim_smear(120, 150)[..., 0]
    assert clahe(grey, clip_limit=8.0).std() > clahe(grey).std()
    np.testing.assert_array_equal(clahe(grey, tiles=3), cv2.createCLAHE(2.0, (3, 3)).apply(grey))


def test_unknown_modes_are_refused(unchecked_types):
    wrong: Any = "hsv"
    with pytest.raises(ValueError, match="mode = 'hsv': expected 'luminance' or 'per_channel'"):
        he(PALE, mode=wrong)
