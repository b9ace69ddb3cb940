"""What the tests of this folder share."""

import threading
from collections.abc import Callable, Iterator

import pytest

from wbcjax.input import field_set


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Waits for a closed stream's threads to end: their type checks draw from `random`, which Hypothesis watches."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("grain"):
            thread.join(timeout=10)


@pytest.fixture
def no_building(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and from then on any attempt to build a set fails."""

    def refuse(*_: object) -> None:
        raise AssertionError("the set was built again")

    return lambda: monkeypatch.setattr(field_set, "_build", refuse)
