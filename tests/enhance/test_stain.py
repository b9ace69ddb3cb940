"""Stain normalisation: against the papers' formulas in NumPy, and where a field has no stain to normalise."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import ConfigDict

from wbcjax.enhance import DRAWN, Enhancement, Stain, fit_stain, macenko, reinhard
from wbcjax.enhance.stain import middle_of
from wbcjax.input.settings import CropSetSettings, FieldSetSettings
from wbcjax.settings.parts import as_values
from wbcjax.smear.synthetic import SyntheticSmear, render

AZURE, EOSIN = np.array([0.62, 0.72, 0.31]), np.array([0.15, 0.85, 0.5])
FIELD = render(SyntheticSmear(height=160, width=160, others=(0, 0)), 3).image()
OTHER = render(SyntheticSmear(height=160, width=160, others=(0, 0)), 8).image()
both = pytest.mark.parametrize("method", [reinhard, macenko])


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def dyed(seed: int, azure: np.ndarray = AZURE, eosin: np.ndarray = EOSIN, strength: float = 1.0) -> np.ndarray:
    """A field of two dyes: cells of azure, of eosin and of both on bare ground, by Beer and Lambert."""
    rng = np.random.default_rng(seed)
    amounts = np.zeros((80, 80, 2))
    amounts[10:40, 10:40, 0] = rng.uniform(0.6, 1.2, (30, 30))
    amounts[45:75, 10:40, 1] = rng.uniform(0.6, 1.2, (30, 30))
    amounts[20:60, 45:75] = rng.uniform(0.3, 0.8, (40, 30, 2))
    density = strength * amounts @ np.stack([unit(azure), unit(eosin)])
    return np.rint(256 * np.exp(-density) - 1).clip(0, 255).astype(np.uint8)


def lab(image: np.ndarray) -> np.ndarray:
    """CIE Lab of 8-bit sRGB, by the formulas of IEC 61966-2-1 and CIE 15."""
    shares = image / 255
    linear = np.where(shares > 0.04045, ((shares + 0.055) / 1.055) ** 2.4, shares / 12.92)
    to_xyz = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
    x, y, z = np.moveaxis(linear @ to_xyz.T / to_xyz.sum(axis=1), -1, 0)
    f = [np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116) for t in (x, y, z)]
    return np.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])], axis=-1)


def test_reinhard_gives_each_channel_of_lab_the_references_mean_and_deviation():
    stain = fit_stain(OTHER)
    target = lab(OTHER).reshape(-1, 3)
    np.testing.assert_allclose(stain.mean, target.mean(axis=0), atol=0.1)
    np.testing.assert_allclose(stain.deviation, target.std(axis=0), atol=0.1)
    before, found = lab(FIELD), lab(reinhard(FIELD, stain=stain))
    flat = before.reshape(-1, 3)
    expected = (before - flat.mean(axis=0)) / flat.std(axis=0) * target.std(axis=0) + target.mean(axis=0)
    off = np.abs(found - expected).max(axis=-1)
    assert np.median(off) < 0.7  # rounded to whole grey levels
    assert np.percentile(off, 95) < 2.5  # some colours lie beyond RGB


def test_macenko_is_the_papers_algorithm_in_numpy():
    image, reference = dyed(0), dyed(1, azure=np.array([0.7, 0.65, 0.25]), strength=0.8)

    def parted(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        density = -np.log((pixels.reshape(-1, 3) + 1.0) / 256)
        stained = density[np.sqrt((density**2).mean(axis=1)) > 0.15]
        _, _, rows = np.linalg.svd(stained - stained.mean(axis=0), full_matrices=False)
        plane = rows[:2] * np.sign(rows[:2].sum(axis=1, keepdims=True))
        along = stained @ plane.T
        angles = np.percentile(np.arctan2(along[:, 1], along[:, 0]), (1, 99))
        dyes = np.array([unit(np.array([np.cos(a), np.sin(a)]) @ plane) for a in angles])
        dyes = dyes[np.argsort(-dyes[:, 0])]
        amounts = np.linalg.lstsq(dyes.T, density.T, rcond=None)[0].T
        of_stained = np.linalg.lstsq(dyes.T, stained.T, rcond=None)[0].T
        return dyes, amounts / np.percentile(of_stained, 99, axis=0), density

    dyes, amounts, density = parted(image)
    target, _, _ = parted(reference)
    stain = fit_stain(reference)
    np.testing.assert_allclose(stain.dyes, target, atol=1e-3)
    kept = density - amounts * fit_stain(image).strength @ dyes  # what the dyes do not explain
    expected = 256 * np.exp(-(amounts * stain.strength @ target + kept)) - 1
    np.testing.assert_allclose(macenko(image, stain=stain).reshape(-1, 3), expected.clip(0, 255), atol=0.8)


@pytest.mark.parametrize("azure", [AZURE, np.array([0.75, 0.6, 0.2])])
def test_the_dyes_that_a_field_is_made_of_are_found_azure_first(azure):
    stain = fit_stain(dyed(0, azure=azure))
    for found, known in zip(stain.dyes, (azure, EOSIN), strict=True):
        assert np.dot(found, unit(known)) > 0.998
        assert np.linalg.norm(found) == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(stain.strength, 1.19, atol=0.08)  # 99 % of the strongest cells


@both
@pytest.mark.parametrize("image", [FIELD, OTHER, dyed(0)], ids=["smear", "another", "dyed"])
def test_a_field_normalised_to_itself_does_not_change(method, image):
    found = method(image, stain=fit_stain(image)).astype(int)
    assert np.abs(found - image).max() <= 1


@both
def test_two_stains_of_one_field_come_closer(method):
    pale, dark = dyed(0, strength=0.7), dyed(0, azure=np.array([0.72, 0.64, 0.22]), strength=1.2)
    stain = fit_stain(dark)
    before = np.abs(pale.astype(int) - dark).mean()
    after = np.abs(method(pale, stain=stain).astype(int) - dark).mean()
    assert after < (0.35 if method is macenko else 0.5) * before


def test_macenko_makes_two_strengths_of_one_stain_one():
    """As the dyes are the same, all that is left is rounding, where neither is cut at black."""
    pale, dark = dyed(0, strength=0.7), dyed(0)
    np.testing.assert_allclose(macenko(pale, stain=fit_stain(dark)).astype(int), dark, atol=5)


@both
@pytest.mark.parametrize(
    "image",
    [
        np.full((20, 30, 3), 240, np.uint8),
        np.full((20, 30, 3), (200, 120, 180), np.uint8),
        np.arange(600, dtype=np.uint16).reshape(20, 30).astype(np.uint8),
        np.dstack([np.arange(240, dtype=np.uint8).reshape(12, 20)] * 3),
        np.zeros((1, 1, 3), np.uint8),
    ],
    ids=["blank", "one colour", "grey", "grey in three channels", "a pixel"],
)
def test_an_image_without_stain_stays_as_it_is(method, image):
    np.testing.assert_array_equal(method(image), image)


def test_the_noise_of_an_empty_field_is_no_stain():
    levels = np.random.default_rng(0).normal((235, 228, 232), 2, (60, 60, 3))
    empty = np.clip(levels, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(macenko(empty), empty)
    assert np.std(reinhard(empty).astype(float), axis=(0, 1)).max() <= 5 * 2


@both
def test_sixteen_bits_and_alpha_are_normalised_alike(method):
    stain, alpha = fit_stain(OTHER), np.arange(FIELD[..., 0].size, dtype=np.uint16).reshape(160, 160, 1)
    deep = np.concatenate([FIELD.astype(np.uint16) * 257, alpha], axis=2)
    found = method(deep, stain=stain)
    np.testing.assert_array_equal(found[..., 3:], alpha)
    # 0 is not the same density in both: a grey level is added before the logarithm
    np.testing.assert_allclose(found[..., :3] / 257, method(FIELD, stain=stain), atol=0.6)


@both
@given(seed=st.integers(0, 1000), size=st.tuples(st.integers(1, 20), st.integers(1, 20)))
def test_no_image_breaks_it(method, seed, size):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    image[rng.random(size) < 0.5] = rng.integers(0, 256, 3)
    assert np.isfinite(method(image.astype(np.float32) / 255)).all()


def test_the_middle_of_stains_is_not_moved_by_an_outlier():
    one, other = fit_stain(FIELD), fit_stain(OTHER)
    far = replace(one, mean=(0.0, 90.0, 90.0), strength=(9.0, 9.0))
    middle = middle_of([one, far, one, other, one])
    np.testing.assert_allclose(middle.mean, one.mean, atol=1e-4)
    np.testing.assert_allclose(middle.dyes, one.dyes, atol=1e-4)
    assert middle.strength == one.strength
    with pytest.raises(ValueError, match="no stain to take the middle of"):
        middle_of([])


@pytest.mark.parametrize("image", [np.full((9, 9, 3), 240, np.uint8), np.full((9, 9), 90, np.uint8), FIELD[..., 0]])
def test_a_reference_without_two_dyes_is_refused_with_the_remedy(image):
    with pytest.raises(ValueError, match="no two dyes that can be told apart: give a stained field, in colour"):
        fit_stain(image)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"deviation": (1.0, 0.0, 1.0)}, "give numbers above 0"),
        ({"strength": (-1.0, 1.0)}, "give numbers above 0"),
        ({"dyes": ((0.6, 0.7, 0.3), (0.6, 0.7, 0.3))}, "two dyes of different colours"),
    ],
)
def test_a_stain_that_no_field_has_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        replace(DRAWN, **change)


def test_the_default_is_the_stain_of_drawn_smears():
    drawn = middle_of([fit_stain(render(SyntheticSmear(), seed).image()) for seed in range(8)])
    for name, numbers in asdict(DRAWN).items():
        np.testing.assert_allclose(numbers, getattr(drawn, name), rtol=0.3, atol=2 if name == "mean" else 0.1)


def test_an_enhancement_passes_its_stain_to_the_methods_that_take_one():
    stain = fit_stain(OTHER)
    np.testing.assert_array_equal(Enhancement("macenko", stain)(FIELD), macenko(FIELD, stain=stain))
    np.testing.assert_array_equal(Enhancement("none", stain)(FIELD), FIELD)
    assert Enhancement("none", stain).identity == Enhancement("none").identity == ("none", 2)
    assert Enhancement("reinhard", stain).identity != Enhancement("reinhard", Stain()).identity


@pytest.mark.parametrize("settings", [FieldSetSettings, CropSetSettings])
def test_a_config_keeps_the_stain_to_the_last_digit(settings):
    dataset = settings(classes=("L1",), enhance="macenko", stain=fit_stain(OTHER))
    kept = json.loads(json.dumps(as_values(dataset)))
    assert settings.from_config(ConfigDict(kept)).enhancement == Enhancement("macenko", fit_stain(OTHER))
