"""Stain, optics and camera: what changes colours moves nothing, and is what its formula says."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.input.painted import painted_field
from tests.input.test_augment import one_batch
from wbcjax.input.appearance import HED, add_noise, change_appearance, compress, defocus, jitter_stain
from wbcjax.input.augment import Augment

ALL = {"stain": 0.1, "defocus": 1.5, "shot_noise": 6.0, "read_noise": 3.0, "jpeg": 60}
STAINED = np.array([[[240, 235, 238], [130, 60, 150], [215, 150, 170], [90, 40, 120]]], np.uint8)


def spot(radius: int = 9) -> np.ndarray:
    """A dark disc on light ground, its middle off the image's."""
    image = np.full((64, 64, 3), (235, 228, 232), np.uint8)
    return cv2.circle(image, (27, 35), radius, (110, 60, 140), cv2.FILLED, cv2.LINE_AA)


def middle(image: np.ndarray) -> np.ndarray:
    """The centre of mass of what is darker than the ground, x and y."""
    weight = (image[0, 0].astype(float) - image).sum(axis=-1).clip(60) - 60
    y, x = np.indices(weight.shape)
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


@pytest.mark.parametrize("name", ALL)
def test_each_change_of_appearance_moves_neither_masks_nor_pixels(name):
    field = painted_field(np.random.default_rng(3), 48, 48)
    changes = 0
    for seed in range(4):
        plain, changed = (one_batch(field, (64, 128), seed, **how) for how in ({}, {name: ALL[name]}))
        changes += not np.array_equal(plain.image, changed.image)
        assert not changed.image[0, :, 64:].any(), "it leaks beside the field"
        for array in ("masks", "boxes", "corners", "valid", "crowd", "labels"):
            np.testing.assert_array_equal(getattr(plain, array), getattr(changed, array))
    assert changes >= 2
    moved = [change_appearance(spot(), Augment(**{name: ALL[name]}), np.random.default_rng(seed)) for seed in range(8)]
    assert max(np.abs(middle(image) - middle(spot())).max() for image in moved) < 0.15


def test_the_seed_alone_decides_the_appearance():
    first, again, other = (change_appearance(spot(), Augment(**ALL), np.random.default_rng(k)) for k in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_no_strength_at_all_leaves_every_bit():
    image, rng = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8), np.random.default_rng(1)
    every = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)[None]  # all greys, (1, 256, 3)
    for pixels in (image, every):
        for same in (
            change_appearance(pixels, Augment(), rng),
            jitter_stain(pixels, 0.0, rng),
            defocus(pixels, 0.0),
            add_noise(pixels, 0.0, 0.0, rng),
        ):
            np.testing.assert_array_equal(same, pixels)


@given(seed=st.integers(0, 2**20), strength=st.floats(0.01, 0.3))
def test_stain_jitter_is_the_formula_in_density_space(seed, strength):
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    found = jitter_stain(pixels, strength, np.random.default_rng(seed))
    draw = np.random.default_rng(seed)
    a, b = 1 + draw.uniform(-strength, strength, 3), draw.uniform(-strength, strength, 3)
    dyes = -np.log((pixels + 1.0) / 256) @ np.linalg.inv(HED)
    expected = (256 * np.exp(-(dyes * a + b) @ HED) - 1).clip(0, 255)
    np.testing.assert_allclose(found, expected, atol=0.51)


def test_stronger_stain_darkens_what_is_stained_and_keeps_greys_apart():
    for seed in range(20):
        found = jitter_stain(STAINED, 0.1, np.random.default_rng(seed)).astype(int).sum(axis=-1)[0]
        assert found[0] > found[2] > found[1] > found[3]


def test_the_dyes_of_the_basis_have_the_published_colours():
    """Haematoxylin lets blue pass and eosin red; rows have length 1."""
    np.testing.assert_allclose(np.linalg.norm(HED, axis=1), 1)
    assert HED[0].argmin() == 2
    assert HED[1].argmin() == 0
    assert HED[1].argmax() == 1


def test_defocus_is_a_gaussian_of_its_deviation():
    image = np.zeros((41, 41, 3), np.uint8)
    image[:, 20:] = 200
    line = defocus(image, 2.0)[20, :, 0].astype(float)
    slope = np.diff(line)
    at = np.arange(40) + 0.5
    mean = (slope * at).sum() / slope.sum()
    assert mean == pytest.approx(19.5, abs=0.05)
    assert np.sqrt((slope * (at - mean) ** 2).sum() / slope.sum()) == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize(("level", "shot", "read"), [(60, 8.0, 0.0), (180, 8.0, 0.0), (120, 0.0, 5.0), (150, 6.0, 4.0)])
def test_noise_has_the_variance_of_photons_and_of_reading(level, shot, read):
    pixels = np.full((200, 200, 3), level, np.uint8)
    noise = add_noise(pixels, shot, read, np.random.default_rng(0)).astype(float) - level
    assert abs(noise.mean()) < 0.1
    assert noise.var() == pytest.approx(shot**2 * level / 255 + read**2 + 1 / 12, rel=0.03)
    assert abs(np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1]) < 0.01


def test_jpeg_keeps_red_red_and_gets_worse_with_lower_quality():
    image = cv2.GaussianBlur(spot(), (0, 0), 1)
    errors = [np.abs(compress(image, quality).astype(int) - image).mean() for quality in (100, 70, 10)]
    assert errors[0] < 1.5
    assert errors[0] < errors[1] < errors[2] < 10
    red = np.full((32, 32, 3), (200, 40, 60), np.uint8)
    np.testing.assert_allclose(compress(red, 90), red, atol=3)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (37, 2)])
def test_the_smallest_images_take_every_change(size):
    image = np.full((*size, 3), 120, np.uint8)
    assert change_appearance(image, Augment(**ALL), np.random.default_rng(0)).shape == image.shape


@pytest.mark.parametrize(
    ("name", "value"), [("stain", 1.1), ("defocus", -1.0), ("shot_noise", 256.0), ("jpeg", 101), ("turn", 181.0)]
)
def test_an_impossible_strength_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"augment.{name} is"):
        Augment(**{name: value})
