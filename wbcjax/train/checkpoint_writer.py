"""Checkpoints are written while training goes on."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax

from wbcjax.train.checkpoint import Checkpoints
from wbcjax.train.first_process import in_first_process
from wbcjax.train.state import TrainState

log = logging.getLogger(__name__)


class CheckpointWriter:
    """Writes `checkpoints` in a thread of its own, one after the other.

    Every process of a run makes one, and calls it after the same steps; only the first one writes. Not orbax's
    AsyncCheckpointer: reading back, digests, the rename and the deletion of older checkpoints come after orbax's part.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._written: Future[None] | None = None  # the latest save, until it was waited for

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Finish the save under way. After an error it does not wait for other processes: they may not come here."""
        try:
            if kind is None:
                self.wait()
            elif self._written and (failure := self._written.exception()):
                log.error("%s", failure)
        finally:
            self._thread.shutdown()

    def save(self, state: TrainState, place: dict[str, Any], score: float | None) -> None:
        """Begin `Checkpoints.save`, once the save before is done. Raises as `wait`, of that one.

        The arrays, in host memory, must not change afterwards.
        """
        self.wait()
        if jax.process_index() == 0:
            self._written = self._thread.submit(self._checkpoints.save, state, place, score)

    def wait(self) -> None:
        """Wait, in all processes, until the latest save is done.

        Raises NotSaved where it could not be written; OSError in the other processes.
        """
        written, self._written = self._written, None
        in_first_process(lambda: written and written.result(), "a checkpoint could not be saved")

    @property
    def failed(self) -> bool:
        """Whether the latest save has failed already, without an error of `wait` yet."""
        return self._written is not None and self._written.done() and self._written.exception() is not None
