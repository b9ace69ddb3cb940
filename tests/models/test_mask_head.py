"""Masks of one channel for all classes, and targets from windows."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.input.painted import on_canvas
from tests.models import small
from wbcjax.input.windows import window_corner
from wbcjax.models.mask_head import MaskHead
from wbcjax.models.rois import Found, RoiSamples, RoiSettings
from wbcjax.ops.losses import mean_over_devices

LABELS = jnp.array([[1, 2, 3, 3]])


def pool(rois, bins):
    return jnp.sin(rois[..., None, None, :] * jnp.arange(1, bins * bins + 1).reshape(bins, bins, 1) / 40)


@pytest.mark.slow
@pytest.mark.parametrize("class_agnostic", [True, False])
def test_class_agnostic_masks_are_the_same_whatever_the_label(class_agnostic):
    head = MaskHead(bins=2, channels=4, num_classes=4, class_agnostic=class_agnostic)
    rois = jnp.tile(jnp.array([4.0, 6, 20, 30]), (1, 4, 1))
    found = Found(rois, LABELS, jnp.ones((1, 4)), LABELS > 0, jnp.zeros(1, bool))
    variables: Any = head.init(jax.random.key(0), pool, found, method="detect")
    kernel = variables["params"]["logits"]["kernel"]
    assert kernel.shape == (4, 1 if class_agnostic else 4)
    variables["params"]["logits"]["kernel"] = 1e4 * kernel
    masks = np.asarray(head.apply(variables, pool, found, method="detect"))
    assert masks.shape == (1, 4, 4, 4)
    assert masks[0, 0].std() > 0.01
    np.testing.assert_array_equal(masks[0, 2], masks[0, 3])
    assert np.array_equal(masks[0, 0], masks[0, 1]) == class_agnostic
    assert np.array_equal(masks[0, 1], masks[0, 2]) == class_agnostic


@pytest.mark.slow
@pytest.mark.parametrize("convention", ["legacy", "aligned", "crop_and_resize"])
def test_targets_from_windows_are_those_from_whole_canvases(convention):
    """Cells at every edge and corner of the canvas; RoIs inside, across and far beyond their windows."""
    (height, width), (window, _) = small.CANVAS, small.WINDOW
    rng, batch = np.random.default_rng(3), small.batch(9, seed=3, cells=0)
    masks, corners, boxes = np.zeros((9, 1, window, window), np.uint8), np.zeros((9, 1, 2), np.int32), []
    for i, (x, y) in enumerate((x, y) for x in (0, 31, width - 30) for y in (0, 17, height - 30)):
        corner = window_corner((x, y, x + 30, y + 30), small.WINDOW, small.CANVAS)
        assert corner is not None
        corners[i, 0], left, top = corner, x - corner[0], y - corner[1]
        masks[i, 0, top : top + 30, left : left + 30] = rng.integers(0, 2, (30, 30))
        inside, across = np.array([x, y, x + 30, y + 30]), np.array([x - 9.3, y - 6.8, x + 35.1, y + 41.7])
        boxes.append([inside, inside + rng.uniform(-6, 6, 4), across, [0, 0, width, height], [-5, -5, x + 9, y + 8]])
    batch = batch._replace(
        masks=masks, corners=corners, labels=np.ones((9, 1), np.int32), outlined=np.ones((9, 1), bool)
    )
    whole = batch._replace(masks=on_canvas(batch), corners=np.zeros_like(corners))
    zeros = jnp.zeros((9, 5), jnp.int32)
    rois = RoiSamples(jnp.array(boxes, jnp.float32), zeros, zeros + 1, zeros == 0, jnp.zeros((9, 5, 4)))
    head = MaskHead(bins=7, channels=2, roi=RoiSettings(convention=convention))

    def targets(batch):
        batch = jax.tree.map(jnp.asarray, batch)
        _, sown = head.init_with_output(jax.random.key(0), pool, rois, batch, mean_over_devices(None), method="losses")
        return np.asarray(sown["samples"]["masks"][0][1])

    found = targets(batch)
    assert found[:, 0].std() > 0.1
    np.testing.assert_allclose(found, targets(whole), atol=1e-5)
    np.testing.assert_array_equal(found[:, 0], targets(whole)[:, 0])
