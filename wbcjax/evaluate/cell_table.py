"""The scores of single cells as tables and sentences."""

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np

from wbcjax.evaluate.cell_matching import rule
from wbcjax.evaluate.cell_scores import CellScores
from wbcjax.evaluate.classification_table import confusion_table
from wbcjax.evaluate.figures import percent
from wbcjax.system.terminal import Attention, Block, Table

QUALITIES = {"PQ": "pq", "SQ": "sq", "RQ": "rq", "SegPC mIoU": "segpc_miou", "any score": "segpc_miou_any_score"}
MEANINGS = (
    "PQ, panoptic quality, is SQ x RQ. SQ, segmentation quality: the mean IoU of the pairs. RQ, recognition quality: "
    "pairs over pairs + (cells and detections without one) / 2. Kirillov et al.'s pairs: of a cell and a detection of "
    "its class, with an IoU over 0.5. SegPC mIoU: of each cell the best IoU with any detection, as the challenge "
    "SegPC-2021 has it; any score: also with those below the threshold, as false alarms cost nothing there. AP50: "
    "COCO's, over all scores."
)
WORST = 5  # fields listed


def in_words(scores: CellScores) -> list[str]:
    """What came of the cells: found, missed, made up, and at which threshold. Mistakes call for attention."""
    counts, table = scores["counts"], np.array(scores["confusion"]["counts"])
    matched = table[:-1, :-1]
    found, missed, made_up = int(matched.sum()), len(scores["misses"]), len(scores["false_alarms"])
    cells, reported = counts["cells"], counts["detections"]
    mistaken = int(found - np.trace(matched))
    other = f", {mistaken} of them as another class" if len(matched) > 1 and found else ""
    return [
        f"Found {found} of {cells} cells{_share(found, cells)}{other}.",
        _mistake(missed, f"Missed {missed}{_share(missed, cells)}."),
        _mistake(made_up, f"Made up {made_up} of {reported} reported{_share(made_up, reported)}: no cell is there."),
        f"At the run's threshold: a score of {scores['min_score']:g} or more.",
    ]


def worst_fields(scores: CellScores) -> list[Block]:
    """The fields with the most cells missed and made up, most first; nothing where there are none."""
    missed = Counter(miss["field"] for miss in scores["misses"])
    made_up = Counter(alarm["field"] for alarm in scores["false_alarms"])
    worst = (missed + made_up).most_common()
    rows = tuple((name, f"{missed[name]}", f"{made_up[name]}") for name, _ in worst[:WORST])
    title = f"Fields with the most mistakes: {len(rows)} of {len(worst)} that have any"
    return [Table(title, ("field", "missed", "made up"), rows)] if rows else []


def cell_table(scores: CellScores) -> list[Block]:
    """The scores of `cell_scores` as tables and lines, percentages where they are fractions."""
    confusion = confusion_table("Confusion of cells", scores["confusion"], rule(scores["min_score"]))
    return [confusion, list(_left_out(scores)), _quality_table(scores), list(_remarks(scores))]


def _share(part: int, whole: int) -> str:
    return f" ({percent(part / whole)} %)" if whole else ""


def _mistake(count: int, sentence: str) -> str:
    return Attention(sentence) if count else sentence


def _left_out(scores: CellScores) -> Iterator[str]:
    """Detections that the matching rule leaves out."""
    counts = scores["counts"]
    if counts["repeated"]:
        yield (
            f"{counts['repeated']} more detections of that score repeat a cell under another class, or have no pixel: "
            "they count for COCO's and the papers' scores alone"
        )
    if counts["in_crowds"]:
        yield f"{counts['in_crowds']} detections lie in crowd regions and are neither right nor wrong"


def _quality_table(scores: CellScores) -> Table:
    """A row for all classes, then one for each."""
    segmentation = scores["segmentation"]
    rows: list[tuple[str, ...]] = [("all classes", *(percent(segmentation[key]) for key in QUALITIES.values()), "")]
    for name, of_class in segmentation["per_class"].items():
        qualities = [of_class[key] for key in QUALITIES.values()]
        rows.append((name, *map(percent, [*qualities, scores["pr_curves"][name]["AP50"]])))
    return Table("Outlines of cells, %", ("", *QUALITIES, "AP50"), tuple(rows), MEANINGS)


def _remarks(scores: CellScores) -> Iterator[str]:
    counts, error = scores["counts"], scores["count_error"]
    yield f"aggregated Jaccard index (AJI) of a field, mean, %: {percent(scores['segmentation']['aji'])}"
    if not math.isnan(error["mean"]):
        yield (
            f"count error of a field, found less annotated: mean {error['mean']:+.2f}, "
            f"mean absolute {error['mean_absolute']:.2f}"
        )
    if counts["not_outlined"]:
        yield f"{counts['not_outlined']} cells have no outline: PQ, SQ, RQ, SegPC mIoU and AJI leave them out"
    yield from scores["undefined"]
