"""Where a slide is stained, and how sharp a part of it is."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbcjax.slides.slide import Level, Slide
from wbcjax.slides.tissue import LEAST, LEAST_TISSUE, MOST, SHARP, find_tissue, sharpness
from wbcjax.smear import synthetic
from wbcjax.smear.synthetic_settings import SyntheticSmear


class Flat(Slide):
    """An image in memory."""

    def __init__(self, image: np.ndarray) -> None:
        self.name, self.pixel_size, self._image = "flat.tif", 0.0, image
        self.levels = (Level(image.shape[1], image.shape[0]),)

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        return self._image[y : y + height, x : x + width]


def glass(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Grey, uneven and noisy."""
    noise = np.random.default_rng(seed).normal(0, 2, (height, width, 3))
    light = np.linspace(250, 200, width)[None, :, None]
    return np.clip(light + noise, 0, 255).astype(np.uint8)


def test_a_cell_alone_on_bare_glass_is_tissue_and_the_glass_is_not():
    image = np.tile(glass(500, 500), (8, 8, 1))
    cv2.circle(image, (3000, 1000), 40, (120, 60, 150), cv2.FILLED)
    tissue = find_tissue(Flat(image))
    assert tissue.mask.sum() == pytest.approx(np.pi * 40**2, rel=0.1)
    assert tissue.share((0.5, 0.0, 1.0, 0.5)) > LEAST_TISSUE
    for empty in ((0.0, 0.0, 0.5, 0.5), (0.0, 0.5, 0.5, 1.0), (0.5, 0.5, 1.0, 1.0)):
        assert tissue.share(empty) < LEAST_TISSUE


def test_a_slide_of_glass_has_no_tissue_and_one_of_cells_is_all_tissue():
    assert find_tissue(Flat(glass(900, 800))).mask.sum() == 0
    rng = np.random.default_rng(0)
    stained = np.clip(rng.normal((200, 120, 190), 3, (900, 800, 3)), 0, 255).astype(np.uint8)
    tissue = find_tissue(Flat(stained))
    assert tissue.mask.mean() == 1.0
    assert LEAST <= tissue.threshold <= MOST


@given(st.floats(0, 0.99), st.floats(0, 0.99))
def test_the_share_of_a_part_is_that_of_its_pixels(x, y):
    image = np.full((64, 64, 3), 200, np.uint8)
    image[:32] = (200, 100, 200)
    tissue = find_tissue(Flat(image))
    assert tissue.share((x, 0.0, min(x + 0.2, 1.0), 0.5)) == 1.0
    assert tissue.share((x, 0.5, 1.0, 1.0)) == 0.0
    assert 0 <= tissue.share((x, y, 1.0, 1.0)) <= 1


def test_drawn_fields_are_sharp_and_blurred_ones_are_not():
    """Also where a tile shows a corner of one, and glass beside it."""
    for seed in range(4):
        image = synthetic.render(SyntheticSmear(), seed).image()
        mostly_glass = np.full((288, 384, 3), (232, 226, 232), np.uint8)
        mostly_glass[100:, 200:] = image[:188, :184]
        for sharp in (image, mostly_glass):
            assert sharpness(sharp) > 1.5 * SHARP
            assert sharpness(cv2.GaussianBlur(sharp, (0, 0), 3)) < SHARP


@pytest.mark.parametrize("blur", [1.0, 2.0, 4.0])
def test_sharpness_of_a_blurred_edge_is_that_of_the_theory(blur):
    """The variance of the Laplacian of an edge at scale s goes with s ** -3."""
    image = np.zeros((64, 400, 3), np.uint8)
    image[:, 200:] = 255
    theory = ((blur**2 + 4) / (blur**2 + 1)) ** 1.5
    assert sharpness(cv2.GaussianBlur(image, (0, 0), blur)) == pytest.approx(theory, rel=0.05)


def test_sharpness_does_not_depend_on_contrast():
    image = synthetic.render(SyntheticSmear(), 0).image()
    pale = (255 - (255 - image.astype(float)) / 2).astype(np.uint8)
    assert sharpness(pale) == pytest.approx(sharpness(image), rel=0.05)
    assert sharpness(np.full((9, 9, 3), 200, np.uint8)) == 0.0
