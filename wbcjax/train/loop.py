"""Training from the first step to the last, or from where it stopped."""

import contextlib
import functools
import json
import math
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import grain
import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, Bool
from ml_collections import ConfigDict

from wbcjax.system.files import write_atomically
from wbcjax.system.interrupt import Interrupted, StopRequest
from wbcjax.train.checkpoint import Checkpoints, checkpoint_directory
from wbcjax.train.guard import Guard
from wbcjax.train.optimizer import make_optimizer
from wbcjax.train.parallel import DataParallel, check_batch_size
from wbcjax.train.plan import Phase, Plan, learning_rate, plan_run
from wbcjax.train.progress import RunLog
from wbcjax.train.settings import TrainSettings
from wbcjax.train.state import TrainState, init_optimizer, init_state, prediction_variables
from wbcjax.train.step import make_step
from wbcjax.train.task import Task
from wbcjax.train.workdir import listed, settle_config
from wbcjax.train.workdir_lock import lock_workdir

STEPS_IN_FLIGHT = 2  # steps handed to the device and not done: more would only hold more batches in its memory
COLLAPSED = 0.01  # of the best score: what is below is no worse model, but one that finds nothing any more
STOP, TIME_OVER, SAVE = range(3)  # what a process may wish


def train(
    config: ConfigDict, task: Task, workdir: Path | str, *, allow_config_change: bool = False
) -> signal.Signals | None:
    """Train `task` as `config.train` says in `workdir`; goes on from the latest checkpoint that is there.

    Returns None at the end of the run or of `max_minutes`, both with a last evaluation and checkpoint, or the signal
    (SIGINT, SIGTERM) that stopped it, or came too late to: the step is finished, and a checkpoint saved without an
    evaluation. A second signal ends the program at once: what was done since the last save, about `checkpoint_minutes`
    at most, is lost. Several processes agree on what one of them was told. Called in another thread than the main one
    it hears no signal: `max_minutes` ends it. Raises ConfigChanged, WorkdirInUse, NonFiniteLoss (see `Guard`), OSError
    when a checkpoint or the log cannot be written, and ValueError for a config that contradicts itself or the
    checkpoint.
    """
    workdir = Path(workdir)
    first_process = jax.process_index() == 0
    settings = TrainSettings.from_config(config.train)
    plan = plan_run(settings, task.images)
    parallel = DataParallel(settings.parallel)
    check_batch_size(settings.batch_size, len(parallel.devices), settings.accumulate)
    with lock_workdir(workdir), Checkpoints(checkpoint_directory(workdir)) as checkpoints:
        started = any(checkpoint_directory(workdir).iterdir())  # torn ones count: they are of that config
        changes = settle_config(
            config,
            workdir,
            started=started,
            allow_change=allow_config_change,
            write=first_process,
            complete=task.complete,
        )
        task.check_workdir(workdir)
        if first_process:
            write_atomically(workdir / "data.json", (json.dumps(task.facts) + "\n").encode())
        fresh_batches = functools.partial(task.train_batches, config.seed, jax.process_index(), jax.process_count())
        with contextlib.closing(fresh_batches()) as batches, StopRequest() as stop:
            state, phase = _start_or_resume(settings, config.seed, task, plan, checkpoints, batches)
            with RunLog(
                workdir,
                steps=plan.steps,
                step=int(state.step),
                batch_size=settings.batch_size,
                active=first_process,
            ) as log:
                if log.resumes:
                    log.record("resume", int(state.step), {"config_changes": changes})
                    at = "already at" if state.step >= plan.steps else "going on from"
                    log.say(f"{at} step {state.step} of {plan.steps} in {workdir}")
                    if changes:
                        log.say(f"the config is another than before:\n{listed(changes)}")
                guard = Guard(settings.max_skipped_in_a_row, workdir, log, fresh_batches)
                run = _Run(settings, task, plan, parallel, checkpoints, batches, stop, log, guard, workdir)
                return run.go(state, phase)


def _start_or_resume(
    settings: TrainSettings, seed: int, task: Task, plan: Plan, checkpoints: Checkpoints, batches: grain.DatasetIterator
) -> tuple[TrainState, Phase]:
    step = checkpoints.latest
    # A checkpoint taken where two phases meet still has the optimizer of the earlier one: the loop changes it.
    phase = plan.phase(max((step or 0) - 1, 0))
    variables = task.init_variables(seed)
    if step is None and task.start is not None:
        variables = task.start(variables)
    optimizer = make_optimizer(settings)
    state = init_state(variables, optimizer, phase.layers, seed, ema=settings.ema_decay > 0)
    if step is None:
        return state, phase
    # Phases are of epochs: with a set of another size they meet at another step than the checkpoint's run had it.
    for other in (phase, *plan.phases):
        like = state._replace(opt_state=init_optimizer(state.params, optimizer, other.layers))
        if not checkpoints.misfit(step, like):
            return checkpoints.restore(step, like, batches), other
    return checkpoints.restore(step, state, batches), phase


class _Launched(NamedTuple):
    """A step given to the device whose metrics were not read yet."""

    step: int
    place: Any  # of its batch in the data
    index: np.ndarray  # of the images in this process's share of the batch
    metrics: dict


def _no_wishes() -> Bool[np.ndarray, "3"]:
    return np.zeros(3, bool)


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
    guard: Guard
    workdir: Path
    agreed: np.ndarray = field(default_factory=_no_wishes)
    unread: deque[_Launched] = field(default_factory=deque)
    start: float = field(default_factory=time.monotonic)
    window_start: float = field(default_factory=time.monotonic)  # of the steps in the next "train" record
    last_save: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.optimizer = make_optimizer(self.settings)
        self.best_score = self.checkpoints.best_score

    def go(self, state: TrainState, phase: Phase) -> signal.Signals | None:
        step = first = int(state.step)
        evaluated = step > 0 and self.checkpoints.evaluated(step)
        train_step = self._compile(phase)
        state = self.parallel.place_state(state)
        while True:
            finished = step >= self.plan.steps  # above where the plan has become shorter since the run began
            ending = finished or (step > first and self._out_of_time())
            if (ending or self.plan.evaluation_due(step)) and not evaluated:
                self._read_metrics()
                if not self._evaluate_and_save(state, step):
                    return self._stopped(step)
                evaluated = True
            if ending:
                self.log.record("stop", step, {"reason": "finished" if finished else "max_minutes"})
                return self.stop.signal
            if self._asked_to_stop():
                self._read_metrics()
                if not evaluated:
                    self._save(state, None)
                return self._stopped(step)
            if step > first and not evaluated and self._save_due():
                self._read_metrics()
                self._save(state, None)
            if self.plan.phase(step) != phase:
                state, phase = self._change_phase(state, step)
                train_step = self._compile(phase)
            place, batch = self.batches.get_state(), next(self.batches)
            wishes = self.parallel.place_wishes(self._wishes().astype(np.float32))
            state, metrics = train_step(state, self.parallel.place_batch(batch), wishes)
            self.unread.append(_Launched(step, place, np.asarray(batch.index), metrics))
            if len(self.unread) > STEPS_IN_FLIGHT:
                self._hear(self.parallel.local(self.unread[-1 - STEPS_IN_FLIGHT].metrics)["wishes"])
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
                settings.accumulate,
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
        """Wait for the steps under way, record their mean metrics, and stop the run if too many of them failed."""
        if not self.unread:
            return
        launched = list(self.unread)
        fetched = jax.device_get([self.parallel.local(one.metrics) for one in launched])
        fetched = [{"loss": metrics["loss"]} | metrics for metrics in fetched]  # jax sorts names; the sum goes first
        self.unread.clear()
        for one, metrics in zip(launched, fetched, strict=True):
            self._hear(metrics.pop("wishes"))
            self.guard.look(one.step, one.place, lambda one=one: self.task.names(_gather(one.index)), metrics)
        now, step = time.monotonic(), launched[-1].step + 1
        images = len(launched) * self.settings.batch_size
        skipped = sum(int(metrics.pop("skipped")) for metrics in fetched)
        counted = [metrics for metrics in fetched if math.isfinite(metrics["loss"] + metrics["grad_norm"])] or fetched
        means = {name: float(np.mean([metrics[name] for metrics in counted])) for name in fetched[0]}
        means |= {"learning_rate": float(fetched[-1]["learning_rate"])} | ({"skipped": skipped} if skipped else {})
        speed = {"images_per_second": images / (now - self.window_start), "epoch": step / self.plan.steps_per_epoch}
        self.log.record("train", step, means | speed)
        self.window_start = now

    def _evaluate_and_save(self, state: TrainState, step: int) -> bool:
        """False when a signal broke the evaluation off; the state is saved whatever becomes of the evaluation."""
        # One of several processes must not leave the others waiting: there a signal counts after the evaluation.
        breakable = self.stop.at_once() if jax.process_count() == 1 else contextlib.nullcontext()
        score = None
        try:
            with breakable:
                scores = self.task.evaluate(prediction_variables(self.parallel.local(state)))
            score = self._note_scores(scores, step)
        except Interrupted:
            pass
        finally:
            self._save(state, score)
        return score is not None

    def _note_scores(self, scores: dict[str, float], step: int) -> float:
        """Record the scores of an evaluation; returns the one that ranks checkpoints."""
        name = self.task.best_score
        if name not in scores:
            raise ValueError(f"the evaluation gave {', '.join(scores)}, not {name!r}")
        self.log.record("eval", step, {"epoch": step / self.plan.steps_per_epoch} | scores)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
        self.log.say(f"step {step} evaluated: {shown}")
        self._flag_collapse(step, scores[name])
        return scores[name]

    def _flag_collapse(self, step: int, score: float) -> None:
        name, best = self.task.best_score, self.best_score
        self.best_score = max(best, score)
        if best > 0 and score < COLLAPSED * best:
            self.log.record("collapse", step, {name: score, "best": best})
            self.log.say(
                f"step {step}: {name} collapsed, {score:.4g} after {best:.4g}. The best checkpoint is kept. Look at "
                "the losses and skipped steps before; a lower config.train.learning_rate or a clip_norm may help"
            )

    def _save(self, state: TrainState, score: float | None) -> None:
        self.checkpoints.save(jax.device_get(self.parallel.local(state)), self.batches, score)
        self.window_start = self.last_save = time.monotonic()
        self.agreed[SAVE] = False

    def _stopped(self, step: int) -> signal.Signals:
        reason = self.stop.signal or signal.SIGTERM  # another process of the run was asked
        self.log.record("stop", step, {"reason": reason.name})
        self.log.say(f"stopped by {reason.name} after step {step}; saved in {self.workdir}; the same command goes on")
        return reason

    def _out_of_time(self) -> bool:
        return bool(self._decided()[TIME_OVER])

    def _save_due(self) -> bool:
        return bool(self._decided()[SAVE])

    def _asked_to_stop(self) -> bool:
        return bool(self._decided()[STOP])

    def _wishes(self) -> Bool[np.ndarray, "3"]:
        """What this process wants: to stop, to end in time, to save."""
        now, minutes = time.monotonic(), self.settings.checkpoint_minutes
        return np.array(
            [
                self.stop.signal is not None,
                0 < self.settings.max_minutes * 60 < now - self.start,
                0 < minutes * 60 < now - self.last_save,
            ]
        )

    def _decided(self) -> Bool[np.ndarray, "3"]:
        """What all processes do: each hears of the others' wishes with the metrics of the step that they came with."""
        return self._wishes() if jax.process_count() == 1 else self.agreed

    def _hear(self, wishes: Array | np.ndarray) -> None:
        self.agreed |= np.asarray(wishes)[0] > 0


def _gather(local: np.ndarray) -> np.ndarray:
    """The arrays of all processes, one after the other."""
    if jax.process_count() == 1:
        return local
    return np.asarray(multihost_utils.process_allgather(local, tiled=True))
