"""Saves that are killed, or find no room on the disk."""

import contextlib
import multiprocessing
import os
import random
import resource
import signal
import socket
import subprocess
import time
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests.train.saved import assert_whole, batches, place, state
from wbcjax.train.checkpoint import Checkpoints, NotSaved
from wbcjax.train.checkpoint_writer import CheckpointWriter

SEED = 20

# Real processes: kept warm by a server that has imported all of it and forks. It uses JAX nowhere itself.

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.train.test_cut_short_saves"])
BIG = 100_000  # a state of 3 MB


def start(target, *args) -> tuple[Connection, BaseProcess]:
    receiver, sender = processes.Pipe(duplex=False)
    process = processes.Process(target=target, args=(*args, sender), daemon=True)
    process.start()
    sender.close()
    return receiver, process


def hear(receiver: Connection):
    assert receiver.poll(60), "the process hangs"
    return receiver.recv()


def save_without_end(directory: Path, told: Connection) -> None:
    with Checkpoints(directory) as checkpoints:
        step = (checkpoints.latest or 0) + 1
        told.send(step - 1)
        while True:
            checkpoints.save(state(step, BIG), place(), None)
            told.send(step)
            step += 1


@pytest.mark.slow
def test_kill_9_at_any_moment_loses_no_checkpoint_that_was_saved(tmp_path):
    chance = random.Random(SEED)
    inside = 0
    for number in range(12):
        receiver, process = start(save_without_end, tmp_path)
        saved = [hear(receiver) for _ in range(1 + number % 2)]
        time.sleep(chance.uniform(0, 0.5))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        with contextlib.suppress(EOFError):
            while True:
                saved.append(hear(receiver))
        inside += any(not path.name.isdigit() for path in tmp_path.iterdir())
        with Checkpoints(tmp_path) as checkpoints:
            # Killed between the renaming and the telling, it has one more.
            assert checkpoints.latest in (saved[-1] or None, saved[-1] + 1)
            assert not list(tmp_path.glob("*.*"))
            if checkpoints.latest:
                assert_whole(checkpoints, tmp_path, checkpoints.latest, BIG)
    assert inside  # saves, not only between them


def save_until_full(directory: Path, limit: int | None, told: Connection) -> None:
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with Checkpoints(directory) as checkpoints:
        try:
            for step in range((checkpoints.latest or 0) + 1, 20):
                checkpoints.save(state(step, BIG), place(), None)
        except NotSaved as error:
            told.send((step, str(error), sorted(path.name for path in directory.iterdir())))


def fill(directory: Path, limit: int | None) -> tuple[int, str, list[str]]:
    receiver, process = start(save_until_full, directory, limit)
    result = hear(receiver)
    process.join()
    return result


@pytest.mark.slow
@pytest.mark.parametrize("limit", [100, 3000, 300_000])
def test_files_that_may_not_grow_stop_a_save_and_leave_the_one_before(tmp_path, limit):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state(1, BIG), place(), 0.5)
    step, message, left = fill(tmp_path, limit)
    assert step == 2
    assert left == ["1"]
    assert f"step 2 could not be written to {tmp_path}: File too large; that of step 1 is intact. Free" in message
    with Checkpoints(tmp_path) as checkpoints:
        assert_whole(checkpoints, tmp_path, 1, BIG)
        checkpoints.save(state(2, BIG), place(), 0.5)
        assert_whole(checkpoints, tmp_path, 2, BIG)


@pytest.mark.slow
def test_a_run_goes_on_after_a_full_disk(tmp_path):
    """A full disk stops a save and the run goes on once there is room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted: {mounted.stderr.decode().strip()}")
    try:
        others = disk / "others.bin"
        others.write_bytes(os.urandom(2 << 20))
        step, message, left = fill(disk / "run", None)
        assert step > 2
        assert f"step {step} could not be written to {disk / 'run'}: No space left on device" in message
        assert f"that of step {step - 1} is intact. Free some space: the same command goes on" in message
        assert left == [str(step - 2), str(step - 1)]
        others.unlink()
        with Checkpoints(disk / "run") as checkpoints:
            assert_whole(checkpoints, disk / "run", step - 1, BIG)
            checkpoints.save(state(step, BIG), place(), None)
            assert_whole(checkpoints, disk / "run", step, BIG)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_programs_failure_is_no_full_disk(tmp_path, monkeypatch):
    """A failure that is not the systems is not taken for a full disk."""

    def broken(*_, **__):
        raise ValueError("a bug")

    with Checkpoints(tmp_path) as checkpoints:
        monkeypatch.setattr(ocp.Checkpointer, "save", broken)
        with pytest.raises(ValueError, match="a bug"):
            checkpoints.save(state(1), place(), None)


def fail_to_save(directory: Path, number: int, port: int, told: Connection) -> None:
    jax.distributed.initialize(f"localhost:{port}", 2, number, cluster_detection_method="deactivate")
    with Checkpoints(directory) as checkpoints, CheckpointWriter(checkpoints) as writer:
        writer.save(state(1), place(3), 0.5)
        writer.wait()
        if number == 0:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        writer.save(state(2), place(4), 0.6)
        try:
            writer.save(state(3), place(5), 0.7)
        except OSError as error:
            told.send((str(error), checkpoints.latest))


@pytest.mark.slow
def test_a_failed_save_is_told_to_other_processes(tmp_path):
    """Of two processes one that cannot save tells the other instead of leaving it to wait."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    started = [start(fail_to_save, tmp_path, number, port) for number in range(2)]
    (first, latest), (second, latest_too) = [hear(receiver) for receiver, _ in started]
    for _, process in started:
        process.join(60)
        assert process.exitcode == 0
    assert "step 2 could not be written" in first
    assert second == "a checkpoint could not be saved by the first process: see its message"
    assert latest == latest_too == 1
    data, expected = batches(), batches(3)
    with Checkpoints(tmp_path) as checkpoints:  # one process goes on where two were
        np.testing.assert_equal(checkpoints.restore(1, state(0), data)._asdict(), state(1)._asdict())
    np.testing.assert_equal(next(data), next(expected))
