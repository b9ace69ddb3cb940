"""Saving and restoring a run; the only module that uses orbax."""

import json
import logging
import math
import os
import time
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.handlers import CompositeCheckpointHandler

from wbcjax.models.variables import Tree, Variables
from wbcjax.system import run_files
from wbcjax.train.checkpoint_digests import find_fault, has_digests, write_digests
from wbcjax.train.checkpoint_files import (
    DAMAGED,
    DISK_FULL,
    TornCheckpoint,
    clear_unfinished,
    delete,
    read_place,
    read_score,
    saved_steps,
    score_item,
    set_aside,
    system_error,
    write_score,
)
from wbcjax.train.first_process import in_first_process
from wbcjax.train.misfit import find_alteration, find_misfit
from wbcjax.train.plain_name import is_plain, plain_name
from wbcjax.train.state import TrainState, prediction_variables, split_collections, trained_variables

log = logging.getLogger(__name__)


class NotSaved(OSError):
    """A checkpoint could not be written; those before it are as they were."""


class Checkpoints:
    """The two latest checkpoints of a run and the best, under one folder, one folder per step.

    A checkpoint is made of four items: `prediction` (weights and batch statistics to predict with, averaged where the
    run averages), `training` (step, PRNG key, optimizer, and the weights and statistics that are trained where
    `prediction` has their averages), `data` (the place in the training data) and `metrics` (the score). States are
    numpy arrays and the place in the data is the same in every process, so a run may go on with another number of
    devices and processes. Every process of a run makes one of these; only in the first one anything is saved.

    A step is written under another name and read back. When it is whole it gets the digests of its files and its own
    name. Only then are older ones deleted; a saved step is never written again. So wherever a save is cut short, the
    latest checkpoint is whole. Later damage is found when the folder is opened to go on: such a step is renamed to
    N.torn, with a warning, and the one before it is the latest. With `only_read` nothing is changed.
    """

    def __init__(self, directory: Path, *, only_read: bool = False) -> None:
        self._directory = directory.absolute()
        # Orbax is set up for a single process: the first one writes, each reads for itself. See in_first_process.
        me = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(
            primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process_{me}"
        )
        self._checkpointer = ocp.Checkpointer(
            CompositeCheckpointHandler(
                prediction=ocp.StandardCheckpointHandler(multiprocessing_options=alone),
                training=ocp.StandardCheckpointHandler(multiprocessing_options=alone),
                data=ocp.JsonCheckpointHandler(multiprocessing_options=alone),
                metrics=ocp.JsonCheckpointHandler("metrics", multiprocessing_options=alone),
                composite_options=ocp.CompositeOptions(multiprocessing_options=alone),
            ),
            multiprocessing_options=alone,
        )
        if not only_read:
            in_first_process(self._make_ready, f"{directory} could not be opened")

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._checkpointer.close()

    @property
    def latest(self) -> int | None:
        """The step of the latest checkpoint."""
        return max(self._steps(), default=None)

    @property
    def best(self) -> int | None:
        """The step of the checkpoint with the best score, the later one of equals.

        Raises TornCheckpoint where a score is damaged.
        """
        return max(self._steps(), key=lambda step: (read_score(self._folder(step))["score"], step), default=None)

    @property
    def best_score(self) -> float:
        """The score of the best checkpoint; -inf where none has one."""
        return max((read_score(self._folder(step))["score"] for step in self._steps()), default=-math.inf)

    def evaluated(self, step: int) -> bool:
        """Whether the checkpoint of `step` holds the score of an evaluation."""
        return read_score(self._folder(step))["evaluated"]

    def save(self, state: TrainState, place: dict[str, Any], score: float | None) -> None:
        """Save a state in host memory and the `place` in the data; `score` None where it was not evaluated.

        Of a step that was saved before only the score is written: a run reaches each step in one state only. Raises
        NotSaved when it cannot be written, as on a full disk.
        """
        step = int(state.step)
        try:
            if step not in self._steps():
                self._write(step, state, place, score)
            elif score is not None:
                write_score(self._folder(step), score)
        except Exception as error:  # of many kinds, see system_error
            number = system_error(error)
            if number is None and not isinstance(error, TornCheckpoint):
                raise
            for _ in range(5):  # threads of orbax may go on writing for a moment
                clear_unfinished(self._directory, ignore_errors=True)
                time.sleep(0.1)
            cause = os.strerror(number) if number else str(error)
            intact = "there is none before it" if self.latest is None else f"that of step {self.latest} is intact"
            remedy = "Free some space" if number in DISK_FULL else "Mend that"
            raise NotSaved(
                f"the checkpoint of step {step} could not be written to {self._directory}: {cause}; "
                f"{intact}. {remedy}: the same command goes on."
            ) from error
        for old in set(self._steps()[:-2]) - {self.best}:
            delete(self._folder(old))

    def restore(self, step: int, like: TrainState, batches: grain.DatasetIterator[Any]) -> TrainState:
        """The state of `step`, in host memory, shaped as `like`; sets `batches` back to where it was then.

        Raises ValueError that lists what differs when the checkpoint holds other weights than `like`.
        """
        folder = self._folder(step)
        if misfit := self.misfit(step, like):
            raise ValueError(
                f"{folder} does not fit the model and optimizer of this config:\n{misfit}\n"
                "Give the config that the run was started with, or a new workdir."
            )
        restored = self._restore(folder, _array_items(like))
        batches.set_state(read_place(folder))
        prediction, training = restored["prediction"], restored["training"]
        rest = {name: training.pop(name) for name in ("step", "opt_state", "key")}
        if like.ema is None:
            params, collections = split_collections(prediction)
            return TrainState(params=params, collections=collections, ema=None, **rest)
        params, collections = split_collections(training)
        return TrainState(params=params, collections=collections, ema=prediction, **rest)

    def misfit(self, step: int, like: TrainState) -> str:
        """Differences between the arrays of `step` and of `like` in names, types or shapes: lines, or ""."""
        # orbax raises for another tree, but accepts another shape or type.
        wanted = _array_items(like)
        saved = self._metadata(self._folder(step))
        return find_misfit({item: saved[item].tree for item in wanted}, wanted)

    def restore_prediction(self, step: int) -> Variables:
        """The variables {"params", other collections} of `step` to predict with, in host memory.

        Raises TornCheckpoint that names the damaged file.
        """
        folder = self._folder(step)
        fault = find_fault(folder, ("prediction",)) if has_digests(folder) else None
        if fault:
            raise TornCheckpoint(fault)
        try:
            return self._restore_as_saved(folder, "prediction")["prediction"]
        except DAMAGED as error:
            raise TornCheckpoint(_short(folder, error)) from error

    def _restore_as_saved(self, folder: Path, *items: str) -> Any:
        saved = self._metadata(folder)
        likes = {item: jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), saved[item].tree) for item in items}
        return self._restore(folder, likes)

    def _restore(self, folder: Path, likes: dict[str, Any]) -> Any:
        args = ocp.args.Composite(**{item: ocp.args.StandardRestore(like) for item, like in likes.items()})
        with plain_name(folder) as name:
            return self._checkpointer.restore(name, args=args)

    def _metadata(self, folder: Path) -> Any:
        with plain_name(folder) as name:
            return self._checkpointer.metadata(name).item_metadata or {}

    def _folder(self, step: int) -> Path:
        return self._directory / str(step)

    def _steps(self) -> list[int]:
        return saved_steps(self._directory)

    def _write(self, step: int, state: TrainState, place: dict[str, Any], score: float | None) -> None:
        unfinished, arrays = self._directory / f"{step}.unfinished", _array_items(state)
        args = ocp.args.Composite(
            **{item: ocp.args.StandardSave(tree) for item, tree in arrays.items()},
            data=ocp.args.JsonSave(place),
            metrics=ocp.args.JsonSave(score_item(score)),
        )
        with plain_name(unfinished) as name:
            self._checkpointer.save(name, args=args)
        self._read_back(unfinished, arrays, place, score_item(score))
        write_digests(unfinished, without="metrics")
        unfinished.rename(self._folder(step))

    def _read_back(self, folder: Path, arrays: dict[str, Any], place: Any, score: dict[str, Any]) -> None:
        """Raise TornCheckpoint unless `folder` holds these arrays, place and score, to the bit."""
        try:
            altered = [
                alteration
                for item, tree in arrays.items()  # one after the other: each is held twice in memory
                if (alteration := find_alteration(self._restore(folder, {item: tree})[item], tree))
            ]
            altered += ["the place in the data"] if read_place(folder) != json.loads(json.dumps(place)) else []
            altered += ["the score"] if read_score(folder) != score else []
        except DAMAGED as error:
            raise TornCheckpoint(f"what was written is incomplete ({_short(folder, error)})") from error
        if altered:
            raise TornCheckpoint(f"read back, {altered[0]} is not what was written")

    def _make_ready(self) -> None:
        """Delete unfinished saves, and set damaged checkpoints aside."""
        self._directory.mkdir(parents=True, exist_ok=True)
        clear_unfinished(self._directory)
        latest, torn = None, {}
        for step in reversed(self._steps()):
            fault = self._find_fault(step, mend_score=latest is None)
            if fault is None:
                latest = step if latest is None else latest
            else:
                torn[fault] = set_aside(self._folder(step))
        onward = (
            "as there is no other, training starts anew" if latest is None else f"training goes on from step {latest}"
        )
        for fault, aside in torn.items():
            log.warning("a checkpoint is torn: %s; it is kept as %s; %s", fault, aside, onward)

    def _find_fault(self, step: int, *, mend_score: bool) -> str | None:
        folder = self._folder(step)
        fault = find_fault(folder) if has_digests(folder) else None
        if fault is None and not (has_digests(folder) and is_plain(folder)):
            fault = self._try(folder)
        if fault:
            return fault
        try:
            read_score(folder)
        except TornCheckpoint as error:
            if not mend_score:  # it may be the best one: without its score the next save would delete it
                return str(error)
            write_score(folder, None)
            log.warning("%s; step %d counts as not evaluated", error, step)
        return None

    def _try(self, folder: Path) -> str | None:
        """The fault of a checkpoint without digests, or under a name that is not plain; without a fault it gets them.

        The first versions wrote no digests. Later ones did not notice that arrays were missing under such a name.
        """
        for path in folder.rglob("*"):
            if path.is_file():
                path.open("rb").close()  # what may not be read is not torn: raises OSError
        try:
            self._restore_as_saved(folder, "prediction", "training")
            read_place(folder)
        except DAMAGED as error:
            return _short(folder, error)
        write_digests(folder, without="metrics")
        return None


def load_variables(workdir: Path, which: str = "best") -> tuple[Variables, int]:
    """The variables {"params", other collections} to predict with, in host memory, and the step they are from.

    which: "best" (by the score of the run's evaluations) or "latest". Averaged where the run keeps averages.
    Raises FileNotFoundError when the run has no checkpoint, TornCheckpoint when a file of it is damaged.
    """
    if which not in ("best", "latest"):
        raise ValueError(f"checkpoint {which!r}: choose 'best' or 'latest'")
    directory = checkpoint_directory(workdir)
    if not directory.is_dir():
        raise FileNotFoundError(f"{directory} does not exist: give the workdir of a training run")
    with Checkpoints(directory, only_read=True) as checkpoints:
        try:
            step = checkpoints.best if which == "best" else checkpoints.latest
            if step is None:
                raise FileNotFoundError(f"{directory} holds no checkpoint yet: the run was ended before its first one")
            return checkpoints.restore_prediction(step), step
        except TornCheckpoint as error:
            other = "latest" if which == "best" else "best"
            raise TornCheckpoint(
                f"the {which} checkpoint of {workdir} is torn: {error}. Take the {other} one (--checkpoint {other}), "
                "or train on: torn checkpoints are then set aside"
            ) from error


def checkpoint_directory(workdir: Path) -> Path:
    """Where a run in `workdir` keeps its checkpoints."""
    return Path(workdir) / run_files.CHECKPOINTS


def _array_items(state: TrainState) -> dict[str, Tree]:
    return {"prediction": prediction_variables(state), "training": _training_item(state)}


def _training_item(state: TrainState) -> dict[str, Tree]:
    item = {"step": state.step, "opt_state": state.opt_state, "key": state.key}
    return item if state.ema is None else item | trained_variables(state)


def _short(folder: Path, error: Exception) -> str:
    return f"{folder} cannot be restored ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
