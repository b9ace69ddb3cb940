"""The experiment that a config names; its modules are imported when it is known."""

import contextlib
import dataclasses
import signal
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ml_collections import ConfigDict

from wbcjax.runs.folder import (
    CLASSIFICATION,
    DETECTION,
    check_kind,
    evaluation_folder,
    kind_of,
    load_config,
    report_path,
)
from wbcjax.settings.checked import ConfigError
from wbcjax.settings.parts import completed, imported
from wbcjax.system import run_files
from wbcjax.system.places import check_out, check_writable
from wbcjax.system.processes import gather, is_first
from wbcjax.system.terminal import Block
from wbcjax.tasks.experiment import Experiment, ExperimentSettings, Scored
from wbcjax.train import loop
from wbcjax.train.task import Task
from wbcjax.train.workdir import KeptConfig

EXPERIMENTS = {  # short names of `config.task`, and the classes that they stand for
    DETECTION: "wbcjax.tasks.detection:Detection",
    CLASSIFICATION: "wbcjax.tasks.classification:Classification",
}


def experiment_class(config: ConfigDict) -> type[Experiment]:
    """The class that `config.task` names, by a short name or a path. Raises ConfigError for any other value."""
    named = config.get("task", DETECTION)  # which a config file may leave out
    is_this, path = f"config.task is {named!r}", EXPERIMENTS.get(named, named) if isinstance(named, str) else ""
    if ":" not in path:
        raise ConfigError(f"{is_this}: give one of {', '.join(map(repr, EXPERIMENTS))}, or a path module:Class")
    found = imported(path, is_this)
    if not isinstance(found, type) or not issubclass(found, Experiment):
        raise ConfigError(f"{is_this}, no wbcjax.tasks.experiment.Experiment: name a class that derives from it")
    settings = getattr(found, "Settings", None)
    if not isinstance(settings, type) or not issubclass(settings, ExperimentSettings):
        raise ConfigError(f"{is_this}, which has no Settings: give it a dataclass that derives from ExperimentSettings")
    return found


def experiment_of(config: ConfigDict) -> Experiment:
    """The experiment of a whole config. Raises ConfigError for invalid settings."""
    return experiment_class(config)(config)


def make_task(config: ConfigDict, workdir: Path | None = None) -> Task:
    """Data and model of `config`, for the training loop in `workdir`; builds its data set when there is none yet.

    Images that a run in `workdir` was trained on before do not validate, even if the data have changed since.

    Raises OSError or ValueError for settings or data that cannot be used.
    """
    return experiment_of(config).task(workdir)


def train(
    config: ConfigDict, task: Task, workdir: Path | str, *, allow_config_change: bool = False
) -> signal.Signals | None:
    """Train the task that `make_task` has made of `config`: see `wbcjax.train.loop.train` for results and errors.

    `allow_config_change` goes on in a workdir whose run began with another config.
    """
    settings = experiment_of(config).settings
    complete = partial(completed, type(settings))
    kept = KeptConfig(complete(config.to_dict()), complete, allow_config_change)
    return loop.train(task, settings.train, settings.seed, workdir, kept)


def evaluate(
    workdir: Path, checkpoint: str, scored: Scored | None = None, *, out: str | None = None, trust_parts: bool = False
) -> list[Block]:
    """Score a run, and return tables of the scores and the places of the other results.

    See `evaluate_run` and `evaluate_classifier` for the data that are scored. Other results are written into `out`, a
    new or an empty folder, or else into a folder of the run's `evaluation`: one for each checkpoint and scored data,
    whose files of an earlier call are replaced. Of several processes the first one writes. `trust_parts`: whether to
    run code from outside of wbcjax that the run's config names. Raises OSError or ValueError for data that cannot be
    scored, Untrusted as `load_config`.
    """
    config, scored = load_config(workdir, trust_parts), scored or Scored()
    if (workdir / run_files.WEIGHTS).is_file() and (scored.calibrate or not out):
        raise ValueError(f"{workdir} is a packed run, which is only read: give --out, and not --calibrate")
    experiment = experiment_of(config)
    part = "val" if scored.calibrate else experiment.part_to_score()
    scored = dataclasses.replace(scored, split=scored.split or part)
    experiment.check_scored(scored, workdir)
    for run in scored.with_runs:
        check_kind(load_config(run, trust_parts), kind_of(config), run)
    place = Path(out) if out else evaluation_folder(workdir, scored.name, checkpoint)
    if is_first():
        _check_place(place, workdir, given=bool(out))
    with _written_once(place) as folder:
        tables, report = experiment.evaluate(workdir, checkpoint, scored, folder), report_path(workdir, place)
    gather([])  # all wait until everything is written
    page = f"The report is {report}; " if report.is_file() else ""
    return [*tables, f"{page}{run_files.SCORES} and the predictions behind it are in {place}"]


@contextlib.contextmanager
def _written_once(place: Path) -> Iterator[Path]:
    """The folder for results: `place` in the first process, a temporary one in others, whose results are the same."""
    if is_first():
        yield place
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / place.name


def _check_place(place: Path, workdir: Path, given: bool) -> None:
    """Refuse a place for results before anything is scored: see `check_out`, where it was `given`."""
    try:
        if given:
            check_out(place)
        check_writable(place)
        check_writable(report_path(workdir, place).parent)
    except OSError as error:
        if error.errno is None:  # no error of the system
            raise
        raise ValueError(
            f"{error.filename}: results cannot be written there ({error.strerror}): give another folder by --out"
        ) from error
