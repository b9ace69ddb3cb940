"""Progress bars on a terminal, by rich; files, pipes and notebooks get none."""

from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")


def terminal() -> Console:
    """Standard error, where progress and messages go."""
    return Console(stderr=True, highlight=False)


class Bar:
    """While entered, shows how many of `total` are done. `active` False: nothing, as in all processes but the first."""

    def __init__(self, what: str, unit: str, total: int, *, active: bool = True) -> None:
        console = terminal()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn(f"{unit}s"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
            expand=True,
            redirect_stdout=False,
            disable=not (active and console.is_terminal),
        )
        self._task = self._progress.add_task(what, total=total)

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self) -> None:
        """One more is done."""
        self._progress.advance(self._task)


def shown(
    items: Iterable[Item], what: str, unit: str, total: int | None = None, *, active: bool = True
) -> Iterator[Item]:
    """The items, with a `Bar` that counts those that were gone on from; `total` where they have no length."""
    if total is None:
        assert isinstance(items, Sized)
        total = len(items)
    with Bar(what, unit, total, active=active) as bar:
        for item in items:
            yield item
            bar.advance()
