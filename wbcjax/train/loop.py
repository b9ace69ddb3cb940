"""Training from the first step to the last, or from where it stopped."""

import contextlib
import json
import math
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import grain
import jax
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from wbcjax.files import write_atomically
from wbcjax.train.checkpoint import Checkpoints, checkpoint_directory
from wbcjax.train.interrupt import Interrupted, StopRequest
from wbcjax.train.optimizer import make_optimizer
from wbcjax.train.parallel import DataParallel
from wbcjax.train.plan import Phase, Plan, learning_rate, plan_run
from wbcjax.train.progress import RunLog
from wbcjax.train.settings import TrainSettings
from wbcjax.train.state import TrainState, init_optimizer, init_state, prediction_variables
from wbcjax.train.step import make_step
from wbcjax.train.task import Task
from wbcjax.train.workdir import settle_config

STEPS_IN_FLIGHT = 2  # steps handed to the device and not done: more would only hold more batches in its memory


class NonFiniteLoss(ArithmeticError):
    """A loss or gradient became infinite or not a number."""


def train(
    config: ConfigDict, task: Task, workdir: Path | str, *, allow_config_change: bool = False
) -> signal.Signals | None:
    """Train `task` as `config.train` says in `workdir`; goes on from the latest checkpoint that is there.

    Returns None at the end of the run or of `max_minutes`, both with a last evaluation and checkpoint, or the signal
    (SIGINT, SIGTERM) that stopped it: the step is finished, and a checkpoint saved without an evaluation. A second
    signal ends the program at once: what was done since the last save, about `checkpoint_minutes` at most, is lost.
    Raises ConfigChanged, NonFiniteLoss (see nonfinite.json in the workdir) and ValueError for a config that contradicts
    itself or the checkpoint.
    """
    workdir = Path(workdir)
    first_process = jax.process_index() == 0
    settings = TrainSettings.from_config(config.train)
    plan = plan_run(settings, task.images)
    parallel = DataParallel(settings.parallel)
    parallel.check_batch_size(settings.batch_size)
    with Checkpoints(checkpoint_directory(workdir)) as checkpoints:
        started = checkpoints.latest is not None
        changes = settle_config(config, workdir, started=started, allow_change=allow_config_change, write=first_process)
        if first_process:
            write_atomically(workdir / "data.json", (json.dumps(task.facts, indent=2) + "\n").encode())
        batches = task.train_batches(config.seed, jax.process_index(), jax.process_count())
        with contextlib.closing(batches), StopRequest() as stop:
            state, phase = _start_or_resume(settings, config.seed, task, plan, checkpoints, batches)
            with RunLog(
                workdir,
                steps=plan.steps,
                step=int(state.step),
                batch_size=settings.batch_size,
                active=first_process,
            ) as log:
                if state.step:
                    log.record("resume", int(state.step), {"config_changes": changes})
                    log.say(f"going on from step {state.step} of {plan.steps} in {workdir}")
                run = _Run(settings, task, plan, parallel, checkpoints, batches, stop, log, workdir)
                return run.go(state, phase)


def _start_or_resume(
    settings: TrainSettings, seed: int, task: Task, plan: Plan, checkpoints: Checkpoints, batches: grain.DatasetIterator
) -> tuple[TrainState, Phase]:
    # A checkpoint taken where two phases meet still has the optimizer of the earlier one: the loop changes it.
    step = checkpoints.latest
    phase = plan.phase(max((step or 0) - 1, 0))
    variables = task.init_variables(seed)
    if step is None and task.start is not None:
        variables = task.start(variables)
    state = init_state(variables, make_optimizer(settings), phase.layers, seed, ema=settings.ema_decay > 0)
    return (state if step is None else checkpoints.restore(step, state, batches)), phase


class _Launched(NamedTuple):
    """A step given to the device whose metrics were not read yet."""

    step: int
    index: np.ndarray  # of the images in this process's share of the batch
    metrics: dict


@dataclass
class _Run:
    """One call of `train`."""

    settings: TrainSettings
    task: Task
    plan: Plan
    parallel: DataParallel
    checkpoints: Checkpoints
    batches: grain.DatasetIterator
    stop: StopRequest
    log: RunLog
    workdir: Path
    unread: deque[_Launched] = field(default_factory=deque)
    start: float = field(default_factory=time.monotonic)
    window_start: float = field(default_factory=time.monotonic)  # of the steps in the next "train" record
    last_save: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.optimizer = make_optimizer(self.settings)

    def go(self, state: TrainState, phase: Phase) -> signal.Signals | None:
        step = first = int(state.step)
        evaluated = step > 0 and self.checkpoints.evaluated(step)
        train_step = self._compile(phase)
        state = self.parallel.place_state(state)
        while True:
            ending = step == self.plan.steps or (step > first and self._out_of_time(step))
            if (ending or self.plan.evaluation_due(step)) and not evaluated:
                self._read_metrics()
                if not self._evaluate_and_save(state, step):
                    return self._stopped(step)
                evaluated = True
            if ending:
                self.log.record("stop", step, {"reason": "finished" if step == self.plan.steps else "max_minutes"})
                return None
            if self._asked_to_stop(step):
                self._read_metrics()
                if not evaluated:
                    self._save(state, None)
                return self._stopped(step)
            if step > first and not evaluated and self._save_due(step):
                self._read_metrics()
                self._save(state, None)
            if self.plan.phase(step) != phase:
                state, phase = self._change_phase(state, step)
                train_step = self._compile(phase)
            batch = next(self.batches)
            state, metrics = train_step(state, self.parallel.place_batch(batch))
            self.unread.append(_Launched(step, np.asarray(batch.index), metrics))
            if len(self.unread) > STEPS_IN_FLIGHT:
                jax.block_until_ready(self.unread[-1 - STEPS_IN_FLIGHT].metrics)
            step, evaluated = step + 1, False
            self.log.advance()
            if step % self.settings.log_every == 0:
                self._read_metrics()

    def _compile(self, phase: Phase) -> Callable:
        settings = self.settings
        return self.parallel.compile(
            make_step(
                self.task,
                self.optimizer,
                learning_rate(settings, self.plan),
                phase.layers,
                settings.loss_weights,
                settings.ema_decay,
            )
        )

    def _change_phase(self, state: TrainState, step: int) -> tuple[TrainState, Phase]:
        """A new phase starts with a new optimizer: momentum of the old one is dropped, also for weights in both."""
        phase = self.plan.phase(step)
        host_state = jax.device_get(self.parallel.local(state))
        opt_state = init_optimizer(host_state.params, self.optimizer, phase.layers)
        self.log.say(f"step {step}: training layers {phase.layers!r}")
        return self.parallel.place_state(host_state._replace(opt_state=opt_state)), phase

    def _read_metrics(self) -> None:
        """Wait for the steps under way, record their mean metrics, and stop the run if one of them failed."""
        if not self.unread:
            return
        launched = list(self.unread)
        fetched = jax.device_get([self.parallel.local(one.metrics) for one in launched])
        fetched = [{"loss": metrics["loss"]} | metrics for metrics in fetched]  # jax sorts names; the sum goes first
        self.unread.clear()
        failed = [number for number, metrics in enumerate(fetched) if metrics["failed_step"] >= 0]
        if failed:
            self._report_failure(launched[failed[0]], fetched[failed[0]])
        now, step = time.monotonic(), launched[-1].step + 1
        images = len(launched) * self.settings.batch_size
        means = {
            name: float(np.mean([metrics[name] for metrics in fetched])) for name in fetched[0] if name != "failed_step"
        }
        speed = {"images_per_second": images / (now - self.window_start), "epoch": step / self.plan.steps_per_epoch}
        self.log.record("train", step, means | {"learning_rate": float(fetched[-1]["learning_rate"])} | speed)
        self.window_start = now

    def _report_failure(self, launched: _Launched, metrics: dict) -> None:
        losses = {name: float(value) for name, value in metrics.items() if name not in ("failed_step", "learning_rate")}
        names = self.task.names(_gather(launched.index))
        report = {
            "step": launched.step,
            "losses": {name: value if math.isfinite(value) else str(value) for name, value in losses.items()},
            "images": names,
        }
        path = self.workdir / "nonfinite.json"
        if jax.process_index() == 0:
            path.write_text(json.dumps(report, indent=2) + "\n")
        self.log.record("nonfinite", launched.step, report)
        raise NonFiniteLoss(
            f"step {launched.step}: "
            + ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
            + f"; the weights were left as they were before it. Images: {', '.join(names)}; also in {path}. "
            "Look at these images and their annotations; the same command goes on from the latest checkpoint. Or lower "
            "config.train.learning_rate, or set config.train.clip_norm, and add --allow_config_change."
        )

    def _evaluate_and_save(self, state: TrainState, step: int) -> bool:
        """False when a signal broke the evaluation off; the state is saved whatever becomes of the evaluation."""
        # One of several processes must not leave the others waiting: there a signal counts after the evaluation.
        breakable = self.stop.at_once() if jax.process_count() == 1 else contextlib.nullcontext()
        score = None
        try:
            with breakable:
                score = self._evaluate(state, step)
        except Interrupted:
            pass
        finally:
            self._save(state, score)
        return score is not None

    def _evaluate(self, state: TrainState, step: int) -> float:
        scores = self.task.evaluate(prediction_variables(self.parallel.local(state)))
        if self.task.best_score not in scores:
            raise ValueError(f"the evaluation gave {', '.join(scores)}, not {self.task.best_score!r}")
        self.log.record("eval", step, {"epoch": step / self.plan.steps_per_epoch} | scores)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
        self.log.say(f"step {step} evaluated: {shown}")
        return scores[self.task.best_score]

    def _save(self, state: TrainState, score: float | None) -> None:
        self.checkpoints.save(jax.device_get(self.parallel.local(state)), self.batches, score)
        self.window_start = self.last_save = time.monotonic()

    def _stopped(self, step: int) -> signal.Signals:
        reason = self.stop.signal or signal.SIGTERM  # another process of the run was asked
        self.log.record("stop", step, {"reason": reason.name})
        self.log.say(f"stopped by {reason.name} after step {step}; saved in {self.workdir}; the same command goes on")
        return reason

    def _out_of_time(self, step: int) -> bool:
        limit = self.settings.max_minutes * 60
        return limit > 0 and self._agreed(step, time.monotonic() - self.start > limit)

    def _save_due(self, step: int) -> bool:
        limit = self.settings.checkpoint_minutes * 60
        return limit > 0 and self._agreed(step, time.monotonic() - self.last_save > limit)

    def _asked_to_stop(self, step: int) -> bool:
        return self._agreed(step, self.stop.signal is not None)

    def _agreed(self, step: int, wish: bool) -> bool:
        """Whether a process of the run wants it; several processes ask each other only where metrics are read."""
        if jax.process_count() == 1:
            return wish
        return step % self.settings.log_every == 0 and bool(_gather(np.array([wish])).any())


def _gather(local: np.ndarray) -> np.ndarray:
    """The arrays of all processes, one after the other."""
    if jax.process_count() == 1:
        return local
    return np.asarray(multihost_utils.process_allgather(local, tiled=True))
