"""Messages that commands share."""

import sys

from wbcjax.report.tables import printable


def exit_for_failed(failed: list[str]) -> None:
    """End the program with the images that were left out, if there are any."""
    if failed:
        title = f"wbcjax: {count(len(failed), 'image')} could not be processed:"
        sys.exit("\n  ".join([title, *map(printable, failed)]))


def count(number: int, one: str) -> str:
    return f"{number} {one}{'s' * (number != 1)}"
