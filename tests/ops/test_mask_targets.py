"""Mask targets against torchvision, and against every sample by itself in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.ops.reference import case
from wbcjax.ops.mask_targets import CROPPED_AT_ONCE, crop_masks

CONVENTIONS = ["legacy", "aligned", "crop_and_resize"]
AVERAGES = CONVENTIONS[:2]
SIDE = 1024  # pixels, of which float32 has 1e-4 left at the far end

crop = jax.jit(crop_masks, static_argnums=(3, 4, 5))


def sample_by_sample(masks, boxes, which, bins, convention):
    """Crops, (r, bins, bins), in float64."""
    _, height, width = masks.shape
    crops = []
    for (x1, y1, x2, y2), m in zip(boxes, which, strict=True):
        down, across = _axis(y1, y2, height, bins, convention), _axis(x1, x2, width, bins, convention)
        crops.append(down @ masks[m].astype(np.float64) @ across.T)
    return np.stack(crops)


def _axis(low, high, size, bins, convention):
    """What each pixel counts for in each bin, (bins, size): the two neighbours of every sample."""
    start, length, samples = np.float64(low), np.float64(high) - np.float64(low), 1
    places = start + np.arange(bins)[:, None] * length / max(bins - 1, 1)  # (bins, samples)
    slack = 0
    if convention != "crop_and_resize":
        least = 1 if convention == "legacy" else 0
        samples = max(1, int(np.ceil(np.maximum(np.float32(high) - np.float32(low), least) / np.float32(bins))))
        length = max(length, least)
        start -= 0.5 if convention == "aligned" else 0.0
        within = np.arange(bins)[:, None] + (np.arange(samples) + 0.5) / samples  # in bins
        places, slack = start + within * length / bins, 1
    weights = np.zeros((bins, size))
    for (i, _), place in np.ndenumerate(places):
        if -slack <= place <= size - 1 + slack:
            place = min(max(place, 0.0), size - 1.0)
            below = int(place)
            weights[i, below] += (1 - (place - below)) / samples
            weights[i, min(below + 1, size - 1)] += (place - below) / samples
    return weights


@pytest.fixture(scope="module")
def masks():
    """Noise, the hardest to resample; a disc; and all of a canvas."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE * 0.6
    return np.stack([rng.random((SIDE, SIDE)) < 0.5, np.hypot(x, y) < 200, np.ones((SIDE, SIDE), bool)]).astype(
        np.uint8
    )


@pytest.mark.parametrize("convention", AVERAGES)
def test_crops_of_large_small_and_flat_boxes_equal_torchvision(convention):
    c = case("crop_masks")
    crops = crop(c["masks"], c["boxes"], c["which"].astype(np.int32), 14, convention)
    has_area = (c["boxes"][:, 2:] > c["boxes"][:, :2]).all(axis=1)  # torchvision, aligned, takes no sample of others
    use = has_area if convention == "aligned" else slice(None)
    np.testing.assert_allclose(crops[use], c[convention][use], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("cpu", [True, False])
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_crops_of_a_large_canvas_are_exact(masks, convention, cpu):
    rng = np.random.default_rng(1)
    size = rng.uniform(0.5, 0.9 * SIDE, (20, 2)) * rng.choice([1.0, 0.3, 0.1], (20, 1))
    corner = rng.uniform(0, 1, (20, 2)) * (SIDE - 1 - size)
    boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
    boxes[-1] = [0, 0, SIDE - 1, SIDE - 1]
    which = np.arange(20, dtype=np.int32) % 3
    assert len(boxes) > 2 * CROPPED_AT_ONCE
    found = crop(masks, boxes, which, 28, convention, cpu)
    np.testing.assert_allclose(found, sample_by_sample(masks, boxes, which, 28, convention), atol=1e-6)


sides = st.tuples(st.floats(-40, 60, width=32), st.floats(0, 60, width=32))


@settings(max_examples=150, deadline=None)
@given(st.tuples(sides, sides), st.sampled_from([1, 5, 14]), st.sampled_from(CONVENTIONS))
def test_boxes_wherever_they_lie_give_each_samples_weights(axes, bins, convention):
    """Inside, across the borders, outside, without area: compared where rounding decides of no sample."""
    size = 24
    (low, length), (other, more) = axes
    boxes = np.array([[low, other, low + length, other + more]], np.float32)
    mask = (np.random.default_rng(2).random((1, size, size)) < 0.5).astype(np.uint8)
    found = crop(mask, boxes, np.zeros(1, np.int32), bins, convention)
    expected = sample_by_sample(mask, boxes, [0], bins, convention)
    near = [sample_by_sample(mask, boxes + shift, [0], bins, convention) for shift in (-1e-5, 1e-5)]
    assume(np.abs(near - expected).max() < 1e-3)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_images_of_a_batch_keep_their_own_masks():
    boxes = np.array([[[0, 0, 4, 4]], [[4, 4, 8, 8]]], np.float32)
    masks = np.zeros((2, 1, 8, 8), np.uint8)
    masks[1, 0, 4:, 4:] = 1
    which = np.zeros((2, 1), np.int32)
    of_batch = jax.vmap(crop_masks, in_axes=(0, 0, 0, None, None, None))
    found = of_batch(jnp.asarray(masks), jnp.asarray(boxes), jnp.asarray(which), 4, "aligned", True)
    np.testing.assert_array_equal(found[0, 0], np.zeros((4, 4)))
    np.testing.assert_allclose(found[1, 0], np.ones((4, 4)), atol=1e-6)
