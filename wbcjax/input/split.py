"""Which fields train and which validate: by named lists, or by a seeded fraction that never splits a group."""

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

log = logging.getLogger(__name__)


@runtime_checkable
class Grouped(Protocol):
    """What can be split: a field, or what stands for one."""

    @property
    def name(self) -> str: ...
    @property
    def group(self) -> str | None: ...  # of the fields that belong together (a patient, say), if it has one


Field = TypeVar("Field", bound=Grouped)


def split_fields(
    fields: Sequence[Field],
    *,
    seed: int,
    train_fraction: float,
    train_names: Sequence[str] | str = (),
    val_names: Sequence[str] | str = (),
) -> dict[str, list[Field]]:
    """Split a set into {"train": fields, "val": fields}, each in the order of `fields`; groups stay whole.

    With `train_names` or `val_names` (see `read_names`) the lists decide: given one of them, the other side gets the
    rest; given both, fields in neither are left out, counted and named in the log. Without lists, groups (a field that
    has none is its own) are ordered by a hash of the seed and their name, and the first go to training, as many as come
    nearest to `train_fraction` of all fields. A fraction strictly between 0 and 1 leaves neither side empty when there
    are two groups or more. Adding a field leaves the order of the others as it was.

    Raises ValueError when `train_fraction` is outside 0..1, when a listed name is unknown, repeated or on both lists,
    or when the lists put a group on both sides.
    """
    train_names, val_names = read_names(train_names), read_names(val_names)
    if train_names or val_names:
        sides = _by_names(fields, train_names, val_names)
    else:
        sides = _by_fraction(fields, seed, train_fraction)
    return {side: [f for f in fields if f.name in names] for side, names in sides.items()}


def read_names(names: Sequence[str] | str) -> tuple[str, ...]:
    """The names of a list, in which "some.txt" stands for the lines of that text file, blank ones apart.

    A file's path alone does too; where a config has a tuple it takes no string, and ("some.txt",) is to be given.
    Raises OSError when a file cannot be read.
    """
    found = []
    for entry in (names,) if isinstance(names, str) else names:
        lines = Path(entry).read_text(encoding="utf-8").splitlines() if entry.endswith(".txt") else [entry]
        found += [line.strip() for line in lines if line.strip()]
    return tuple(found)


def _by_names(
    fields: Sequence[Grouped], train_names: tuple[str, ...], val_names: tuple[str, ...]
) -> dict[str, set[str]]:
    known = {f.name for f in fields}
    train, val = set(train_names), set(val_names)
    problems = []
    for option, names in (("train_names", train_names), ("val_names", val_names)):
        problems += [f"split.{option}: {name!r} is no field of this set" for name in sorted(set(names) - known)]
        problems += [f"split.{option}: {name!r} is listed {k} times" for name, k in Counter(names).items() if k > 1]
    problems += [f"{name!r} is in both split.train_names and split.val_names" for name in sorted(train & val)]
    if not problems:
        train, val = train or known - val, val or known - train
        groups = [{f.group for f in fields if f.name in side and f.group is not None} for side in (train, val)]
        problems += [f"group {group!r} has fields on both sides" for group in sorted(groups[0] & groups[1])]
    if problems:
        raise ValueError("cannot split the set; correct the lists:\n  " + "\n  ".join(problems))
    if left_out := sorted(known - train - val):
        log.info("%d fields are in neither split.train_names nor split.val_names: %s", len(left_out), left_out)
    return {"train": train, "val": val}


def _by_fraction(fields: Sequence[Grouped], seed: int, train_fraction: float) -> dict[str, set[str]]:
    if not 0 <= train_fraction <= 1:
        raise ValueError(f"split.train_fraction is {train_fraction}; give a number from 0 to 1")
    groups: dict[tuple[str, str], list[str]] = {}
    for f in fields:
        groups.setdefault(("field", f.name) if f.group is None else ("group", f.group), []).append(f.name)
    shuffled = sorted(groups, key=lambda group: hashlib.sha256(repr((seed, *group)).encode()).digest())
    sizes = [0]  # of the training side when it takes the first 0, 1, ... groups
    for group in shuffled:
        sizes.append(sizes[-1] + len(groups[group]))
    choices = range(len(sizes)) if train_fraction in (0, 1) or len(shuffled) < 2 else range(1, len(shuffled))
    cut = min(choices, key=lambda k: abs(sizes[k] - train_fraction * len(fields)))
    train = {name for group in shuffled[:cut] for name in groups[group]}
    return {"train": train, "val": {f.name for f in fields} - train}
