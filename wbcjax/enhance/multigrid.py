"""Smoothing of an image within its edges: (I + weighted Laplacian) t = l, by preconditioned conjugate gradients.

One V-cycle of multigrid preconditions each step. Everything is done by whole-array operations of OpenCV and NumPy that
run on one core and add in a fixed order, so the result does not depend on the number of threads.
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float

DAMPING = 0.9  # of the Jacobi steps
# An edge between coarse pixels is this share of the mean of the two fine edges it stands for. Half is the Galerkin
# product of 2 x 2 blocks, too stiff for smooth corrections; a quarter is the same equation drawn on the coarse grid.
STIFFNESS = 0.375

Grid = Float[np.ndarray, "h w"]
CoarseGrid = Float[np.ndarray, "h2 w2"]  # half as large, rounded up


class Solution(NamedTuple):
    """What `solve` found."""

    t: Grid
    iterations: int
    residual: float  # |rhs - A t| / |rhs|


def solve(rhs: Grid, right: Grid, down: Grid, rtol: float, max_iterations: int) -> Solution:
    """Solve A t = rhs on a grid that is periodic in both directions, where A t = t + edges x (t - neighbours' t).

    A = I + sum_d D_d^T Diag(edge_d) D_d with D_d the periodic forward difference (Eq. 10 of Revanda et al.; lambda is
    within the edges): symmetric, positive definite, its rows sum to 1.

    Args:
        rhs: float32 or float64; both sides at least 2 pixels.
        right, down: weight of the edge from each pixel to its right and to its lower neighbour, 0 or more.
        rtol: the residual to reach. Below about 3e-4 float32 cannot hold the answer; give float64.
        max_iterations: steps after which the answer so far is returned; its residual tells.
    """
    levels = _levels(right, down)
    scale = cv2.norm(rhs, cv2.NORM_INF) or 1.0  # squares of what is nearly black would be 0 in single precision
    t, r, p = np.zeros_like(rhs), rhs / scale, np.zeros_like(rhs)
    start = size = cv2.norm(r)
    rz, iterations = 1.0, 0
    while size > rtol * start and iterations < max_iterations:
        z = _v_cycle(levels, r)
        rz, rz_before = _dot(r, z), rz
        cv2.scaleAdd(p, rz / rz_before, z, p)
        minus_ap = levels[0].minus_product(p)
        step = -rz / _dot(p, minus_ap)
        cv2.scaleAdd(p, step, t, t)
        cv2.scaleAdd(minus_ap, step, r, r)
        size = cv2.norm(r)
        iterations += 1
    t *= scale
    return Solution(t, iterations, size / start if start else 0.0)


class _System:
    """A on one level of the multigrid, and room for one V-cycle to work in."""

    def __init__(self, right: Grid, down: Grid) -> None:
        # The edges, those across the border of the grid apart
        within_rows = right.copy()
        within_rows[:, -1] = 0
        self.along = within_rows.reshape(-1)[:-1]  # to the next pixel of the rows taken as one long line
        self.down = down[:-1]
        self.border_right, self.border_down = right[:, -1].copy(), down[-1:]
        self.z, self.r = np.ones_like(right), np.ones_like(right)
        self._add_neighbours(self.z)  # to 1: now the diagonal, for the rows of A sum to 1
        self.minus_diagonal = -self.r
        self.jacobi = DAMPING / self.r

    def minus_product(self, x: Grid) -> Grid:
        """-A x"""
        np.multiply(self.minus_diagonal, x, out=self.r)
        self._add_neighbours(x)
        return self.r

    def residual(self, r: Grid, z: Grid) -> Grid:
        """r - A z"""
        np.copyto(self.r, r)
        cv2.accumulateProduct(self.minus_diagonal, z, self.r)
        self._add_neighbours(z)
        return self.r

    def first_residual(self, r: Grid, z: Grid) -> Grid:
        """r - A z for z = jacobi x r"""
        np.multiply(r, r.dtype.type(1 - DAMPING), out=self.r)
        self._add_neighbours(z)
        return self.r

    def _add_neighbours(self, x: Grid) -> None:
        """Add edges x neighbours' x to self.r."""
        out = self.r
        cv2.accumulateProduct(x[1:], self.down, out[:-1])
        cv2.accumulateProduct(x[:-1], self.down, out[1:])
        cv2.accumulateProduct(x[:1], self.border_down, out[-1:])
        cv2.accumulateProduct(x[-1:], self.border_down, out[:1])
        line, line_out = x.reshape(-1), out.reshape(-1)
        cv2.accumulateProduct(line[1:], self.along, line_out[:-1])
        cv2.accumulateProduct(line[:-1], self.along, line_out[1:])
        first, last = out[:, 0], out[:, -1]
        first += self.border_right * x[:, -1]
        last += self.border_right * x[:, 0]


def _v_cycle(levels: list[_System], r: Grid) -> Grid:
    """About A^-1 r: a Jacobi step, the coarser grids' correction, a Jacobi step. Linear and symmetric in r."""
    system, coarser = levels[0], levels[1:]
    z = system.z
    np.multiply(r, system.jacobi, out=z)
    if coarser:
        _spread(_v_cycle(coarser, _block_means(system.first_residual(r, z))), z)
    cv2.accumulateProduct(system.residual(r, z), system.jacobi, z)
    return z


def _levels(right: Grid, down: Grid) -> list[_System]:
    """The system, and those that stand for it on ever coarser grids, each of half the size."""
    levels = [_System(right, down)]
    while min(right.shape) >= 8:
        right, down = _coarse_edges(right), _coarse_edges(down.T).T
        levels.append(_System(np.ascontiguousarray(right), np.ascontiguousarray(down)))
    return levels


def _coarse_edges(right: Grid) -> CoarseGrid:
    """Edges from each 2 x 2 block to the one on its right; where a side is odd, the last blocks are cut."""
    crossing = np.concatenate([right[:, 1:-1:2], right[:, -1:]], axis=1)
    edges = crossing[0::2] * right.dtype.type(STIFFNESS / 2)
    edges[: len(right) // 2] += crossing[1::2] * right.dtype.type(STIFFNESS / 2)
    return edges


def _block_means(x: Grid) -> CoarseGrid:
    """Means of 2 x 2 blocks. Where a side is odd, pixels beyond it count as 0."""
    height, width = x.shape
    if height % 2 or width % 2:
        x = np.asarray(cv2.copyMakeBorder(x, 0, height % 2, 0, width % 2, cv2.BORDER_CONSTANT, value=0))
    return np.asarray(cv2.resize(x, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))


def _spread(coarse: CoarseGrid, fine: Grid) -> None:
    """Add to each pixel the value of its 2 x 2 block."""
    height, width = fine.shape
    wide = np.asarray(cv2.merge([coarse, coarse])).reshape(len(coarse), -1)[:, :width]
    cv2.add(fine[0::2], wide, fine[0::2])
    cv2.add(fine[1::2], wide[: height // 2], fine[1::2])


def _dot(x: Grid, y: Grid) -> float:
    """Row by row, without BLAS, whose order of adding depends on its threads."""
    return float(np.einsum("ij,ij->i", x, y).sum(dtype=np.float64))
