"""Saving and restoring a run; the only module that knows orbax."""

import math
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp
from grain.checkpoint import CheckpointHandler, CheckpointRestore, CheckpointSave

from wbcjax.train.state import TrainState


class Checkpoints:
    """The latest and the best checkpoint of a run, under one folder, one folder per step.

    A checkpoint is made of three items: `model` (weights, batch statistics and averaged weights, all that prediction
    needs), `training` (optimizer, step, PRNG key) and `data` (the place in the training data of each process). States
    are numpy arrays, so a run may go on with another number of devices. Every process of a run makes one of these.
    A save that is cut short leaves the one before it intact.
    """

    def __init__(self, directory: Path, *, only_read: bool = False) -> None:
        # Told of the handlers, orbax can describe checkpoints that another process saved.
        handlers = ocp.handlers.DefaultCheckpointHandlerRegistry()
        for item in ("model", "training"):
            handlers.add(item, ocp.args.StandardSave, ocp.StandardCheckpointHandler())
            handlers.add(item, ocp.args.StandardRestore, ocp.StandardCheckpointHandler())
        of_grain: Any = CheckpointHandler()  # not a subclass of orbax's class, though made for it
        handlers.add("data", CheckpointSave, of_grain)
        handlers.add("data", CheckpointRestore, of_grain)
        self._manager = ocp.CheckpointManager(
            directory.absolute(),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=ocp.checkpoint_managers.AnyPreservationPolicy(
                    [ocp.checkpoint_managers.LatestN(1), ocp.checkpoint_managers.BestN(get_metric_fn=_score, n=1)]
                ),
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
        """Save a state in host memory; `score` None where it was not evaluated. Replaces one of the same step."""
        step = int(state.step)
        if step in self._manager.all_steps():
            self._manager.delete(step)
        comparable = score is not None and math.isfinite(score)
        self._manager.save(
            step,
            args=ocp.args.Composite(
                model=ocp.args.StandardSave(_model_item(state)),
                training=ocp.args.StandardSave(_training_item(state)),
                data=CheckpointSave(batches),
            ),
            metrics={"score": score if comparable else -math.inf, "evaluated": score is not None},
        )

    def restore(self, step: int, like: TrainState, batches: grain.DatasetIterator) -> TrainState:
        """The state of `step`, in host memory, shaped as `like`; sets `batches` back to where it was then.

        Raises ValueError that lists what differs when the checkpoint holds other weights than `like`.
        """
        model, training = _model_item(like), _training_item(like)
        self._refuse_misfit(step, {"model": model, "training": training})
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
                model=ocp.args.StandardRestore(model),
                training=ocp.args.StandardRestore(training),
                data=CheckpointRestore(batches),
            ),
        )
        return like._replace(**restored["model"], **restored["training"])

    def restore_model(self, step: int) -> dict:
        """The `model` item of `step`: {"params", "batch_stats"} and, in a run that averages weights, "ema_params"."""
        metadata = self._manager.item_metadata(step)["model"].tree
        like = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), metadata)
        args = ocp.args.Composite(model=ocp.args.StandardRestore(like))
        return self._manager.restore(step, args=args)["model"]

    def _refuse_misfit(self, step: int, wanted: dict[str, Any]) -> None:
        # orbax raises on another tree but lets another shape pass.
        metadata = self._manager.item_metadata(step)
        saved = _shapes({"model": metadata["model"].tree, "training": metadata["training"].tree})
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

    which: "best" (by the score of the run's evaluations) or "latest". The averaged weights where the run kept them.
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
        model = checkpoints.restore_model(step)
    params = model.get("ema_params", model["params"])
    return {"params": params, "batch_stats": model["batch_stats"]}, step


def checkpoint_directory(workdir: Path) -> Path:
    """Where a run in `workdir` keeps its checkpoints."""
    return Path(workdir) / "checkpoints"


def _model_item(state: TrainState) -> dict:
    item = {"params": state.params, "batch_stats": state.batch_stats}
    return item if state.ema_params is None else item | {"ema_params": state.ema_params}


def _training_item(state: TrainState) -> dict:
    # failed_step is left out: a state that failed is never saved.
    return {"step": state.step, "opt_state": state.opt_state, "key": state.key}


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    # Metadata names the fields of a NamedTuple and the places of a tuple as a dictionary's keys: so must we.
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in leaves}


def _score(metrics: dict[str, float]) -> float:
    return metrics["score"]
