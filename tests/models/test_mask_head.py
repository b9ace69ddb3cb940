"""Masks of one channel for all classes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wbcjax.models.mask_head import MaskHead
from wbcjax.models.rois import Found

LABELS = jnp.array([[1, 2, 3, 3]])


def pool(rois, bins):
    return jnp.sin(rois[..., None, None, :] * jnp.arange(1, bins * bins + 1).reshape(bins, bins, 1) / 40)


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
