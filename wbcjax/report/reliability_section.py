"""Section in the report of a run on its scores as probabilities: calibrated or not, before and after."""

from collections.abc import Mapping
from typing import Any

from wbcjax.report.classification_figures import reliability_figure
from wbcjax.report.detection_figures import figure_uri
from wbcjax.report.detection_sections import NO_CELL_SCORES
from wbcjax.report.run_page import Chart, Charts, Folded, Section, Text
from wbcjax.report.run_sections import number, percent
from wbcjax.system.terminal import Table

TITLE = "Reliability of the scores"
MEANING = "How often what has a score is right, beside the score. On the dashed line the two are equal."
UNCALIBRATED = (
    "The scores are the network's own. `wbcjax evaluate --calibrate` fits one temperature to them on val, which brings "
    "them nearer to probabilities."
)


def detections_section(scores: Mapping[str, Any]) -> Section:
    """The section of a detector: of the entries "cells" and "uncalibrated" of `scores`."""
    if "cells" not in scores:
        return Section(TITLE, absent=NO_CELL_SCORES)
    return reliability_section(scores["cells"]["calibration"], scores.get("uncalibrated"), "detections")


def reliability_section(now: Mapping[str, Any], before: Mapping[str, Any] | None, counted: str) -> Section:
    """Reliability diagrams and their figures.

    Args:
        now: of `reliability`.
        before: the same before the scores were calibrated, with the "temperature"; None where they are not.
        counted: "crops" or "detections".
    """
    states = {"calibrated": now, "before": before} if before else {"": now}
    states = {name: of for name, of in states.items() if of["reliability"]}
    charts = tuple(
        Chart(f"Reliability {name}".strip(), figure_uri(reliability_figure(of, counted)), _note(name))
        for name, of in states.items()
    )
    folded = tuple(
        Folded(f"Every bin {name}".strip(), (Table("", (*_HEAD[:2], counted, *_HEAD[2:]), _rows(of, counted)),))
        for name, of in states.items()
    )
    summary = (_summary(now, before),) if before else (Text(UNCALIBRATED),)
    blocks = (*summary, Charts(charts), *folded) if charts else ()
    return Section(TITLE, blocks, f"there are no {counted}.")


_HEAD = ("score above", "to", "mean score", "right, %")


def _note(name: str) -> str:
    return f"{name.capitalize()}: {MEANING[0].lower()}{MEANING[1:]}" if name else MEANING


def _summary(now: Mapping[str, Any], before: Mapping[str, Any]) -> Table:
    rows = (
        ("before", number(1.0, 3), percent(before["ece"])),
        ("calibrated", number(before["temperature"], 3), percent(now["ece"])),
    )
    note = (
        "Temperature scaling (Guo et al. 2017): logits are divided by one number, fitted on val. The order of scores "
        "stays, and with it average precision. On val itself the error is a little lower than on other data."
    )
    return Table("Expected calibration error (ECE)", ("scores", "temperature", "ECE, %"), rows, note)


def _rows(of: Mapping[str, Any], counted: str) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            number(row["low"], 3),
            number(row["high"], 3),
            f"{row[counted]}",
            number(row["confidence"], 3),
            percent(row["accuracy"]),
        )
        for row in of["reliability"]
    )
