"""The end of a program that is stopped from outside: one line at most, and the exit code that shells expect."""

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Iterator

from wbcjax.system.interrupt import Interrupted, breakable

_NOT_READ = 141  # 128 + SIGPIPE, which Windows has not
_PIPE_WITHOUT_READER = errno.EINVAL if os.name == "nt" else errno.EPIPE


@contextlib.contextmanager
def ending(program: str) -> Iterator[None]:
    """While entered, Ctrl-C or SIGTERM ends `program` with one line and the exit code 130 or 143.

    When the reader of its output has gone, as in `program | head`, it ends silently with 141.
    """
    read = True
    try:
        with breakable(announced=False), _without_reports():
            yield
    except (Interrupted, KeyboardInterrupt) as stop:
        number = stop.signal if isinstance(stop, Interrupted) else signal.SIGINT
        with contextlib.suppress(OSError):  # the terminal has gone too
            sys.stderr.write(f"{program}: stopped by {number.name}; the files written so far are whole\n")
        sys.exit(128 + number)
    except BrokenPipeError:  # there are pipes to standard output and error alone
        read = False
    finally:
        read = _written(program) and read
    if not read:
        sys.exit(_NOT_READ)


@contextlib.contextmanager
def _without_reports() -> Iterator[None]:
    """Python does not report an Interrupted that it drops with a traceback: it is raised again."""
    report = sys.unraisablehook
    sys.unraisablehook = lambda what: None if issubclass(what.exc_type, Interrupted) else report(what)
    try:
        yield
    finally:
        sys.unraisablehook = report


def _written(program: str) -> bool:
    """Flush the output; False where nobody reads it."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # The rest is discarded: at its end Python would try to flush again, and report the failure.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno not in (errno.EPIPE, _PIPE_WITHOUT_READER):
            sys.exit(f"{program}: its output cannot be written: {error.strerror}")
        return False
    return True
