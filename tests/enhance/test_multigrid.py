import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.enhance import reference
from tests.enhance.make import dim_smear
from wbcjax.enhance import multigrid
from wbcjax.enhance.eff import edge_weights

SHAPES = [(2, 2), (2, 3), (3, 2), (4, 9), (8, 8), (9, 17), (16, 33), (31, 30), (2, 50)]


def problem(
    height: int, width: int, seed: int = 0, dtype: type = np.float64
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A right-hand side, and edges as uneven as those of Eq. 10."""
    rng = np.random.default_rng(seed)
    right, down = (0.5 / (10.0 ** -rng.uniform(0, 3, (height, width)) + 0.001) for _ in range(2))
    return rng.random((height, width)).astype(dtype), right.astype(dtype), down.astype(dtype)


def residual(t: np.ndarray, rhs: np.ndarray, right: np.ndarray, down: np.ndarray) -> float:
    """Relative, in double precision."""
    matrix = reference.system(right.astype(np.float64), down.astype(np.float64))
    return float(np.linalg.norm(matrix @ t.ravel() - rhs.ravel()) / np.linalg.norm(rhs))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_solution_is_that_of_the_dense_system(shape):
    rhs, right, down = problem(*shape)
    exact = np.linalg.solve(reference.system(right, down), rhs.ravel()).reshape(shape)
    found = multigrid.solve(rhs, right, down, 1e-10, 500)
    np.testing.assert_allclose(found.t, exact, rtol=0, atol=1e-8)
    assert found.residual <= 1e-10


@pytest.mark.parametrize(("rtol", "dtype"), [(3e-3, np.float32), (3e-4, np.float32), (1e-6, np.float64)])
def test_the_residual_asked_for_is_reached_and_told_truly(rtol, dtype):
    parts = problem(31, 40, dtype=dtype)
    found = multigrid.solve(*parts, rtol, 500)
    true = residual(found.t, *parts)
    assert true <= 1.1 * rtol
    assert found.residual == pytest.approx(true, rel=0.1)
    assert found.t.dtype == dtype


def test_a_constant_stays_itself_whatever_the_edges():
    _, right, down = problem(20, 30)
    found = multigrid.solve(np.full((20, 30), 0.3), right, down, 1e-9, 500)
    np.testing.assert_allclose(found.t, 0.3, atol=1e-7)


def test_without_edges_nothing_is_smoothed():
    rhs, *_ = problem(20, 30)
    none = np.zeros((20, 30))
    np.testing.assert_allclose(multigrid.solve(rhs, none, none, 1e-10, 500).t, rhs, atol=1e-9)


@pytest.mark.parametrize("brightest", [1e-30, 1e-6, 1e30])
def test_faint_and_strong_values_are_solved_as_others(brightest):
    rhs, right, down = problem(20, 30, dtype=np.float32)
    expected = multigrid.solve(rhs, right, down, 3e-3, 500)
    found = multigrid.solve(rhs * np.float32(brightest), right, down, 3e-3, 500)
    assert found.iterations == expected.iterations
    np.testing.assert_allclose(found.t / np.float32(brightest), expected.t, rtol=1e-4)


def test_black_needs_no_step():
    _, right, down = problem(8, 8)
    found = multigrid.solve(np.zeros((8, 8)), right, down, 1e-3, 500)
    assert (found.t == 0).all()
    assert (found.iterations, found.residual) == (0, 0)


@given(height=st.integers(2, 12), width=st.integers(2, 12), seed=st.integers(0, 1000))
def test_the_solution_stays_within_the_range_of_what_is_smoothed(height, width, seed):
    rhs, right, down = problem(height, width, seed)
    t = multigrid.solve(rhs, right, down, 1e-10, 500).t
    assert rhs.min() - 1e-8 <= t.min()
    assert t.max() <= rhs.max() + 1e-8


@given(height=st.integers(2, 40), width=st.integers(2, 40), seed=st.integers(0, 1000))
def test_the_preconditioner_is_symmetric_and_positive(height, width, seed):
    # or conjugate gradients may not converge
    u, right, down = problem(height, width, seed)
    v = np.random.default_rng(seed + 1).normal(size=u.shape)
    levels = multigrid._levels(right, down)
    mu, mv = multigrid._v_cycle(levels, u).copy(), multigrid._v_cycle(levels, v).copy()
    assert (v * mu).sum() == pytest.approx((u * mv).sum(), rel=1e-9, abs=1e-12)
    assert (v * mv).sum() > 0


def test_the_number_of_steps_is_limited_and_the_residual_says_so():
    parts = problem(40, 40)
    found = multigrid.solve(*parts, 1e-8, 3)
    assert found.iterations == 3
    assert found.residual == pytest.approx(residual(found.t, *parts), rel=1e-6)
    assert found.residual > 1e-8


@pytest.mark.parametrize("side", [32, 128, 512])
def test_larger_images_need_no_more_steps(side):
    rhs = dim_smear(side, side).max(axis=2) / np.float32(255)
    right, down = edge_weights(rhs)
    assert multigrid.solve(rhs, 0.5 * right, 0.5 * down, 3e-3, 500).iterations <= 20
