"""The scores of a classifier as text for a terminal."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from wbcjax.evaluate.classification import ClassificationScores

NAMES_WIDTH = 60  # characters of all classes' names, above which the confusion matrix has numbers above its columns


def classification_table(scores: ClassificationScores) -> str:
    """The scores of `classification_scores` as text for a terminal, the report laid out as in Fig. 11."""
    return "\n".join([*_report_lines(scores), "", *_summary_lines(scores), "", *confusion_lines(scores["confusion"])])


def _report_lines(scores: ClassificationScores) -> Iterator[str]:
    """Fig. 11's lines."""
    report = scores["report"]
    width = max(len("weighted avg"), *map(len, report["per_class"]))

    def line(name: str, precision: str, recall: str, f1: str, support: int | str) -> str:
        return f"{name:>{width}}{precision:>11}{recall:>8}{f1:>10}{support:>9}"

    def row(name: str, of: dict[str, float]) -> str:
        precision, recall, f1 = (_figure(of[key], 2) for key in ("precision", "recall", "f1"))
        return line(name, precision, recall, f1, int(of["support"]))

    yield line("", "precision", "recall", "f1-score", "support")
    yield from (row(name, of) for name, of in report["per_class"].items())
    yield ""
    yield line("accuracy", "", "", _figure(scores["accuracy"]["value"], 2), scores["counts"]["crops"])
    yield row("macro avg", report["macro"])
    yield row("weighted avg", report["weighted"])


def _summary_lines(scores: ClassificationScores) -> Iterator[str]:
    counts, drawn, calibration = scores["counts"], scores["bootstrap"], scores["calibration"]
    yield f"accuracy {_with_interval(scores['accuracy'])}; mistaken {counts['mistakes']} of {counts['crops']} crops"
    yield f"AUROC (area under the ROC curve) of each class against the rest, mean {_with_interval(scores['auroc'])}"
    yield f"average precision, mean {_figure(scores['average_precision']['value'], 4)}"
    yield f"expected calibration error {calibration['ece']:.4f}, in {calibration['bins']} bins"
    if scores["groups"]:
        accuracies = {name: group["accuracy"] for name, group in scores["groups"].items()}
        worst = min(accuracies, key=lambda name: (accuracies[name], -scores["groups"][name]["crops"]))
        yield (
            f"accuracy of the {len(accuracies)} groups: median {np.median(list(accuracies.values())):.2f}, "
            f"lowest {accuracies[worst]:.2f} ({worst}, {scores['groups'][worst]['crops']} crops)"
        )
    if not math.isnan(scores["accuracy"]["low"]):
        yield f"95 % intervals: {drawn['resamplings']} resamplings of the {counts[drawn['units']]} {drawn['units']}"
    if drawn["without_auroc"]:
        yield f"the interval of AUROC leaves out {drawn['without_auroc']} resamplings that lack a class"
    yield from scores["undefined"]


def confusion_lines(confusion: dict[str, Any]) -> Iterator[str]:
    """A line for each class; where the names are too wide, the columns have numbers above them."""
    heads = rows = confusion["classes"]
    if sum(map(len, heads)) > NAMES_WIDTH:
        heads = [f"({number})" for number in range(1, len(rows) + 1)]
        rows = [f"{head} {name}" for head, name in zip(heads, rows, strict=True)]
    corner = "is / taken for"
    table = [[corner, *heads], *([name, *counts] for name, counts in zip(rows, confusion["counts"], strict=True))]
    widths = [max(len(str(entry)) for entry in column) for column in zip(*table, strict=True)]
    for name, *entries in table:
        yield f"{name:<{widths[0]}}" + "".join(
            f"  {entry:>{width}}" for entry, width in zip(entries, widths[1:], strict=True)
        )


def _with_interval(score: dict[str, float]) -> str:
    value, low, high = (_figure(score[key], 4) for key in ("value", "low", "high"))
    return value if math.isnan(score["low"]) else f"{value} ({low} to {high})"


def _figure(value: float, digits: int) -> str:
    return "n/a" if math.isnan(value) else f"{value:.{digits}f}"
