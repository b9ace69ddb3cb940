"""How many images a second the input of this machine makes, measured, and whether it holds the devices back."""

from collections.abc import Callable
from itertools import islice
from math import ceil
from time import perf_counter
from typing import Any

from wbcjax.commands.plan.step_cost import StepCost
from wbcjax.commands.plan.step_time import Hardware, step_time
from wbcjax.tasks.experiment import Experiment

BATCHES = 10  # that are timed together


def measured_rate(experiment: Experiment) -> float:
    """Images a second that the input of `experiment` makes here, with nothing else at work.

    Builds a set that is not built. Raises OSError or ValueError for data that are missing or cannot be used.
    """
    task = experiment.task()
    return rate_of(lambda: task.train_batches(experiment.settings.seed, 0, 1))


def rate_of(open_batches: Callable[[], Any]) -> float:
    """Images a second of `open_batches()`, an iterator that is closed in the end; the start of its threads counts."""
    start = perf_counter()
    batches = open_batches()
    try:
        images = sum(len(batch.index) for batch in islice(batches, BATCHES))
        return images / (perf_counter() - start)
    finally:
        batches.close()


def input_text(rate: float, cost: StepCost, hardware: Hardware | None, utilisation: float) -> str:
    """What was measured, and beside it what the devices of `cost` should take, where the hardware is known."""
    measured = f"The input of this machine makes {rate:.1f} images/s, measured over {BATCHES} batches."
    if hardware is None:
        return measured
    taken = cost.devices * cost.images / step_time(cost, hardware, cost.devices, utilisation).total
    devices = f"{cost.devices} device{'s' * (cost.devices > 1)}"
    if rate < taken:
        held = f"the input holds the run back: {ceil(taken / rate)} such machines would keep up"
    else:
        held = "the step holds the run back, not the input"
    return f"{measured} The step of {devices} should take {taken:.1f}: {held}."
