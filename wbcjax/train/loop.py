"""Training from the first step, or from the latest checkpoint, to the last step."""

import contextlib
import functools
import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
import optax

from wbcjax.models.variables import Tree
from wbcjax.system import run_files
from wbcjax.system.files import write_atomically
from wbcjax.system.heap import settled
from wbcjax.system.interrupt import StopRequest
from wbcjax.train.checkpoint import Checkpoints, checkpoint_directory
from wbcjax.train.checkpoint_writer import CheckpointWriter
from wbcjax.train.evaluation import Evaluation
from wbcjax.train.guard import Guard
from wbcjax.train.in_flight import InFlight, Launched, mean_metrics
from wbcjax.train.layers import Layers, never_trained
from wbcjax.train.optimizer import make_optimizer
from wbcjax.train.parallel import DataParallel, check_batch_size
from wbcjax.train.plan import Phase, Plan, learning_rate, plan_run
from wbcjax.train.progress import RunLog
from wbcjax.train.settings import TrainSettings
from wbcjax.train.state import TrainState, init_optimizer, init_state, prediction_variables
from wbcjax.train.step import make_step
from wbcjax.train.task import Batch, Task
from wbcjax.train.wishes import Agreement
from wbcjax.train.workdir import Changes, KeptConfig, listed, settle_config
from wbcjax.train.workdir_lock import lock_workdir


def train(
    task: Task, settings: TrainSettings, seed: int, workdir: Path | str, config: KeptConfig
) -> signal.Signals | None:
    """Train `task` by `settings` in `workdir`, which keeps `config`, from its latest checkpoint on if there is one.

    Checkpoints are written while training goes on; each waits for the one before. Returns None at the end of the run or
    of `max_minutes`, both with a last evaluation and checkpoint. Returns the signal (SIGINT, SIGTERM) that stopped the
    run, or came when it was about to end: the step is finished, and a checkpoint saved without an evaluation.

    A second signal ends the program at once, Ctrl-C as soon as no checkpoint is being written: the work since the last
    save, about `checkpoint_minutes` at most, is lost. A signal to one of several processes stops all of them. In
    another thread than the main one signals are not handled: `max_minutes` ends the run.

    Raises ConfigChanged, WorkdirInUse, NonFiniteLoss (see `Guard`), OSError when a checkpoint or the log cannot be
    written (within a few steps, or at the end), and ValueError for a config that contradicts itself or the checkpoint.
    """
    workdir = Path(workdir)
    parallel = DataParallel(settings.parallel)
    check_batch_size(settings.batch_size, len(parallel.devices), settings.accumulate)
    plan = plan_run(settings, task.images)
    fresh_batches = functools.partial(task.train_batches, seed, jax.process_index(), jax.process_count())
    first_process = jax.process_index() == 0
    with contextlib.ExitStack() as opened:
        opened.enter_context(lock_workdir(workdir))
        checkpoints = opened.enter_context(Checkpoints(checkpoint_directory(workdir)))
        changes = _settle_workdir(workdir, config, task)
        batches = opened.enter_context(contextlib.closing(fresh_batches()))
        signals = opened.enter_context(StopRequest())
        state, phase = _start_or_resume(settings, seed, task, plan, checkpoints, batches)
        step = first = int(state.step)
        log = RunLog(workdir, steps=plan.steps, step=step, batch_size=settings.batch_size, active=first_process)
        opened.enter_context(log)
        if log.resumes:
            _tell_resumed(log, workdir, step, plan.steps, changes)

        optimizer = make_optimizer(settings)
        step_of = functools.partial(make_step, task, settings, optimizer, learning_rate(settings, plan))
        _tell_never_trained(log, task, state.params, plan.phases)
        writer = opened.enter_context(CheckpointWriter(checkpoints))
        wishes = Agreement(signals, settings, lambda: writer.failed)
        guard = Guard(settings.max_skipped_in_a_row, workdir, log, fresh_batches)
        evaluation = Evaluation(task, log, signals, plan.steps_per_epoch, checkpoints.best_score)

        def record_metrics(step: int, metrics: list[dict[str, Any]]) -> None:
            speed = {"images_per_second": len(metrics) * settings.batch_size / log.lap()}
            epoch = {"epoch": step / plan.steps_per_epoch}
            log.record("train", step, mean_metrics(metrics) | speed | epoch)

        in_flight = InFlight(parallel, wishes, guard, task.names, record_metrics, settings.log_every)

        def save(state: TrainState, score: float | None = None) -> None:
            writer.save(jax.device_get(parallel.local(state)), batches.get_state(), score)
            log.lap()
            wishes.saved()

        def stopped(step: int) -> signal.Signals:
            writer.wait()
            reason = signals.signal or signal.SIGTERM  # another process of the run was asked
            log.record("stop", step, {"reason": reason.name})
            log.say(f"stopped by {reason.name} after step {step}; saved in {workdir}; the same command goes on")
            return reason

        evaluated = step > 0 and checkpoints.evaluated(step)
        train_step = settled(parallel.compile(step_of(Layers(phase.layers, task.stage_of))))
        state = parallel.place_state(state)
        while True:
            finished = step >= plan.steps  # above where the plan has become shorter since the run began
            ending = finished or (step > first and wishes.agreed().end)
            if (ending or plan.evaluation_due(step)) and not evaluated:
                in_flight.drain(step)
                score = None
                try:
                    score = evaluation.score(prediction_variables(parallel.local(state)), step)
                finally:  # also when the evaluation fails
                    save(state, score)
                if score is None:
                    return stopped(step)
                evaluated = True
            if ending:
                writer.wait()
                log.record("stop", step, {"reason": "finished" if finished else "max_minutes"})
                return signals.signal
            if wishes.agreed().stop:
                in_flight.drain(step)
                if not evaluated:
                    save(state)
                return stopped(step)
            if step > first and not evaluated and wishes.agreed().save:
                in_flight.drain(step)
                save(state)
            if plan.phase(step) != phase:
                phase = plan.phase(step)
                layers = Layers(phase.layers, task.stage_of)
                state = _with_new_optimizer(jax.device_get(parallel.local(state)), optimizer, layers)
                state = parallel.place_state(state)
                train_step = settled(parallel.compile(step_of(layers)))
                log.compiling()
                log.say(f"step {step}: training layers {phase.layers!r}")
            place, batch = batches.get_state(), next(batches)
            state, metrics = train_step(state, parallel.place_batch(batch), parallel.place_wishes(wishes.own()))
            in_flight.add(Launched(step, place, np.asarray(batch.index), metrics))
            step, evaluated = step + 1, False
            log.advance()


def _settle_workdir(workdir: Path, config: KeptConfig, task: Task) -> Changes:
    """Make the workdir one of this config and data. Returns the changes of the config since the run began."""
    first_process = jax.process_index() == 0
    started = any(checkpoint_directory(workdir).iterdir())  # torn ones count: they are of that config
    changes = settle_config(config, workdir, started=started, write=first_process)
    task.check_workdir(workdir)
    if first_process:
        write_atomically(workdir / run_files.DATA, (json.dumps(task.facts) + "\n").encode())
    return changes


def _start_or_resume(
    settings: TrainSettings,
    seed: int,
    task: Task,
    plan: Plan,
    checkpoints: Checkpoints,
    batches: grain.DatasetIterator[Batch],
) -> tuple[TrainState, Phase]:
    step = checkpoints.latest
    # A checkpoint at the border of two phases has the optimizer of the earlier one: the loop replaces it.
    phase = plan.phase(max((step or 0) - 1, 0))
    variables = task.init_variables(seed)
    if step is None and task.start is not None:
        variables = task.start(variables)
    optimizer = make_optimizer(settings)
    layers = Layers(phase.layers, task.stage_of)
    state = init_state(variables, optimizer, layers, seed, ema=settings.ema_decay > 0)
    if step is None:
        return state, phase
    # Phases are given in epochs: with a set of another size they end at another step than in the checkpoint's run.
    for other in (phase, *plan.phases):
        like = _with_new_optimizer(state, optimizer, Layers(other.layers, task.stage_of))
        if not checkpoints.misfit(step, like):
            return checkpoints.restore(step, like, batches), other
    return checkpoints.restore(step, state, batches), phase


def _with_new_optimizer(state: TrainState, optimizer: optax.GradientTransformation, layers: Layers) -> TrainState:
    """`state`, in host memory, at the start of a phase: with a new optimizer, without the momentum of any weight."""
    return state._replace(opt_state=init_optimizer(state.params, optimizer, layers))


def _tell_never_trained(log: RunLog, task: Task, params: Tree, phases: Sequence[Phase]) -> None:
    """Log the weights that keep their first values in all phases."""
    if found := never_trained(params, [Layers(phase.layers, task.stage_of) for phase in phases]):
        each = ", ".join(f"{module} ({count:,})" for module, count in found.items())
        log.say(f"no phase of config.train.phases trains these weights, which keep their first values: {each}")


def _tell_resumed(log: RunLog, workdir: Path, step: int, steps: int, changes: Changes) -> None:
    log.record("resume", step, {"config_changes": changes})
    at = "already at" if step >= steps else "going on from"
    log.say(f"{at} step {step} of {steps} in {workdir}")
    if changes:
        log.say(f"the config is another than before:\n{listed(changes)}")
