"""How many passes of loops a traced computation makes one after the other: what no width of a device makes shorter."""

from collections.abc import Iterable
from typing import NamedTuple

from jax.extend.core import Jaxpr, JaxprEqn

from wbcjax.commands.plan.flops import inside


class Trips(NamedTuple):
    """Passes of loops, one after the other."""

    known: int  # of loops that know their length
    per_round: int  # of loops that do not (`while`), if each makes one round


def trips_of(jaxpr: Jaxpr) -> Trips:
    """The passes of a computation, such as `jax.make_jaxpr(function)(*arguments).jaxpr`.

    A pass that has loops inside counts as their passes, another as one. A choice (`cond`) counts as its branch of most
    passes.
    """
    return _total(map(_of_equation, jaxpr.eqns))


def _of_equation(equation: JaxprEqn) -> Trips:
    each = [trips_of(jaxpr) for jaxpr in inside(equation.params)]
    if equation.primitive.name == "cond":
        return max(each, key=sum)
    one = _total(each)
    if equation.primitive.name == "while":
        return Trips(0, max(sum(one), 1))
    if equation.primitive.name == "scan":
        length = equation.params["length"]
        return Trips(length * one.known, length * one.per_round) if any(one) else Trips(length, 0)
    return one


def _total(trips: Iterable[Trips]) -> Trips:
    return Trips(*map(sum, zip(Trips(0, 0), *trips, strict=True)))
