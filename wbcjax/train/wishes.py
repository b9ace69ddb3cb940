"""What each process of a run wishes, and what all of them agreed on."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from wbcjax.system.interrupt import StopRequest
from wbcjax.train.settings import TrainSettings


class Wishes(NamedTuple):
    """Bools of one process; arrays of a number for each device on their way through a step."""

    stop: Any  # at once, without an evaluation
    end: Any  # with a last evaluation
    save: Any


class Agreement:
    """What this process wishes: to stop by a signal, to end after `max_minutes`, to save after `checkpoint_minutes`.

    Where the latest save has `failed` it wishes another at once, as each begins with what became of the one before.
    Processes must do the same after the same step. So each tells its own wishes to all with every step, and follows the
    wish of any.
    """

    def __init__(self, signals: StopRequest, settings: TrainSettings, failed: Callable[[], bool]) -> None:
        self._signals, self._failed = signals, failed
        self._seconds, self._seconds_between_saves = settings.max_minutes * 60, settings.checkpoint_minutes * 60
        self._start = self._last_save = time.monotonic()
        self._heard = Wishes(stop=False, end=False, save=False)

    def own(self) -> Wishes:
        """What this process wishes."""
        now = time.monotonic()
        return Wishes(
            stop=self._signals.signal is not None,
            end=0 < self._seconds < now - self._start,
            save=0 < self._seconds_between_saves < now - self._last_save or self._failed(),
        )

    def agreed(self) -> Wishes:
        """What all processes do, as of now: of several, what any of them wished with a step whose metrics are here."""
        return self.own() if jax.process_count() == 1 else self._heard

    def hear(self, means: Wishes) -> None:
        """Take in what a step gave: each wish's mean over all devices, (1,). Waits for the step."""
        told = [bool(mean[0] > 0) for mean in jax.device_get(means)]
        self._heard = Wishes(*(before or now for before, now in zip(self._heard, told, strict=True)))

    def saved(self) -> None:
        """Count `checkpoint_minutes` anew."""
        self._last_save = time.monotonic()
        self._heard = self._heard._replace(save=False)
