"""Checkpoints that are written while training goes on: what waits for them, and who hears of a failure."""

import errno
import os
import signal
import threading
from pathlib import Path

import orbax.checkpoint as ocp
import pytest

from benchmarks.faults.compare import differences, final_state
from tests.train import toy
from tests.train.saved import assert_whole, place, state
from tests.train.toy import train
from wbcjax.train.checkpoint import Checkpoints, NotSaved, load_variables
from wbcjax.train.checkpoint_writer import CheckpointWriter


class Killed(BaseException):
    """Stands for an end that no code sees, such as a power cut."""


class Slow:
    """Lets a checkpoint be written only once `go` is set."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.go = threading.Event()
        self.begun, self.done = [], []
        save = Checkpoints.save

        def slow(checkpoints: Checkpoints, state, place, score) -> None:
            self.begun.append(int(state.step))
            assert self.go.wait(60), "training waited for the checkpoint"
            save(checkpoints, state, place, score)
            self.done.append(int(state.step))

        patch.setattr(Checkpoints, "save", slow)


def at_batch(actions: dict) -> toy.Images:
    """Images that do something when the first one of a batch, counted from 1, is read."""
    reads = []

    def on_read(_):
        reads.append(1)
        batch, first = divmod(len(reads) - 1, 8)
        if first == 0 and batch + 1 in actions:
            actions[batch + 1]()

    return toy.Images(on_read=on_read)


def kill() -> None:
    raise Killed


CONFIG = toy.config(steps=8, eval_every_epochs=1.6, ema_decay=0.9)  # evaluated after 4 steps and after 8


@pytest.mark.slow
def test_training_goes_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    """What is saved is the state of its step, to the bit, though the state has been given away since."""
    with pytest.raises(Killed):
        train(CONFIG, toy.task(at_batch({5: kill})), tmp_path / "at once")
    with monkeypatch.context() as patch:
        slow = Slow(patch)
        with pytest.raises(Killed):
            train(CONFIG, toy.task(at_batch({7: slow.go.set, 8: kill})), tmp_path / "late")
        assert slow.done == [4]
    late, at_once = (final_state(tmp_path / name) for name in ("late", "at once"))
    assert late["latest step"] == 4
    assert differences(late, at_once, 0.0) == []
    train(CONFIG, toy.task(), tmp_path / "late")
    train(CONFIG, toy.task(), tmp_path / "whole")
    assert differences(final_state(tmp_path / "late"), final_state(tmp_path / "whole"), 0.0) == []


def test_a_stop_waits_for_what_is_being_written(tmp_path, monkeypatch):
    slow = Slow(monkeypatch)

    def stop() -> None:
        assert (slow.begun, slow.done) == ([4], [])
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Timer(0.2, slow.go.set).start()

    assert train(CONFIG, toy.task(at_batch({6: stop})), tmp_path) == signal.SIGTERM
    assert slow.done == [4, 6]
    assert load_variables(tmp_path, "latest")[1] == 6
    assert toy.records(tmp_path)[-1] == {"kind": "stop", "step": 6, "reason": "SIGTERM"}


def test_two_saves_never_overlap(tmp_path, monkeypatch):
    slow = Slow(monkeypatch)
    with Checkpoints(tmp_path) as checkpoints:
        with CheckpointWriter(checkpoints) as writer:
            writer.save(state(1), place(1), 0.5)
            threading.Timer(0.2, slow.go.set).start()
            writer.save(state(2), place(2), 0.4)
            assert slow.done[:1] == [1]
            writer.save(state(2), place(2), 0.6)
        assert slow.begun == slow.done == [1, 2, 2]
        assert (checkpoints.latest, checkpoints.best, checkpoints.best_score) == (2, 2, 0.6)
        assert_whole(checkpoints, tmp_path, 2)


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.slow
def test_a_failed_save_is_told_before_the_next_is_due(tmp_path, monkeypatch):
    failed = threading.Event()

    def fail(*_) -> None:
        failed.set()
        raise NotSaved("no space")

    monkeypatch.setattr(Checkpoints, "save", fail)
    config = toy.config(steps=100, eval_every_epochs=16.0)  # 40 steps
    images = at_batch({60: lambda: failed.wait(60), 80: kill})
    with pytest.raises(NotSaved, match="no space"):
        train(config, toy.task(images), tmp_path)
    assert [line["step"] for line in toy.records(tmp_path, "eval")] == [40]


def test_a_full_disk_at_the_end_is_told(tmp_path, monkeypatch):
    fill = lambda: monkeypatch.setattr(ocp.Checkpointer, "save", full)  # noqa: E731
    with pytest.raises(NotSaved, match=r"step 8 could not be written to .*: No space left.*that of step 4 is intact"):
        train(CONFIG, toy.task(at_batch({7: fill})), tmp_path)
    assert [line["kind"] for line in toy.records(tmp_path)][-1] == "eval"  # and no stop
    monkeypatch.undo()
    train(CONFIG, toy.task(), tmp_path)
    assert load_variables(tmp_path, "latest")[1] == 8


def begin_and_kill(writer: CheckpointWriter) -> None:
    writer.save(state(1), place(), 0.5)
    kill()


@pytest.mark.parametrize("fails", [False, True])
def test_another_error_lets_a_save_end_and_both_are_told(tmp_path: Path, monkeypatch, caplog, fails: bool):
    with Checkpoints(tmp_path) as checkpoints:
        if fails:
            monkeypatch.setattr(ocp.Checkpointer, "save", full)
        with pytest.raises(Killed), CheckpointWriter(checkpoints) as writer:
            begin_and_kill(writer)
        assert checkpoints.latest == (None if fails else 1)
    assert ("step 1 could not be written" in caplog.text) == fails
