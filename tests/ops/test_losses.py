"""GIoU against a reference of plain numbers, and its gradients where boxes have no area."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wbcjax.ops.boxes import encode
from wbcjax.ops.losses import box_regression, giou

WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def reference(a, b) -> float:
    """Algorithm 1 of Rezatofighi et al. 2019."""
    width, height = (max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    shared = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return 1 - (shared / union - (hull - union) / hull)


def boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corner = rng.uniform(0, 60, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(3, 40, (count, 2))], axis=1).astype(np.float32)


def loss(found, target, references):
    return giou(encode(found, references, WEIGHTS), encode(target, references, WEIGHTS), references, WEIGHTS)


@pytest.mark.slow
def test_giou_of_decoded_boxes_equals_the_papers_algorithm():
    rng = np.random.default_rng(0)
    found, target, references = (jnp.asarray(boxes(rng, 200)) for _ in range(3))
    expected = [reference(*pair) for pair in zip(found, target, strict=True)]
    assert min(expected) < 0.5
    assert max(expected) > 1.5
    np.testing.assert_allclose(loss(found, target, references), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("other", "expected"),
    [((0, 0, 10, 10), 0.0), ((0, 0, 10, 5), 0.5), ((10, 0, 20, 10), 1.0), ((30, 0, 40, 10), 1.5)],
    ids=["same", "half", "beside", "apart"],
)
def test_giou_of_boxes_counted_by_hand(other, expected):
    box, other = (jnp.array([one], jnp.float32) for one in ((0, 0, 10, 10), other))
    np.testing.assert_allclose(loss(box, other, box), [expected], atol=1e-5)


@pytest.mark.slow
def test_gradients_of_giou_pull_boxes_that_do_not_touch():
    box, apart = (jnp.array([one], jnp.float32) for one in ((0, 0, 10, 10), (30, 0, 40, 10)))
    gradient = jax.grad(lambda deltas: giou(deltas, encode(apart, box, WEIGHTS), box, WEIGHTS).sum())(jnp.zeros((1, 4)))
    assert gradient[0, 0] < 0, "it does not move right, towards the other"


@pytest.mark.parametrize("size", [0.0, 1e-20, 1e-4, 1e4])
def test_giou_and_its_gradient_are_finite_whatever_the_area(size):
    references = jnp.array([[5, 5, 5 + size, 5 + size], [0, 0, size, 0], [0, 0, 0, 0]], jnp.float32)
    for deltas in (jnp.zeros((3, 4)), jnp.full((3, 4), 100.0), jnp.full((3, 4), -1e4)):
        value, gradient = jax.value_and_grad(lambda deltas: giou(deltas, 0.1 + 0 * deltas, references, WEIGHTS).sum())(
            deltas
        )
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_padded_boxes_add_nothing_to_giou_nor_to_its_gradient():
    references = jnp.array([[0, 0, 10, 10], [0, 0, 0, 0], [0, 0, 10, 10]], jnp.float32)
    target, positive = jnp.full((3, 4), jnp.nan).at[0].set(0.1), jnp.array([True, False, False])

    def total(deltas):
        return box_regression(giou, deltas, target, references, positive, WEIGHTS).sum()

    value, gradient = jax.value_and_grad(total)(jnp.ones((3, 4)))
    alone = giou(jnp.ones((1, 4)), target[:1], references[:1], WEIGHTS).sum()
    np.testing.assert_allclose(value, alone, rtol=1e-6)
    assert np.any(gradient[0])
    assert not np.any(gradient[1:])
