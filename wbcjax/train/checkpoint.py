"""Saving and restoring a run; the only module that knows orbax."""

import json
import math
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp
from grain.checkpoint import CheckpointHandler, CheckpointRestore, CheckpointSave
from jax.experimental import multihost_utils

from wbcjax.train.state import TrainState, prediction_variables


class Checkpoints:
    """The latest and the best checkpoint of a run, under one folder, one folder per step.

    A checkpoint is made of three items: `prediction` (weights and batch statistics to predict with, averaged where the
    run averages), `training` (step, PRNG key, optimizer, and the weights and statistics that are trained where
    `prediction` has their averages) and `data` (the place in the training data of each process). States are numpy
    arrays, so a run may go on with another number of devices. Every process of a run makes one of these.

    A step is written under a temporary name and renamed when it is whole; only then are older ones deleted, and a step
    that is there is never written again. So wherever a save is cut short, the latest checkpoint is whole.
    """

    def __init__(self, directory: Path, *, only_read: bool = False) -> None:
        # Told of the handlers, orbax can describe checkpoints that another process saved.
        handlers = ocp.handlers.DefaultCheckpointHandlerRegistry()
        for item in ("prediction", "training"):
            handlers.add(item, ocp.args.StandardSave, ocp.StandardCheckpointHandler())
            handlers.add(item, ocp.args.StandardRestore, ocp.StandardCheckpointHandler())
        of_grain: Any = CheckpointHandler()  # not a subclass of orbax's class, though made for it
        handlers.add("data", CheckpointSave, of_grain)
        handlers.add("data", CheckpointRestore, of_grain)
        self._manager = ocp.CheckpointManager(
            directory.absolute(),
            options=ocp.CheckpointManagerOptions(
                best_fn=_score,
                # Saved while the next step runs, the state could be overwritten: its buffers are given to that step.
                enable_async_checkpointing=False,
                cleanup_tmp_directories=not only_read,
                create=not only_read,
            ),
            handler_registry=handlers,
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    @property
    def latest(self) -> int | None:
        """The step of the latest checkpoint."""
        return self._manager.latest_step()

    @property
    def best(self) -> int | None:
        """The step of the checkpoint with the best score, the later one of equals."""
        return self._manager.best_step()

    def evaluated(self, step: int) -> bool:
        """Whether the checkpoint of `step` holds the score of an evaluation."""
        return self._manager.metrics(step)["evaluated"]  # pyright: ignore[reportOptionalSubscript]

    def save(self, state: TrainState, batches: grain.DatasetIterator, score: float | None) -> None:
        """Save a state in host memory; `score` None where it was not evaluated.

        Of a step that was saved before only the score is written: a run reaches each step in one state only.
        """
        step = int(state.step)
        comparable = score is not None and math.isfinite(score)
        metrics = {"score": score if comparable else -math.inf, "evaluated": score is not None}
        if step not in self._manager.all_steps():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    prediction=ocp.args.StandardSave(prediction_variables(state)),
                    training=ocp.args.StandardSave(_training_item(state)),
                    data=CheckpointSave(batches),
                ),
                metrics=metrics,
            )
        elif score is not None:
            self._write_metrics(step, metrics)
        for old in set(self._manager.all_steps()) - {self.latest, self.best}:
            self._manager.delete(old)

    def restore(self, step: int, like: TrainState, batches: grain.DatasetIterator) -> TrainState:
        """The state of `step`, in host memory, shaped as `like`; sets `batches` back to where it was then.

        Raises ValueError that lists what differs when the checkpoint holds other weights than `like`.
        """
        prediction, training = prediction_variables(like), _training_item(like)
        self._refuse_misfit(step, {"prediction": prediction, "training": training})
        data = self._manager.directory / str(step) / "data"
        share = f"process_{jax.process_index()}-of-{jax.process_count()}.json"
        if not (data / share).exists():
            found = ", ".join(sorted(path.name for path in data.glob("process_*")))
            raise ValueError(
                f"{data}: no {share} but {found}: go on with as many processes as the run was started with"
            )
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                prediction=ocp.args.StandardRestore(prediction),
                training=ocp.args.StandardRestore(training),
                data=CheckpointRestore(batches),
            ),
        )
        prediction = restored["prediction"] if like.ema is None else {"ema": restored["prediction"]}
        return like._replace(**prediction, **restored["training"])

    def restore_prediction(self, step: int) -> dict:
        """The variables {"params", "batch_stats"} of `step` to predict with, in host memory."""
        metadata = self._manager.item_metadata(step)["prediction"].tree
        like = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), metadata)
        args = ocp.args.Composite(prediction=ocp.args.StandardRestore(like))
        return self._manager.restore(step, args=args)["prediction"]

    def _write_metrics(self, step: int, metrics: dict) -> None:
        # orbax has no call for this; the file is where its handler of metrics puts and reads it.
        if jax.process_index() == 0:
            path = Path(self._manager.directory) / str(step) / "metrics" / "metrics"
            unfinished = path.with_suffix(".new")
            unfinished.write_text(json.dumps(metrics))
            unfinished.replace(path)
        multihost_utils.sync_global_devices("the score is written")
        self._manager.reload()
        multihost_utils.sync_global_devices("the score is read")  # process 0 deletes what it makes superfluous

    def _refuse_misfit(self, step: int, wanted: dict[str, Any]) -> None:
        # orbax raises on another tree but lets another shape pass.
        metadata = self._manager.item_metadata(step)
        saved = _shapes({item: metadata[item].tree for item in wanted})
        needed = _shapes(wanted)
        differences = [
            f"{path}: {saved.get(path, 'absent')} in the checkpoint, {needed.get(path, 'absent')} in the model"
            for path in sorted(saved | needed)
            if saved.get(path) != needed.get(path)
        ]
        if differences:
            more = f"\n  and {len(differences) - 10} more" if len(differences) > 10 else ""
            raise ValueError(
                f"{self._manager.directory / str(step)} does not fit the model and optimizer of this config:\n  "
                + "\n  ".join(differences[:10])
                + f"{more}\nGive the config that the run was started with, or a new workdir."
            )


def load_variables(workdir: Path, which: str = "best") -> tuple[dict, int]:
    """The variables {"params", "batch_stats"} to predict with, in host memory, and the step they are from.

    which: "best" (by the score of the run's evaluations) or "latest". Averaged where the run keeps averages.
    Raises FileNotFoundError when the run has no checkpoint.
    """
    if which not in ("best", "latest"):
        raise ValueError(f"checkpoint {which!r}: choose 'best' or 'latest'")
    directory = checkpoint_directory(workdir)
    if not directory.is_dir():
        raise FileNotFoundError(f"{directory} does not exist: give the workdir of a training run")
    with Checkpoints(directory, only_read=True) as checkpoints:
        step = checkpoints.best if which == "best" else checkpoints.latest
        if step is None:
            raise FileNotFoundError(f"{directory} holds no checkpoint yet: the run was ended before its first one")
        return checkpoints.restore_prediction(step), step


def checkpoint_directory(workdir: Path) -> Path:
    """Where a run in `workdir` keeps its checkpoints."""
    return Path(workdir) / "checkpoints"


def _training_item(state: TrainState) -> dict:
    # failed_step is left out: a state that failed is never saved.
    item = {"step": state.step, "opt_state": state.opt_state, "key": state.key}
    return item if state.ema is None else item | {"params": state.params, "batch_stats": state.batch_stats}


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    # Metadata names the fields of a NamedTuple and the places of a tuple as a dictionary's keys: so must we.
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in leaves}


def _score(metrics: dict[str, float]) -> float:
    return metrics["score"]
