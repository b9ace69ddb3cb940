"""One training at a time in a workdir."""

import contextlib
import logging
import os
import socket
from collections.abc import Generator
from pathlib import Path

import jax
from filelock import FileLock, SoftFileLock, Timeout

from wbcjax.system import run_files
from wbcjax.system.places import NO_LOCKS
from wbcjax.train.first_process import in_first_process

log = logging.getLogger(__name__)

PATIENCE = 20.0  # seconds, in a run of several processes: one of the last run may still be ending


class WorkdirInUse(OSError):
    """Another process trains in the workdir."""


@contextlib.contextmanager
def lock_workdir(workdir: Path) -> Generator[None]:
    """While entered, no other run trains in `workdir`; of several processes of one run the first one holds the lock.

    train.lock is locked by the system, which unlocks it whenever its process ends. train.lock.holder has the number and
    host of the process, for the message to others: Windows lets nobody read a file that is locked. Where the file
    system has no locks, train.lock.soft takes the place of both. Left by a process that is gone from this host it is
    taken over; left by another host it must be deleted by hand.

    Raises WorkdirInUse that names the other process, OSError where no file can be written.
    """
    with contextlib.ExitStack() as held:
        in_first_process(lambda: held.enter_context(_lock(workdir)), f"{workdir} could not be locked")
        yield


@contextlib.contextmanager
def _lock(workdir: Path) -> Generator[None]:
    workdir.mkdir(parents=True, exist_ok=True)
    holder = workdir / run_files.LOCK_HOLDER
    patience = PATIENCE if jax.process_count() > 1 else 0
    lock = FileLock(workdir / run_files.LOCK, timeout=patience, fallback_to_soft=False)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(lock)
        except Timeout:
            raise WorkdirInUse(f"{_in_use(workdir, holder)}, or give another --workdir") from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            held.enter_context(_soft_lock(workdir))
        else:
            _warn_of_the_last(holder)
            holder.write_text(f"{os.getpid()}\n{socket.gethostname()}\n", encoding="utf-8")
            held.callback(_empty, holder)
        yield


@contextlib.contextmanager
def _soft_lock(workdir: Path) -> Generator[None]:
    path = workdir / run_files.SOFT_LOCK
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(SoftFileLock(path, timeout=0))
        except Timeout:
            raise WorkdirInUse(
                f"{_in_use(workdir, path)}, or give another --workdir. If no training is left there, delete {path}"
            ) from None
        yield


def _empty(holder: Path) -> None:
    with contextlib.suppress(OSError):  # such as where the folder is gone: the training is over in any case
        holder.write_text("", encoding="utf-8")


def _in_use(workdir: Path, holder: Path) -> str:
    pid, host = _held_by(holder)
    return f"{workdir} is in use: process {pid} on host {host} trains in it. Wait for its end or stop it"


def _warn_of_the_last(holder: Path) -> None:
    """Warn where the last training was on another host and has not ended properly: most likely it was killed."""
    pid, host = _held_by(holder)
    if host not in ("?", socket.gethostname()):
        log.warning(
            "process %s on host %s trained in %s and did not end properly; if it still runs, on a disk whose locks its "
            "host does not share, stop one of the two",
            pid,
            host,
            holder.parent,
        )


def _held_by(holder: Path) -> tuple[str, str]:
    """The process and host that a file names; "?" where it names none, as before they are written."""
    try:
        pid, host, *_ = holder.read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, ValueError):
        return "?", "?"
    return pid, host
