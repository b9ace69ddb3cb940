"""A model asked for the cell at a place of an image."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle import oracle, paint
from wbcjax.models.mask_rcnn import Detections
from wbcjax.models.rpn import RpnOutputs
from wbcjax.predict.at_place import detect_at
from wbcjax.predict.devices import CompiledNetwork
from wbcjax.predict.search import Ensemble, Picture

CANVAS = (64, 96)


def test_only_anchors_whose_inner_half_has_the_place_keep_their_logits():
    anchors = [jnp.array([[0.0, 0, 8, 8], [4, 4, 12, 12]]), jnp.array([[0.0, 0, 40, 40]])]
    outputs = RpnOutputs([jnp.array([[1.0, 2], [3, 4]]), jnp.array([[5.0], [6]])], [])
    near = outputs.around(anchors, jnp.array([[6.0, 6.0], [12.0, 11.0]]))
    np.testing.assert_array_equal(near.logits[0], [[1, 2], [-np.inf, -np.inf]])
    np.testing.assert_array_equal(near.logits[1], [[-np.inf], [6]])


def at_its_place(variables, image, size, place):
    """Sees one cell, 10 pixels around the place that it is given."""
    boxes = jnp.concatenate([place - 5, place + 5], axis=1)[:, None]
    n = image.shape[0]
    masks = jnp.ones((n, 1, 28, 28))
    return Detections(boxes, jnp.ones((n, 1), jnp.int32), jnp.full((n, 1), 0.01), masks, jnp.ones((n, 1), bool))


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("place", [(20.0, 30.0), (150.0, 90.0), (100.0, 60.0), (190.0, 120.0)])
def test_the_place_is_found_in_the_tile_that_shows_most_around_it(place, scale):
    model = replace(oracle(CANVAS, (scale, scale)), at_place=CompiledNetwork(at_its_place, 1))
    found = detect_at(model, Picture("image", np.zeros((128, 200, 3), np.uint8)), place)
    assert found.scores.tolist() == pytest.approx([0.01])
    x, y = place
    half = 5 / scale
    inside = [x - half, y - half, min(x + half, 200), min(y + half, 128)]
    np.testing.assert_allclose(found.boxes, [inside], atol=1e-3)


def test_a_model_without_a_network_for_places_gives_its_detections_there():
    model = oracle(CANVAS, (1.0, 1.0))
    picture = Picture("image", paint(64, 96, {(10, 10, 30, 30): 1, (40, 20, 60, 50): 2}))
    for asked in (model, Ensemble((model,))):
        assert detect_at(asked, picture, (45.0, 25.0)).labels.tolist() == [2]
        assert detect_at(asked, picture, (80.0, 10.0)).labels.tolist() == []
