"""Sections of the report of a classifier of crops: its scores, curves and mistakes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from wbcjax.evaluate.classification import ClassificationScores, worst_mistakes
from wbcjax.evaluate.classification_table import in_words
from wbcjax.evaluate.figures import percent
from wbcjax.evaluate.predictions import Predictions
from wbcjax.report.classification_figures import (
    confusion_figure,
    precision_recall_figure,
    roc_figure,
)
from wbcjax.report.detection_figures import figure_uri
from wbcjax.report.run_page import Block, Card, Chart, Charts, Folded, Gallery, KeyScore, KeyScores, Lead, Section, Text
from wbcjax.report.run_pictures import MOST_CELLS, ImageOf, shown_of, thumbnail
from wbcjax.report.run_sections import interval, number, sentence_of
from wbcjax.system.terminal import Table

MISTAKE_WIDTH = 200  # pixels
WORST_CROPS = 12  # shown before a click


def classification_headline(scores: ClassificationScores) -> Section:
    """What the crops were taken for, in words."""
    return Section("In short", (Lead(tuple(in_words(scores))),))


def key_scores_section(scores: ClassificationScores) -> Section:
    """The most important scores."""
    counts, calibration = scores["counts"], scores["calibration"]
    shown = (
        KeyScore(
            "Crops taken for what they are",
            f"{percent(scores['accuracy']['value'])} %",
            f"{counts['crops'] - counts['mistakes']} of {counts['crops']} crops{interval(scores['accuracy'])}.",
        ),
        KeyScore(
            "Area under the ROC curve",
            number(scores["auroc"]["value"], 3),
            "How often a crop of a class is found more probably of it than one that is not: 1 always, 0.5 by guessing. "
            "The mean over the classes.",
        ),
        KeyScore(
            "Error of the confidence",
            f"{percent(calibration['ece'])} %",
            "How far the classifier's confidence differs from its accuracy, in the mean (expected calibration error, "
            f"{calibration['bins']} bins).",
        ),
    )
    return Section("Scores", (KeyScores(shown),))


def crops_section(
    predictions: Predictions,
    split: str,
    splits: Mapping[str, Mapping[str, int]],
    cut: Mapping[str, Any] | None,
) -> Section:
    """Crops by class of what was scored and of other `splits` ({"crops": 45, "myeloma": 20}); how they were cut."""
    labels = Counter(predictions.labels.tolist())
    rows = [(name, *(f"{counts[key]}" for key in ("crops", *predictions.classes))) for name, counts in splits.items()]
    of_class = (f"{labels[position]}" for position in range(len(predictions.classes)))
    rows.append((f"{split} (scored)", f"{len(predictions.names)}", *of_class))
    blocks = [Table("Crops", ("split", "crops", *predictions.classes), tuple(rows))]
    if cut:
        blocks.append(Table("How crops were cut", (), tuple((name, str(value)) for name, value in cut.items())))
    return Section("Data", tuple(blocks))


def report_section(scores: ClassificationScores) -> Section:
    """The table of Fig. 11 of Suvon et al."""
    report = scores["report"]
    averages = {"macro average": report["macro"], "weighted average": report["weighted"]}
    rows = [(name, *_report_row(of)) for name, of in report["per_class"].items()]
    rows.append(("accuracy", "", "", number(scores["accuracy"]["value"], 2), f"{scores['counts']['crops']}"))
    rows += [(name, *_report_row(of)) for name, of in averages.items()]
    undefined = tuple(Text(sentence_of(text)) for text in scores["undefined"])
    table = Table("", ("class", "precision", "recall", "f1-score", "support"), tuple(rows))
    return Section("Classification report", (table, *undefined))


def classification_figures_section(scores: ClassificationScores) -> Section:
    """Confusion matrix, ROC and precision-recall curves."""
    charts = (
        Chart("Confusion of crops", figure_uri(confusion_figure(scores))),
        Chart("ROC curves", figure_uri(roc_figure(scores)), "Of each class against the rest."),
        Chart("Precision over recall", figure_uri(precision_recall_figure(scores)), "Of each class against the rest."),
    )
    return Section("Curves and confusion", (Charts(charts),))


def groups_section(scores: ClassificationScores) -> Section:
    """Accuracy of each group of crops, such as a field or a patient, the worst first, folded."""
    groups = sorted(scores["groups"].items(), key=lambda item: (item[1]["accuracy"], -item[1]["crops"]))
    rows = tuple((name, f"{of['crops']}", f"{of['right']}", percent(of["accuracy"])) for name, of in groups)
    table = Table("", ("group", "crops", "right", "accuracy, %"), rows)
    blocks = (Folded(f"All {len(rows)} groups, lowest accuracy first", (table,)),) if rows else ()
    return Section("Groups", blocks, "no group (field, slide, patient) of the crops is known.")


def mistaken_crops_section(predictions: Predictions, image_of: ImageOf) -> Section:
    """The most confident mistakes, WORST_CROPS of them before a click, and how many more there are."""
    mistakes: Sequence[int] = worst_mistakes(predictions).tolist()
    shown, classes = mistakes[:MOST_CELLS], predictions.classes
    cards = tuple(
        Card(
            predictions.names[i],
            (("", thumbnail(image_of(i), MISTAKE_WIDTH)),),
            (
                f"is {classes[predictions.labels[i]]}",
                f"taken for {classes[predictions.predicted[i]]}, {predictions.confidence[i]:.2f}",
            ),
        )
        for i in shown
    )
    note = f"Most confident first, of {len(predictions.names)} crops: {shown_of(len(shown), len(mistakes))}"
    worst, others = cards[:WORST_CROPS], cards[WORST_CROPS:]
    blocks: list[Block] = [Gallery("Crops taken for another class", note, worst, layout="thumbs")] if worst else []
    if others:
        blocks.append(Folded(f"The other {len(others)}", (Gallery("", "", others, layout="thumbs"),)))
    return Section("Worst mistakes", tuple(blocks), "every crop was taken for what it is.")


def _report_row(of: Mapping[str, float]) -> tuple[str, ...]:
    return (*(number(of[key], 2) for key in ("precision", "recall", "f1")), f"{int(of['support'])}")
