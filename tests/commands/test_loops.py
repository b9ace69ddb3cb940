"""Passes of loops against computations whose loops are known."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest

from wbcjax.commands.plan.loops import Trips, trips_of
from wbcjax.ops.nms import nms


def trips(function: Callable, *shapes: tuple[int, ...]) -> Trips:
    return trips_of(jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)).jaxpr)


def repeated(length: int, body: Callable = jnp.sin) -> Callable:
    return lambda x: jax.lax.scan(lambda x, _: (body(x), None), x, None, length=length)[0]


def until_small(body: Callable = jnp.sin) -> Callable:
    return lambda x: jax.lax.while_loop(lambda x: jnp.sum(x) > 0, body, x)


def either(*branches: Callable) -> Callable:
    return lambda x: jax.lax.switch(0 * x[0].astype(int), branches, x)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (jnp.sin, (0, 0)),
        (repeated(13), (13, 0)),
        (lambda x: repeated(13)(repeated(4)(x)), (17, 0)),
        (repeated(13, repeated(4)), (52, 0)),
        (until_small(), (0, 1)),
        (until_small(repeated(4)), (0, 4)),
        (until_small(until_small()), (0, 1)),
        (repeated(3, until_small()), (0, 3)),
        (repeated(3, lambda x: until_small()(repeated(2)(x))), (6, 3)),
        (either(repeated(5), repeated(7), jnp.sin), (7, 0)),
        (jax.jit(jax.checkpoint(repeated(6))), (6, 0)),
        (lambda x: jax.lax.map(jnp.sin, x, batch_size=128), (7, 0)),  # and the last 104 beside the loop
    ],
)
def test_passes_are_those_that_wait_for_each_other(function, expected):
    assert trips(function, (1000,)) == expected


def test_a_gradient_passes_through_its_loops_twice():
    assert trips(jax.grad(lambda x: repeated(5)(x).sum()), (3,)) == (10, 0)


@pytest.mark.parametrize("cpu", [True, False])
def test_nms_is_one_loop_of_rounds(cpu):
    def suppress(boxes, scores):
        return nms(boxes, scores, jnp.zeros(50, int), 0.5, 50, cpu)

    assert trips(suppress, (50, 4), (50,)) == (0, 1)
