"""The cost of a traced computation: floating-point operations, and bytes that devices send each other.

Counted in JAX's own intermediate language, which has the lengths of loops. XLA's `cost_analysis` counts a loop's body
once; on CPUs it leaves out the calls of libraries that do most of the work.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn


class Work(NamedTuple):
    """The work of one device in one call of a computation."""

    flops: int  # of matrix products and convolutions, a multiplication and an addition each
    bytes_moved: int  # that these read and write
    bytes_reduced: int  # of the arrays that all devices add up


NONE = Work(0, 0, 0)


def work_of(jaxpr: Jaxpr) -> Work:
    """The work of a computation, such as `jax.make_jaxpr(function)(*arguments).jaxpr`.

    Elementwise operations, sorting and gathering are left out: they are few beside the products of a network. A loop of
    unknown length (`while`) counts as one pass, a choice (`cond`) as its most costly branch.
    """
    return _total(map(_of_equation, jaxpr.eqns))


def _of_equation(equation: JaxprEqn) -> Work:
    name = equation.primitive.name
    if name == "dot_general":
        return Work(2 * _products_of_dot(equation), _bytes(equation), 0)
    if name == "conv_general_dilated":
        return Work(2 * _products_of_conv(equation), _bytes(equation), 0)
    if name.startswith("psum"):
        return Work(0, 0, sum(map(_size, equation.invars)))
    inner = [work_of(jaxpr) for jaxpr in inside(equation.params)]
    if name == "cond":
        return max(inner)
    return Work(*((equation.params["length"] if name == "scan" else 1) * each for each in _total(inner)))


def _total(works: Iterable[Work]) -> Work:
    return Work(*map(sum, zip(NONE, *works, strict=True)))


def inside(parameters: dict[str, Any]) -> Iterator[Jaxpr]:
    """The computations inside an operation such as `scan`, `jit`, `remat` or `shard_map`."""
    for value in parameters.values():
        for each in value if isinstance(value, tuple | list) else (value,):
            if isinstance(each, ClosedJaxpr):
                yield each.jaxpr
            elif isinstance(each, Jaxpr):
                yield each


def _products_of_dot(equation: JaxprEqn) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left, out = _shape(equation.invars[0]), _shape(equation.outvars[0])
    return math.prod(out) * math.prod(left[axis] for axis in contracted)


def _products_of_conv(equation: JaxprEqn) -> int:
    """Multiplications of a convolution; those with zeros of the padding count, those with zeros of a dilation do not.

    So the gradient of a strided convolution by its input, a dilated convolution, counts as much as the convolution.
    """
    parameters, numbers = equation.params, equation.params["dimension_numbers"]
    kernel, out = _shape(equation.invars[1]), _shape(equation.outvars[0])
    count = out[numbers.out_spec[0]] * out[numbers.out_spec[1]] * kernel[numbers.rhs_spec[1]]
    along = zip(
        parameters["padding"],
        parameters["window_strides"],
        parameters["lhs_dilation"],
        parameters["rhs_dilation"],
        (out[axis] for axis in numbers.out_spec[2:]),
        (kernel[axis] for axis in numbers.rhs_spec[2:]),
        strict=True,
    )
    for (before, _), stride, holes, spread, outputs, taps in along:
        seen = (i * stride + j * spread - before for i in range(outputs) for j in range(taps))
        count *= sum(place % holes == 0 for place in seen)
    return count


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _bytes(equation: JaxprEqn) -> int:
    return sum(map(_size, (*equation.invars, *equation.outvars)))


def _size(variable: Any) -> int:
    return variable.aval.size * variable.aval.dtype.itemsize
