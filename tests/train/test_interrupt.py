"""Signals as requests to stop."""

import os
import signal

import pytest

from wbcjax.train.interrupt import Interrupted, StopRequest


def test_the_first_ctrl_c_asks_and_the_second_aborts(capfd):
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal == signal.SIGINT
        assert "SIGINT: finishing the step and saving" in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_without_a_signal_nothing_is_asked_and_the_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        assert signal.getsignal(signal.SIGTERM) != before
        with stop.at_once():
            pass
    assert stop.signal is None
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("when", ["before", "inside"])
def test_long_work_is_broken_off(when):
    reached = []

    def work():
        reached.append("inside")
        os.kill(os.getpid(), signal.SIGTERM)
        reached.append("after")

    with StopRequest() as stop:
        if when == "before":
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted), stop.at_once():
            work()
    assert reached == ([] if when == "before" else ["inside"])
