"""The fields of groups of settings, their types, and the classes of parts."""

import dataclasses
import functools
import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING
from types import NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from ml_collections import ConfigDict


class Field(NamedTuple):
    """One field of a group of settings: its type, and its default, MISSING where it must be given."""

    kind: Any
    default: Any = MISSING


class Chosen:
    """The rule of a group of settings whose values name a class, and whose fields are that class's."""

    def fields(self, values: Any, where: str) -> dict[str, Field]:
        """The fields of the group `values`. Raises ConfigError for a class that cannot be used."""
        raise NotImplementedError

    def make(self, values: Mapping[str, Any]) -> Any:
        """The object made of the group's built values."""
        raise NotImplementedError


def fields(kind: Any, values: Any = None, where: str = "config") -> dict[str, Field]:
    """The fields of a group of settings by name; a part has its "part" and those of the class that `values` name.

    Raises ConfigError for a part whose class cannot be used.
    """
    plain, rules = plain_of(group_of(kind))
    if chosen := chosen_of(rules):
        return chosen.fields(values if isinstance(values, Mapping | ConfigDict) else {}, where)
    if is_settings(plain):
        return dataclass_fields(plain)
    if get_origin(plain) is dict and get_origin(get_args(plain)[0]) is Literal:
        name, one = get_args(plain)
        return {known: Field(one) for known in get_args(name)}
    return {}


@functools.lru_cache
def dataclass_fields(kind: Any) -> dict[str, Field]:
    """The arguments of a dataclass."""
    kinds = hints(kind)
    return {
        field.name: argument(
            kinds.get(field.name, Any),
            field.default if field.default_factory is MISSING else field.default_factory(),
        )
        for field in dataclasses.fields(kind)
        if field.init
    }


def argument(annotation: Any, default: Any) -> Field:
    """The field of an argument. It may be None where that is its default, even against its annotation."""
    kind = judged(annotation)
    return Field(kind | None if default is None and kind is not Any else kind, default)


def hints(kind: Any) -> dict[str, Any]:
    """The annotations of a class or function; Any for one that cannot be read here, such as of type checkers only."""
    owners = reversed(kind.__mro__) if isinstance(kind, type) else [inspect.unwrap(kind)]
    return {name: _read(one, owner) for owner in owners for name, one in inspect.get_annotations(owner).items()}


def _read(annotation: Any, owner: Any) -> Any:
    """Annotations are read one by one, so that one that fails leaves the others readable."""
    names = getattr(owner, "__globals__", None) or vars(sys.modules.get(owner.__module__, SimpleNamespace()))
    try:
        return get_type_hints(SimpleNamespace(__annotations__={"it": annotation}), names, include_extras=True)["it"]
    except Exception:  # a user's annotation may raise anything
        return Any


def judged(kind: Any) -> Any:
    """An annotation that values can be checked against; Any for those of which a config can hold no value."""
    plain, rules = plain_of(kind)
    if chosen_of(rules) or plain in (int, float, bool, str, NoneType) or is_settings(plain):
        return kind
    origin, parts = get_origin(plain), get_args(plain)
    if origin is Literal:
        return kind
    if origin in (Union, UnionType, tuple) and parts:
        return kind if all(part is Ellipsis or judged(part) is part for part in parts) else Any
    if origin is dict and (parts[0] is str or get_origin(parts[0]) is Literal) and judged(parts[1]) is parts[1]:
        return kind
    return Any


def field_at(kind: Any, path: Sequence[str], values: Any = None) -> Field | None:
    """The field of `kind` at `path`, None where there is none. Raises ConfigError for a part that cannot be used.

    `values`, the config, names the classes of the parts on the way.
    """
    field, where = Field(kind), "config"
    for name in path:
        group, _ = plain_of(group_of(field.kind))
        if get_origin(group) is dict and get_origin(get_args(group)[0]) is not Literal:
            found = Field(get_args(group)[1])
        else:
            found = fields(field.kind, values, where).get(name)
        if found is None:
            return None
        field, where = found, f"{where}.{name}"
        values = values.get(name) if isinstance(values, Mapping | ConfigDict) else None
    return field


def is_group(kind: Any) -> bool:
    """Whether a field of this type holds settings by name, or None."""
    plain, rules = plain_of(group_of(kind))
    return chosen_of(rules) is not None or is_settings(plain)


def is_part(kind: Any) -> bool:
    """Whether a field of this type holds a part, or None."""
    return chosen_of(plain_of(group_of(kind))[1]) is not None


def plain_of(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without its annotations, and these."""
    if get_origin(kind) is Annotated:
        return kind.__origin__, kind.__metadata__
    return kind, ()


def chosen_of(rules: Sequence[Any]) -> Chosen | None:
    return next((rule for rule in rules if isinstance(rule, Chosen)), None)


def group_of(kind: Any) -> Any:
    """The group of settings that a field may hold beside None; for any other field its own type."""
    if get_origin(kind) in (Union, UnionType):
        return next((part for part in get_args(kind) if is_group(part)), kind)
    return kind


def is_settings(kind: Any) -> bool:
    """Whether it is a dataclass of settings; linen modules are dataclasses too, but parts."""
    return dataclasses.is_dataclass(kind) and not is_linen(kind)


def is_linen(kind: Any) -> bool:
    """Whether a class is a linen module, without an import of flax, which the settings of smears do not need."""
    return any((base.__module__, base.__name__) == ("flax.linen.module", "Module") for base in kind.__mro__)
