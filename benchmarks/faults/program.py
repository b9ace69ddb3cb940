"""`train.py` as a process to be disturbed: a fork of one that has everything imported, which starts in a second."""

import atexit
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

CONFIGS = Path(__file__).parent
HANG = 120.0  # seconds after which a process that should have ended has failed

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["train", "wbcjax.tasks.detection", "benchmarks.faults.task"])
_lock = threading.Lock()  # starting one process asks for the ends of all: only one thread may read an end


class Wrong(Exception):
    """A training did what it must never do, whatever the fault."""


class Program:
    """`train.py` with CONFIG.py of this folder, in a process of its own; its messages are appended to `output`."""

    def __init__(
        self, config: str, workdir: Path, output: Path, environment: Mapping[str, str], flags: Sequence[str] = ()
    ) -> None:
        arguments = ["train.py", f"--config={CONFIGS / config}.py", f"--workdir={workdir}", *flags]
        self._process = _forks.Process(target=_main, args=(config, arguments, output, dict(environment)), daemon=True)
        with _lock:
            self._process.start()

    def code(self) -> int | None:
        """The exit code, below 0 for the signal that ended it; None while it runs."""
        with _lock:
            return self._process.exitcode

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.code() is None and self._process.pid:
            os.kill(self._process.pid, number)

    @property
    def pid(self) -> int:
        """Its number in the system."""
        assert self._process.pid is not None
        return self._process.pid

    def until(self, condition: Callable[[], bool], limit: float = HANG) -> bool:
        """Wait for `condition`, but no longer than the process runs; False if the process ended.

        Raises Wrong after `limit` seconds, and kills the process.
        """
        last = time.monotonic() + limit
        while not condition():
            if self.code() is not None:
                return False
            if time.monotonic() > last:
                self.send(signal.SIGKILL)
                raise Wrong(f"hung for {limit:g} s")
            time.sleep(0.0005)
        return True

    def end(self, limit: float = HANG) -> int:
        """Wait for the exit code. Raises Wrong after `limit` seconds, and kills it."""
        self.until(lambda: False, limit)
        code = self.code()
        assert code is not None
        return code


def _main(config: str, arguments: list[str], output: Path, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    with output.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)

    import jax

    from benchmarks.faults import task
    from wbcjax import cli
    from wbcjax.tasks.detection import Detection

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    if config == "task":
        Detection.task = lambda self, workdir=None: task.make_task(self.settings.train.batch_size)
    try:
        cli.main(["train", *arguments[1:]], arguments[0])
    finally:
        sys.stderr.flush()
        atexit._run_exitfuncs()  # a fork does not, and several processes say goodbye to each other there
