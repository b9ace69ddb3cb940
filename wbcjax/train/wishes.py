"""Wishes of the processes of a run to stop, end or save, and their agreement."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from wbcjax.system.interrupt import StopRequest
from wbcjax.train.settings import TrainSettings


class Wishes(NamedTuple):
    """Bools of one process; within a step arrays with a number for each device."""

    stop: Any  # at once, without an evaluation
    end: Any  # with a last evaluation
    save: Any


class Agreement:
    """The wishes to stop by a signal, to end after `max_minutes`, and to save after `checkpoint_minutes`.

    Where the latest save has `failed` another is wished at once, as a save begins by raising the error of the one
    before. Processes must do the same after the same step. So every step takes the wishes of each process to all, and
    all follow the wish of any.
    """

    def __init__(self, signals: StopRequest, settings: TrainSettings, failed: Callable[[], bool]) -> None:
        self._signals, self._failed = signals, failed
        self._seconds, self._seconds_between_saves = settings.max_minutes * 60, settings.checkpoint_minutes * 60
        self._start = self._last_save = time.monotonic()
        self._heard = Wishes(stop=False, end=False, save=False)

    def own(self) -> Wishes:
        """The wishes of this process."""
        now = time.monotonic()
        return Wishes(
            stop=self._signals.signal is not None,
            end=0 < self._seconds < now - self._start,
            save=0 < self._seconds_between_saves < now - self._last_save or self._failed(),
        )

    def agreed(self) -> Wishes:
        """What all processes do now: the wishes of any of them with a step whose metrics have been read."""
        return self.own() if jax.process_count() == 1 else self._heard

    def hear(self, means: Wishes) -> None:
        """Add the wishes of a step: the mean of each over all devices, (1,). Waits for the step."""
        wished = [bool(mean[0] > 0) for mean in jax.device_get(means)]
        self._heard = Wishes(*(before or now for before, now in zip(self._heard, wished, strict=True)))

    def saved(self) -> None:
        """Count `checkpoint_minutes` anew."""
        self._last_save = time.monotonic()
        self._heard = self._heard._replace(save=False)
