"""The scores of votes on images as text for a terminal."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from wbcjax.evaluate.image_scores import ImageScores
from wbcjax.evaluate.paper_tables import REVANDA_SUBTYPES

COLUMNS = ("accuracy", "precision", "sensitivity")
RULE_SHOWN = "pathologists"  # whose confusion matrix is shown
PAPER = "Revanda et al., EFF"
COLUMN = 21  # characters: "100.00 (98.00-100.00)"


def image_table(scores: dict[str, Any]) -> str:
    """The scores of `subtype_scores` as text for a terminal, laid out as Tables 2 and 3 of Revanda et al.

    Table 2 has a row for each rule and one with the paper's figures, which are of other images. Table 3 is of the
    pathologists' rule, with a column for undetected images, which the paper leaves away.
    """
    rules, shown = scores["rules"], scores["rules"][RULE_SHOWN]
    blocks = [_rule_lines(rules), _confusion_lines(shown), _remarks(scores, shown)]
    return "\n\n".join("\n".join(lines) for lines in blocks)


def _rule_lines(rules: dict[str, ImageScores]) -> Iterator[str]:
    title = "subtype of images by vote, %"
    width = max(len(title), len(PAPER) + 2, *(len(rule) + 2 for rule in rules))

    def line(name: str, entries: Sequence[str]) -> str:
        return f"{name:<{width}}" + "".join(f"  {entry:<{COLUMN}}" for entry in entries).rstrip()

    yield line(title, COLUMNS)
    for rule, of_rule in rules.items():
        yield line(f"  {rule}", [_with_interval(of_rule[column]) for column in COLUMNS])
    yield line(f"  {PAPER}", [f"{figure:6.2f}" for figure in REVANDA_SUBTYPES["eff"]])


def _confusion_lines(scores: ImageScores) -> Iterator[str]:
    """Table 3: a row for what images are, a column for what they were taken for."""
    confusion = scores["confusion"]
    classes = confusion["classes"]
    rows = [
        ["is / taken for", *classes, "FN", "undetected"],
        *(
            [name, *counts, missed, undetected]
            for name, counts, missed, undetected in zip(
                classes, confusion["counts"], confusion["FN"], confusion["undetected"], strict=True
            )
        ),
        ["FP", *confusion["FP"], "", ""],
    ]
    widths = [max(len(str(entry)) for entry in column) for column in zip(*rows, strict=True)]
    yield f"rule: {RULE_SHOWN}"
    for name, *entries in rows:
        figures = "".join(f"  {entry:>{width}}" for entry, width in zip(entries, widths[1:], strict=True))
        yield f"{name:<{widths[0]}}{figures}".rstrip()


def _remarks(scores: dict[str, Any], shown: ImageScores) -> Iterator[str]:
    per_class, drawn = shown["per_class"], shown["bootstrap"]
    yield "sensitivity, %: " + ", ".join(f"{name} {_percent(row['sensitivity'])}" for name, row in per_class.items())
    yield (
        f"images {shown['images']}, undetected {shown['undetected']} (no cell of a subtype scores "
        f"{scores['min_score']:g} or more): wrong for the accuracy, left out of FN and sensitivity"
    )
    yield f"sensitivity with undetected images as missed, %: {_with_interval(shown['sensitivity_all']).strip()}"
    if not math.isnan(shown["accuracy"]["low"]):
        yield f"95 % intervals: {drawn['resamplings']} resamplings of the images"
    for name, left_out in drawn["left_out"].items():
        if left_out:
            yield f"the interval of {name} leaves out {left_out} resamplings that lack it for a class"
    if without := [image for image in scores["images"] if image["truth"] is None]:
        voted = sum(image["votes"][RULE_SHOWN] is not None for image in without)
        yield f"{len(without)} images without an annotated cell of a subtype are not scored; {voted} were taken for one"
    yield from shown["undefined"]


def _with_interval(score: dict[str, float]) -> str:
    value, low, high = (_percent(score[key]) for key in ("value", "low", "high"))
    return f"{value:>6}" if math.isnan(score["low"]) else f"{value:>6} ({low}-{high})"


def _percent(fraction: float) -> str:
    return "n/a" if math.isnan(fraction) else f"{100 * fraction:.2f}"
