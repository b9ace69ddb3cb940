"""Messages that commands share."""

import sys
from typing import NoReturn

from wbcjax.system.places import error_text
from wbcjax.system.terminal import printable


def exit_for_failed(failed: list[str], what: str = "could not be processed") -> None:
    """End the program with the images that were left out, if there are any."""
    if failed:
        title = f"wbcjax: {count(len(failed), 'image')} {what}:"
        sys.exit("\n  ".join([title, *map(printable, failed)]))


def exit_for_error(error: Exception) -> NoReturn:
    """End the program with the message of an error that a user can mend. Raises a closed pipe again: see `ending`."""
    if isinstance(error, BrokenPipeError):
        raise error
    sys.exit("\n".join(map(printable, f"wbcjax: {error_text(error)}".splitlines())))


def count(number: int, one: str) -> str:
    return f"{number} {one}{'s' * (number != 1)}"
