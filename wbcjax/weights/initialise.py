"""Trained weights loaded into a model's variables, with an account of every array."""

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Shaped

from wbcjax.models.settings import MaskRCNNSettings
from wbcjax.weights.dialects import Settings
from wbcjax.weights.names import Placed, fill, place
from wbcjax.weights.report_text import Report
from wbcjax.weights.sources import Source, dialect_of, needed, ours, recognise, setting, unprefixed

Arrays = Mapping[str, Shaped[np.ndarray, "..."]]
FlatTree = dict[tuple[str, ...], Any]


class Initialised(NamedTuple):
    """A model's variables after weights were loaded into them, and the account of it."""

    variables: dict[str, Any]
    report: Report


class Sorted(NamedTuple):
    """The arrays of a weights file, sorted."""

    placed: dict[str, Placed]  # by our paths, without their collection
    problems: list[str]  # a line for each array that has no place
    left_out: dict[str, str]  # arrays that hold nothing for us, and why
    parts: set[str]  # of our model, which the arrays fill
    dialect: Settings  # that they were trained with


def initialise(
    variables: Mapping[str, Any], arrays: Arrays, settings: Settings, only: Sequence[str] = ()
) -> Initialised:
    """`variables` of the model of `settings`, with the arrays of another library's weights file in their places.

    The library is recognised by the arrays' names (`sources.SOURCES`). Layers that depend on the classes keep their
    values in `variables` where the weights have other classes, as in the papers. So do parts of the model that the
    weights lack, a backbone's layers for detection alone, and, where `only` names some parts (`backbone`, `fpn`, ...),
    the others. Raises ValueError for weights of no known library; for `settings` that contradict those the weights were
    trained with, naming the fields; and for arrays that are unexpected, missing, or of another shape, listing them.
    """
    return _initialise(variables, arrays, settings, recognise(arrays).into(settings), only)


def initialise_from_ours(
    variables: Mapping[str, Any],
    arrays: Arrays,
    settings: Settings,
    trained_with: Settings,
    only: Sequence[str] = (),
) -> Initialised:
    """As `initialise`, from the variables of a model of this package that was trained with the settings `trained_with`.

    `arrays` are named by their paths, `params/backbone/conv1/kernel`.
    """
    return _initialise(variables, arrays, settings, ours(trained_with, arrays), only)


def _initialise(
    variables: Mapping[str, Any], arrays: Arrays, settings: Settings, source: Source, only: Sequence[str]
) -> Initialised:
    placed, problems, left_out, parts, dialect = sort(arrays, source)
    if only:
        if missing := [part for part in only if part not in parts]:
            raise ValueError(f"the weights have no part {missing[0]!r}; they have {', '.join(sorted(parts))}")
        others = [path for path in placed if path.partition("/")[0] not in only]
        left_out |= {placed.pop(path).name: "of a part that was not asked for" for path in others}
        parts = set(only)
    _refuse_contradictions(settings, dialect, source, parts)
    flat: FlatTree = flatten_dict(dict(variables))
    anew = _anew(placed, flat, source)
    of_heads = [path for path in placed if _module(path) in anew]
    left_out |= {placed.pop(path).name: anew[_module(path)] for path in of_heads}
    lacked = _lacked(placed, settings)
    wanted = {
        path: leaf
        for path, leaf in flat.items()
        if path[1] in parts and _module(_short(path)) not in anew and path[1:3] not in lacked
    }
    filled: FlatTree = flatten_dict(fill(placed, unflatten_dict(wanted), problems))
    report = Report(
        source=source.name,
        prefix=source.prefix,
        loaded={placed[_short(path)].name: "/".join(path) for path in filled},
        left_out=left_out,
        initial=tuple("/".join(path) for path in flat if path not in filled),
    )
    return Initialised(unflatten_dict(flat | filled), report)


def sort(arrays: Arrays, source: Source) -> Sorted:
    """The arrays of a weights file by their places in our model. Raises ValueError for a network of unknown depth."""
    left_out = {name: reason for name in arrays if (reason := _ignored(name, source))}
    kept = {name: array for name, array in arrays.items() if name not in left_out}
    placed, problems = place(kept, source.table, lambda name: source.dotted(name.removeprefix(source.prefix)))
    parts = set(source.required) | {path.partition("/")[0] for path in placed}
    return Sorted(placed, problems, left_out, parts, dialect_of(source, placed, unprefixed(arrays, source)))


def _ignored(name: str, source: Source) -> str | None:
    """Why the array called `name` is left out; None where it is not."""
    if not name.startswith(source.prefix):
        return f"without the prefix {source.prefix!r}"
    name = name.removeprefix(source.prefix)
    return next((reason for pattern, reason in source.ignored.items() if re.fullmatch(pattern, name)), None)


def _refuse_contradictions(settings: Settings, dialect: Settings, source: Source, parts: set[str]) -> None:
    if not isinstance(settings, type(dialect)):
        model = "a Mask R-CNN" if isinstance(settings, MaskRCNNSettings) else "an EfficientNet"
        raise ValueError(f"these are weights of {source.name}, but config.model is {model}")
    found, remedy, others = [], [], set()
    for field, values in needed(source, dialect, parts).items():
        part, _, leaf = field.rpartition(".")
        if part in others:  # another class, which has fields of its own
            continue
        if leaf == "part" and isinstance(attrgetter(part)(settings), type(attrgetter(part)(dialect))):
            continue  # of a class that derives from theirs; `fill` refuses arrays that do not fit
        value = setting(settings, field)
        if value is None:  # a field of another part, whose class is a difference of its own
            continue
        if not any(_equal(value, wanted) for wanted in values):
            found.append(f"config.model.{field} is {value!r}; these weights need {' or '.join(map(repr, values))}")
            remedy.append(shlex.quote(f"--config.model.{field}={str(values[0]).replace(' ', '')}"))
            others |= {part} if leaf == "part" else set()
    if found:
        listing = "\n  ".join(found)
        raise ValueError(
            f"config.model contradicts the weights of {source.name} in {len(found)} fields:\n  {listing}\n"
            f"Set them in the config, or by {' '.join(remedy)}"
        )


def _equal(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, tuple):
        return len(value) == len(wanted) and all(map(_equal, value, wanted))
    return math.isclose(value, wanted, rel_tol=1e-6) if isinstance(wanted, float) else value == wanted


def _anew(placed: Mapping[str, Placed], flat: FlatTree, source: Source) -> dict[str, str]:
    """Modules that depend on the classes and have another shape here, and the reason. The others are loaded."""
    reasons = {}
    wanted = {_short(path): leaf.shape for path, leaf in flat.items() if path[-1] == "kernel"}
    for path in (f"{module}/kernel" for module in source.heads):
        if path in placed and path in wanted and placed[path].array.shape != wanted[path]:
            (first, *_, theirs), (ours_first, *_, ours) = placed[path].array.shape, wanted[path]
            outputs = 4 if path.endswith("box_deltas/kernel") else 1  # of a class
            difference = f"{theirs // outputs} classes, here {ours // outputs}"
            if theirs == ours:
                difference = f"{first} features, here {ours_first}"
            reasons[_module(path)] = f"for {difference}: they start anew"
    return reasons


def _lacked(placed: Mapping[str, Placed], settings: Settings) -> set[tuple[str, str]]:
    """Modules of the backbone that are for detection alone, where the weights have none of them."""
    if not isinstance(settings, MaskRCNNSettings):
        return set()
    modules = {("backbone", name) for name in settings.backbone.FOR_DETECTION}
    return set() if any(tuple(path.split("/")[:2]) in modules for path in placed) else modules


def _short(path: tuple[str, ...]) -> str:
    """The path without its collection, such as `params` or `batch_stats`."""
    return "/".join(path[1:])


def _module(path: str) -> str:
    return path.rpartition("/")[0]
