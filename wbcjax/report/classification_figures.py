"""Figures of a classifier's scores and of its training, for reports and papers."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from wbcjax.evaluate.classification import ClassificationScores
from wbcjax.system.files import write_atomically

DOTS_PER_INCH = 150  # of PNG files
SIDE = 5.0  # inches, of a square figure
LEGEND_INSIDE = 4  # classes, at most
LETTERS, GRID = "#222222", "#dddddd"
GUESSING = {"color": "#999999", "linestyle": (0, (4, 4)), "linewidth": 0.8}
# Okabe and Ito, Color Universal Design, 2008: told apart by colour-blind eyes; yellow is too light for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":", "-.")  # one for each round of the colours
STYLE: dict[Any, Any] = {
    "axes.edgecolor": LETTERS,
    "axes.grid": True,
    "axes.labelcolor": LETTERS,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "axes.axisbelow": True,
    "figure.constrained_layout.h_pad": 0.1,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.1,
    "font.size": 10,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.title_fontsize": 9,
    "text.parse_math": False,  # a class may have $ in its name
    "xtick.color": LETTERS,
    "ytick.color": LETTERS,
}


def confusion_figure(scores: ClassificationScores) -> Figure:
    """The confusion matrix: counts, and their shares of the row's class (Fig. 12 of Suvon et al.).

    `scores` here and below are those of `classification_scores`.
    """
    names, counts = scores["confusion"]["classes"], np.array(scores["confusion"]["counts"])
    crops = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(crops, 1)
    side = max(SIDE, 0.75 * len(names) + 2.0)
    with _style():
        figure = Figure((side, side))
        axes = figure.add_subplot()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(counts.shape):
            share = f"{100 * shares[row, column]:.1f} %" if crops[row] else "n/a"
            axes.text(
                column,
                row,
                f"{counts[row, column]}\n{share}",
                ha="center",
                va="center",
                color="white" if shares[row, column] > 0.55 else LETTERS,
                fontsize=13 if len(names) <= 4 else 8,
            )
        ticks = range(len(names))
        upright = max(map(len, names)) * len(names) > 60
        axes.set_xticks(ticks, names, rotation=90 if upright else 0)
        axes.set_yticks(ticks, names, rotation=0 if upright else 90, va="center")
        axes.set(xlabel="taken for", ylabel="is")
        axes.set_title(f"accuracy {_value(scores['accuracy'], 4)}, {crops.sum()} crops")
        axes.grid(False)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def roc_figure(scores: ClassificationScores) -> Figure:
    """ROC curves of each class against the rest, with the areas under them; guessing gives the dashed line."""
    with _style():
        figure, axes = _square(scores, "false positive rate", "true positive rate")
        axes.plot([0, 1], [0, 1], **GUESSING)
        for position, (name, curve) in enumerate(scores["curves"]["roc"].items()):
            x, y = curve["false_positive_rate"], curve["true_positive_rate"]
            axes.plot(x, y, label=_entry(scores["auroc"]["per_class"][name], name), **_line(position))
        _legend(axes, "area under the curve", "lower right")
        axes.set_title(f"AUROC, mean {_value(scores['auroc'], 3)}")
    return figure


def precision_recall_figure(scores: ClassificationScores) -> Figure:
    """Precision-recall curves of each class, with average precision; guessing gives the dashed lines."""
    with _style():
        figure, axes = _square(scores, "recall", "precision")
        for position, (name, curve) in enumerate(scores["curves"]["pr"].items()):
            average = scores["average_precision"]["per_class"][name]
            line = _line(position)
            axes.step(curve["recall"], curve["precision"], where="post", label=_entry(average, name), **line)
            if share := scores["report"]["per_class"][name]["support"] / scores["counts"]["crops"]:
                axes.axhline(share, **GUESSING | {"color": line["color"]})
        _legend(axes, "average precision", "lower left")
        axes.set_title(f"average precision, mean {_number(scores['average_precision']['value'], 3)}")
    return figure


def reliability_figure(calibration: Mapping[str, Any], counted: str) -> Figure:
    """Accuracy over confidence (a reliability diagram), and below it the number of crops or whatever is `counted`.

    `calibration` is of `reliability`.
    """
    bins = calibration["reliability"]
    low, high, number, confidence, accuracy = (
        np.array([entry[key] for entry in bins]) for key in ("low", "high", counted, "confidence", "accuracy")
    )
    with _style():
        figure = Figure((SIDE, 1.25 * SIDE))
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        above.bar(low, accuracy, high - low, align="edge", color="#56B4E9", edgecolor="white", label="accuracy")
        above.plot(confidence, confidence, "o", color="#D55E00", markersize=4, clip_on=False, label="mean confidence")
        above.vlines(confidence, np.minimum(confidence, accuracy), np.maximum(confidence, accuracy), color="#D55E00")
        above.plot([0, 1], [0, 1], **GUESSING)
        above.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
        above.legend(loc="upper left")
        above.set_title(f"expected calibration error {calibration['ece']:.3f}, {calibration['bins']} bins")
        below.bar(low, number, high - low, align="edge", color="#777777", edgecolor="white")
        below.set(xlabel="confidence (probability of the class it was taken for)", ylabel=counted)
        below.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    return figure


def training_figure(records: Sequence[Mapping[str, Any]], quantities: Sequence[str] = ("accuracy", "loss")) -> Figure:
    """Quantities over the epochs of a run, training beside validation, a panel each, as in Fig. 10 of Suvon et al.

    Of training both the log's values (thin; means over some steps each) and the mean of each epoch (thick).

    Args:
        records: of metrics.jsonl, {"kind", "step", ...} each.
        quantities: names of numbers in "train" records (training), "eval" records (validation) or both.

    Raises ValueError when a quantity is in no record.
    """
    with _style():
        figure = Figure((SIDE * len(quantities), 0.8 * SIDE))
        panels = figure.subplots(1, len(quantities), squeeze=False)[0]
        for axes, name in zip(panels, quantities, strict=True):
            _draw_training(axes, records, name)
    return figure


def write_figure(path: Path, figure: Figure) -> None:
    """Write a figure in the format that the file's name ends with (png, svg, pdf), whole or not at all."""
    data = io.BytesIO()
    with _style():
        figure.savefig(data, format=path.suffix[1:], dpi=DOTS_PER_INCH)
    write_atomically(path, data.getvalue())


@contextmanager
def _style() -> Iterator[None]:
    with mpl.rc_context(STYLE):
        yield


def _square(scores: ClassificationScores, x: str, y: str) -> tuple[Figure, Axes]:
    """A figure whose axes go from 0 to 1, with room beside them for the legend of many classes."""
    many = len(scores["confusion"]["classes"]) > LEGEND_INSIDE
    figure = Figure((1.5 * SIDE if many else SIDE, SIDE))
    axes = figure.add_subplot()
    axes.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    return figure, axes


def _line(position: int) -> dict[str, Any]:
    """How the curve of the class at this position is drawn."""
    turn, colour = divmod(position, len(COLOURS))
    return {"color": COLOURS[colour], "linestyle": DASHES[turn % len(DASHES)], "linewidth": 1.6}


def _legend(axes: Axes, title: str, inside: Literal["lower left", "lower right"]) -> None:
    """A legend in that corner, or beside the axes where it would hide the curves."""
    if len(axes.get_legend_handles_labels()[0]) > LEGEND_INSIDE:
        axes.legend(title=title, loc="center left", bbox_to_anchor=(1.0, 0.5), alignment="left")
    else:
        axes.legend(title=title, loc=inside, alignment="left")


def _entry(value: float, name: str) -> str:
    """A line of a legend. The figure stands first: matplotlib leaves out lines that begin with an underscore."""
    return f"{_number(value, 3)}  {name}"


def _value(score: Mapping[str, float], digits: int) -> str:
    value, low, high = (_number(score[key], digits) for key in ("value", "low", "high"))
    return value if np.isnan(score["low"]) else f"{value} ({low} to {high})"


def _number(value: float, digits: int) -> str:
    return "n/a" if np.isnan(value) else f"{value:.{digits}f}"


def _draw_training(axes: Axes, records: Sequence[Mapping[str, Any]], name: str) -> None:
    training, validation = (_series(records, kind, name) for kind in ("train", "eval"))
    if not len(training) + len(validation):
        raise ValueError(f"no training or validation record has a number for {name!r}")
    if len(training):
        epoch = np.ceil(training[:, 0] - 1e-9)
        means = np.array([training[epoch == one].mean(axis=0) for one in np.unique(epoch)])
        ends = [training[epoch == one, 0].max() for one in np.unique(epoch)]
        axes.plot(*training.T, color=COLOURS[0], linewidth=0.7, alpha=0.35)
        axes.plot(ends, means[:, 1], "o-", color=COLOURS[0], markersize=3.5, linewidth=1.6, label="training")
    if len(validation):
        axes.plot(*validation.T, "s-", color=COLOURS[1], markersize=3.5, linewidth=1.6, label="validation")
    axes.set(xlabel="epoch", title=name, xlim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="best")


def _series(records: Sequence[Mapping[str, Any]], kind: str, name: str) -> Float[np.ndarray, "r 2"]:
    """Epochs and the values there; a value that was not finite is null in the log, and left out."""
    rows = [(record["epoch"], record[name]) for record in records if record["kind"] == kind and name in record]
    return np.array([row for row in rows if row[1] is not None], np.float64).reshape(-1, 2)
