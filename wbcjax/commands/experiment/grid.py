"""The runs of an experiment: every combination of the values that are compared, with each seed and each fold."""

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from wbcjax.commands.config_file import NAMED, for_devices, load_config_file
from wbcjax.commands.experiment.running import Run
from wbcjax.report.experiment_page import TRAIN_FIELDS, short_names
from wbcjax.runs.folder import CLASSIFICATION, DETECTION, kind_of
from wbcjax.settings.checked import ConfigError
from wbcjax.tasks.choose import experiment_of

ALL = "all"  # in place of a number of training fields
VARIANT = "variant"  # in place of a key: the variant of the config file
OWN_FLAGS = {  # of settings that no axis may vary
    "seed": "--seeds",
    "dataset.split.folds": "--folds",
    "dataset.split.fold": "--folds",
    "dataset.train_fields_seed": "--seeds",
}
UNFIT = re.compile(r"[^\w.+-]+", re.ASCII)  # signs that a folder's name is without
LONGEST = 40  # characters of a value in it


class Axis(NamedTuple):
    """A setting and the values of it that are compared, as the command line has them."""

    key: str  # such as "dataset.enhance", or VARIANT
    values: tuple[str, ...]


class Repeats(NamedTuple):
    """How often each setting is trained."""

    seeds: tuple[int, ...] = ()  # (): the config's
    folds: int = 0  # 0: the config's split


class Base(NamedTuple):
    """What all runs share."""

    config: str  # a file, or a shipped one's name
    overrides: tuple[str, ...] = ()
    devices: int = 1


def plan(base: Base, axes: Sequence[Axis], repeats: Repeats, workdir: Path) -> list[Run]:
    """The runs in the order in which they are trained: seed by seed, so that an early look has every setting.

    The weights are those that did best on val where there is a part test, else the last ones: the best were chosen by
    the very fields that would score them. Raises ConfigError for settings that cannot be used.
    """
    if found := [*_problems(base, axes), *_repeat_problems(repeats)]:
        raise ConfigError("\n".join(found))
    combinations = list(itertools.product(*(axis.values for axis in axes)))
    places = itertools.product(repeats.seeds or (None,), range(max(repeats.folds, 1)), combinations)
    runs = [
        _run(base, dict(zip(axes, values, strict=True)), (seed, fold, repeats.folds), workdir)
        for seed, fold, values in places
    ]
    names = Counter(run.name.lower() for run in runs)  # as macOS and Windows compare them
    if same := [run.name for run in runs if names[run.name.lower()] > 1]:
        raise ConfigError(f"several runs would be in {workdir / same[0]}: give values that differ in letters or digits")
    return runs


def _run(base: Base, values: dict[Axis, str], repeat: tuple[int | None, int, int], workdir: Path) -> Run:
    """One run, of a seed (None: the config's) and a fold of so many (0: of none)."""
    seed, fold, folds = repeat
    settings = {axis.key: "0" if (axis.key, value) == (TRAIN_FIELDS, ALL) else value for axis, value in values.items()}
    variant = settings.pop(VARIANT, "")
    file = f"{base.config}:{variant}" if variant else base.config
    if seed is None:
        seed = load_config_file(file, base.overrides).seed
    settings["seed"] = str(seed)
    if TRAIN_FIELDS in settings:
        settings["dataset.train_fields_seed"] = str(seed)
    if folds:
        settings |= {"dataset.split.folds": str(folds), "dataset.split.fold": str(fold)}
    overrides = [*base.overrides, *(f"--config.{key}={value}" for key, value in settings.items())]
    config = for_devices(load_config_file(file, overrides), base.devices)
    if (kind := kind_of(config)) not in (DETECTION, CLASSIFICATION):
        raise ConfigError(
            f"config.task is {config.task!r}, of kind {kind!r}: experiments compare {DETECTION} and {CLASSIFICATION}"
        )
    part = experiment_of(config).part_to_score()
    places = [f"seed={seed}", *([f"fold={fold}"] if folds else [])]
    return Run(
        folder=workdir / ",".join([*setting_name({axis.key: value for axis, value in values.items()}), *places]),
        config=config,
        part=part,
        checkpoint="best" if part == "test" else "latest",
        values=tuple(values.values()),
        seed=seed,
        fold=fold,
    )


def setting_name(values: Mapping[str, str]) -> list[str]:
    """The parts of a folder's name, such as "enhance=none", for the values of keys, in ASCII letters.

    Of a long value it has the end, and a digest.
    """
    names = []
    for short, value in zip(short_names(list(values)), values.values(), strict=True):
        plain = UNFIT.sub("_", value)
        if len(plain) > LONGEST:
            digest = hashlib.sha256(value.encode(errors="surrogateescape")).hexdigest()[:8]
            plain = f"{plain[len(digest) + 1 - LONGEST :]}-{digest}"
        names.append(f"{short}={plain}")
    return names


def _problems(base: Base, axes: Sequence[Axis]) -> Iterator[str]:
    """What makes no grid of the axes."""
    named = NAMED.fullmatch(base.config)
    if named and named["variant"] and VARIANT in [axis.key for axis in axes]:
        yield f"--config={base.config} names a variant, and {VARIANT} is varied: give --config={named['path']}"
    for key, count in Counter(axis.key for axis in axes).items():
        if count > 1:
            yield f"{key} is varied {count} times: give all its values at once"
        if key in OWN_FLAGS:
            yield f"{key} cannot be varied by --vary: give {OWN_FLAGS[key]}"
    for axis in axes:
        for value, count in Counter(axis.values).items():
            if count > 1:
                yield f"{axis.key} is given the value {value} {count} times: give each value once"


def _repeat_problems(repeats: Repeats) -> Iterator[str]:
    for seed, count in Counter(repeats.seeds).items():
        if count > 1:
            yield f"--seeds has {seed} {count} times: give each seed once"
    if repeats.folds == 1:
        yield "--folds is 1: give 2 folds or more, or leave it out"
