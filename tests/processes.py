"""Programs of several processes on this machine, each with devices of its own, for tests."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIMIT = 400  # seconds after which a program that hangs is ended, and its test fails


def start(code: str, arguments: Sequence[str], *, processes: int, devices: int, log: Path) -> list[subprocess.Popen]:
    """Start a Python program `processes` times; what process i says goes to the file `log`.i.

    It finds the flags of train.py that join it to the others at the end of its arguments.
    """
    joining = [[]]
    if processes > 1:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            coordinator = f"--coordinator=localhost:{free.getsockname()[1]}"
        joining = [[coordinator, f"--process-id={i}", f"--num-processes={processes}"] for i in range(processes)]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        # The last of a flag counts; the others are those of this process, whose results are compared.
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}",
    }
    started = []
    for i, flags in enumerate(joining):
        with log.with_name(f"{log.name}.{i}").open("w") as said:
            command = [sys.executable, "-c", code, *arguments, *flags]
            started.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said))
    return started


def codes(started: list[subprocess.Popen], limit: float = LIMIT) -> list[int]:
    """The exit codes, when all have ended; of those that are still at work after the limit, that of a kill."""
    end = time.monotonic() + limit
    while any(process.poll() is None for process in started) and time.monotonic() < end:
        time.sleep(0.02)
    for process in started:
        process.kill()
    return [process.wait() for process in started]


def wait_until(reached: Callable[[], bool], started: list[subprocess.Popen]) -> None:
    """Return when `reached`; fail when a process ends before, or the limit is over, and end the others."""
    end = time.monotonic() + LIMIT
    while not reached():
        if time.monotonic() > end or any(process.poll() is not None for process in started):
            pytest.fail(f"not reached; exit codes, after a kill: {codes(started, limit=0)}")
        time.sleep(0.1)
