"""Which fields train, validate and test: by named lists, or by seeded fractions or folds that never split a group."""

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from wbcjax.settings.checked import Name, Number, Share

log = logging.getLogger(__name__)

PARTS = ("train", "val", "test")  # for training; for choosing the best checkpoint; for neither
Names = tuple[Name, ...]


@runtime_checkable
class Grouped(Protocol):
    """An item of a split: an annotated field, or the field of crops."""

    @property
    def name(self) -> str: ...
    @property
    def group(self) -> str | None: ...  # of the fields that belong together (a patient, say), if it has one


Field = TypeVar("Field", bound=Grouped)


@dataclass(frozen=True)
class SplitSettings:
    """Which fields train, validate and test: `config.dataset.split`; see `split_fields`."""

    seed: int = 0
    train_fraction: Share = 0.75  # of the fields that do not test; the rest validates
    # Neither trained on nor used to choose the best checkpoint; 0: no such part
    test_fraction: Share = 0.0
    train_names: Names = ()  # or lists of fields; ("some.txt",) stands for the lines of that file
    val_names: Names = ()
    test_names: Names = ()
    folds: Number = 0  # of a cross-validation: every field is in one of them, and tests in one of so many runs; 0: none
    fold: Number = 0  # the one that tests in this run, from 0

    @property
    def tests(self) -> bool:
        """Whether there is a part to test on."""
        return bool(self.test_fraction or self.test_names or self.folds)

    def fold_problem(self) -> str:
        """A contradiction in the settings of folds, with its remedy; "" where there is none."""
        if self.folds == 1 or self.fold >= max(self.folds, 1):
            return f"folds is {self.folds} and fold {self.fold}: give 2 folds or more, and one of them counted from 0"
        if self.folds and (self.test_fraction or self.train_names or self.val_names or self.test_names):
            return f"folds is {self.folds}, and there is a test_fraction or a list of names: leave out one or the other"
        return ""


def split_fields(fields: Sequence[Field], split: SplitSettings) -> dict[str, list[Field]]:
    """Split a set into {"train": fields, "val": ..., "test": ...}, each in the order of `fields`; groups stay whole.

    `test` is taken first: the fields of `test_names`, `test_fraction` of all, or those of `fold`, by default none. The
    others train or validate: `train_fraction` of them train, or `train_names` and `val_names` (see `read_names`)
    decide. Given one of these two lists, the other part gets the rest; given both, fields on no list are left out,
    counted and named in the log.

    For the fractions, groups (a field without one is its own) are ordered by a hash of the seed and their name. The
    last of them test, as many as come nearest to `test_fraction`; of the others the first train. So a set of which 0.8
    trained and 0.2 validated will, with `test_fraction` 0.2, test on the fields that validated. A fraction strictly
    between 0 and 1 leaves neither side of its cut empty when there are two groups or more. Adding a field does not
    change the order of the others.

    Into `folds` the groups are dealt one by one, the largest first and those of one size by that hash, each to the fold
    with the fewest fields. So single fields give folds whose sizes differ by one at most.

    Raises ValueError when a fraction is outside 0..1, when `test_fraction` or `folds` is given beside a list, when
    there are fewer groups than folds, when a listed name is unknown, repeated or on two lists, or when the lists put a
    group into two parts.
    """
    lists = {part: read_names(getattr(split, f"{part}_names")) for part in PARTS}
    for option in ("train_fraction", "test_fraction"):
        if not 0 <= (fraction := getattr(split, option)) <= 1:
            raise ValueError(f"split.{option} is {fraction}; give a number from 0 to 1")
    if given := [f"split.{part}_names" for part in PARTS if lists[part] and split.test_fraction]:
        raise ValueError(
            f"split.test_fraction is {split.test_fraction}, and {given[0]} lists fields: list those of test too"
        )
    if problem := split.fold_problem():
        raise ValueError(f"split.{problem}")
    _check_lists(fields, lists)
    test, rest = set(lists["test"]), [f for f in fields if f.name not in lists["test"]]
    if split.test_fraction:
        kept, test = _cut(fields, split.seed, 1 - split.test_fraction)
        rest = [f for f in fields if f.name in kept]
    if split.folds:
        test = _fold(fields, split)
        rest = [f for f in fields if f.name not in test]
    if lists["train"] or lists["val"]:
        train, val = _by_names(rest, set(lists["train"]), set(lists["val"]))
    else:
        train, val = _cut(rest, split.seed, split.train_fraction)
    _check_groups(fields, {"train": train, "val": val, "test": test})
    return {part: [f for f in fields if f.name in names] for part, names in zip(PARTS, (train, val, test), strict=True)}


def read_names(names: Sequence[str] | str) -> tuple[str, ...]:
    """The names of a list, in which "some.txt" stands for the lines of that text file, blank ones apart.

    A file's path may stand alone here; a config takes no string for a tuple, so there give ("some.txt",).
    Raises OSError when a file cannot be read.
    """
    found = []
    for entry in (names,) if isinstance(names, str) else names:
        lines = Path(entry).read_text(encoding="utf-8").splitlines() if entry.endswith(".txt") else [entry]
        found += [line.strip() for line in lines if line.strip()]
    return tuple(found)


def _check_lists(fields: Sequence[Grouped], lists: Mapping[str, tuple[str, ...]]) -> None:
    known = {f.name for f in fields}
    problems = []
    for part, names in lists.items():
        option = f"split.{part}_names"
        problems += [f"{option}: {name!r} is no field of this set" for name in sorted(set(names) - known)]
        problems += [f"{option}: {name!r} is listed {k} times" for name, k in Counter(names).items() if k > 1]
    for one, other in combinations(lists, 2):
        both = sorted(set(lists[one]) & set(lists[other]))
        problems += [f"{name!r} is in both split.{one}_names and split.{other}_names" for name in both]
    if problems:
        raise ValueError("cannot split the set; correct the lists:\n  " + "\n  ".join(problems))


def _by_names(fields: Sequence[Grouped], train: set[str], val: set[str]) -> tuple[set[str], set[str]]:
    """The names of the fields that train, and of those that validate."""
    known = {f.name for f in fields}
    train, val = train or known - val, val or known - train
    if left_out := sorted(known - train - val):
        log.info("%d fields are in neither split.train_names nor split.val_names: %s", len(left_out), left_out)
    return train, val


def _cut(fields: Sequence[Grouped], seed: int, fraction: float) -> tuple[set[str], set[str]]:
    """The names of the fields before and after a cut, as near to `fraction` before it as whole groups allow."""
    groups = _groups(fields, seed)
    sizes = [0]  # of the side before the cut when it takes the first 0, 1, ... groups
    for group in groups:
        sizes.append(sizes[-1] + len(group))
    choices = range(len(sizes)) if fraction in (0, 1) or len(groups) < 2 else range(1, len(groups))
    cut = min(choices, key=lambda k: abs(sizes[k] - fraction * len(fields)))
    before = {name for group in groups[:cut] for name in group}
    return before, {f.name for f in fields} - before


def _fold(fields: Sequence[Grouped], split: SplitSettings) -> set[str]:
    """The names of the fields of `split.fold`."""
    groups = _groups(fields, split.seed)
    if len(groups) < split.folds:
        raise ValueError(
            f"split.folds is {split.folds}, and there are {len(groups)} groups, fields of no group among them: give as "
            "many folds at most"
        )
    folds: list[list[str]] = [[] for _ in range(split.folds)]
    for group in sorted(groups, key=len, reverse=True):
        min(folds, key=len).extend(group)
    return set(folds[split.fold])


def _groups(fields: Sequence[Grouped], seed: int) -> list[list[str]]:
    """The names of the fields of each group, groups in the order of a hash of the seed and their name."""
    groups: dict[tuple[str, str], list[str]] = {}
    for f in fields:
        groups.setdefault(("field", f.name) if f.group is None else ("group", f.group), []).append(f.name)
    return [groups[group] for group in sorted(groups, key=lambda group: _hash(seed, *group))]


def first_by_hash(names: Sequence[str], count: int, seed: int) -> list[int]:
    """The rows of `count` of the names, in their order: those that come first by a hash of the seed and the name.

    So of one seed the fewer lie among the more. Raises ValueError where there are fewer names.
    """
    if count > len(names):
        raise ValueError(f"dataset.train_fields is {count}, and {len(names)} fields train: give as many at most, or 0")
    by_hash = sorted(range(len(names)), key=lambda row: _hash(seed, "train", names[row]))
    return sorted(by_hash[:count])


def _hash(seed: int, *names: str) -> bytes:
    return hashlib.sha256(repr((seed, *names)).encode()).digest()


def _check_groups(fields: Sequence[Grouped], parts: Mapping[str, set[str]]) -> None:
    """Raise ValueError for groups that lists have put into two parts."""
    groups = {
        part: {f.group for f in fields if f.name in names and f.group is not None} for part, names in parts.items()
    }
    problems = [
        f"group {group!r} has fields on both sides, in {one} and in {other}"
        for one, other in combinations(parts, 2)
        for group in sorted(groups[one] & groups[other])
    ]
    if problems:
        raise ValueError("cannot split the set; correct the lists:\n  " + "\n  ".join(problems))
