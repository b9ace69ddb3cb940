import numpy as np
import pytest

from tests.enhance import reference
from tests.enhance.make import dim_smear
from wbcjax.enhance.resize import double, halve, thumbnail


def image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).random((height, width)).astype(np.float32)


@pytest.mark.parametrize("shape", [(2, 2), (8, 6), (14, 20), (1, 1), (1, 7), (9, 1), (5, 12), (13, 13)])
def test_half_the_size_is_as_the_antialiased_cubic_gives(shape):
    height, width = shape
    rows, columns = (reference.resizing(side, (side + 1) // 2, 0.5) for side in shape)
    half = halve(image(*shape))
    assert half.shape == ((height + 1) // 2, (width + 1) // 2)
    if height % 2 == width % 2 == 0:
        np.testing.assert_allclose(half, rows @ image(*shape) @ columns.T, atol=1e-6)


@pytest.mark.parametrize("shape", [(5, 12), (1, 1), (1, 7), (9, 1), (13, 13)])
def test_an_odd_side_is_mirrored_by_one_pixel(shape):
    height, width = shape
    padded = np.pad(image(*shape), ((0, height % 2), (0, width % 2)), mode="symmetric")
    np.testing.assert_array_equal(halve(image(*shape)), halve(padded))


@pytest.mark.parametrize("shape", [(2, 2), (8, 6), (14, 20)])
def test_twice_the_size_is_as_the_cubic_gives(shape):
    height, width = shape
    expected = reference.resized(image(*shape), 2 * height, 2 * width)
    np.testing.assert_allclose(double(image(*shape), (2 * height, 2 * width)), expected, atol=1e-6)
    np.testing.assert_array_equal(
        double(image(*shape), (2 * height - 1, 2 * width - 1)),
        double(image(*shape), (2 * height, 2 * width))[:-1, :-1],
    )


@pytest.mark.parametrize("shape", [(50, 50), (100, 150), (60, 200), (13, 20), (1, 1), (1, 99)])
def test_a_small_images_thumbnail_is_the_cubics(shape):
    found = thumbnail(image(*shape)[..., None], 50)
    assert found.shape == (50, 50, 1)
    np.testing.assert_allclose(found[..., 0], reference.resized(image(*shape), 50, 50), atol=2e-6)


@pytest.mark.parametrize("shape", [(480, 640), (450, 803), (1000, 210)])
def test_a_large_images_thumbnail_is_nearly_the_cubics(shape):
    smear = dim_smear(*shape, brightness=1.0)
    found = thumbnail(smear, 50)
    for channel in range(3):
        exact = reference.resized(smear[..., channel].astype(float), 50, 50)
        assert np.abs(found[..., channel] - exact).max() < 4  # grey levels, at edges sharper than any real one
        assert np.abs(found[..., channel] - exact).mean() < 0.6


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
def test_a_thumbnail_keeps_a_constant_of_any_dtype(dtype):
    np.testing.assert_allclose(thumbnail(np.full((300, 77, 3), 3, dtype), 50), 3, atol=1e-5)
