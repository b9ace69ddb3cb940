"""Anchors against torchvision's AnchorGenerator, and against what size and shape they are said to have."""

import numpy as np
import pytest

from tests.ops.reference import case
from wbcjax.ops.anchors import pyramid_anchors

SHAPES = ((32, 48), (16, 24), (8, 12), (4, 6), (2, 3))
STRIDES = (4, 8, 16, 32, 64)


def test_anchors_of_all_levels_equal_torchvision_in_order():
    sizes = tuple((size,) for size in (32.0, 64.0, 128.0, 256.0, 512.0))
    levels = pyramid_anchors(SHAPES, STRIDES, sizes, (0.5, 1.0, 2.0), rounded=True)
    assert [len(level) for level in levels] == [3 * h * w for h, w in SHAPES]
    np.testing.assert_array_equal(np.concatenate(levels), case("anchors")["pyramid"])


def test_anchors_of_two_sizes_on_one_level_equal_torchvision_in_order():
    (level,) = pyramid_anchors(((8, 12),), (16,), ((20.0, 50.0),), (0.3, 1.0, 1.7), rounded=True)
    np.testing.assert_array_equal(level, case("anchors")["two_sizes"])


@pytest.mark.parametrize("size", [23.0, 32.0, 100.0])
def test_anchors_that_are_not_rounded_have_the_very_area_and_height_over_width(size):
    ratios = (0.4, 1.0, 3.0)
    (level,) = pyramid_anchors(((3, 5),), (8,), ((size,),), ratios, rounded=False)
    width, height = (level[:, 2:] - level[:, :2]).T
    np.testing.assert_allclose(width * height, size**2, rtol=1e-5)
    np.testing.assert_allclose(height / width, ratios * 15, rtol=1e-5)


def test_anchors_are_centred_on_multiples_of_the_stride():
    (level,) = pyramid_anchors(((3, 5),), (8,), ((32.0,),), (1.0,), rounded=False)
    expected = [(8 * x, 8 * y) for y in range(3) for x in range(5)]
    np.testing.assert_allclose((level[:, :2] + level[:, 2:]) / 2, expected, atol=1e-5)
