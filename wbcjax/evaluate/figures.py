"""Scores as text."""

import math


def percent(fraction: float | None, digits: int = 1) -> str:
    """A fraction as a percentage, "n/a" where it is not defined: NaN, or None, as JSON has it."""
    return "n/a" if fraction is None or math.isnan(fraction) else f"{100 * fraction:.{digits}f}"
