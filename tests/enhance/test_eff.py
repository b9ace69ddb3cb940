import hashlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.enhance import reference
from tests.enhance.make import dim_smear, real_fields
from wbcjax.enhance import eff
from wbcjax.enhance.eff import (
    Parameters,
    brightness_transform,
    edge_weights,
    exposure_ratio,
    fuse,
    illumination,
    initial_illumination,
)

EXACT: dict[str, Any] = {"rtol": 1e-9}


def difference(one: np.ndarray, other: np.ndarray) -> int:
    """The largest, in grey levels."""
    return int(np.abs(one.astype(int) - other.astype(int)).max())


# The algorithm


@pytest.mark.parametrize("weights", ["product", "paper"])
@pytest.mark.parametrize("image", [dim_smear(24, 30), np.random.default_rng(0).integers(0, 256, (20, 26, 3), np.uint8)])
def test_the_result_is_that_of_the_plain_program(image, weights):
    paper = weights == "paper"
    enhanced, parts = eff(image, k=3.0, weights=weights, return_parts=True, **EXACT)
    np.testing.assert_allclose(parts.T, reference.illumination(image / 255, paper), atol=2e-6)
    expected = 255 * reference.fused(image / 255, 3.0, paper)
    np.testing.assert_allclose(enhanced, expected, rtol=0, atol=0.5 + 1e-3)  # rounded to the nearest level
    assert difference(eff(image, k=3.0, weights=weights), enhanced) <= 1


def test_the_plain_programs_result_is_within_a_grey_level_at_the_default_tolerance():
    for seed in range(5):
        image = dim_smear(40, 44, seed)
        assert difference(eff(image, k=5.0), np.rint(255 * reference.fused(image / 255, 5.0))) <= 1


def test_stretched_pixels_are_enhanced_as_pixels_of_full_range():
    image = np.clip(dim_smear(24, 30), 20, 85)
    P = (image.astype(float) - 20) / 65
    enhanced = eff(image, normalize="minmax", k=2.0, **EXACT)
    np.testing.assert_allclose(enhanced, 255 * reference.fused(P, 2.0), rtol=0, atol=0.5 + 1e-3)


@pytest.mark.parametrize("paper", [False, True])
def test_edge_weights_are_those_of_the_plain_program(paper):
    half = np.random.default_rng(0).random((9, 12)).astype(np.float32)
    found = edge_weights(half, Parameters(weights="paper" if paper else "product"))
    for ours, plain in zip(found, reference.edges(half.astype(float), paper), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=2e-3)


def test_parts_are_what_the_result_is_made_of():
    image = dim_smear(60, 70)
    enhanced, parts = eff(image, return_parts=True)
    np.testing.assert_allclose(parts.L, image.max(axis=2) / 255, atol=1e-7)
    np.testing.assert_allclose(parts.W, parts.T**0.5, atol=1e-6)
    W, J = parts.W[..., None], brightness_transform(image / 255, parts.k) - 0.01
    np.testing.assert_allclose(enhanced, np.clip(255 * (W * (image / 255) + (1 - W) * J), 0, 255), atol=0.51)
    assert 1 < parts.k <= 7
    assert 0 < parts.iterations <= 30
    assert 0 < parts.residual <= 3e-3
    np.testing.assert_array_equal(enhanced, eff(image))


def test_the_steps_called_one_by_one_give_the_same():
    image = dim_smear(61, 70)
    enhanced, parts = eff(image, return_parts=True)
    light = illumination(image)
    np.testing.assert_array_equal(light.L, initial_illumination(image))
    np.testing.assert_array_equal(light.T, parts.T)
    assert exposure_ratio(image, light.T) == parts.k
    np.testing.assert_array_equal(fuse(image, parts.W, parts.k), enhanced)


def test_the_residual_asked_for_is_reached():
    image = dim_smear(64, 90)
    found = illumination(image, Parameters(rtol=1e-6))
    assert found.residual <= 1e-6
    np.testing.assert_allclose(found.T, illumination(image, Parameters(rtol=1e-10)).T, atol=1e-5)


# The exposure ratio


def regret(image: np.ndarray) -> float:
    """By how many bits the k found shows less of the under-exposed part than the best of all, by the plain program."""
    light = illumination(image)
    k = exposure_ratio(image, light.T)
    rows, columns = (reference.resizing(side, 50, 50 / side) for side in image.shape[:2])
    P = np.clip(np.einsum("ij,jkc,lk->ilc", rows, image / 255, columns), 0, 1)
    dark = rows @ (light.T < 0.5) @ columns.T > 128 / 255
    brightness = np.cbrt(P.prod(axis=2))[dark]
    entropies = [reference.entropy(brightness, k) for k in np.linspace(1, 7, 1201)]
    return max(entropies) - reference.entropy(brightness, k)


@pytest.mark.parametrize("seed", range(6))
def test_the_k_found_shows_about_as_much_as_the_best_of_all(seed):
    image = dim_smear(120, 150, seed, brightness=0.1 + 0.05 * seed)
    assert regret(image) <= 0.1  # its own entropy is counted between the levels too


@pytest.mark.parametrize("side", [8, 15])
def test_a_dark_part_of_less_than_a_hundredth_is_brightened_as_any_other(side):
    image = np.full((200, 200, 3), 200, np.uint8)
    image[:side, :side] = np.linspace(5, 60, side).astype(np.uint8)[:, None, None]
    enhanced, parts = eff(image, return_parts=True)
    assert 0 < (parts.T < 0.5).mean() < 0.01
    assert parts.k > 1
    assert regret(image) <= 0.1
    assert (enhanced[:side, :side].mean((0, 1)) > 1.2 * image[:side, :side].mean((0, 1))).all()


def test_eff_is_stable_under_small_illumination_changes():
    """A small change of the illumination changes the result by a grey level at most."""
    for seed in range(6):
        image = dim_smear(200, 240, seed, brightness=0.3)
        assert difference(eff(image), eff(image, **EXACT)) <= 1


def test_a_darker_image_is_exposed_longer():
    ks = [eff(dim_smear(80, 90, brightness=b), return_parts=True)[1].k for b in (0.1, 0.2, 0.4)]
    assert ks[0] > ks[1] > ks[2] > 1


@given(k=st.floats(1, 7), values=st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_the_brightness_transform_brightens_and_keeps_the_order(k, values):
    low, high = sorted(values)
    P = np.array([low, high])
    exposed = brightness_transform(P, k)
    assert (exposed >= P - 1e-12).all()
    assert exposed[0] <= exposed[1]
    assert (brightness_transform(P, k + 1) >= exposed - 1e-12).all()


@given(seed=st.integers(0, 100), k=st.floats(1, 6), more=st.floats(0, 1))
def test_nothing_gets_darker_and_more_exposure_makes_nothing_darker(seed, k, more):
    image = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    enhanced = eff(image, k=k)
    assert (enhanced >= image).all()
    assert (eff(image, k=k + more) >= enhanced).all()


# Images that need nothing


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
def test_with_k_1_the_image_stays_as_it_is(dtype):
    image = dim_smear(30, 41).astype(dtype)
    image = image if image.dtype.kind == "u" else image / dtype(255)
    enhanced = eff(image, k=1.0)
    np.testing.assert_array_equal(enhanced, image)
    assert enhanced is not image


def test_a_bright_image_stays_as_it_is_and_needs_no_solving():
    image = dim_smear(80, 90, brightness=1.0) // 3 + 160
    enhanced, parts = eff(image, return_parts=True)
    np.testing.assert_array_equal(eff(image), image)
    np.testing.assert_array_equal(enhanced, image)
    assert parts.k == 1


def test_dark_specks_that_the_illumination_evens_out_leave_the_image_as_it_is():
    image = np.full((200, 200, 3), 200, np.uint8)
    image[::40, ::40] = 10
    enhanced, parts = eff(image, return_parts=True)
    assert parts.L.min() < 0.5 <= parts.T.min()
    np.testing.assert_array_equal(enhanced, image)


def test_stretching_alone_is_left_of_minmax_where_nothing_is_dark():
    image = dim_smear(80, 90, brightness=1.0) // 3 + 160
    image[0, 0] = 0, 255, 255
    stretched = eff(image[1:], normalize="minmax", k=1.0)
    low, high = int(image[1:].min()), int(image[1:].max())
    np.testing.assert_array_equal(stretched, np.rint((image[1:].astype(float) - low) / (high - low) * 255))


@pytest.mark.parametrize("value", [0, 77, 200, 255])
@pytest.mark.parametrize("normalize", ["dtype", "minmax"])
def test_a_constant_image_stays_itself_and_is_not_made_black(value, normalize):
    image = np.full((20, 30, 3), value, np.uint8)
    np.testing.assert_array_equal(eff(image, normalize=normalize), image)


# Kinds of image. Shapes, dtypes and alpha are tested of all methods in test_methods.py


def test_grey_is_enhanced_as_its_rgb():
    grey = dim_smear(40, 50)[..., 0]
    enhanced = eff(np.stack([grey] * 3, axis=2))
    assert difference(np.stack([eff(grey)] * 3, axis=2), enhanced) <= 1  # the geometric mean is rounded differently


def test_16_bits_and_floats_are_enhanced_as_8_bits():
    image = dim_smear(40, 51)
    expected = eff(image, k=3.0).astype(float)
    np.testing.assert_allclose(eff(image.astype(np.uint16) * 257, k=3.0) / 257, expected, atol=0.51)
    np.testing.assert_allclose(eff(image.astype(np.uint16) * 16, k=3.0, max_value=4080) / 16, expected, atol=0.55)
    for dtype in (np.float32, np.float64):
        np.testing.assert_allclose(255 * eff(image.astype(dtype) / 255, k=3.0), expected, atol=0.51)


def test_12_bit_data_stay_within_their_white():
    image = np.random.default_rng(0).integers(0, 4096, (30, 40, 3)).astype(np.uint16)
    enhanced = eff(image, max_value=4095, k=7.0)
    assert enhanced.max() == 4095
    assert (enhanced >= image).all()


def test_an_image_of_two_pixels_by_many_is_solved_within_the_steps_allowed():
    image = np.random.default_rng(0).integers(0, 100, (3000, 3, 3), np.uint8)
    _, parts = eff(image, return_parts=True)
    assert parts.residual <= 3e-3


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"mu": 0.0}, r"mu = 0.0: expected above 0"),
        ({"lam": -1.0}, r"lam = -1.0: expected 0 or more"),
        ({"epsilon": 0.0, "omega": 4}, r"epsilon = 0.0: expected above 0; omega = 4: expected an odd number of pixels"),
        ({"k": 0.5}, r"k = 0.5: expected 1 or more, or None"),
        ({"rtol": 0.0}, r"rtol = 0.0"),
        ({"max_iterations": 0}, r"max_iterations = 0"),
    ],
)
def test_parameters_out_of_range_are_refused_by_name(parameters, message):
    with pytest.raises(ValueError, match=message):
        eff(dim_smear(8, 8), **parameters)


def test_unknown_names_are_refused(unchecked_types):
    with pytest.raises(ValueError, match="normalize = 'z': expected 'dtype' or 'minmax'"):
        eff(dim_smear(8, 8), normalize="z")
    with pytest.raises(ValueError, match="weights = 'z': expected 'product' or 'paper'"):
        eff(dim_smear(8, 8), weights="z")
    with pytest.raises(TypeError, match="lambda_"):
        eff(dim_smear(8, 8), lambda_=0.5)


# Same input, same output

DIGEST = """
import hashlib, sys
import cv2
import numpy as np
from wbcjax.enhance import METHODS
cv2.setNumThreads(int(sys.argv[1]))
image = np.load(sys.argv[2])
for name, method in METHODS.items():
    print(name, hashlib.sha256(method(image).tobytes()).hexdigest())
"""


def test_runs_and_numbers_of_threads_give_the_same_bits(tmp_path):
    image = dim_smear(601, 800)
    np.save(tmp_path / "image.npy", image)
    outputs = set()
    for threads in ("1", "2", "5"):
        command = [sys.executable, "-c", DIGEST, threads, str(tmp_path / "image.npy")]
        environment = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "PATH": ""}
        outputs.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(outputs) == 1
    assert f"eff {hashlib.sha256(eff(image).tobytes()).hexdigest()}" in outputs.pop()


def test_where_an_image_lies_in_memory_makes_no_difference():
    image = dim_smear(51, 62)
    expected = eff(image)
    np.testing.assert_array_equal(eff(np.asfortranarray(image)), expected)
    np.testing.assert_array_equal(eff(np.ascontiguousarray(image[..., ::-1])[..., ::-1]), expected)
    room = np.zeros(image.size + 7, np.uint8)
    for offset in (1, 3, 7):
        shifted = room[offset : offset + image.size].reshape(image.shape)
        shifted[:] = image
        np.testing.assert_array_equal(eff(shifted), expected)


# Real fields


def test_real_fields_are_within_a_grey_level_of_the_exact_solution():
    for image in real_fields(3):
        for k in (2.0, 7.0):
            exact, parts = eff(image, normalize="minmax", k=k, return_parts=True, **EXACT)
            enhanced, parts = eff(image, normalize="minmax", k=k, return_parts=True)
            assert difference(enhanced, exact) <= 1
            assert parts.iterations <= 30


def test_low_light_fields_are_within_a_grey_level():
    """Real fields at low light are within a grey level with k searched for."""
    for image in real_fields(2):
        dark = image // 4
        exact, parts = eff(dark, return_parts=True, **EXACT)
        assert parts.k > 1
        assert difference(eff(dark), exact) <= 1


def test_too_few_steps_are_told(caplog):
    eff(dim_smear(40, 50), k=3.0, max_iterations=2)
    assert "after 2 steps; raise max_iterations or rtol" in caplog.text
    caplog.clear()
    eff(dim_smear(40, 50), k=3.0)
    assert not caplog.text
