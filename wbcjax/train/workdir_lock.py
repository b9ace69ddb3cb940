"""One training at a time in a workdir."""

import contextlib
import errno
import logging
import os
import socket
from collections.abc import Generator
from pathlib import Path

import jax
from filelock import FileLock, SoftFileLock, Timeout

from wbcjax.system import run_files
from wbcjax.train.first_process import in_first_process

log = logging.getLogger(__name__)

PATIENCE = 20.0  # seconds, in a run of several processes: one of the last run may still be ending
NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)  # errors of file systems without locks: some Lustre, NFS


class WorkdirInUse(OSError):
    """Another process trains in the workdir."""


@contextlib.contextmanager
def lock_workdir(workdir: Path) -> Generator[None]:
    """While entered, no other run trains in `workdir`; of several processes of one run the first one holds the lock.

    train.lock is locked by the system (flock), which unlocks it whenever its process ends. It holds the number and host
    of the process, for the message to others. Where the file system has no locks, train.lock.soft takes its place. Left
    by a process that is gone from this host it is taken over; left by another host it must be deleted by hand.

    Raises WorkdirInUse that names the other process, OSError where no file can be written.
    """
    with contextlib.ExitStack() as held:
        in_first_process(lambda: held.enter_context(_lock(workdir)), f"{workdir} could not be locked")
        yield


@contextlib.contextmanager
def _lock(workdir: Path) -> Generator[None]:
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / run_files.LOCK
    lock = FileLock(path, timeout=PATIENCE if jax.process_count() > 1 else 0, fallback_to_soft=False)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(lock)
        except Timeout:
            raise WorkdirInUse(f"{_in_use(workdir, path)}, or give another --workdir") from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            held.enter_context(_soft_lock(workdir))
        else:
            _warn_of_the_last(path)
            path.write_text(f"{os.getpid()}\n{socket.gethostname()}\n")
            held.callback(_empty, path)
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


def _empty(path: Path) -> None:
    with contextlib.suppress(OSError):  # such as where the folder is gone: the training is over in any case
        path.write_text("")


def _in_use(workdir: Path, path: Path) -> str:
    pid, host = _holder(path)
    return f"{workdir} is in use: process {pid} on host {host} trains in it. Wait for its end or stop it"


def _warn_of_the_last(path: Path) -> None:
    """Warn where the last training was on another host and has not ended properly: most likely it was killed."""
    pid, host = _holder(path)
    if host not in ("?", socket.gethostname()):
        log.warning(
            "process %s on host %s trained in %s and did not end properly; if it still runs, on a disk whose locks its "
            "host does not share, stop one of the two",
            pid,
            host,
            path.parent,
        )


def _holder(path: Path) -> tuple[str, str]:
    """The process and host that a lock names; "?" where it names none, as before they are written."""
    try:
        pid, host, *_ = path.read_text(errors="replace").splitlines()
    except (OSError, ValueError):
        return "?", "?"
    return pid, host
