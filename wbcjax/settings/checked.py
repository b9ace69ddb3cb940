"""Settings from outside checked against dataclasses: the type of a field states which values it may hold.

    batch_size: Count
    nms_iou: Share
    anchor_sizes: tuple[Positive, ...]
    schedule: Literal["cosine", "step"]

`problems` lists all that is wrong, `build` makes the dataclass, `read_text` reads a value of the command line.
A field that holds a part, whose class the config names, has a rule of `wbcjax.settings.parts`.
"""

import ast
import contextlib
import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from ml_collections import ConfigDict

from wbcjax.settings.fields import MISSING, chosen_of, fields, group_of, is_group, is_part, plain_of

Kind = TypeVar("Kind")


class ConfigError(ValueError):
    """A config that cannot be used: each line names a key, its value and the remedy."""


@dataclass(frozen=True)
class Range:
    """Numbers from `least` to `most`, or beyond `above` and `below`, which are not in it."""

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def __contains__(self, value: float) -> bool:
        low = self.least <= value and (value > self.above or self.above == -math.inf)
        return low and value <= self.most and (value < self.below or self.below == math.inf)

    def text(self) -> str:
        """The range in words, to follow "a number": "from 0 to 1", "above 0"."""
        if math.isfinite(self.least) and math.isfinite(self.most):
            return f"from {self.least:g} to {self.most:.10g}"
        parts = {
            "above {:g}": self.above,
            "of at least {:g}": self.least,
            "below {:g}": self.below,
            "at most {:g}": self.most,
        }
        return " and ".join(text.format(limit) for text, limit in parts.items() if math.isfinite(limit))


@dataclass(frozen=True)
class OneOf:
    """One of the texts `choices`, or, with `paths`, an import path "module:name"."""

    choices: tuple[str, ...]
    paths: bool = False

    def __contains__(self, value: str) -> bool:
        return value in self.choices or (self.paths and ":" in value)


@dataclass(frozen=True)
class NotEmpty:
    """A text or tuple that is not empty."""


@dataclass(frozen=True)
class Complete:
    """A group of settings in which no field may be left out, though it has a default, except those of `later`."""

    later: frozenset[str] = frozenset()


Count = Annotated[int, Range(least=1)]
Number = Annotated[int, Range(least=0)]
Seed = Annotated[int, Range(0, 2**32 - 1)]  # grain takes no other; jax.random.key uses no higher bits
Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(least=0)]
Share = Annotated[float, Range(0, 1)]
ShareBelow1 = Annotated[float, Range(least=0, below=1)]
Name = Annotated[str, NotEmpty()]


def problems(kind: Any, values: Any, where: str, whole: Complete | None = None) -> list[str]:
    """The faults of `values`, a mapping, as settings of `kind`, a dataclass or a part; each begins with its key, below
    `where`.

    Lists count as tuples, which JSON does not have. With `whole` every field must be there.
    """
    chosen = is_part(kind)
    if not isinstance(values, Mapping | ConfigDict):
        if chosen:
            return [f"{where} is {values!r}: it is a part: name its class by {where}.part"]
        return [f"{where} is {values!r}: it is a group of settings; set one of {', '.join(fields(kind))}"]
    try:
        known = fields(kind, values, where)
    except ConfigError as error:
        return [str(error)]
    found = [unknown(f"{where}.{name}", kind, where, values) for name in sorted(set(values) - set(known))]
    for name, field in known.items():
        if name in values:
            found += _value_problems(field.kind, values[name], f"{where}.{name}", whole)
        elif name not in whole.later if whole else field.default is MISSING:
            found.append(f"{where}.{name} is missing: set it")
    if not found and (chosen or hasattr(plain_of(kind)[0], "__post_init__")):
        try:
            build(kind, values)
        except Exception as error:  # a user's class may raise anything
            if not chosen and not isinstance(error, ValueError):
                raise
            words = " ".join(str(error).split())
            words = words if isinstance(error, ValueError) else f"{type(error).__name__}: {words}"
            parent, _, section = where.rpartition(".")
            found.append(f"{parent}.{words}" if words.startswith(f"{section}.") else f"{where}: {words}")
    return found


def build(kind: type[Kind] | Any, values: Any) -> Kind:
    """The dataclass or part `kind` made of `values`, in which `problems` found nothing."""
    known = fields(kind, values)
    built = {name: each_group(known[name].kind, values[name], build) for name in values}
    plain, rules = plain_of(kind)
    chosen = chosen_of(rules)
    return chosen.make(built) if chosen else plain(**built)


def each_group(kind: Any, value: Any, do: Callable[[Any, Any], Any]) -> Any:
    """A field's value with `do(kind, group)` in place of each group of settings in it; lists become tuples."""
    if get_origin(kind) in (Union, UnionType):
        kind = _member(kind, value)
    if value is None:
        return None
    if is_group(kind):
        return do(kind, value)
    plain, _ = plain_of(kind)
    if get_origin(plain) is tuple and isinstance(value, tuple | list) and len(_items(plain, value)) == len(value):
        return tuple(each_group(one_kind, one, do) for one_kind, one in zip(_items(plain, value), value, strict=True))
    if get_origin(plain) is dict and isinstance(value, Mapping | ConfigDict):
        return {name: each_group(get_args(plain)[1], one, do) for name, one in value.items()}
    return _frozen(value)


def checked(kind: type[Kind], values: Any, where: str) -> Kind:
    """The dataclass `kind` of `values`. Raises ConfigError with all that `problems` finds."""
    if found := problems(kind, values, where):
        raise ConfigError("\n".join(found))
    return build(kind, values)


def read_text(kind: Any, text: str) -> Any:
    """The value of a field of type `kind` that a command line gives as `text`; the text itself where it is none, for
    `problems` to find."""
    kind, _ = plain_of(kind)
    if get_origin(kind) in (Union, UnionType):
        if text == "None" and NoneType in get_args(kind):
            return None
        kind, _ = plain_of(next(part for part in get_args(kind) if part is not NoneType))
    if kind is str or (get_origin(kind) is Literal and all(isinstance(choice, str) for choice in get_args(kind))):
        return text
    if kind is bool:
        return {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}.get(text.lower(), text)
    if kind is float:
        with contextlib.suppress(ValueError):
            return float(text)
    with contextlib.suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return ast.literal_eval(text)
    return text


def unknown(path: str, kind: Any, where: str, values: Any) -> str:
    """The message on a key that the group `values` at `where`, a `kind`, does not have, with the nearest of its keys:
    of a like path, or of a like name elsewhere."""
    paths = [known.removeprefix(f"{where}.") for known in _paths(kind, where, values)]
    by_name = {known.rpartition(".")[2]: known for known in reversed(paths)}
    near = difflib.get_close_matches(path.removeprefix(f"{where}."), paths, 1, 0.85)
    near = near or [by_name[name] for name in difflib.get_close_matches(path.rpartition(".")[2], by_name, 1, 0.75)]
    if near:
        return f"{path} is unknown: did you mean {where}.{near[0]}?"
    title = values["part"] if is_part(kind) else getattr(plain_of(kind)[0], "__name__", "it")
    return f"{path} is unknown. {title} has: {', '.join(fields(kind, values, where))}"


def _paths(kind: Any, where: str, values: Any) -> Iterator[str]:
    values = values if isinstance(values, Mapping | ConfigDict) else {}
    with contextlib.suppress(ConfigError):  # of a part, which is reported elsewhere
        for name, field in fields(kind, values, where).items():
            yield f"{where}.{name}"
            yield from _paths(field.kind, f"{where}.{name}", values.get(name))


def _value_problems(kind: Any, value: Any, where: str, whole: Complete | None = None) -> list[str]:
    plain, rules = plain_of(kind)
    parts = get_args(plain)
    if get_origin(plain) in (Union, UnionType):
        if [] in [_value_problems(part, value, where) for part in parts]:
            return []
        return problems(group_of(plain), value, where) if is_group(plain) else [_give(kind, value, where)]
    if is_group(kind):
        whole = next((rule for rule in rules if isinstance(rule, Complete)), whole)
        return problems(kind, value, where, None if is_part(kind) else whole)
    if get_origin(plain) is dict:
        if not isinstance(value, Mapping | ConfigDict):
            return [f"{where} is {value!r}: give values by name, such as {where}.NAME=1"]
        strange = [name for name in value if get_origin(parts[0]) is Literal and name not in get_args(parts[0])]
        found = [f"{where}.{name} is unknown: there are {', '.join(get_args(parts[0]))}" for name in strange]
        return found + [line for name in value for line in _value_problems(parts[1], value[name], f"{where}.{name}")]
    if get_origin(plain) is tuple and isinstance(value, tuple | list):
        kinds = _items(plain, value)
        if len(value) == len(kinds) and (value or NotEmpty() not in rules):
            return [
                line
                for number, (part, one) in enumerate(zip(kinds, value, strict=True))
                for line in _value_problems(part, one, f"{where}[{number}]")
            ]
    elif _is_one(plain, value) and _obeys(value, rules):
        return []
    return [_give(kind, value, where)]


def _give(kind: Any, value: Any, where: str) -> str:
    return f"{where} is {value!r}: give {_text(*plain_of(kind))}"


def _is_one(kind: Any, value: Any) -> bool:
    """Whether the value is of a type that is no group and no tuple; True and infinity are no numbers."""
    if kind is Any:
        return holds(value)
    if get_origin(kind) is Literal:
        return any(type(value) is type(choice) and value == choice for choice in get_args(kind))
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and -math.inf < value < math.inf
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return kind is not tuple and get_origin(kind) is None and isinstance(value, kind)


def holds(value: Any) -> bool:
    """Whether a config, and then JSON, can hold a value."""
    if isinstance(value, Mapping | ConfigDict):
        return all(isinstance(name, str) and holds(one) for name, one in value.items())
    if isinstance(value, tuple | list):
        return all(map(holds, value))
    return value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))


def _obeys(value: Any, rules: Sequence[Any]) -> bool:
    for rule in rules:
        if isinstance(rule, Range) and value not in rule:
            return False
        if isinstance(rule, OneOf) and value not in rule:
            return False
        if isinstance(rule, NotEmpty) and not value:
            return False
    return True


def _text(kind: Any, rules: Sequence[Any]) -> str:
    """What a value must be, in words."""
    parts = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        return " or ".join("None" if part is NoneType else _text(*plain_of(part)) for part in parts)
    choices = [choice for rule in rules if isinstance(rule, OneOf) for choice in rule.choices]
    if get_origin(kind) is Literal:
        choices = list(parts)
    if choices:
        return f"one of {', '.join(map(repr, choices))}"
    if get_origin(kind) is tuple:
        if parts[-1] is Ellipsis:
            example = {str: '("a",)', float: "(1.0,)", int: "(1,)"}.get(plain_of(parts[0])[0])
            some = "a tuple, not empty" if NotEmpty() in rules else "a tuple"
            return f"{some}, such as {example}" if example else some
        return f"a tuple of {len(parts)}, each {_text(*plain_of(parts[0]))}"
    ranges = " and ".join(rule.text() for rule in rules if isinstance(rule, Range))
    names = {int: "a whole number", float: "a number", bool: "True or False", str: "a text"}
    names[Any] = "a value that JSON can hold: texts, finite numbers, True, False, None, and tuples and groups of them"
    return f"{names.get(kind, 'values by name')} {ranges}".strip() + (", not empty" if NotEmpty() in rules else "")


def _member(kind: Any, value: Any) -> Any:
    """The one of several types that a value is of: the group if there is one."""
    if is_group(kind):
        return group_of(kind)
    return next((part for part in get_args(kind) if not _value_problems(part, value, "")), Any)


def _items(kind: Any, value: Sequence[Any]) -> Sequence[Any]:
    """The types of the items of a tuple."""
    parts = get_args(kind)
    return [parts[0]] * len(value) if parts[-1] is Ellipsis else parts


def _frozen(value: Any) -> Any:
    """A value with tuples in place of lists, and plain dictionaries."""
    if isinstance(value, Mapping | ConfigDict):
        return {name: _frozen(one) for name, one in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, tuple | list) else value
