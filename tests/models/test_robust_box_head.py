"""The bounded loss for background (benchmarks/robust_box_head.py), against Zhang and Sabuncu's formula in NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.robust_box_head import RobustBoxHead
from wbcjax.models.box_head import BoxHead
from wbcjax.models.rois import RoiSamples
from wbcjax.ops.losses import mean_over_devices

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (2, 5, 3)).astype(np.float32)
DELTAS = jnp.asarray(RNG.normal(0, 1, (2, 5, 3, 4)), jnp.float32)
LABEL = np.array([[1, 2, 0, 0, 0], [1, 0, 0, 0, 0]])
VALID = np.array([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]], bool)


def losses(head: BoxHead, logits: np.ndarray) -> dict[str, float]:
    corners = jnp.tile(jnp.array([0.0, 0.0, 8.0, 8.0]), (2, 5, 1))
    rois = RoiSamples(corners, jnp.zeros((2, 5), jnp.int32), jnp.asarray(LABEL), jnp.asarray(VALID), corners / 8)
    found = head.losses_of(jnp.asarray(logits), DELTAS, rois, mean_over_devices(None))
    return {name: float(value) for name, value in found.items()}


@pytest.mark.parametrize("q", [0.7, 0.2])
def test_background_has_the_bounded_loss_and_cells_the_cross_entropy(q):
    p = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
    own = np.take_along_axis(p, LABEL[..., None], axis=-1)[..., 0].astype(np.float64)
    each = np.where(LABEL == 0, (1 - own**q) / q, -np.log(own))
    found = losses(RobustBoxHead(num_classes=3, q=q), LOGITS)
    assert found["class"] == pytest.approx(each[VALID].mean(), rel=1e-5)
    assert found["box"] == pytest.approx(losses(BoxHead(num_classes=3), LOGITS)["box"], rel=1e-6)


def test_one_sure_cell_without_an_annotation_costs_at_most_one_over_q():
    sure = LOGITS.copy()
    sure[0, 2] = (-40.0, 40.0, 0.0)
    rest = LOGITS.copy()
    rest[0, 2] = (40.0, -40.0, 0.0)  # no loss there
    head = RobustBoxHead(num_classes=3)
    more = losses(head, sure)["class"] - losses(head, rest)["class"]
    assert more * VALID.sum() == pytest.approx(1 / 0.7, rel=1e-4)
