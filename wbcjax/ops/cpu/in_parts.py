"""Work on padded rows, a few at a time, without the parts that hold only padding."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.export import is_symbolic_dim
from jaxtyping import Bool, Shaped


def in_parts(
    function: Callable[..., Array],
    needed: Bool[Array, "n r"],
    at_once: int,
    *arrays: Shaped[Array, "n r *_"],
) -> Shaped[Array, "n r *_"]:
    """`function(*arrays)` on about `at_once` of the n * r rows at a time; a part without a needed row becomes zeros.

    `function` maps arrays (n, r, ...) of any r to such arrays, row by row. Where n is unknown, as in an export, it is
    called once on all rows.
    """
    n, r = needed.shape
    rows = r if is_symbolic_dim(n) else -(-at_once // n)
    if r <= rows:
        return function(*arrays)
    parts = -(-r // rows)

    def cut(x: Array) -> Array:
        padded = jnp.pad(x, [(0, 0), (0, parts * rows - r), *[(0, 0)] * (x.ndim - 2)])
        return jnp.moveaxis(padded.reshape(n, parts, rows, *x.shape[2:]), 1, 0)  # (parts, n, rows, ...)

    def nothing(*arrays: Array) -> Array:
        found = jax.eval_shape(function, *arrays)
        return jnp.zeros(found.shape, found.dtype)

    def of_part(part: tuple[Array, ...]) -> Array:
        needed, *arrays = part
        return jax.lax.cond(jnp.any(needed), function, nothing, *arrays)

    found = jax.lax.map(of_part, tuple(cut(x) for x in (needed, *arrays)))
    return jnp.moveaxis(found, 0, 1).reshape(n, parts * rows, *found.shape[3:])[:, :r]
