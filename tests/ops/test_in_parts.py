"""Rows worked on a few at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wbcjax.ops.cpu.in_parts import in_parts

X = jnp.arange(2 * 7 * 3, dtype=jnp.float32).reshape(2, 7, 3)


def squares(x, factor):
    return x**2 * factor[..., None] + 1.0


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 9])
def test_parts_with_a_needed_row_are_worked_on_and_others_are_zero(rows):
    needed = jnp.arange(7) < jnp.array([[1], [4]])
    factor = jnp.arange(14.0).reshape(2, 7)
    found = in_parts(squares, needed, 2 * rows, X, factor)
    worked = np.array([rows >= 7 or row // rows * rows < 4 for row in range(7)])
    np.testing.assert_array_equal(found, np.where(worked[:, None], squares(X, factor), 0.0))


def test_gradients_through_parts_are_those_of_all_at_once():
    needed, factor = jnp.ones((2, 7), bool), jnp.arange(14.0).reshape(2, 7)
    in_three = jax.grad(lambda x: jnp.sum(in_parts(squares, needed, 6, x, factor)))(X)
    np.testing.assert_allclose(in_three, jax.grad(lambda x: jnp.sum(squares(x, factor)))(X), rtol=1e-6)
