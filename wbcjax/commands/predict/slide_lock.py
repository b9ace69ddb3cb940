"""One search of slides at a time in a folder for results."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from wbcjax.system.places import NO_LOCKS

LOCK = "search.lock"  # it stays, empty: the system unlocks it whenever its process ends

log = logging.getLogger(__name__)


@contextlib.contextmanager
def lock_out(out: Path) -> Iterator[None]:
    """While entered, no other command searches slides into the folder `out`; also on machines that share its locks.

    On file systems without locks nobody is kept out, which is told. Raises BlockingIOError where another one searches,
    OSError where no file can be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(FileLock(out / LOCK, timeout=0, fallback_to_soft=False))
        except Timeout:
            raise BlockingIOError(
                f"{out} is in use: another process searches slides into it. Wait for its end or stop it, or give "
                "another --out"
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            log.warning("%s cannot be locked (%s): start no second search into it", out, error.strerror)
        yield
