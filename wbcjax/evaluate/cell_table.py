"""The scores of single cells as text for a terminal."""

import math
from collections.abc import Iterator

import numpy as np

from wbcjax.evaluate.cell_matching import rule
from wbcjax.evaluate.cell_scores import CellScores
from wbcjax.evaluate.classification_table import confusion_lines
from wbcjax.evaluate.terminal import percent, wrapped

QUALITIES = {"PQ": "pq", "SQ": "sq", "RQ": "rq", "SegPC mIoU": "segpc_miou"}


def cell_table(scores: CellScores) -> str:
    """The scores of `cell_scores` as text for a terminal, percentages where they are fractions."""
    blocks = [_match_lines(scores), confusion_lines(scores["confusion"]), _quality_lines(scores), _remarks(scores)]
    return "\n\n".join("\n".join(lines) for lines in blocks)


def in_words(scores: CellScores) -> str:
    """What came of the cells in two sentences: found, missed, made up."""
    counts, table = scores["counts"], np.array(scores["confusion"]["counts"])
    matched = table[:-1, :-1]
    found, alarms = int(matched.sum()), len(scores["false_alarms"])
    other = f", {found - np.trace(matched)} of them as another class" if len(matched) > 1 and found else ""
    cells, reported, missed = counts["cells"], counts["detections"], len(scores["misses"])
    return (
        f"Found {found} of {cells} cells{_share(found, cells)}{other}; missed {missed}.\n"
        f"Made up {alarms} of the {reported} reported{_share(alarms, reported)}: no cell is there."
    )


def _share(part: int, whole: int) -> str:
    return f" ({percent(part / whole)} %)" if whole else ""


def _match_lines(scores: CellScores) -> Iterator[str]:
    """The matching rule, and what it leaves out."""
    counts = scores["counts"]
    yield from wrapped(rule(scores["min_score"]))
    if counts["repeated"]:
        yield from wrapped(
            f"{counts['repeated']} more detections of that score repeat a cell under another class, or have no pixel: "
            "they count for COCO's and the papers' scores alone"
        )
    if counts["in_crowds"]:
        yield f"{counts['in_crowds']} detections lie in crowd regions and are neither right nor wrong"


def _quality_lines(scores: CellScores) -> Iterator[str]:
    """A line for all classes, then one for each."""
    segmentation, title = scores["segmentation"], "cells, %"
    width = max(len(title), len("  all classes"), *(len(name) + 2 for name in segmentation["per_class"]))

    def line(name: str, *entries: str) -> str:
        return f"{name:<{width}}" + "".join(f"{entry:>12}" for entry in entries)

    yield line(title, *QUALITIES, "AP50")
    yield line("  all classes", *(percent(segmentation[key]) for key in QUALITIES.values()))
    for name, of_class in segmentation["per_class"].items():
        qualities = [of_class[key] for key in QUALITIES.values()]
        yield line(f"  {name}", *map(percent, [*qualities, scores["pr_curves"][name]["AP50"]]))


def _remarks(scores: CellScores) -> Iterator[str]:
    counts, error = scores["counts"], scores["count_error"]
    yield from wrapped(
        "PQ, panoptic quality, is SQ x RQ. SQ, segmentation quality: the mean IoU of the pairs. RQ, recognition "
        "quality: pairs over pairs + (cells and detections without one) / 2. Kirillov et al.'s pairs: of a cell and a "
        "detection of its class, with an IoU over 0.5."
    )
    yield from wrapped(
        "SegPC mIoU: of each cell the best IoU with any detection, as the challenge SegPC-2021 has it; false alarms "
        "cost nothing. AP50: COCO's, over all scores."
    )
    yield f"aggregated Jaccard index (AJI) of a field, mean, %: {percent(scores['segmentation']['aji'])}"
    if not math.isnan(error["mean"]):
        yield (
            f"count error of a field, found less annotated: mean {error['mean']:+.2f}, "
            f"mean absolute {error['mean_absolute']:.2f}"
        )
    if counts["not_outlined"]:
        yield f"{counts['not_outlined']} cells have no outline: PQ, SQ, RQ, SegPC mIoU and AJI leave them out"
    yield from scores["undefined"]
