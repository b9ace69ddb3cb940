"""A folder to be attacked in, and a watch over what code does there: what it writes, starts, and takes."""

import contextlib
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECONDS = 10.0  # that one input may take, on a busy machine
BYTES = 2**29  # that one input may take
MEMORY = Path("/dev/shm")  # files without a disk, where there are such
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "pty.spawn")
_CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate", "shutil.rmtree")

_watched: list[Path] = []  # the folder that may be written to, while something is watched
_seen: list[str] = []
_hooked: list[bool] = []


class Escape(BaseException):
    """What no input may bring about; no `except` of the code under test holds it up."""


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A new folder in memory."""
    place = Path(tempfile.mkdtemp(prefix="fuzz-", dir=MEMORY if MEMORY.is_dir() else None))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def watch(allowed: Path, alarm: bool = True) -> Iterator[None]:
    """Raise Escape when what is enclosed writes outside `allowed`, starts a process, or takes over SECONDS or BYTES."""
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked.append(True)
    _seen.clear()
    before = _peak()
    _watched.append(allowed)
    if alarm:
        signal.signal(signal.SIGALRM, _too_long)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        if alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)
        _watched.clear()
    if _seen:
        raise Escape(_seen[0])
    if _peak() - before > BYTES:
        raise Escape(f"took {_peak() - before} bytes")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _too_long(signum: int, frame: Any) -> None:
    raise Escape(f"took longer than {SECONDS} s")


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watched:
        return
    outside = False
    if event == "open":
        path, _, flags = arguments
        outside = bool((flags or 0) & _WRITES) and _is_outside(path)
    elif event in _CHANGES:
        outside = any(_is_outside(path, follow=False) for path in arguments)
    if outside or event in _FORBIDDEN:
        _seen.append(f"{event} {arguments!r:.300}")


def _is_outside(path: Any, follow: bool = True) -> bool:
    """Whether a file lies outside the folder; with `follow` what a link leads to, not the link itself."""
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    place = Path(os.fsdecode(path))
    place = place.resolve() if follow else place.parent.resolve() / place.name
    return not place.is_relative_to(_watched[0].resolve())
