"""What commands print: tables and lines, wrapped and coloured on a terminal, and plain in files and pipes.

A block is a table, a line, or several lines. A line is a `str` without line breaks, or of a kind that derives from it.
"""

import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

NOTE_WIDTH = 80  # characters of a note's line in a file
UNBOUNDED = 100_000  # characters of other lines in a file: none is wrapped
WORD = 8  # characters of a column of text that a narrow terminal leaves it
FIGURE = re.compile(r"[-+]?\d[\d.,]*((-| to )\d[\d.]*)?( %)?( of \d+)?( \([^)]*\))?|n/a|-")


class Heading(str):
    """A line that is underlined, above what it names."""


class Attention(str):
    """A line, or an entry of a table, that must not be overlooked: red on a terminal."""


class Note(str):
    """An explanation: faint on a terminal, and wrapped in a file too."""


class Verbatim(str):
    """A line to copy, such as of a config: wrapped nowhere."""


@dataclass(frozen=True)
class Table:
    """Rows of text under a heading. A column of figures is set to the right."""

    title: str  # "" for none
    head: tuple[str, ...]  # () for none
    rows: tuple[tuple[str, ...], ...]
    note: str = ""  # below the table, on its figures

    def figures(self, column: int) -> bool:
        """Whether the column holds figures, "n/a" where one is not defined, and nothing else."""
        entries = [row[column] for row in self.rows if row[column]]
        return bool(entries) and all(FIGURE.fullmatch(entry) for entry in entries)


Block = Table | str | Sequence[str]
STYLES = {Heading: "bold", Attention: "bold red", Note: "dim"}


def show(*blocks: Block) -> None:
    """Print blocks, an empty line between two: for the terminal where standard output is one, else as `plain`."""
    if not sys.stdout.isatty():
        sys.stdout.write(plain(*blocks))
        return
    width = shutil.get_terminal_size().columns
    coloured = not Console().legacy_windows  # such a console shows escape sequences as letters
    sys.stdout.write(_rendered(blocks, Console(file=StringIO(), force_terminal=coloured, width=width)))


def plain(*blocks: Block) -> str:
    """Blocks as lines of a file, without colours. Rows and lines are not wrapped, so that they can be searched."""
    return _rendered(blocks, Console(file=StringIO(), force_terminal=False, width=UNBOUNDED))


def warned(line: str) -> str:
    """A line, as `Attention` where it begins with WARNING."""
    return Attention(line) if line.startswith("WARNING") else line


def printable(text: str) -> str:
    """Text from a file with control characters, such as escape sequences of a terminal, spelt out."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def _rendered(blocks: Iterable[Block], console: Console) -> str:
    """The text of the blocks that are not empty, for the width and colours of a `console`."""
    texts = []
    for block in blocks:
        with console.capture() as captured:
            for part in _of_table(block, console) if isinstance(block, Table) else _of_lines(block, console):
                console.print(part, highlight=False, crop=False, overflow="ignore", no_wrap=True)
        texts.append("\n".join(line.rstrip() for line in captured.get().splitlines()))
    return "\n\n".join(text for text in texts if text) + "\n"


def _of_table(table: Table, console: Console) -> Iterator[Text | Grid]:
    if table.title:
        yield from _of_lines(Heading(table.title), console)
    if table.rows or table.head:
        yield _grid(table)
    if table.note:
        yield from _of_lines(Note(table.note), console)


def _grid(table: Table) -> Grid:
    """The rows, their columns two blanks apart. Figures are not cut; other long words, such as paths, are folded."""
    grid = Grid(box=None, show_header=bool(table.head), pad_edge=False)
    for position, name in enumerate(table.head or ("",) * len(table.rows[0])):
        words = [cell_len(word) for row in table.rows for word in printable(row[position]).split()]
        longest, figures = max(words, default=0), table.figures(position)
        grid.add_column(
            _text(name, "bold"),
            justify="right" if figures else "left",
            min_width=longest if figures else min(longest, WORD),
            overflow="fold",
        )
    for row in table.rows:
        grid.add_row(*map(_text, row))
    return grid


def _of_lines(block: str | Sequence[str], console: Console) -> Iterator[Text]:
    for line in [block] if isinstance(block, str) else block:
        style = STYLES.get(type(line), "")
        yield from (Text(part, style) for part in _wrapped(line, console.width))
        if isinstance(line, Heading):
            yield Text("-" * min(cell_len(printable(line)), console.width), style)


def _wrapped(line: str, width: int) -> list[str]:
    """The parts of a line that fit, each indented as the first; a word that is too long stays whole."""
    text = printable(line)
    if isinstance(line, Verbatim):
        return [text]
    indent = " " * (len(text) - len(text.lstrip()))
    most = NOTE_WIDTH if isinstance(line, Note) and width == UNBOUNDED else width
    return textwrap.wrap(text, most, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False) or [""]


def _text(entry: str, style: str = "") -> Text:
    return Text(printable(entry), style or STYLES.get(type(entry), ""))
