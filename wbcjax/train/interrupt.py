"""Ctrl-C and SIGTERM as a request to stop, not an end."""

import contextlib
import os
import signal
from collections.abc import Iterator


class Interrupted(BaseException):
    """A stop was asked for inside `StopRequest.at_once`. Like KeyboardInterrupt, no `except Exception` catches it."""


class StopRequest:
    """While entered, the first SIGINT or SIGTERM only sets `signal`; the next one ends the program as usual."""

    def __init__(self):
        self.signal: signal.Signals | None = None
        self._at_once = False
        self._before = {}

    def __enter__(self) -> "StopRequest":
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """For long work that leaves nothing half done: a signal raises Interrupted here, also one that came before."""
        self._at_once = True
        try:
            if self.signal:
                raise Interrupted
            yield
        finally:
            self._at_once = False

    def _ask(self, number: int, _frame: object) -> None:
        self.signal = signal.Signals(number)
        self.__exit__()
        # Not print: the signal may have come in the middle of one.
        os.write(
            2, f"\n{self.signal.name}: finishing the step and saving; once more to abort without saving\n".encode()
        )
        if self._at_once:
            raise Interrupted
