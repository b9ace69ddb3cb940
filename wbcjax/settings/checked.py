"""Settings from outside checked against dataclasses: what a field may hold is said by its type.

    batch_size: Count
    nms_iou: Share
    anchor_sizes: tuple[Positive, ...]
    optimizer: Literal["sgd", "adamw"]

`problems` tells everything that is wrong, `build` makes the dataclass, `read_text` reads what a command line says.
"""

import ast
import contextlib
import dataclasses
import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from ml_collections import ConfigDict

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
        """What to say of it after "a number": "from 0 to 1", "above 0"."""
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
    """One of some texts that a table of the code has."""

    choices: tuple[str, ...]


@dataclass(frozen=True)
class NotEmpty:
    """A text or tuple with something in it."""


@dataclass(frozen=True)
class Complete:
    """A part of the settings in which no field may be left out, though it has a default; but for those `later`."""

    later: frozenset[str] = frozenset()


Count = Annotated[int, Range(least=1)]
Number = Annotated[int, Range(least=0)]
Seed = Annotated[int, Range(0, 2**32 - 1)]  # what grain takes, and all that jax.random.key sees of a number
Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(least=0)]
Share = Annotated[float, Range(0, 1)]
ShareBelow1 = Annotated[float, Range(least=0, below=1)]
Name = Annotated[str, NotEmpty()]


def problems(kind: Any, values: Any, where: str, whole: Complete | None = None) -> list[str]:
    """What keeps `values`, a mapping, from being a `kind`, a dataclass; each begins with the key below `where`.

    Lists count as tuples, which JSON does not have. With `whole` every field must be there.
    """
    if not isinstance(values, Mapping | ConfigDict):
        return [f"{where} is {values!r}: it is a group of settings; set one of {', '.join(_names(kind))}"]
    fields = {field.name: field for field in dataclasses.fields(kind)}
    found = [_unknown(f"{where}.{name}", kind, where) for name in sorted(set(values) - set(fields))]
    for name, field in fields.items():
        if name in values:
            found += _value_problems(field.type, values[name], f"{where}.{name}", whole)
        elif name not in whole.later if whole else _required(field):
            found.append(f"{where}.{name} is missing: set it")
    if not found and hasattr(kind, "__post_init__"):
        try:
            build(kind, values)
        except ValueError as error:
            parent, _, section = where.rpartition(".")
            found.append(f"{parent}.{error}" if str(error).startswith(f"{section}.") else f"{where}: {error}")
    return found


def build(kind: type[Kind], values: Any) -> Kind:
    """The dataclass `kind` of `values` in which `problems` found nothing."""
    kinds = {field.name: field.type for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: _build_value(kinds[name], values[name]) for name in values})


def read_text(kind: Any, text: str) -> Any:
    """What `text` of a command line says of a field of type `kind`; the text itself where that is nothing, for
    `problems` to find."""
    kind, _ = _plain(kind)
    if get_origin(kind) in (Union, UnionType):
        if text == "None" and NoneType in get_args(kind):
            return None
        kind, _ = _plain(next(part for part in get_args(kind) if part is not NoneType))
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


def field_type(kind: Any, path: Sequence[str]) -> Any:
    """The type of the field of `kind` at `path`, None where there is none."""
    for name in path:
        kind, _ = _plain(kind)
        if get_origin(kind) is dict:
            key, kind = get_args(kind)
            if get_origin(key) is Literal and name not in get_args(key):
                return None
            continue
        if not dataclasses.is_dataclass(kind):
            return None
        kind = {field.name: field.type for field in dataclasses.fields(kind)}.get(name)
    return kind


def is_group(kind: Any) -> bool:
    """Whether a field of this type holds settings by name."""
    return dataclasses.is_dataclass(_plain(kind)[0])


def unknown(path: str, kind: Any) -> str:
    """What to tell of a key, "config.a.b", that `kind`, the whole config's, does not have."""
    return _unknown(path, kind, path.partition(".")[0])


def _unknown(path: str, kind: Any, where: str) -> str:
    """With the nearest of the keys below `where`: of a like path, or of a like name elsewhere."""
    paths = list(_paths(kind, where))
    by_name = {known.rpartition(".")[2]: known for known in reversed(paths)}
    near = difflib.get_close_matches(path, paths, 1, 0.85)
    near = near or [by_name[name] for name in difflib.get_close_matches(path.rpartition(".")[2], by_name, 1, 0.75)]
    if near:
        return f"{path} is unknown: did you mean {near[0]}?"
    return f"{path} is unknown. {_title(kind)} has: {', '.join(_names(kind))}"


def _paths(kind: Any, where: str) -> Iterator[str]:
    kind, _ = _plain(kind)
    names = _names(kind)
    for name in names:
        yield f"{where}.{name}"
        yield from _paths(field_type(kind, [name]), f"{where}.{name}")


def _names(kind: Any) -> list[str]:
    """The names that a group of settings has."""
    kind, _ = _plain(kind)
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    if get_origin(kind) is dict and get_origin(get_args(kind)[0]) is Literal:
        return list(get_args(get_args(kind)[0]))
    return []


def _value_problems(kind: Any, value: Any, where: str, whole: Complete | None = None) -> list[str]:
    kind, rules = _plain(kind)
    if dataclasses.is_dataclass(kind):
        return problems(kind, value, where, next((rule for rule in rules if isinstance(rule, Complete)), whole))
    parts = get_args(kind)
    if get_origin(kind) is dict:
        if not isinstance(value, Mapping | ConfigDict):
            return [f"{where} is {value!r}: give values by name, such as {where}.NAME=1"]
        strange = [name for name in value if get_origin(parts[0]) is Literal and name not in get_args(parts[0])]
        found = [f"{where}.{name} is unknown: there are {', '.join(get_args(parts[0]))}" for name in strange]
        return found + [line for name in value for line in _value_problems(parts[1], value[name], f"{where}.{name}")]
    if get_origin(kind) is tuple and isinstance(value, tuple | list):
        endless = parts[-1] is Ellipsis
        if endless or len(value) == len(parts):
            kinds = [parts[0]] * len(value) if endless else parts
            found = [
                line
                for number, (part, one) in enumerate(zip(kinds, value, strict=True))
                for line in _value_problems(part, one, f"{where}[{number}]")
            ]
            return found if value or NotEmpty() not in rules else [f"{where} is {value!r}: give {_text(kind, rules)}"]
    elif _is_one(kind, value) and _obeys(value, rules):
        return []
    return [f"{where} is {value!r}: give {_text(kind, rules)}"]


def _is_one(kind: Any, value: Any) -> bool:
    """Whether the value is of a type that is no group and no tuple; True is no number, and infinity none either."""
    if get_origin(kind) in (Union, UnionType):
        return any(_is_one(*_plain(part)[:1], value) for part in get_args(kind))
    if get_origin(kind) is Literal:
        return any(type(value) is type(choice) and value == choice for choice in get_args(kind))
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and -math.inf < value < math.inf
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return kind is not tuple and get_origin(kind) is None and isinstance(value, kind)


def _obeys(value: Any, rules: Sequence[Any]) -> bool:
    for rule in rules:
        if isinstance(rule, Range) and value not in rule:
            return False
        if isinstance(rule, OneOf) and value not in rule.choices:
            return False
        if isinstance(rule, NotEmpty) and not value:
            return False
    return True


def _text(kind: Any, rules: Sequence[Any]) -> str:
    """What a value must be, in words."""
    parts = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        return " or ".join("None" if part is NoneType else _text(*_plain(part)) for part in parts)
    choices = [choice for rule in rules if isinstance(rule, OneOf) for choice in rule.choices]
    if get_origin(kind) is Literal:
        choices = list(parts)
    if choices:
        return f"one of {', '.join(map(repr, choices))}"
    if get_origin(kind) is tuple:
        if parts[-1] is Ellipsis:
            example = {str: '("a",)', float: "(1.0,)", int: "(1,)"}.get(_plain(parts[0])[0])
            some = "a tuple, not empty" if NotEmpty() in rules else "a tuple"
            return f"{some}, such as {example}" if example else some
        return f"a tuple of {len(parts)}, each {_text(*_plain(parts[0]))}"
    ranges = " and ".join(rule.text() for rule in rules if isinstance(rule, Range))
    name = {int: "a whole number", float: "a number", bool: "True or False", str: "a text"}[kind]
    return f"{name} {ranges}".strip() + (", not empty" if NotEmpty() in rules else "")


def _build_value(kind: Any, value: Any) -> Any:
    kind, _ = _plain(kind)
    if dataclasses.is_dataclass(kind):
        return build(kind, value)  # type: ignore[arg-type]
    if get_origin(kind) is tuple:
        parts = get_args(kind)
        kinds = [parts[0]] * len(value) if parts[-1] is Ellipsis else parts
        return tuple(_build_value(part, one) for part, one in zip(kinds, value, strict=True))
    return dict(value) if get_origin(kind) is dict else value


def _plain(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without its annotations, and these."""
    if get_origin(kind) is Annotated:
        return kind.__origin__, kind.__metadata__
    return kind, ()


def _required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _title(kind: Any) -> str:
    return getattr(_plain(kind)[0], "__name__", "it")
