"""Ctrl-C and SIGTERM as a request to stop in an orderly way."""

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.machinery import ExtensionFileLoader
from types import FrameType

log = logging.getLogger(__name__)

AGAIN = 0.5  # seconds after which Interrupted is raised once more where it was swallowed
_HAS_ALARM = hasattr(signal, "setitimer")  # Windows has none


class Interrupted(BaseException):
    """A stop was asked for, by `signal`. Like KeyboardInterrupt, no `except Exception` catches it."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.signal = number


class StopRequest:
    """While entered, the first SIGINT or SIGTERM only sets `signal`; the next one ends the program as usual.

    Only the main thread may handle signals in Python: entered in another one, it warns that they are not handled.
    """

    def __init__(self, *, announced: bool = True) -> None:
        self.signal: signal.Signals | None = None
        self._announced = announced  # whether a line on the terminal reports the signal
        self._at_once = False
        self._before = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        else:
            log.warning("not the main thread: Ctrl-C and SIGTERM are not handled here, and save nothing")
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """For long work that leaves nothing half done: raises Interrupted on a signal, also on one that came before.

        Python drops an exception of a signal's handler within a `__del__` or a callback of the garbage collector (JAX
        has one). So Interrupted is raised again and again until the work is left, and at the latest when it is done.
        The import of an extension module is finished first: an exception while jaxlib starts is a segmentation fault.
        Windows has no alarm: there Interrupted is raised once, and for certain when the work is done.
        """
        with _alarm(self._again) if self._before else contextlib.nullcontext():
            try:
                self._at_once = True
                self._raise_if_asked()
                yield
                self._raise_if_asked()
            finally:
                self._at_once = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        self.__exit__()
        # Not print: the signal may have come in the middle of one.
        line = f"\n{self.signal.name}: stopping when nothing will be lost; once more to abort at once\n"
        with contextlib.suppress(OSError):  # the terminal is gone
            os.write(2, line.encode() if self._announced else b"")
        if self._at_once:
            if _HAS_ALARM:
                signal.setitimer(signal.ITIMER_REAL, AGAIN, AGAIN)
            self._again(number, frame)

    def _again(self, _number: int, frame: FrameType | None) -> None:
        if self._at_once and not _leaving() and not _starts_an_extension(frame):
            self._raise_if_asked()

    def _raise_if_asked(self) -> None:
        if self.signal:
            raise Interrupted(self.signal)


def exit_code(stopped_by: signal.Signals) -> int:
    """The exit code of a command that a signal stopped: 0 for SIGTERM, as schedulers want it, else as of shells."""
    return 0 if stopped_by == signal.SIGTERM else 128 + stopped_by


@contextlib.contextmanager
def breakable(*, announced: bool = True) -> Iterator[None]:
    """`StopRequest.at_once` for work outside a run: the first SIGINT or SIGTERM raises Interrupted, for certain.

    `announced`: a line on the terminal reports the signal.
    """
    with StopRequest(announced=announced) as stop, stop.at_once():
        yield
    if stop.signal:  # in the last moment
        raise Interrupted(stop.signal)


@contextlib.contextmanager
def _alarm(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """While entered, `handler` is called by a timer that is set inside; the timer is off afterwards."""
    if not _HAS_ALARM:
        yield
        return
    before = signal.signal(signal.SIGALRM, handler)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _starts_an_extension(frame: FrameType | None) -> bool:
    """Whether an extension module was being imported when a signal came."""
    while frame is not None and not isinstance(frame.f_locals.get("self"), ExtensionFileLoader):
        frame = frame.f_back
    return frame is not None


def _leaving() -> bool:
    """Whether the alarm came within a `finally` or `except` that handles an Interrupted."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, Interrupted):
        error = error.__context__
    return error is not None
