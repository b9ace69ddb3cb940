"""Steps under way: which of them are waited for, and what is recorded of them."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests.train import toy
from wbcjax.settings.checked import checked
from wbcjax.system.interrupt import StopRequest
from wbcjax.train.guard import Guard, NonFiniteLoss
from wbcjax.train.in_flight import STEPS_IN_FLIGHT, InFlight, Launched
from wbcjax.train.parallel import DataParallel
from wbcjax.train.progress import RunLog
from wbcjax.train.settings import TrainSettings
from wbcjax.train.wishes import Agreement, Wishes


class Devices(DataParallel):
    """Notes the steps whose metrics were waited for."""

    def __init__(self) -> None:
        super().__init__("shard_map", jax.devices()[:1])
        self.waited_for = []

    def local(self, replicated: Any) -> Any:
        self.waited_for.append(int(replicated["square"]))
        return replicated


class Steps:
    """Steps whose loss `square` is their number; `bad` ones are skipped."""

    def __init__(self, folder: Path, every: int, bad: tuple[int, ...] = ()) -> None:
        self.devices, self.recorded, self._bad = Devices(), [], bad
        log = RunLog(folder, steps=20, step=0, batch_size=8, active=False)
        guard = Guard(2, folder, log, lambda: toy.batches(toy.Images(), 8, 0))
        wishes = Agreement(StopRequest(), checked(TrainSettings, toy.config().train, "config.train"), lambda: False)
        names = toy.task().names

        def record(step: int, metrics: list[dict[str, Any]]) -> None:
            self.recorded.append((step, [int(one["square"]) for one in metrics]))

        self.in_flight = InFlight(self.devices, wishes, guard, names, record, every)

    def add(self, step: int) -> None:
        metrics = {
            "grad_norm": np.float32(1.0),
            "learning_rate": np.float32(0.1),
            "loss": np.float32(np.nan if step in self._bad else 1.0),
            "skipped": np.int32(step in self._bad),
            "square": np.float32(step),
            "wishes": Wishes(*np.zeros((3, 1), np.float32)),
        }
        self.in_flight.add(Launched(step, toy.batches(toy.Images(), 8, 0).get_state(), np.arange(8), metrics))


def test_metrics_are_read_of_steps_long_given_out(tmp_path):
    """A record is due after each step here, and yet the devices always have the next ones before them."""
    steps = Steps(tmp_path, every=1)
    for step in range(6):
        steps.add(step)
        assert steps.devices.waited_for == list(range(step + 1 - STEPS_IN_FLIGHT))
        assert steps.recorded == [(done + 1, [done]) for done in steps.devices.waited_for]


def test_records_are_of_the_same_steps_as_if_read_at_once(tmp_path):
    steps = Steps(tmp_path, every=3)
    for step in range(7):
        steps.add(step)
    assert steps.recorded == [(3, [0, 1, 2])]
    steps.in_flight.drain(7)
    assert steps.recorded == [(3, [0, 1, 2]), (6, [3, 4, 5]), (7, [6])]
    steps.in_flight.drain(7)
    assert len(steps.recorded) == 3
    for step in range(7, 9):
        steps.add(step)
    steps.in_flight.drain(9)
    assert steps.recorded[3:] == [(9, [7, 8])]


def test_failed_steps_in_a_row_end_as_they_are_done(tmp_path):
    """The limit is two: it is no matter that a record is due much later."""
    steps = Steps(tmp_path, every=100, bad=(1, 3, 4, 5))
    for step in range(4 + STEPS_IN_FLIGHT):
        steps.add(step)
    with pytest.raises(NonFiniteLoss, match="step 4: loss nan"):
        steps.add(4 + STEPS_IN_FLIGHT)
    assert steps.devices.waited_for == [0, 1, 2, 3, 4]
    assert steps.recorded == []


def test_a_drain_looks_at_every_step(tmp_path):
    steps = Steps(tmp_path, every=100, bad=(0, 1))
    steps.add(0)
    steps.add(1)
    with pytest.raises(NonFiniteLoss, match="step 1: loss nan"):
        steps.in_flight.drain(2)
