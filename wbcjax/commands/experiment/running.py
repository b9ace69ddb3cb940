"""The runs of an experiment, one after the other: each is trained to its end and scored, and then left as it is."""

import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from wbcjax.commands.messages import count
from wbcjax.runs.folder import DETECTION, evaluation_folder, kind_of
from wbcjax.runs.log import read_log
from wbcjax.settings.parts import completed
from wbcjax.system import run_files
from wbcjax.system.interrupt import Interrupted, breakable
from wbcjax.system.places import error_text
from wbcjax.tasks.choose import evaluate, experiment_class, make_task, train
from wbcjax.tasks.experiment import Scored
from wbcjax.train.checkpoint import checkpoint_directory
from wbcjax.train.guard import NonFiniteLoss
from wbcjax.train.workdir import ConfigChanged, KeptConfig, config_changes, listed

log = logging.getLogger(__name__)

ENDED = ("finished", "max_minutes")  # reasons in a run's "stop" record after which it does not go on
Failures = Mapping[str, str]  # what stopped runs, by their names


class RunsFailed(ValueError):
    """Some runs of an experiment ended in an error, after which the others went on."""


@dataclass(frozen=True)
class Run:
    """One training of an experiment, and its scores."""

    folder: Path  # whose name is the run's
    config: ConfigDict
    part: str  # of the data, which it is scored on
    checkpoint: str  # whose scores count: "best" or "latest"
    values: tuple[str, ...] = ()  # of the settings that are compared
    seed: int = 0
    fold: int = 0

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def scores(self) -> Path:
        """The folder of the scores, and of the predictions behind them."""
        return evaluation_folder(self.folder, self.part, self.checkpoint)

    @property
    def found(self) -> Path:
        """The file of what the model found, from which its scores can be computed again."""
        return self.scores / (run_files.DETECTIONS if kind_of(self.config) == DETECTION else run_files.PREDICTIONS)

    @property
    def stop(self) -> dict[str, Any] | None:
        """The record of the training's end; None where it has not ended."""
        try:
            records = read_log(self.folder / run_files.METRICS)
        except (FileNotFoundError, ValueError):  # not begun, or no record written yet
            return None
        last = [record for record in records if record["kind"] in ("stop", "resume")][-1:]
        return last[0] if last and last[0].get("reason") in ENDED else None

    @property
    def finished(self) -> bool:
        """Whether it is trained to its end, and scored."""
        return self.stop is not None and (self.scores / run_files.SCORES).is_file() and self.found.is_file()


def run_all(runs: Sequence[Run], after: Callable[[Failures], None]) -> signal.Signals | None:
    """Train and score those of the runs that are not finished; one that was stopped goes on where it was.

    `after` is called before the first and after each, with what has failed. A run that fails is told in the log, and
    the next one begins. Returns None at the end, or the signal that stopped a training or an evaluation: the same call
    then goes on.

    Raises ConfigChanged, before anything is trained, for a folder of a run with other settings, and at the end
    RunsFailed with all that have failed.
    """
    _refuse_others(runs)
    failures: dict[str, str] = {}
    after(failures)
    try:
        for number, run in enumerate(runs, start=1):
            if not run.finished:
                log.info("run %d of %d: %s", number, len(runs), run.folder)
                if told := _failure(run):
                    failures[run.name] = told
                after(failures)
    except Interrupted as interrupted:
        return interrupted.signal
    if failures:
        lines = [f"{name}: {told}" for name, told in failures.items()]
        raise RunsFailed("\n  ".join([f"{len(failures)} of {len(runs)} runs failed, the others are done:", *lines]))
    return None


def _failure(run: Run) -> str:
    """Train and score a run. Returns what it failed of, "" for nothing. Raises Interrupted for a signal."""
    try:
        _train(run)
        _score(run)
    except Exception as error:  # whatever a task or a library raises concerns this run alone
        expected = isinstance(error, OSError | ValueError | NonFiniteLoss)
        told = error_text(error) if expected else f"{type(error).__name__}: {error}"
        log.error("%s failed: %s", run.folder, told, exc_info=None if expected else error)
        return told
    return ""


def _train(run: Run) -> None:
    """Train to the end, unless it is trained already. Raises Interrupted when a signal stopped it."""
    if run.stop:
        return
    (run.scores / run_files.SCORES).unlink(missing_ok=True)  # of weights before the end
    with breakable():
        task = make_task(run.config, run.folder)
    if stopped_by := train(run.config, task, run.folder):
        raise Interrupted(stopped_by)


def _score(run: Run) -> None:
    """Raises Interrupted when a signal stopped the evaluation."""
    with breakable():
        evaluate(run.folder, run.checkpoint, Scored(run.part), trust_parts=True)  # as the config was trusted


def _refuse_others(runs: Sequence[Run]) -> None:
    """Raise ConfigChanged for runs that began with other settings, with what differs."""
    found = {run.folder: changes for run in runs if _begun(run) and (changes := _changes(run))}
    if found:
        folder, changes = next(iter(found.items()))
        others = len(found) - 1
        more = f" ({count(others, 'more folder')} {'is' if others == 1 else 'are'} of other settings too)"
        raise ConfigChanged(
            f"{folder} is a run of other settings:\n{listed(changes)}\n"
            f"Give the settings it was started with, or another --workdir{more * bool(others)}."
        )


def _begun(run: Run) -> bool:
    checkpoints = checkpoint_directory(run.folder)
    return run.stop is not None or (checkpoints.is_dir() and any(checkpoints.iterdir()))


def _changes(run: Run) -> dict[str, list[Any]]:
    complete = partial(completed, experiment_class(run.config).Settings)
    return config_changes(KeptConfig(run.config.to_dict(), complete), run.folder)
