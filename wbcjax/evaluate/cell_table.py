"""The scores of single cells as text for a terminal."""

import math
from collections.abc import Iterator

from wbcjax.evaluate.cell_scores import CellScores
from wbcjax.evaluate.classification_table import confusion_lines

QUALITIES = {"PQ": "pq", "SQ": "sq", "RQ": "rq", "SegPC mIoU": "segpc_miou"}


def cell_table(scores: CellScores) -> str:
    """The scores of `cell_scores` as text for a terminal, percentages where they are fractions."""
    blocks = [confusion_lines(scores["confusion"]), _quality_lines(scores), _remarks(scores)]
    return "\n\n".join("\n".join(lines) for lines in blocks)


def _quality_lines(scores: CellScores) -> Iterator[str]:
    """A line for all classes, then one for each."""
    segmentation, title = scores["segmentation"], "cells, %"
    width = max(len(title), len("  all classes"), *(len(name) + 2 for name in segmentation["per_class"]))

    def line(name: str, *entries: str) -> str:
        return f"{name:<{width}}" + "".join(f"{entry:>12}" for entry in entries)

    yield line(title, *QUALITIES, "AP50")
    yield line("  all classes", *(_percent(segmentation[key]) for key in QUALITIES.values()))
    for name, of_class in segmentation["per_class"].items():
        qualities = [of_class[key] for key in QUALITIES.values()]
        yield line(f"  {name}", *map(_percent, [*qualities, scores["pr_curves"][name]["AP50"]]))


def _remarks(scores: CellScores) -> Iterator[str]:
    counts, error, least = scores["counts"], scores["count_error"], f"{scores['min_score']:g}"
    yield f"aggregated Jaccard index of a field, mean, %: {_percent(scores['segmentation']['aji'])}"
    yield (
        f"cells {counts['cells']}, detections that score {least} or more {counts['detections']}: "
        f"misses {len(scores['misses'])}, false alarms {len(scores['false_alarms'])}"
    )
    if counts["repeated"]:
        yield (
            f"{counts['repeated']} more detections of that score repeat a cell under another class, or have no pixel: "
            "they count for COCO's and the papers' scores alone"
        )
    if counts["in_crowds"]:
        yield f"{counts['in_crowds']} detections lie in crowd regions and are neither right nor wrong"
    if not math.isnan(error["mean"]):
        yield (
            f"count error of a field, found less annotated: mean {error['mean']:+.2f}, "
            f"mean absolute {error['mean_absolute']:.2f}"
        )
    if counts["not_outlined"]:
        yield f"{counts['not_outlined']} cells have no outline: PQ, SQ, RQ, SegPC mIoU and AJI leave them out"
    yield from scores["undefined"]


def _percent(fraction: float) -> str:
    return "n/a" if math.isnan(fraction) else f"{100 * fraction:.1f}"
