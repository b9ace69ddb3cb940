"""What is no RGB image is refused with what it is and what to do; RGB of NumPy and of JAX is taken as it is."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from wbcjax.smear.field import as_rgb

RGB = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


@pytest.mark.parametrize("image", [RGB, jnp.asarray(RGB), RGB[:, ::-1]], ids=["numpy", "jax", "view"])
def test_rgb_is_taken_as_it_is(image):
    np.testing.assert_array_equal(as_rgb(image, "a.png"), np.asarray(image))


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (None, "NoneType: was the file read? cv2.imread gives None where it could not"),
        ("a.png", "str: read the file first"),
        (Path("a.png"), "PosixPath: read the file first"),
        ([[1, 2, 3]], "list: give numpy.asarray of it"),
        (SimpleNamespace(size=(4, 2), mode="RGB"), "SimpleNamespace: give numpy.asarray of it: of a PIL image"),
        (SimpleNamespace(shape=(3, 4, 4), dtype="torch.uint8"), "(3, 4, 4) torch.uint8: give numpy.asarray of it"),
        (RGB[..., 0], "(2, 4) uint8: repeat its one channel three times"),
        (RGB[..., :1], "(2, 4, 1) uint8: repeat its one channel three times"),
        (np.zeros((2, 4, 4), np.uint8), "(2, 4, 4) uint8: drop its fourth channel"),
        (RGB.transpose(2, 0, 1), "(3, 2, 4) uint8: put its channels last"),
        (RGB / 255.0, "(2, 4, 3) float64: bring it to the values 0 to 255 of uint8"),
        (RGB.astype(np.uint16), "(2, 4, 3) uint16: bring it to the values 0 to 255 of uint8"),
        (RGB[None], "(1, 2, 4, 3) uint8: give one image at a time"),
        (RGB[:0], "(0, 4, 3) uint8: give one image at a time, which has a pixel"),
    ],
)
def test_anything_else_is_named_with_the_remedy(unchecked_types, image: Any, told: str):
    with pytest.raises(ValueError, match="needs RGB") as refusal:
        as_rgb(image, "a.png")
    assert str(refusal.value).startswith(f"a.png: needs RGB as (height, width, 3) uint8, got {told}")
