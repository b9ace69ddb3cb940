"""The scores of votes on images as tables and sentences."""

import math
from collections.abc import Iterator
from typing import Any

from wbcjax.evaluate.figures import percent
from wbcjax.evaluate.image_scores import ImageScores
from wbcjax.evaluate.paper_tables import REVANDA_SUBTYPES
from wbcjax.evaluate.vote import MEANINGS
from wbcjax.system.terminal import Block, Table

COLUMNS = ("accuracy", "precision", "sensitivity")
RULE_SHOWN = "pathologists"  # whose confusion matrix is shown: the rule of Revanda et al.
MARGINS = (
    "FN, false negatives: images of the class that were taken for another; FP, false positives: images of another "
    "that were taken for it"
)


def image_table(scores: dict[str, Any], beside_paper: bool = True) -> list[Block]:
    """The scores of `subtype_scores` as tables and lines, laid out as Tables 2 and 3 of Revanda et al.

    Table 2 has a row for each rule, and below it the paper's figures, which are of other images of patients. With
    `beside_paper` False, for drawn images, they are left out. Table 3 is of the pathologists' rule; it has a column for
    undetected images, which the paper's has not. It is left out where no image was taken for a subtype.
    """
    rules, shown = scores["rules"], scores["rules"][RULE_SHOWN]
    confusion = [_confusion_table(shown)] if voted(shown) else []
    return [_rule_table(rules, beside_paper), *confusion, list(_remarks(scores, shown))]


def voted(scores: ImageScores) -> bool:
    """Whether any image was taken for a class, so that a confusion matrix has something to show."""
    return scores["images"] > scores["undetected"]


def _rule_table(rules: dict[str, ImageScores], beside_paper: bool) -> Table:
    rows = tuple((rule, *(_with_interval(of_rule[column]) for column in COLUMNS)) for rule, of_rule in rules.items())
    figures = ", ".join(f"{name} {figure:.2f}" for name, figure in zip(COLUMNS, REVANDA_SUBTYPES["eff"], strict=True))
    paper = f"Revanda et al., EFF, on their images: {figures}. " if beside_paper else ""
    meanings = ". ".join(f"{rule}: {MEANINGS[rule]}" for rule in rules)
    return Table("Subtype of images by the vote of their cells, %", ("rule", *COLUMNS), rows, f"{paper}{meanings}.")


def _confusion_table(scores: ImageScores) -> Table:
    """Table 3: rows are true classes, columns predicted ones."""
    confusion = scores["confusion"]
    classes, columns = confusion["classes"], (confusion[key] for key in ("counts", "FN", "undetected"))
    rows = [
        (name, *map(str, counts), f"{missed}", f"{undetected}")
        for name, counts, missed, undetected in zip(classes, *columns, strict=True)
    ]
    rows.append(("FP", *map(str, confusion["FP"]), "", ""))
    head = ("is / taken for", *classes, "FN", "undetected")
    return Table(f"Images by the rule {RULE_SHOWN}", head, tuple(rows), f"{MARGINS}.")


def _remarks(scores: dict[str, Any], shown: ImageScores) -> Iterator[str]:
    per_class, drawn = shown["per_class"], shown["bootstrap"]
    yield "sensitivity, %: " + ", ".join(f"{name} {percent(row['sensitivity'], 2)}" for name, row in per_class.items())
    yield (
        f"images {shown['images']}, undetected {shown['undetected']} (no cell of a subtype scores "
        f"{scores['min_score']:g} or more): wrong for the accuracy, left out of FN and sensitivity"
    )
    yield f"sensitivity with undetected images as missed, %: {_with_interval(shown['sensitivity_all'])}"
    if not math.isnan(shown["accuracy"]["low"]):
        yield f"in brackets 95 % intervals: {drawn['resamplings']} resamplings of the images"
    for name, left_out in drawn["left_out"].items():
        if left_out:
            yield f"the interval of {name} leaves out {left_out} resamplings that lack it for a class"
    if without := [image for image in scores["images"] if image["truth"] is None]:
        taken = sum(image["votes"][RULE_SHOWN] is not None for image in without)
        yield (
            f"{len(without)} images without an annotated cell of a subtype are not scored; {taken} were taken for one"
        )
    yield from shown["undefined"]


def _with_interval(score: dict[str, float]) -> str:
    value, low, high = (percent(score[key], 2) for key in ("value", "low", "high"))
    return value if math.isnan(score["low"]) else f"{value} ({low}-{high})"
