"""The scores of votes on images as text for a terminal."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from wbcjax.evaluate.image_scores import ImageScores
from wbcjax.evaluate.paper_tables import REVANDA_SUBTYPES
from wbcjax.evaluate.terminal import percent, wrapped
from wbcjax.evaluate.vote import MEANINGS

COLUMNS = ("accuracy", "precision", "sensitivity")
RULE_SHOWN = "pathologists"  # whose confusion matrix is shown
PAPER = "Revanda et al., EFF"
COLUMN = 21  # characters: "100.00 (98.00-100.00)"


def image_table(scores: dict[str, Any], beside_paper: bool = True) -> str:
    """The scores of `subtype_scores` as text for a terminal, laid out as Tables 2 and 3 of Revanda et al.

    Table 2 has a row for each rule, and below it the paper's figures, which are of other images of patients. With
    `beside_paper` False, for drawn images, they are left out. Table 3 is of the pathologists' rule; it has a column for
    undetected images, which the paper's has not.
    """
    rules, shown = scores["rules"], scores["rules"][RULE_SHOWN]
    blocks = [_rule_lines(rules, beside_paper), _confusion_lines(shown), _remarks(scores, shown)]
    return "\n\n".join("\n".join(lines) for lines in blocks)


def _rule_lines(rules: dict[str, ImageScores], beside_paper: bool) -> Iterator[str]:
    width = max(len("by rule"), *map(len, rules))

    def line(name: str, entries: Sequence[str]) -> str:
        return f"{name:<{width}}" + "".join(f" {entry:<{COLUMN}}" for entry in entries).rstrip()

    yield "subtype of images by the vote of their cells, %"
    yield line("by rule", COLUMNS)
    for rule, of_rule in rules.items():
        yield line(rule, [_with_interval(of_rule[column]) for column in COLUMNS])
    if beside_paper:
        figures = zip(COLUMNS, REVANDA_SUBTYPES["eff"], strict=True)
        listed = ", ".join(f"{name} {figure:.2f}" for name, figure in figures)
        yield from wrapped(f"{PAPER}, on their images: {listed}")
    for rule in rules:
        yield from wrapped(f"{rule}: {MEANINGS[rule]}")


def _confusion_lines(scores: ImageScores) -> Iterator[str]:
    """Table 3: rows are true classes, columns predicted ones."""
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
    yield from wrapped(
        "FN, false negatives: images of the class that were taken for another; FP, false positives: images of another "
        "that were taken for it"
    )
    yield "sensitivity, %: " + ", ".join(f"{name} {percent(row['sensitivity'], 2)}" for name, row in per_class.items())
    yield from wrapped(
        f"images {shown['images']}, undetected {shown['undetected']} (no cell of a subtype scores "
        f"{scores['min_score']:g} or more): wrong for the accuracy, left out of FN and sensitivity"
    )
    yield f"sensitivity with undetected images as missed, %: {_with_interval(shown['sensitivity_all']).strip()}"
    if not math.isnan(shown["accuracy"]["low"]):
        yield f"in brackets 95 % intervals: {drawn['resamplings']} resamplings of the images"
    for name, left_out in drawn["left_out"].items():
        if left_out:
            yield from wrapped(f"the interval of {name} leaves out {left_out} resamplings that lack it for a class")
    if without := [image for image in scores["images"] if image["truth"] is None]:
        voted = sum(image["votes"][RULE_SHOWN] is not None for image in without)
        yield from wrapped(
            f"{len(without)} images without an annotated cell of a subtype are not scored; {voted} were taken for one"
        )
    yield from shown["undefined"]


def _with_interval(score: dict[str, float]) -> str:
    value, low, high = (percent(score[key], 2) for key in ("value", "low", "high"))
    return f"{value:>6}" if math.isnan(score["low"]) else f"{value:>6} ({low}-{high})"
