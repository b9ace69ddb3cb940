"""Figures of an experiment that compares settings."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from wbcjax.evaluate.comparison import Scored
from wbcjax.report.classification_figures import COLOURS, DASHES, LEGEND_INSIDE, SIDE, STYLE

LETTERS = 40  # of a setting's name
OF_A_ROW = 0.4  # inches
BESIDE = 1.03  # factor between the points of two lines, so that their bars do not hide each other


def settings_figure(names: Sequence[str], scores: Sequence[Scored], score: str) -> Figure:
    """The score of each setting with its interval, and those of its seeds as points, a row each, the first on top."""
    with mpl.rc_context(STYLE):
        figure = Figure((1.4 * SIDE, 1.0 + OF_A_ROW * len(names)))
        axes = figure.add_subplot()
        for row, scored in enumerate(scores):
            value, low, high = (100 * end for end in scored.estimate)
            axes.plot([low, high], [row, row], color=COLOURS[0], linewidth=2)
            axes.plot(value, row, "o", color=COLOURS[0], markersize=7)
            seeds = [100 * one for one in scored.by_seed.values()]
            if len(seeds) > 1:
                axes.plot(seeds, [row] * len(seeds), "|", color=COLOURS[1], markersize=11)
        axes.set_yticks(range(len(names)), [_short(name) for name in names])
        axes.set(xlabel=f"{score}, %", ylim=(len(names) - 0.5, -0.5))
    return figure


def curves_figure(lines: Mapping[str, Sequence[tuple[float, Scored]]], score: str) -> Figure:
    """Scores over the number of training fields, on a logarithmic axis, a line for each name."""
    with mpl.rc_context(STYLE):
        figure, axes = _axes(len(lines))
        for position, (name, points) in enumerate(lines.items()):
            style, ordered = _line(position), sorted(points, key=lambda point: point[0])
            beside = BESIDE ** (position - (len(lines) - 1) / 2)
            counts = [count * beside for count, _ in ordered]
            ends = 100 * np.array([scored.estimate for _, scored in ordered])  # (points, 3): value, low, high
            away = np.abs(ends[:, 1:] - ends[:, :1]).T
            axes.errorbar(
                counts, ends[:, 0], yerr=np.nan_to_num(away), capsize=3, marker="o", label=_short(name), **style
            )
            for count, (_, scored) in zip(counts, ordered, strict=True):
                seeds = [100 * one for one in scored.by_seed.values()]
                axes.plot([count] * len(seeds), seeds, ".", color=style["color"], alpha=0.5, markersize=5)
        axes.set(xlabel="training fields", ylabel=f"{score}, %", xscale="log")
        counts = sorted({count for points in lines.values() for count, _ in points})
        axes.xaxis.set_major_locator(FixedLocator(counts))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda count, _: f"{count:g}")
        _legend(axes, len(lines))
    return figure


def validation_figure(lines: Sequence[tuple[str, Sequence[tuple[float, float]]]], score: str) -> Figure:
    """A score of val over the steps, a line for each run in the colour of its setting, which is its name."""
    names = list(dict.fromkeys(name for name, _ in lines))
    with mpl.rc_context(STYLE):
        figure, axes = _axes(len(names))
        for row, (name, points) in enumerate(lines):
            steps, values = np.array(points).T
            again = name in [other for other, _ in lines[:row]]
            label = "_again" if again else _short(name)  # the legend leaves out what begins so
            axes.plot(steps, 100 * values, marker=".", label=label, alpha=0.8, **_line(names.index(name)))
        axes.set(xlabel="step", ylabel=f"{score} of val, %", xlim=(0, None))
        _legend(axes, len(names))
    return figure


def _axes(names: int) -> tuple[Figure, Axes]:
    """Room for a legend beside the axes where there are many names."""
    figure = Figure((1.5 * SIDE if names > LEGEND_INSIDE else 1.1 * SIDE, 0.8 * SIDE))
    return figure, figure.add_subplot()


def _legend(axes: Axes, names: int) -> None:
    if names > LEGEND_INSIDE:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), alignment="left")
    else:
        axes.legend(loc="best", alignment="left")


def _line(position: int) -> dict[str, Any]:
    turn, colour = divmod(position, len(COLOURS))
    return {"color": COLOURS[colour], "linestyle": DASHES[turn % len(DASHES)], "linewidth": 1.6}


def _short(name: str) -> str:
    return name if len(name) <= LETTERS else f"{name[: LETTERS - 3]}..."
