"""What the tests of this folder share."""

from collections.abc import Callable

import pytest

from wbcjax.input import builder


@pytest.fixture
def no_building(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and from then on any attempt to build a set fails."""

    def refuse(*_: object) -> None:
        raise AssertionError("the set was built again")

    return lambda: monkeypatch.setattr(builder, "_build", refuse)
