"""Signals as requests to stop."""

import contextlib
import gc
import os
import signal
import sys
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import ExtensionFileLoader
from types import ModuleType

import pytest

from wbcjax.system import interrupt
from wbcjax.system.interrupt import Interrupted, StopRequest, breakable

HANG = 20.0  # seconds after which what should have been broken off has failed


def ask(number: signal.Signals = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


def work_on() -> None:
    end = time.monotonic() + HANG
    while time.monotonic() < end:
        time.sleep(0.001)


def test_the_first_ctrl_c_asks_and_the_second_aborts(capfd):
    with StopRequest() as stop:
        ask(signal.SIGINT)
        assert stop.signal == signal.SIGINT
        assert "SIGINT: stopping when nothing will be lost; once more to abort" in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            ask(signal.SIGINT)


def test_other_threads_hear_no_signal_and_say_so(caplog):
    """Another thread than the main one does its work and says that it hears no signal."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGALRM)

    def work() -> str:
        with breakable(), StopRequest() as stop, stop.at_once():
            assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGALRM)) == before
        return "done"

    with ThreadPoolExecutor() as pool:
        assert pool.submit(work).result() == "done"
    assert "not the main thread: Ctrl-C and SIGTERM are not handled here" in caplog.text


def test_without_a_signal_nothing_is_asked_and_the_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGALRM)
    with StopRequest() as stop:
        assert signal.getsignal(signal.SIGTERM) != before[0]
        with stop.at_once():
            assert signal.getsignal(signal.SIGALRM) != before[1]
    assert stop.signal is None
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGALRM)) == before


@pytest.mark.parametrize("when", ["before", "inside"])
def test_long_work_is_broken_off(when):
    reached = []

    def work():
        reached.append("inside")
        ask()
        reached.append("after")

    with StopRequest() as stop:
        if when == "before":
            ask()
        with pytest.raises(Interrupted, match="SIGTERM"), stop.at_once():
            work()
    assert reached == ([] if when == "before" else ["inside"])


def asks_when_deleted():
    class Deleted:
        def __del__(self):
            ask()

    Deleted()


def asks_when_no_longer_referred_to():
    target = type("Target", (), {})()
    reference = weakref.ref(target, lambda _: ask())
    del target
    assert reference() is None


def asks_in_a_callback_of_the_garbage_collector():
    def callback(phase, _):
        if phase == "stop":
            ask()

    gc.callbacks.append(callback)
    try:
        gc.collect()
    finally:
        gc.callbacks.remove(callback)


@pytest.mark.parametrize(
    "place", [asks_when_deleted, asks_when_no_longer_referred_to, asks_in_a_callback_of_the_garbage_collector]
)
def test_work_is_broken_off_where_python_drops_what_the_handler_raises(monkeypatch, place):
    dropped, reached = [], []

    def work():
        place()
        reached.append("after")
        work_on()
        reached.append("the end")

    monkeypatch.setattr(sys, "unraisablehook", lambda report: dropped.append(report.exc_type))
    monkeypatch.setattr(interrupt, "AGAIN", 0.02)
    with StopRequest() as stop, pytest.raises(Interrupted), stop.at_once():
        work()
    assert dropped == [Interrupted]
    assert reached == ["after"]
    assert stop.signal == signal.SIGTERM


def test_work_that_catches_the_interruption_is_broken_off(monkeypatch):
    """Work that takes the interruption for a fault of its own is broken off."""
    reached = []

    def work():
        with contextlib.suppress(BaseException):
            ask()
        reached.append("after")
        work_on()
        reached.append("the end")

    monkeypatch.setattr(interrupt, "AGAIN", 0.02)
    with StopRequest() as stop, pytest.raises(Interrupted), stop.at_once():
        work()
    assert reached == ["after"]


def test_work_that_ends_early_still_counts_as_interrupted():
    """Work that ends before it can be broken off does not pass for undisturbed."""
    with StopRequest() as stop, pytest.raises(Interrupted), stop.at_once(), contextlib.suppress(BaseException):
        ask()


def test_what_cleans_up_after_an_interruption_is_left_to_do_so(monkeypatch):
    reached = []

    def work():
        try:
            ask()
        finally:
            try:
                raise OSError("the temporary file is gone")
            except OSError:
                time.sleep(0.1)
            reached.append("cleaned up")

    monkeypatch.setattr(interrupt, "AGAIN", 0.01)
    with StopRequest() as stop, pytest.raises(Interrupted), stop.at_once():
        work()
    assert reached == ["cleaned up"]


def test_an_extension_module_is_imported_to_its_end_before_work_is_broken_off(monkeypatch):
    """What is raised into the start of jaxlib is a segmentation fault."""
    reached = []

    class Loader(ExtensionFileLoader):
        def exec_module(self, module: ModuleType) -> None:
            ask(signal.SIGINT)
            reached.append("imported")

    def work():
        Loader("extension", "extension.so").exec_module(ModuleType("extension"))
        work_on()
        reached.append("the end")

    monkeypatch.setattr(interrupt, "AGAIN", 0.02)
    with StopRequest() as stop, pytest.raises(Interrupted), stop.at_once():
        work()
    assert reached == ["imported"]


def test_nothing_is_raised_after_the_work_is_left(monkeypatch):
    monkeypatch.setattr(interrupt, "AGAIN", 0.01)
    with StopRequest() as stop:
        with contextlib.suppress(Interrupted), stop.at_once():
            ask()
        time.sleep(0.05)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_work_outside_a_run_can_be_broken_off_too():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted) as interrupted, breakable():
        ask(signal.SIGINT)
    assert interrupted.value.signal == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is before
    with breakable():
        pass


def test_without_an_alarm_as_on_windows_work_is_broken_off_too(monkeypatch, capfd):
    monkeypatch.delattr(signal, "setitimer")
    monkeypatch.setattr(interrupt, "_HAS_ALARM", False)
    before = signal.getsignal(signal.SIGALRM)
    went_on = []
    with pytest.raises(Interrupted, match="SIGINT"), breakable():
        went_on.append(os.kill(os.getpid(), signal.SIGINT))
    assert not went_on
    with pytest.raises(Interrupted, match="SIGTERM"), breakable(), contextlib.suppress(Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGALRM) == before
    assert "stopping when nothing will be lost" in capfd.readouterr().err
