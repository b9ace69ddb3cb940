"""Steps under way: their metrics are read late, so that the devices never wait for the host."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from wbcjax.train.guard import Guard
from wbcjax.train.parallel import DataParallel
from wbcjax.train.wishes import Agreement

STEPS_IN_FLIGHT = 2  # steps handed to the device and not done: more would only hold more batches in its memory


class Launched(NamedTuple):
    """A step given to the devices."""

    step: int
    place: Any  # of its batch in the data
    index: np.ndarray  # of the images in this process's share of the batch
    metrics: dict[str, Any]  # on the devices


@dataclass(frozen=True)
class InFlight:
    """The steps whose metrics were not read yet. `names` gives images their names, by `index`."""

    parallel: DataParallel
    wishes: Agreement
    guard: Guard
    names: Callable[[np.ndarray], list[str]]
    unread: list[Launched] = field(default_factory=list)

    def add(self, launched: Launched) -> None:
        """Note a step; waits until no more than STEPS_IN_FLIGHT are under way."""
        self.unread.append(launched)
        if len(self.unread) > STEPS_IN_FLIGHT:
            self.wishes.hear(self.parallel.local(self.unread[-1 - STEPS_IN_FLIGHT].metrics["wishes"]))

    def read(self) -> list[dict[str, Any]]:
        """The metrics of each step, once it is done; none is left. Raises NonFiniteLoss where too many failed."""
        launched = self.unread.copy()
        metrics = jax.device_get([self.parallel.local(one.metrics) for one in launched])
        metrics = [{"loss": one["loss"]} | one for one in metrics]  # jax sorts names; the sum goes first
        self.unread.clear()
        for one, measured in zip(launched, metrics, strict=True):
            self.wishes.hear(measured.pop("wishes"))
            self.guard.look(one.step, one.place, lambda one=one: self.names(_gather(one.index)), measured)
        return metrics


def mean_metrics(metrics: list[dict[str, Any]]) -> dict[str, float]:
    """Means over steps, of those alone that were not skipped, where there are any; and how many were.

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
