"""Checks of a config, and of the machine for it, in one place before a data set is built.

Each problem is one line: the key, its value, the remedy.
"""

import re
from collections.abc import Iterator

import jax
from ml_collections import ConfigDict

from wbcjax.settings.checked import ConfigError, problems
from wbcjax.system.runtime import device_count
from wbcjax.tasks.choose import experiment_class
from wbcjax.tasks.experiment import Experiment, Step
from wbcjax.train.layers import LAYERS, Layers, split_weights
from wbcjax.train.optimizer import make_optimizer
from wbcjax.train.parallel import check_batch_size, check_parallel
from wbcjax.train.plan import check_length
from wbcjax.train.rules import rule_problems
from wbcjax.train.settings import TrainSettings
from wbcjax.train.transformations import adamw, sgd

SHOWN = 12  # problems of one config


def check_config(config: ConfigDict, file: str) -> None:
    """Raise ConfigError for faults of the config of `file`: unknown and missing keys, values of the wrong kind or out
    of their range, and keys that contradict each other. A line for each."""
    if found := config_problems(config):
        raise ConfigError(listed(file, found))


def listed(file: str, found: list[str]) -> str:
    """The message on a config's problems: one in one line, more below each other."""
    if len(found) == 1:
        return f"{file}: {found[0]}"
    more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return "\n  ".join([f"{file}: {len(found)} problems", *found[:SHOWN], *more])


def check_machine(experiment: Experiment) -> None:
    """Raise ConfigError for what this machine lacks for the training: files, folders, fitting devices."""
    found, train = [*experiment.missing()], experiment.settings.train
    try:
        check_batch_size(train.batch_size, device_count(), train.accumulate)
        check_parallel(train.parallel)
    except ConfigError as error:
        found.append(str(error))
    if found:
        raise ConfigError("\n".join(found))


def config_problems(config: ConfigDict) -> list[str]:
    """The problems that `check_config` raises, line by line."""
    try:
        kind = experiment_class(config)
    except ConfigError as error:
        return [str(error)]
    if found := problems(kind.Settings, config.to_dict(), "config"):
        return found  # the rules below rely on valid values
    experiment = kind(config)
    train = experiment.settings.train
    found = [*experiment.problems(), *_of_training(train)]
    return found or list(_of_weights(train, experiment))


def _of_training(train: TrainSettings) -> Iterator[str]:
    batch, each = train.batch_size, train.batch_size_per_device
    if batch and each:
        yield (
            f"config.train.batch_size is {batch}, and batch_size_per_device {each}: set one of them to 0, such as "
            "--config.train.batch_size=0"
        )
    elif not (batch or each):
        yield "config.train.batch_size and batch_size_per_device are 0: set one of them to a number of images"
    if (batch or each) % train.accumulate:
        yield (
            f"config.train.accumulate is {train.accumulate} and {'batch_size' if batch else 'batch_size_per_device'} "
            f"{batch or each}: give an accumulate that divides it"
        )
    if list(train.boundaries) != sorted(set(train.boundaries)):
        yield f"config.train.boundaries is {train.boundaries}: give each epoch once, the first one first"
    try:
        check_length(train)
    except ConfigError as error:
        yield str(error)


def _of_weights(train: TrainSettings, experiment: Experiment) -> Iterator[str]:
    """Problems that depend on the weights; none where these are not known without data."""
    phases = [
        (number, phase.layers) for number, phase in enumerate(train.phases) if phase.layers not in ("all", "heads")
    ]
    is_ours = getattr(train.optimizer, "func", None) in (sgd, adamw)
    step = None if is_ours and not phases and not train.rules else experiment.step()
    if step is None:
        return
    yield from _of_phases(phases, step)
    if train.rules:
        yield from rule_problems(step.variables["params"], train.rules)
    if not is_ours:
        yield from _of_optimizer(train, step)


def _of_phases(phases: list[tuple[int, str]], step: Step) -> Iterator[str]:
    """Problems of phases that choose weights by a regular expression, or by stages that a backbone may not give."""
    for number, layers in phases:
        try:
            split_weights(step.variables["params"], Layers(layers, step.stage_of))
        except ConfigError as error:
            yield f"config.train.phases[{number}]: {error}"
        except re.error as error:
            yield (
                f"config.train.phases[{number}].layers is {layers!r}, no regular expression ({error}): give one, "
                f"or one of {', '.join(LAYERS)}"
            )


def _of_optimizer(train: TrainSettings, step: Step) -> Iterator[str]:
    """Problems of the optimizer's arguments, found by a trial on shapes."""
    weights = step.variables["params"]
    try:
        optimizer = make_optimizer(train)
        jax.eval_shape(optimizer.update, weights, jax.eval_shape(optimizer.init, weights), weights)
    except Exception as error:  # a user's function may raise anything
        yield (
            f"config.train.optimizer cannot be used ({type(error).__name__}: {' '.join(str(error).split())}): correct "
            "its arguments, or name another one"
        )
