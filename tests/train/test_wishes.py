"""What each process wishes, and what all of them do."""

import signal

import jax
import numpy as np

from tests.train import toy
from wbcjax.settings.checked import checked
from wbcjax.system.interrupt import StopRequest
from wbcjax.train.settings import TrainSettings
from wbcjax.train.wishes import Agreement, Wishes


def agreement(signals: StopRequest, **minutes: float) -> Agreement:
    return Agreement(signals, checked(TrainSettings, toy.config(**minutes).train, "config.train"), lambda: False)


def test_a_failed_save_asks_for_another_at_once():
    failures = [True, False]
    wishes = Agreement(
        StopRequest(), checked(TrainSettings, toy.config().train, "config.train"), lambda: failures.pop(0)
    )
    assert wishes.own() == Wishes(stop=False, end=False, save=True)
    assert wishes.own() == Wishes(stop=False, end=False, save=False)


def test_a_process_alone_follows_its_own_wishes_at_once():
    signals = StopRequest()
    wishes = agreement(signals, max_minutes=1e-9)
    assert wishes.agreed() == Wishes(stop=False, end=True, save=False)
    signals.signal = signal.SIGTERM
    assert wishes.agreed() == wishes.own() == Wishes(stop=True, end=True, save=False)


def test_several_processes_follow_only_what_all_were_told(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    signals = StopRequest()
    wishes = agreement(signals, checkpoint_minutes=1e-9)
    signals.signal = signal.SIGTERM
    assert wishes.own() == Wishes(stop=True, end=False, save=True)
    assert wishes.agreed() == Wishes(stop=False, end=False, save=False)
    wishes.hear(Wishes(stop=np.zeros(1), end=np.full(1, 0.25), save=np.ones(1)))
    assert wishes.agreed() == Wishes(stop=False, end=True, save=True)


def test_a_wish_once_heard_lasts_and_a_save_is_done_with(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    wishes = agreement(StopRequest())
    wishes.hear(Wishes(*np.ones((3, 1))))
    wishes.hear(Wishes(*np.zeros((3, 1))))
    assert wishes.agreed() == Wishes(stop=True, end=True, save=True)
    wishes.saved()
    assert wishes.agreed() == Wishes(stop=True, end=True, save=False)
