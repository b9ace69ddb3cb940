"""Figures and sentences formatted for a terminal."""

import math
import textwrap

WIDTH = 80  # characters of a line


def percent(fraction: float, digits: int = 1) -> str:
    """A fraction as a percentage, "n/a" where it is not defined."""
    return "n/a" if math.isnan(fraction) else f"{100 * fraction:.{digits}f}"


def wrapped(sentence: str) -> list[str]:
    """A sentence in lines that a terminal has room for."""
    return textwrap.wrap(sentence, WIDTH, break_long_words=False, break_on_hyphens=False)
