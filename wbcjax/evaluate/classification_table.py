"""The scores of a classifier as tables and sentences."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from wbcjax.evaluate.classification import ClassificationScores
from wbcjax.evaluate.figures import percent
from wbcjax.evaluate.reliability import calibration_line
from wbcjax.system.terminal import Attention, Block, Table

NAMES_WIDTH = 60  # characters of all classes' names, above which the confusion matrix has numbers above its columns


def classification_table(scores: ClassificationScores) -> list[Block]:
    """The scores of `classification_scores` as tables and lines: in words, the report of Fig. 11, then the rest."""
    return [
        in_words(scores),
        _report(scores),
        list(_summary_lines(scores)),
        confusion_table("Confusion of crops", scores["confusion"]),
    ]


def confusion_table(title: str, confusion: dict[str, Any], note: str = "") -> Table:
    """A row for each class; where the names are too wide, the columns have numbers above them."""
    heads = rows = confusion["classes"]
    if sum(map(len, heads)) > NAMES_WIDTH:
        heads = [f"({number})" for number in range(1, len(rows) + 1)]
        rows = [f"{head} {name}" for head, name in zip(heads, rows, strict=True)]
    counted = zip(rows, confusion["counts"], strict=True)
    return Table(
        title, ("is / taken for", *heads), tuple((name, *(f"{count}" for count in of)) for name, of in counted), note
    )


def in_words(scores: ClassificationScores) -> list[str]:
    """How many crops were taken for what they are, and how many not."""
    counts, accuracy = scores["counts"], scores["accuracy"]["value"]
    share = "" if math.isnan(accuracy) else f" ({percent(accuracy)} %)"
    mistaken = f"Mistook {counts['mistakes']} for another class."
    return [
        f"Took {counts['crops'] - counts['mistakes']} of {counts['crops']} crops for what they are{share}.",
        Attention(mistaken) if counts["mistakes"] else mistaken,
    ]


def _report(scores: ClassificationScores) -> Table:
    """Fig. 11's rows."""
    report = scores["report"]

    def row(name: str, of: dict[str, float]) -> tuple[str, ...]:
        return (name, *(_figure(of[key], 2) for key in ("precision", "recall", "f1")), f"{int(of['support'])}")

    rows = [row(name, of) for name, of in report["per_class"].items()]
    rows.append(("accuracy", "", "", _figure(scores["accuracy"]["value"], 2), f"{scores['counts']['crops']}"))
    rows += [row("macro avg", report["macro"]), row("weighted avg", report["weighted"])]
    return Table("Classification report", ("", "precision", "recall", "f1-score", "support"), tuple(rows))


def _summary_lines(scores: ClassificationScores) -> Iterator[str]:
    counts, drawn = scores["counts"], scores["bootstrap"]
    yield f"accuracy {_with_interval(scores['accuracy'])}"
    yield f"AUROC (area under the ROC curve) of each class against the rest, mean {_with_interval(scores['auroc'])}"
    yield f"average precision, mean {_figure(scores['average_precision']['value'], 4)}"
    yield calibration_line(scores["calibration"], scores.get("uncalibrated"))
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


def _with_interval(score: dict[str, float]) -> str:
    value, low, high = (_figure(score[key], 4) for key in ("value", "low", "high"))
    return value if math.isnan(score["low"]) else f"{value} ({low} to {high})"


def _figure(value: float, digits: int) -> str:
    return "n/a" if math.isnan(value) else f"{value:.{digits}f}"
