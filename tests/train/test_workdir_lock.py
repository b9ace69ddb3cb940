"""Two trainings that want one workdir."""

import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.train import toy
from tests.train.saved import contents
from tests.train.toy import train
from wbcjax.train.checkpoint import load_variables
from wbcjax.train.workdir_lock import WorkdirInUse, lock_workdir

HOST = socket.gethostname()
HOLD = """
import fcntl, os, socket, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
with open(f"{sys.argv[1]}.holder", "w") as holder:
    holder.write(f"{os.getpid()}\\n{socket.gethostname()}\\n")
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen]:
    """A process that holds the lock of `tmp_path`, as a training of it does."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "train.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def saved(workdir: Path) -> bool:
    """Whether step 2 has been evaluated, and so is saved: waits for the end of that."""
    evaluated = any(record["step"] == 2 for record in toy.records(workdir, "eval"))
    while evaluated and not (workdir / "checkpoints/2").exists():
        time.sleep(0.01)
    return evaluated


def test_a_second_training_in_a_workdir_is_refused(tmp_path):
    """A second training is refused by process and host and the first goes on."""

    def evaluate(_):
        saved(tmp_path)
        before = contents(tmp_path)
        told = f"{tmp_path} is in use: process {os.getpid()} on host {HOST} trains in it. Wait for its end or stop it"
        with pytest.raises(WorkdirInUse, match=re.escape(told)):
            train(toy.config(steps=9), toy.task(), tmp_path, allow_config_change=True)
        assert contents(tmp_path) == before
        return {"mask AP": 0.5}

    config = toy.config(steps=4, eval_every_epochs=0.8)
    assert train(config, toy.task(evaluate=evaluate), tmp_path) is None
    assert [line["step"] for line in toy.records(tmp_path, "eval")] == [2, 4]
    assert load_variables(tmp_path, "latest")[1] == 4
    train(config, toy.task(), tmp_path)  # the lock is gone with the training


def test_weights_can_be_read_while_a_training_goes_on(tmp_path):
    read = []

    def evaluate(_):
        if saved(tmp_path):
            read.append(load_variables(tmp_path, "latest")[1])
        return {"mask AP": 0.5}

    train(toy.config(steps=4, eval_every_epochs=0.8), toy.task(evaluate=evaluate), tmp_path)
    assert read == [2]


def test_a_lock_ends_with_its_process_however_that_ends(tmp_path, holder):
    with pytest.raises(WorkdirInUse, match=f"process {holder.pid} on host {HOST} trains in it"), lock_workdir(tmp_path):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with lock_workdir(tmp_path):
        assert (tmp_path / "train.lock.holder").read_text() == f"{os.getpid()}\n{HOST}\n"
    assert (tmp_path / "train.lock.holder").read_text() == ""


def test_a_training_that_was_cut_short_on_another_host_is_told_of(tmp_path, caplog):
    (tmp_path / "train.lock.holder").write_text("12\nnode7\n")
    with lock_workdir(tmp_path):
        pass
    assert f"process 12 on host node7 trained in {tmp_path} and did not end properly" in caplog.text
    caplog.clear()
    with lock_workdir(tmp_path):
        pass
    assert caplog.text == ""


@pytest.fixture(params=[errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks."""

    def refuse(*_) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("no_locks")
def test_where_there_are_no_locks_a_file_stands_for_one(tmp_path):
    soft = tmp_path / "train.lock.soft"
    with lock_workdir(tmp_path):
        assert soft.read_text().splitlines()[0] == str(os.getpid())
        with (
            pytest.raises(WorkdirInUse, match=f"process {os.getpid()} on host .* trains in it"),
            lock_workdir(tmp_path),
        ):
            pass
    assert not soft.exists()


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_dead_process_is_recognised(tmp_path):
    """Without file locks a dead process is distinguished from a live one and from another host."""
    soft = tmp_path / "train.lock.soft"
    with lock_workdir(tmp_path):
        host = soft.read_text().splitlines()[1]
    gone = subprocess.Popen(["true"])
    gone.wait()
    soft.write_text(f"{gone.pid}\n{host}\n")
    with lock_workdir(tmp_path):
        pass
    for holder in (f"{os.getppid()}\n{host}\n", f"{gone.pid}\nnode7\n"):
        soft.write_text(holder)
        pid, name = holder.split()
        told = rf"process {pid} on host {re.escape(name)} trains in it.*no training is left there, delete {soft}"
        with pytest.raises(WorkdirInUse, match=told), lock_workdir(tmp_path):
            pass
        assert soft.read_text() == holder


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(FileExistsError, match="run"), lock_workdir(tmp_path / "run"):
        pass
