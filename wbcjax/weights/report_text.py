"""The account of every array of a weights file and of every variable of the model, as text."""

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import NamedTuple


class Report(NamedTuple):
    """An account of weights that a model starts from; arrays by the names of their file, variables by our paths."""

    source: str
    loaded: Mapping[str, str]  # array, and the variable it became
    left_out: Mapping[str, str]  # array, and why
    initial: tuple[str, ...]  # variables that kept their initial values
    prefix: str = ""  # in front of the names of `loaded`, without which they are the source's own
    entry: str = ""  # of the file, that holds the weights; "" where they are the whole file

    def text(self) -> str:
        """The account in lines: numbers of arrays by parts of the model, and the names of those that were left out."""
        arrays = len(self.loaded) + len(self.left_out)
        lines = [f"{len(self.loaded)} of {arrays} arrays loaded, of {self.source}"]
        lines += [f"  from the entry {self.entry!r} of the file"] if self.entry else []
        lines += [f"  by their names without {self.prefix!r} in front"] if self.prefix else []
        lines += [f"  {part}: {len(paths)}" for part, paths in _by_part(self.loaded.values()).items()]
        if self.left_out:
            lines.append(f"{len(self.left_out)} arrays left out")
            for reason in dict.fromkeys(self.left_out.values()):
                names = [name for name, why in self.left_out.items() if why == reason]
                lines.append(f"  {reason}: {_listing(names)}")
        if self.initial:
            lines.append(f"{len(self.initial)} variables at their initial values")
            loaded_parts = _by_part(self.loaded.values())
            for part, paths in _by_part(self.initial).items():
                lines.append(f"  {part}: {_listing(paths) if part in loaded_parts else f'all {len(paths)}'}")
        return "\n".join(lines)


SHOWN = 8  # names of a line


def _listing(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _by_part(paths: Iterable[str]) -> dict[str, list[str]]:
    """Variables by the part of the model they are of, `params/rpn/conv/kernel` by `rpn`."""

    def part(path: str) -> str:
        return path.split("/")[1]

    return {name: list(found) for name, found in groupby(sorted(paths, key=part), key=part)}
