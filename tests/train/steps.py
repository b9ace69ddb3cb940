"""A task trained for a few steps, on any number of devices, without the loop around it."""

import jax
from ml_collections import ConfigDict

from wbcjax.settings.checked import checked
from wbcjax.train.layers import Layers
from wbcjax.train.optimizer import make_optimizer
from wbcjax.train.parallel import DataParallel
from wbcjax.train.plan import learning_rate, plan_run
from wbcjax.train.settings import TrainSettings
from wbcjax.train.state import init_state
from wbcjax.train.step import make_step
from wbcjax.train.task import Task
from wbcjax.train.wishes import Wishes

NO_WISHES = Wishes(stop=False, end=False, save=False)


def parameters_of_steps(task: Task, config: ConfigDict, steps: int, devices: int) -> list:
    """Parameters before training and after each step, on host."""
    settings = checked(TrainSettings, config.train, "config.train")
    parallel = DataParallel(settings.parallel, jax.devices()[:devices])
    optimizer = make_optimizer(settings)
    schedule = learning_rate(settings, plan_run(settings, task.images))
    layers = Layers("all", task.stage_of)
    step = parallel.compile(make_step(task, settings, optimizer, schedule, layers))
    state = init_state(task.init_variables(0), optimizer, layers, 0, ema=settings.ema_decay > 0)
    history = [state.params]
    state, batches = parallel.place_state(state), task.train_batches(0, 0, 1)
    try:
        for _ in range(steps):
            state, metrics = step(state, parallel.place_batch(next(batches)), parallel.place_wishes(NO_WISHES))
            assert int(parallel.local(metrics)["skipped"]) == 0
            history.append(jax.device_get(parallel.local(state)).params)
    finally:
        batches.close()
    return history
