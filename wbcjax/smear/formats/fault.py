"""One failed check on annotations, and what a message shows of values that come from files."""

from typing import Any


class Fault(Exception):
    """One failed check: `Fault(found, remedy)`, both sentences without a capital or a full stop."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(found, remedy)
        self.found, self.remedy = found, remedy


def brief(value: Any) -> str:
    """A value as an error message shows it: its start when it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def is_text(name: str) -> bool:
    """Whether a file's name is text: one that is no UTF-8 on the disk cannot be written to a file."""
    return not any("\ud800" <= sign <= "\udfff" for sign in name)
