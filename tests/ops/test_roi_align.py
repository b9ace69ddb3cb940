"""RoIAlign and level assignment against torchvision, or plain loops for TensorFlow's convention."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.ops.reference import case
from wbcjax.ops.roi_align import ROIS_AT_ONCE, feature_table, fpn_level, roi_align

CANVAS = (128, 192)


@functools.partial(jax.jit, static_argnums=(3, 4, 5, 6, 7))
def align(features, *given):
    return roi_align(feature_table(features), *given)


@pytest.mark.parametrize("convention", ["legacy", "aligned"])
@pytest.mark.parametrize(("bins", "ratio"), [(7, 2), (4, 1), (3, 3)])
def test_features_inside_across_and_outside_the_borders_equal_torchvision(convention, bins, ratio):
    c = case("roi_align")
    pooled = align(_features(c), c["boxes"], c["level"].astype(np.int32), CANVAS, bins, ratio, convention)
    np.testing.assert_allclose(pooled, c[f"{convention}_{bins}_{ratio}"], atol=2e-5)


def test_boxes_gathered_a_few_at_a_time_for_cpus_pool_the_same():
    c = case("roi_align")
    boxes, level = (np.concatenate([x] * 9) for x in (c["boxes"], c["level"].astype(np.int32)))
    plain, for_cpus = (align(_features(c), boxes, level, CANVAS, 3, 2, "aligned", cpu) for cpu in (False, True))
    assert len(boxes) > ROIS_AT_ONCE
    np.testing.assert_allclose(for_cpus, plain, rtol=0, atol=2e-5)


def test_features_of_a_box_wholly_outside_are_zero():
    c = case("roi_align")
    outside = np.array([[-500.0, -500.0, -400.0, -450.0], [600.0, 10.0, 700.0, 90.0]], np.float32)
    for convention in ("legacy", "aligned", "crop_and_resize"):
        pooled = align(_features(c), outside, np.array([0, 3], np.int32), CANVAS, 3, 2, convention)
        assert not np.asarray(pooled).any()


def test_aligned_samples_lie_at_the_centres_of_their_bins():
    # A feature map that holds each pixel's centre, in pixels of the image: pooling must return the bins' centres.
    y, x = np.meshgrid(np.arange(32) * 4 + 2.0, np.arange(48) * 4 + 2.0, indexing="ij")
    feature = np.stack([x, y], axis=-1).astype(np.float32)
    box = np.array([[10.0, 20.0, 80.0, 90.0]], np.float32)
    (pooled,) = align((feature,), box, np.zeros(1, np.int32), CANVAS, 7, 2, "aligned")
    centres = 5.0 + 10.0 * np.arange(7)
    np.testing.assert_allclose(pooled[0, :, 0], 10.0 + centres, rtol=1e-5)
    np.testing.assert_allclose(pooled[:, 0, 1], 20.0 + centres, rtol=1e-5)


def test_gradients_of_bfloat16_features_are_summed_in_float32():
    feature = jnp.ones((8, 8, 4), jnp.bfloat16)
    boxes = jnp.tile(jnp.array([[3.3, 2.7, 30.1, 29.9]]), (600, 1))  # one after the other on the same pixels

    @jax.jit
    def gradient(feature):
        level = jnp.zeros(len(boxes), jnp.int32)

        def loss(feature):
            pooled = roi_align(feature_table((feature,)), boxes, level, (32, 32), 2, 2, "aligned")
            return pooled.astype(jnp.float32).sum()

        return jax.grad(loss)(feature)

    exact = np.asarray(gradient(feature.astype(jnp.float32)))
    rounded = gradient(feature)
    assert rounded.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(rounded, np.float32), exact, rtol=2**-8)  # one rounding, at the end


@pytest.mark.parametrize("bins", [7, 14])
def test_crop_and_resize_equals_the_plain_loop(bins):
    c = case("roi_align")
    features, level = _features(c), c["level"].astype(np.int32)
    pooled = align(features, c["boxes"], level, CANVAS, bins, 2, "crop_and_resize")
    expected = [_crop_and_resize(features[k], box, CANVAS, bins) for k, box in zip(level, c["boxes"], strict=True)]
    np.testing.assert_allclose(pooled, expected, atol=2e-5)


def test_crop_and_resize_of_the_whole_image_keeps_every_pixel():
    feature = np.random.default_rng(0).normal(size=(9, 9, 2)).astype(np.float32)
    whole = np.array([[0.0, 0.0, 8.0, 8.0]], np.float32)  # the far edge is inclusive here
    (pooled,) = align((feature,), whole, np.zeros(1, np.int32), (9, 9), 9, 2, "crop_and_resize")
    np.testing.assert_allclose(pooled, feature, atol=1e-6)


def test_levels_equal_torchvision_at_the_very_sizes_where_they_change():
    c = case("levels")
    np.testing.assert_array_equal(fpn_level(jnp.asarray(c["boxes"]), (2, 3, 4, 5), 224.0, False), c["level"])


def test_levels_round_to_nearest_where_asked():
    sides = np.array([1.0, 79.0, 80.0, 158.0, 159.0, 316.0, 317.0, 600.0, 2000.0], np.float32)
    boxes = np.stack([np.zeros_like(sides), np.zeros_like(sides), sides, sides], axis=1)
    expected = np.clip(np.round(4 + np.log2(sides / 224.0)), 2, 5) - 2
    assert set(expected) == {0, 1, 2, 3}
    np.testing.assert_array_equal(fpn_level(jnp.asarray(boxes), (2, 3, 4, 5), 224.0, True), expected)


def test_a_box_without_area_belongs_to_the_finest_level():
    assert fpn_level(jnp.zeros((1, 4)), (2, 3, 4, 5), 224.0, False) == 0


def _features(c):
    return tuple(c[f"features_{k}"] for k in range(4))


def _crop_and_resize(image, box, image_shape, bins):
    """tf.image.crop_and_resize of one box, given in pixels from centre to centre, as its documentation has it."""
    height, width, channels = image.shape
    x1, y1, x2, y2 = np.float64(box) / np.tile([image_shape[1] - 1, image_shape[0] - 1], 2)
    out = np.zeros((bins, bins, channels))
    for i in range(bins):
        for j in range(bins):
            y = y1 * (height - 1) + i * (y2 - y1) * (height - 1) / (bins - 1)
            x = x1 * (width - 1) + j * (x2 - x1) * (width - 1) / (bins - 1)
            if 0 <= y <= height - 1 and 0 <= x <= width - 1:
                top, left = int(y), int(x)
                bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
                upper = image[top, left] * (1 - (x - left)) + image[top, right] * (x - left)
                lower = image[bottom, left] * (1 - (x - left)) + image[bottom, right] * (x - left)
                out[i, j] = upper * (1 - (y - top)) + lower * (y - top)
    return out
