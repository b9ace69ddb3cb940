"""Steps under way: their metrics are read when they are done, so that the devices never wait for the host."""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from wbcjax.train.guard import Guard
from wbcjax.train.parallel import DataParallel
from wbcjax.train.wishes import Agreement

STEPS_IN_FLIGHT = 2  # steps launched and not done: more would only hold more batches in the device's memory


class Launched(NamedTuple):
    """A step launched on the devices."""

    step: int  # steps done before it
    place: Any  # of its batch in the data
    images: np.ndarray  # of this process's share of the batch, by their numbers in the data
    metrics: dict[str, Any]  # on the devices


@dataclass
class InFlight:
    """The steps launched on the devices; their metrics are read in order, as they are done.

    `names` gives the names of images by their numbers. `record` is called after every `every` steps, once the last of
    them is done, with the number of steps done and the metrics of each step since its last call.
    """

    parallel: DataParallel
    wishes: Agreement
    guard: Guard
    names: Callable[[np.ndarray], list[str]]
    record: Callable[[int, list[dict[str, Any]]], None]
    every: int
    _under_way: deque[Launched] = field(default_factory=deque, init=False)
    _not_recorded: list[dict[str, Any]] = field(default_factory=list, init=False)

    def add(self, launched: Launched) -> None:
        """Note a step; waits until no more than STEPS_IN_FLIGHT are under way.

        Raises NonFiniteLoss where too many of those that are done have failed.
        """
        self._under_way.append(launched)
        if len(self._under_way) > STEPS_IN_FLIGHT:
            self._finish()

    def drain(self, step: int) -> None:
        """Wait for all steps under way, and record what is not recorded, after `step` steps. Raises as `add`."""
        while self._under_way:
            self._finish()
        if self._not_recorded:
            self._record(step)

    def _finish(self) -> None:
        launched = self._under_way.popleft()
        metrics = jax.device_get(self.parallel.local(launched.metrics))
        metrics = {"loss": metrics["loss"]} | metrics  # jax sorts names; the sum goes first
        self.wishes.hear(metrics.pop("wishes"))
        self.guard.look(launched.step, launched.place, lambda: self.names(_gather(launched.images)), metrics)
        self._not_recorded.append(metrics)
        if (launched.step + 1) % self.every == 0:
            self._record(launched.step + 1)

    def _record(self, step: int) -> None:
        self.record(step, self._not_recorded)
        self._not_recorded = []


def mean_metrics(metrics: list[dict[str, Any]]) -> dict[str, float]:
    """Means over the steps that were not skipped, if there are any, and the number of skipped ones.

    The learning rate is that of the last step.
    """
    skipped = sum(int(measured["skipped"]) for measured in metrics)
    counted = [measured for measured in metrics if math.isfinite(measured["loss"] + measured["grad_norm"])] or metrics
    means = {name: float(np.mean([measured[name] for measured in counted])) for name in metrics[0] if name != "skipped"}
    means["learning_rate"] = float(metrics[-1]["learning_rate"])
    return means | ({"skipped": skipped} if skipped else {})


def _gather(local: np.ndarray) -> np.ndarray:
    """The arrays of all processes, one after the other."""
    if jax.process_count() == 1:
        return local
    return np.asarray(multihost_utils.process_allgather(local, tiled=True))
