"""Histograms as plain data, and as lines for a terminal; text made safe for a page."""

import html
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from wbcjax.system.terminal import Heading, Verbatim, printable

MOST_BINS = 16
BAR = 40  # characters of the longest bar


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


def histogram_lines(histogram: Histogram) -> list[str]:
    """A histogram as lines: a bar of signs for each bin."""
    names = [bin_name(histogram, position) for position in range(len(histogram.counts))]
    width, most = max(map(len, names)), max(*histogram.counts, 1)
    figures = len(str(most))
    bars = [
        Verbatim(f"{name:>{width}}  {count:{figures}}  {'#' * max(round(BAR * count / most), int(count > 0))}".rstrip())
        for name, count in zip(names, histogram.counts, strict=True)
    ]
    return [Heading(f"{histogram.title} ({histogram.axis})"), *bars]


def escaped(text: str) -> str:
    """Text for HTML, as content or in a quoted attribute, `printable`."""
    return html.escape(printable(text))


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, ... times a power of ten that is at least `least`; 1 for 0."""
    if least <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(least))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= least * (1 - 1e-9)))
