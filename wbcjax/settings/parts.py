"""Parts of an experiment that a config names by import path: a class or function, and its keyword arguments.

    config.model.backbone = part("my_lab.convnext:ConvNeXt", size="tiny")

The settings mark a field that holds one:

    backbone: Annotated[nn.Module, PartOf(BACKBONES, given=("dtype",), base=nn.Module)] = ResNet()
"""

import difflib
import functools
import importlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from wbcjax.settings.checked import ConfigError, each_group, holds
from wbcjax.settings.fields import (
    MISSING,
    Chosen,
    Field,
    argument,
    chosen_of,
    dataclass_fields,
    fields,
    group_of,
    hints,
    is_linen,
    plain_of,
)

PATH = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)")
EXAMPLE = "'my_lab.convnext:ConvNeXt'"
Trust = bool | Collection[str]  # in all parts from outside of wbcjax, or in those of some import paths


class Untrusted(ConfigError):
    """A config from outside that would import code from outside of wbcjax."""


def part(path: str, /, **arguments: Any) -> ConfigDict:
    """The values in a config for the class or function at `path`, "module:Name" or a short name, and its arguments."""
    return ConfigDict({"part": path, **arguments})


class Bound(functools.partial):
    """A function with some of its arguments; equal to another of the same."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bound) and self._whole() == other._whole()

    def __hash__(self) -> int:
        return hash(self._whole())

    def _whole(self) -> tuple[Any, ...]:
        return self.func, self.args, tuple(sorted(self.keywords.items()))


@dataclass(frozen=True)
class PartOf(Chosen):
    """The rule of a field that holds a part: an instance of the class that the config names, or the function that it
    names with its arguments (`Bound`)."""

    names: Mapping[str, str] = field(default_factory=dict, hash=False)  # short names of some paths
    given: tuple[str, ...] = ()  # arguments that the program gives, and a config must not
    leading: int = 0  # the first arguments of a function that the program gives, whatever their names
    base: type | None = None  # that the class must derive from; None: any class or function will do

    def fields(self, values: Any, where: str) -> dict[str, Field]:
        """The "part" and the arguments of the class that it names.

        Raises ConfigError for one that cannot be imported or used, or is given what the program gives.
        """
        if "part" not in values:
            raise ConfigError(f"{where}.part is missing: give {self._choices()}")
        target = self.target(values["part"], where)
        try:
            known, given = _arguments(target), self._given(target)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{where}.part is {values['part']!r}, whose arguments cannot be read: {error}") from error
        for name in given:
            if name in values:
                raise ConfigError(f"{where}.{name} is {values[name]!r}, and the program gives it: leave it out")
            if isinstance(target, type) and name in known and known[name].default is MISSING:
                raise ConfigError(
                    f"{where}.part is {values['part']!r}, whose {name} has no default, and the program gives it later: "
                    f"give {target.__name__}.{name} a default"
                )
        return {"part": Field(str), **{name: one for name, one in known.items() if name not in given}}

    def target(self, named: Any, where: str = "config") -> Callable:
        """The class or function of a short name or path. Raises ConfigError for any other value, or a failed import."""
        is_this = f"{where}.part is {named!r}"
        found = PATH.fullmatch(self.path(named))
        if not found:
            near = difflib.get_close_matches(str(named), self.names, 1)
            raise ConfigError(f"{is_this}: {f'did you mean {near[0]!r}?' if near else f'give {self._choices()}'}")
        module, name = found.groups()
        target = _named(_imported(module, is_this), name, is_this)
        if self.base and not (isinstance(target, type) and issubclass(target, self.base)):
            base = f"{self.base.__module__.removesuffix('.module')}.{self.base.__name__}"
            raise ConfigError(f"{is_this}, no {base}: name a class that derives from it")
        if _is_ours(module) and not _is_ours(target.__module__):
            raise ConfigError(f"{is_this}, which is of {target.__module__}: name it as '{_path_of(target)}'")
        return target

    def path(self, named: Any) -> str:
        """The path of a short name; any other text as it is."""
        return self.names.get(named, named) if isinstance(named, str) else ""

    def make(self, values: Mapping[str, Any]) -> Any:
        """The part of checked and built values: an instance of a class, or a function with its arguments, `Bound`."""
        target, arguments = self.target(values["part"]), {name: values[name] for name in values if name != "part"}
        return target(**arguments) if isinstance(target, type) else Bound(target, **arguments)

    def values(self, made: Any) -> dict[str, Any]:
        """The values in a config for a part: the inverse of `make`.

        Raises ValueError for an argument that no config can hold, unless it is the default.
        """
        target, arguments = _taken_apart(made)
        known = _arguments(target)
        values: dict[str, Any] = {"part": {path: name for name, path in self.names.items()}.get(_path_of(target))}
        values["part"] = values["part"] or _path_of(target)
        for name in (known.keys() & arguments.keys()) - set(self._given(target)):
            value = each_group(known[name].kind, arguments[name], _values)
            if holds(value):
                values[name] = value
            elif arguments[name] is not known[name].default:
                raise ValueError(f"{_path_of(target)}: {name} is {arguments[name]!r}, which no config can hold")
        return {name: values[name] for name in ("part", *known) if name in values}

    def _given(self, target: Callable) -> tuple[str, ...]:
        """The names of all arguments that the program gives to a class or function."""
        leading = () if isinstance(target, type) else tuple(inspect.signature(target).parameters)[: self.leading]
        return (*self.given, *leading)

    def _choices(self) -> str:
        short = f"one of {', '.join(map(repr, self.names))}, or " if self.names else ""
        return f"{short}a path module:Name, such as {EXAMPLE}"


def imported(path: str, is_this: str) -> Callable:
    """The class or function at `path`, "module:Name", which a config names: `is_this`, such as "config.task is 'x:y'".

    Raises ConfigError for any other value, or a failed import.
    """
    found = PATH.fullmatch(path)
    if not found:
        raise ConfigError(f"{is_this}: give a path module:Name, such as {EXAMPLE}")
    module, name = found.groups()
    return _named(_imported(module, is_this), name, is_this)


def rule_of(kind: Any) -> PartOf | None:
    """The rule of a field that holds a part; None for any other field."""
    rule = chosen_of(plain_of(group_of(kind))[1])
    return rule if isinstance(rule, PartOf) else None


def as_values(settings: Any) -> dict[str, Any]:
    """The values in a config for a dataclass of settings, its parts with their paths: the inverse of `build`."""
    return _values(type(settings), settings)


def completed(kind: Any, values: Any) -> Any:
    """The group `values`, a `kind`, with every default that a config can hold. Keys that `kind` lacks are kept."""
    if not isinstance(values, Mapping | ConfigDict):
        return values
    known = fields(kind, values)
    given = {name: each_group(known[name].kind if name in known else Any, values[name], completed) for name in values}
    defaults = {name: default_values(one) for name, one in known.items() if name not in given}
    return given | {name: value for name, value in defaults.items() if value is not MISSING}


def default_values(one: Field) -> Any:
    """The value in a config for a field's default, MISSING where there is none or a config cannot hold it."""
    if one.default is MISSING:
        return MISSING
    value = each_group(one.kind, one.default, _values)
    return value if holds(value) else MISSING


def outside(values: Mapping[str, Any] | ConfigDict) -> dict[str, str]:
    """The import paths in a config, key by key, that are not of wbcjax or optax: of its parts, task and data set.

    Importing optax is harmless, and its functions are called in training only.
    """
    return {
        key: path
        for key, path in _leaves(values, "config")
        if (key.endswith(".part") or key in ("config.task", "config.dataset.name"))
        and isinstance(path, str)
        and ":" in path
        and not path.startswith(("wbcjax.", "optax:", "optax.contrib:"))
    }


def check_trusted(values: Mapping[str, Any] | ConfigDict, place: str | Path, trust_parts: Trust) -> None:
    """Raise Untrusted where the config of `place` would import code from outside of wbcjax that is not trusted."""
    trusted = () if isinstance(trust_parts, bool) else trust_parts
    found = [f"{key} is {path!r}" for key, path in outside(values).items() if path not in trusted]
    if found and trust_parts is not True:
        raise Untrusted(
            f"{place} uses parts from outside of wbcjax: {', '.join(found)}: if you trust it, give --trust-parts "
            "(trust_parts=True in Python, --config.init_trust_parts=True for config.init_from)"
        )


def _values(kind: Any, made: Any) -> dict[str, Any]:
    """The values in a config for built settings or a part."""
    if rule := rule_of(kind):
        return rule.values(made)
    return {name: each_group(one.kind, getattr(made, name), _values) for name, one in fields(kind).items()}


def _taken_apart(made: Any) -> tuple[Callable, dict[str, Any]]:
    """The class or function of a part, and its arguments."""
    if isinstance(made, functools.partial):
        return made.func, inspect.signature(made.func).bind_partial(*made.args, **made.keywords).arguments
    if _is_function(made):
        return made, {}
    return type(made), {name: getattr(made, name) for name in _arguments(type(made))}


@functools.lru_cache
def _arguments(target: Callable) -> dict[str, Field]:
    """The keyword arguments of a class or function. Those of a linen module are its fields, except parent and name."""
    if is_dataclass(target):
        own = ("parent", "name") if is_linen(target) else ()
        return {name: one for name, one in dataclass_fields(target).items() if name not in own}
    kinds = hints(target.__init__ if isinstance(target, type) else target)
    return {
        name: argument(kinds.get(name, Any), MISSING if one.default is one.empty else one.default)
        for name, one in inspect.signature(target).parameters.items()
        if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
    }


def _imported(module: str, is_this: str) -> Any:
    """The module of that name, looked for in the current folder too."""
    here = str(Path.cwd())
    try:
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            if here in sys.path or not _is_of(error, module):
                raise
            sys.path.append(here)
            importlib.invalidate_caches()
            return importlib.import_module(module)
    except Exception as error:  # a user's module may raise anything
        if isinstance(error, ModuleNotFoundError) and _is_of(error, module):
            raise ConfigError(
                f"{is_this}: there is no module {error.name!r}: install it, or start where it lies, not in {here}"
            ) from error
        raise ConfigError(
            f"{is_this}: {_place(error)}{type(error).__name__}: {' '.join(str(error).split())}"
        ) from error


def _is_of(error: ModuleNotFoundError, module: str) -> bool:
    """Whether the module itself, or a package that it is in, is missing, and not something that it imports."""
    return f"{module}.".startswith(f"{error.name}.")


def _place(error: Exception) -> str:
    """The file and line of the user's code at which an import failed."""
    frames = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in frames if frame.filename not in (__file__, importlib.__file__) and frame.line]
    own = [frame for frame in frames if Path(frame.filename).parent == Path(frames[0].filename).parent]
    return f"{own[-1].filename}, line {own[-1].lineno}: " if own else ""


def _named(module: Any, name: str, is_this: str) -> Callable:
    """The class or function that a module has by that name."""
    if not hasattr(module, name):
        known = [one for one in vars(module) if not one.startswith("_")]
        near = difflib.get_close_matches(name, known, 1)
        raise ConfigError(
            f"{is_this}: {module.__name__} has no {name}: "
            + (f"did you mean {near[0]}?" if near else "name one of its classes or functions")
        )
    target = getattr(module, name)
    if not isinstance(target, type) and not _is_function(target):
        raise ConfigError(f"{is_this}, a {type(target).__name__}: name a class or a function")
    return target


def _is_function(target: Any) -> bool:
    """Whether it is a function, or one wrapped by a transform such as `jax.jit`."""
    return inspect.isroutine(target) or hasattr(target, "__wrapped__")


def _path_of(target: Callable) -> str:
    return f"{target.__module__}:{target.__qualname__}"


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == "wbcjax"


def _leaves(values: Any, where: str) -> Iterator[tuple[str, Any]]:
    if isinstance(values, Mapping | ConfigDict):
        for name, value in values.items():
            yield from _leaves(value, f"{where}.{name}")
    elif isinstance(values, tuple | list):
        for number, value in enumerate(values):
            yield from _leaves(value, f"{where}[{number}]")
    else:
        yield where, values
