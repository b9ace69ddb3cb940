"""Figures of a detector's results: curves, matrices, counts and shapes of cells; and any figure as part of a page."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from wbcjax.report.classification_figures import (
    COLOURS,
    DASHES,
    DOTS_PER_INCH,
    GUESSING,
    LEGEND_INSIDE,
    LETTERS,
    SIDE,
    STYLE,
)
from wbcjax.system.terminal import printable

NOT_LOSSES = frozenset({"step", "epoch", "learning_rate", "grad_norm", "images_per_second"})  # of a training record
MOST_LETTERS = 24  # of a class's name
MOST_POINTS = 2000  # drawn of a class's cells
SEED = 0


def figure_uri(figure: Figure) -> str:
    """A figure as the text of a `data:` address: SVG, the same for the same figure, its letters as outlines."""
    data = io.BytesIO()
    style: dict[Any, Any] = STYLE | {"svg.hashsalt": "wbcjax"}
    with mpl.rc_context(style):
        figure.savefig(data, format="svg", dpi=DOTS_PER_INCH, metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(data.getvalue()).decode()}"


def logged_quantities(records: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Names of the losses, and of the validation scores, that a run's log has numbers for; the total loss first."""
    losses, scores = (
        {
            name: None
            for record in records
            if record["kind"] == kind
            for name, value in record.items()
            if isinstance(value, (int, float)) and name not in NOT_LOSSES
        }
        for kind in ("train", "eval")
    )
    return sorted(losses, key=lambda name: name != "loss"), [name for name in scores if name not in losses]


def detection_curves_figure(curves: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Precision over recall of each class, its AP50 in the legend.

    `curves` has recall and precision, points along the curve, and AP50 of each class, as `cell_scores` gives them.
    """
    with mpl.rc_context(STYLE):
        many = len(curves) > LEGEND_INSIDE
        figure = Figure((1.5 * SIDE if many else SIDE, SIDE))
        axes = figure.add_subplot()
        for position, (name, curve) in enumerate(curves.items()):
            turn, colour = divmod(position, len(COLOURS))
            area = "n/a" if curve["AP50"] is None or np.isnan(curve["AP50"]) else f"{curve['AP50']:.3f}"
            line = {"color": COLOURS[colour], "linestyle": DASHES[turn % len(DASHES)], "linewidth": 1.6}
            axes.plot(curve["recall"], curve["precision"], label=f"{area}  {_label(name)}", **line)
        axes.set(xlabel="recall", ylabel="precision", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        place: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)} if many else {"loc": "lower left"}
        axes.legend(title="AP at IoU 0.5", alignment="left", **place)
    return figure


def matrix_figure(
    rows: Sequence[str],
    columns: Sequence[str],
    counts: Sequence[Sequence[int]],
    names: tuple[str, str],
    background: bool = False,
) -> Figure:
    """A table of counts, each with its share of its row, which is also its shade.

    Args:
        rows, columns: their names.
        names: titles of the rows and the columns, such as "is" and "taken for".
        background: the last row is the background, whose total is not known: it has no shares.
    """
    table = np.array(counts).reshape(len(rows), len(columns))
    totals = table.sum(axis=1, keepdims=True)
    totals[len(rows) - background :] = 0
    shares = np.where(totals > 0, table / np.maximum(totals, 1), 0)
    row_names, column_names = ([_label(name) for name in side] for side in (rows, columns))
    longest = max(map(len, (*row_names, *column_names)))
    upright = longest * len(columns) > 60
    with mpl.rc_context(STYLE):
        width = max(SIDE, 0.75 * len(columns) + 2.0)
        figure = Figure((width, 1.0 + (width - 1.0) * len(rows) / len(columns)))  # square fields, 1 inch of letters
        axes = figure.add_subplot()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(table.shape):
            count = table[row, column]
            axes.text(
                column,
                row,
                f"{count}\n{100 * shares[row, column]:.1f} %" if totals[row] else f"{count}",
                ha="center",
                va="center",
                color="white" if shares[row, column] > 0.55 else LETTERS,
                fontsize=12 if len(columns) <= 4 else 8,
            )
        axes.set_xticks(range(len(columns)), column_names, rotation=90 if upright else 0)
        axes.set_yticks(range(len(rows)), row_names, rotation=0 if upright else 90, va="center")
        axes.set(ylabel=names[0], xlabel=names[1])
        axes.grid(False)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def counts_figure(annotated: Sequence[int], found: Sequence[int]) -> Figure:
    """Cells found over cells annotated: a disc for all fields with that pair, its area by their number."""
    pairs, fields = np.unique(np.array([annotated, found]).reshape(2, -1), axis=1, return_counts=True)
    most = int(pairs.max(initial=1)) + 1
    with mpl.rc_context(STYLE):
        figure = Figure((SIDE, SIDE))
        axes = figure.add_subplot()
        axes.plot([0, most], [0, most], **GUESSING)
        axes.scatter(*pairs, s=70 + 25 * (fields - 1), color=COLOURS[0], alpha=0.85, linewidths=0, zorder=2)
        for (x, y), count in zip(pairs.T, fields, strict=True):
            if count > 1:
                axes.annotate(f"{count}", (x, y), ha="center", va="center", fontsize=8, color="white", zorder=3)
        axes.set(xlabel="cells annotated", ylabel="cells found", aspect="equal")
        axes.set(xlim=(-0.5, most), ylim=(-0.5, most))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(8, integer=True))
    return figure


def morphology_figure(values: Mapping[str, Sequence[float]], quantity: str) -> Figure:
    """One measure of the cells of each class: a point for each, and a box of the quartles over them.

    Args:
        values: of each class; what is not finite is left out. Of many cells MOST_POINTS, drawn by chance, are points.
        quantity: what is measured, with its unit.
    """
    finite = {name: np.array([value for value in of if np.isfinite(value)]) for name, of in values.items()}
    rng = np.random.default_rng(SEED)
    with mpl.rc_context(STYLE):
        figure = Figure((SIDE, 0.8 * SIDE))
        axes = figure.add_subplot()
        for position, of in enumerate(finite.values()):
            shown = of if len(of) <= MOST_POINTS else rng.choice(of, MOST_POINTS, replace=False)
            colour = COLOURS[position % len(COLOURS)]
            aside = position + rng.uniform(-0.22, 0.22, len(shown))
            axes.plot(aside, shown, "o", color=colour, markersize=3.5, alpha=0.6, markeredgewidth=0, rasterized=True)
        line = {"color": LETTERS, "linewidth": 1.2}
        axes.boxplot(
            list(finite.values()),
            positions=range(len(finite)),
            widths=0.55,
            showfliers=False,
            boxprops=line,
            whiskerprops=line,
            capprops=line,
            medianprops=line | {"linewidth": 2.2},
        )
        names = [f"{_label(name)}\n{len(of)} cells" for name, of in finite.items()]
        axes.set_xticks(range(len(names)), names, rotation=90 if sum(map(len, finite)) > 60 else 0)
        axes.set(ylabel=quantity, xlim=(-0.6, len(names) - 0.4))
        axes.grid(False, axis="x")
    return figure


def _label(name: str) -> str:
    """A printable name that a figure has room for: of a longer one the middle is left out."""
    name = printable(name)
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS // 2]}..{name[-(MOST_LETTERS // 2) :]}"
