"""Tables and histograms as plain data, and as text for a terminal; text from files made safe to show."""

import html
import shutil
import textwrap
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

MOST_BINS = 16
BAR = 40  # characters of the longest bar
WIDEST_TEXT = 100  # characters of a line of prose


@dataclass(frozen=True)
class Table:
    """Rows of text under a heading. A column of figures is set to the right."""

    title: str
    head: tuple[str, ...]  # () for none
    rows: tuple[tuple[str, ...], ...]
    note: str = ""  # below the table, on its figures

    def figures(self, column: int) -> bool:
        """Whether the column holds figures."""
        entries = [row[column] for row in self.rows if row[column]]
        return all(entry[0].isdigit() for entry in entries)


@dataclass(frozen=True)
class Histogram:
    """Counts of values between neighbouring edges; the right edge belongs to the next bin."""

    title: str
    axis: str  # what the values are, with their unit
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    whole: bool = False  # the values are whole numbers


def histogram(title: str, axis: str, values: Float[np.ndarray, " n"], whole: bool = False) -> Histogram:
    """Counts in at most MOST_BINS + 1 bins of a round width, which is 1 or more for `whole` numbers."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    step = _round_step((high - low) / MOST_BINS)
    if whole:
        step = max(step, 1.0)
    first = int(np.floor(low / step))
    edges = step * np.arange(first, int(np.floor(high / step)) + 2)
    counts, _ = np.histogram(values, edges)
    return Histogram(title, axis, tuple(edges.tolist()), tuple(counts.tolist()), whole)


def bin_name(histogram: Histogram, position: int) -> str:
    """A bin's values: "40 to 50", and of whole numbers "7" or "10 to 14"."""
    left, right = histogram.edges[position], histogram.edges[position + 1] - histogram.whole
    return f"{left:g}" if left == right else f"{left:g} to {right:g}"


def table_text(table: Table) -> str:
    """A table's lines, columns aligned."""
    rows = [tuple(map(printable, row)) for row in (*([table.head] if table.head else []), *table.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    lines = [underlined(table.title)]
    for row in rows:
        entries = [
            entry.rjust(width) if table.figures(column) else entry.ljust(width)
            for column, (entry, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(entries).rstrip())
    return "\n".join([*lines, *textwrap.wrap(printable(table.note), text_width())])


def histogram_text(histogram: Histogram) -> str:
    """A histogram's lines: a bar of signs for each bin."""
    names = [bin_name(histogram, position) for position in range(len(histogram.counts))]
    width, most = max(map(len, names)), max(*histogram.counts, 1)
    figures = len(str(most))
    bars = [
        f"{name.rjust(width)}  {count:{figures}}  {'#' * max(round(BAR * count / most), int(count > 0))}".rstrip()
        for name, count in zip(names, histogram.counts, strict=True)
    ]
    return "\n".join([printable(f"{histogram.title} ({histogram.axis})"), *bars])


def text_width() -> int:
    """The characters of a line of prose: the terminal's width, at most WIDEST_TEXT, which files get."""
    return min(shutil.get_terminal_size((WIDEST_TEXT, 24)).columns, WIDEST_TEXT)


def underlined(title: str) -> str:
    """A title with a line below it."""
    return f"{title}\n{'-' * len(title)}"


def printable(text: str) -> str:
    """Text from a file with control characters, such as escape sequences of a terminal, spelt out."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def escaped(text: str) -> str:
    """Text for HTML, as content or in a quoted attribute, `printable`."""
    return html.escape(printable(text))


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, ... times a power of ten that is at least `least`; 1 for 0."""
    if least <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(least))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= least * (1 - 1e-9)))
