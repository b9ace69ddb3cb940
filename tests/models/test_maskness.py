"""Scores by maskness: how sure a mask is counts for the order and the score of a detection."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models import small
from wbcjax.models import mask_rcnn
from wbcjax.models.mask_rcnn import Detections, by_maskness


def found() -> Detections:
    """A sure cell with a doubtful mask, a less sure one with a sharp mask, one without any pixel, and padding."""
    masks = np.zeros((1, 4, 2, 2), np.float32)
    masks[0, 0] = [[0.6, 0.6], [0.1, 0.6]]
    masks[0, 1] = [[1.0, 1.0], [0.0, 0.0]]
    masks[0, 2] = 0.4
    masks[0, 3] = 0.5
    return Detections(
        boxes=jnp.arange(16.0).reshape(1, 4, 4),
        labels=jnp.array([[1, 2, 3, 0]]),
        scores=jnp.array([[0.9, 0.8, 0.7, 0.0]]),
        masks=jnp.asarray(masks),
        valid=jnp.array([[True, True, True, False]]),
        said={"age": jnp.array([[10.0, 20.0, 30.0, 0.0]])},
    )


def test_a_sharp_mask_comes_before_a_doubtful_one():
    of = by_maskness(found(), 2.0)
    np.testing.assert_allclose(of.scores[0], [0.8, 0.9 * 0.6**2, 0.0, 0.0], rtol=1e-6)
    assert of.labels.tolist() == [[2, 1, 3, 0]]
    assert of.valid.tolist() == [[True, True, True, False]]
    np.testing.assert_array_equal(of.boxes[0, :2], [[4, 5, 6, 7], [0, 1, 2, 3]])
    assert of.said is not None
    assert of.said["age"].tolist() == [[20.0, 10.0, 30.0, 0.0]]
    np.testing.assert_array_equal(of.masks[0, 0], found().masks[0, 1])


def test_images_of_a_batch_are_ordered_apart():
    one, two = found(), by_maskness(found(), 2.0)
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), one, two)
    of = by_maskness(both, 1.0)
    assert of.labels.tolist() == [[2, 1, 3, 0], [2, 1, 3, 0]]
    np.testing.assert_allclose(of.scores[0], [0.8, 0.54, 0.0, 0.0], rtol=1e-6)


@pytest.mark.parametrize("power", [0.0, 2.0])
def test_a_network_scores_by_maskness_where_its_settings_say_so(power):
    plain, batch = small.model(), small.batch(1, seed=2)
    detection = replace(plain.settings.detection, maskness=power)
    asked = plain.clone(settings=replace(plain.settings, detection=detection))
    variables = mask_rcnn.init(plain, 0)
    before, after = (
        jax.jit(functools.partial(model.apply, method="predict"))(variables, batch.image, batch.size)
        for model in (plain, asked)
    )
    expected = by_maskness(before, power) if power else before
    np.testing.assert_allclose(after.scores, expected.scores, rtol=1e-5)
    assert bool(before.valid.any())
    assert not power or bool((after.scores < before.scores)[before.valid].any())
