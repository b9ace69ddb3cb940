"""Work on padded rows, done a few at a time and only while there is something in them."""

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
    """`function(*arrays)`, of about `at_once` of the n * r rows at a time; zeros for parts of which no row is needed.

    `function` takes and gives arrays (n, r, ...) of any r, each row by itself. Of an unknown n all are at once.
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
