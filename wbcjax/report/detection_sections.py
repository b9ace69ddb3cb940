"""Sections of the report of a detector: its data, every score of cells and of images, and the cells."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wbcjax.evaluate.cell_matching import rule
from wbcjax.evaluate.cell_table import in_words
from wbcjax.evaluate.detections import FieldAnnotations
from wbcjax.evaluate.figures import percent
from wbcjax.evaluate.image_table import RULE_SHOWN, voted
from wbcjax.evaluate.scores import limit_remarks
from wbcjax.evaluate.two_stages import two_stage_table
from wbcjax.evaluate.vote import MEANINGS
from wbcjax.report.detection_figures import (
    counts_figure,
    detection_curves_figure,
    figure_uri,
    matrix_figure,
    morphology_figure,
)
from wbcjax.report.run_page import Block, Chart, Charts, Folded, KeyScore, KeyScores, Lead, Section, Text
from wbcjax.report.run_pictures import Fields, Mistake, mistake_blocks, ranked_galleries, sheet_gallery
from wbcjax.report.run_sections import interval, number, of_counts, sentence_of, with_interval
from wbcjax.system.terminal import Table

Scores = Mapping[str, Any]
NO_CELL_SCORES = "the evaluation gave no scores of single cells."
FOUND = (
    "A cell is found where a detection overlaps it by half or more (an IoU, shared area over joint area, of 0.5), "
    "whatever its class."
)
WORST_MISSES = (
    "Worst first: cells that no detection of any score overlaps by half or more, the largest first; then by the best "
    "score there, the lowest first."
)
WORST_ALARMS = "Worst first: by score, the highest first."
SEGMENTATION = {
    "pq": "panoptic quality (PQ): SQ times RQ",
    "sq": "segmentation quality (SQ): mean IoU of the pairs",
    "rq": "recognition quality (RQ): pairs over pairs and half of what has none",
    "aji": "aggregated Jaccard index (AJI)",
    "segpc_miou": "mean IoU as in SegPC-2021",
    "segpc_miou_any_score": "the same, of detections of any score",
}
PAIRS = (
    "PQ, SQ and RQ by the rule of Kirillov et al.: a pair is a cell and a detection of its class, with an IoU over "
    "0.5. AJI and SegPC-2021's mean IoU take of each cell the detection of the best IoU, whatever its class."
)
COCO_RULE = (
    "COCO's rule: each class by itself, detections of any score, the best {most} of a field and class; AP is the mean "
    "over IoU 0.50, 0.55, ... 0.95, AP50 and AP75 are of one IoU (shared area over joint area)."
)
MEASURES = {
    "area": "area, pixels",
    "area_um2": "area, square micrometres",
    "perimeter": "perimeter, pixels",
    "perimeter_um": "perimeter, micrometres",
    "circularity": "circularity (1: a disc)",
    "eccentricity": "eccentricity (0: a disc)",
    "solidity": "solidity (1: no dents)",
    "od_red": "optical density, red",
    "od_green": "optical density, green",
    "od_blue": "optical density, blue",
    "nc_ratio": "nucleus over cytoplasm, areas",
    "nucleus_share": "nucleus over cell, areas",
}


def headline_section(scores: Scores) -> Section:
    """What came of the cells, in words."""
    if not _of_single_cells(scores):
        return Section("In short", absent=NO_CELL_SCORES)
    return Section("In short", (Lead(tuple(in_words(scores["cells"]))), Text(FOUND)))


def two_stages_section(scores: Scores) -> list[Section]:
    """The detector beside the detector and a classifier of crops; no section where none was asked."""
    stages = scores.get("two_stages")
    return [Section("Detector and classifier", (two_stage_table(stages),))] if stages else []


def mistakes_section(fields: Fields, scores: Scores) -> Section:
    """From the entry "cells" of `scores`, the worst cells missed and false alarms as pictures; the others folded."""
    if not _of_single_cells(scores):
        return Section("Worst mistakes", absent=NO_CELL_SCORES)
    position_of = {field.name: position for position, field in enumerate(fields.annotations)}
    misses = [
        Mistake(position_of[miss["field"]], miss["cell"], (f"missed: {miss['class']}", _best_there(miss)))
        for miss in scores["cells"]["misses"]
    ]
    alarms = [
        Mistake(
            position_of[alarm["field"]], alarm["detection"], (f"false: {alarm['class']}, score {alarm['score']:.2f}",)
        )
        for alarm in scores["cells"]["false_alarms"]
    ]
    blocks = (
        *mistake_blocks(fields, "Missed cells", WORST_MISSES, misses, lambda field: fields.annotations[field].boxes),
        *mistake_blocks(fields, "False alarms", WORST_ALARMS, alarms, lambda field: fields.detections[field].boxes),
    )
    return Section("Worst mistakes", blocks, "no cell was missed and none was made up.")


def scores_section(scores: Scores) -> Section:
    """The most important scores."""
    mask = scores["mask"]
    shown = [
        KeyScore(
            "Average precision of outlines",
            _with_unit(percent(mask["AP"])),
            "100 % where every cell is found, of the right class and traced exactly, and nothing else is. The mean "
            f"over ten demands on the overlap, as COCO has it; where half is enough it is {percent(mask['AP50'])} %.",
        )
    ]
    if _of_single_cells(scores):
        shown.append(_count_score(scores["cells"]["count_error"]))
    if "images" in scores:
        of_rule = scores["images"]["rules"][RULE_SHOWN]
        shown.append(
            KeyScore(
                "Subtype of an image right",
                _with_unit(percent(of_rule["accuracy"]["value"])),
                f"Of {of_rule['images']} images, by the vote of their cells{interval(of_rule['accuracy'])}. "
                f"Undetected, with no cell sure enough to vote, and counted as wrong: {of_rule['undetected']}.",
            )
        )
    return Section("Scores", (KeyScores(tuple(shown)),))


def data_section(fields: Fields, split: str, splits: Mapping[str, Mapping[str, int]]) -> Section:
    """Fields and cells by class, of the scored split and of other `splits` ({"fields": 45, "L1": 120}); a sheet."""
    classes = list(fields.classes)
    scored = _contents(fields.annotations, classes)
    rows = [(name, *(f"{counts[key]}" for key in ("fields", *classes))) for name, counts in splits.items()]
    rows.append((f"{split} (scored)", *(f"{scored[key]}" for key in ("fields", *classes))))
    note = f"Crowd regions, which hold uncounted cells, are left out; {split} has {scored['crowd']} of them."
    blocks = (Table("", ("split", "fields", *classes), tuple(rows), note), sheet_gallery(fields))
    return Section("Data", blocks)


def precision_section(scores: Scores) -> Section:
    """COCO's average precision and the papers' mAP."""
    touching, paper, counts = scores["touching"], scores["paper"], scores["counts"]
    sets = {
        "all cells, outlines": scores["mask"],
        "all cells, boxes": scores["box"],
        "touching cells, outlines": touching["mask"],
        "touching cells, boxes": touching["box"],
    }
    averages = tuple((name, *(percent(of[key]) for key in ("AP", "AP50", "AP75"))) for name, of in sets.items())
    by_class = tuple(
        (name, percent(scores["mask"]["per_class"][name]), percent(scores["box"]["per_class"][name]), f"{cells}")
        for name, cells in counts["cells"].items()
    )
    mean = (
        f"mAP as in the papers, at IoU {paper['iou_threshold']:g} and score {paper['score_threshold']:g}: "
        f"{percent(paper['mAP'])} % over {paper['fields']} fields. Matterport's rule: cells and detections of one "
        "class, field by field."
    )
    coco = " ".join([COCO_RULE.format(most=scores["max_detections"]), *limit_remarks(scores)])
    blocks = (
        Table("COCO's average precision, %", ("", "AP", "AP50", "AP75"), averages, f"{coco} {mean}"),
        Table("By class, %", ("class", "outlines", "boxes", "cells"), by_class),
    )
    return Section("Average precision", blocks)


def cells_section(scores: Scores) -> Section:
    """Precision-recall curves, confusion and outlines of cells: the entry "cells" of `scores`."""
    if not _of_single_cells(scores):
        return Section("Cells", absent=NO_CELL_SCORES)
    cells = scores["cells"]
    names, counts = cells["confusion"]["classes"], cells["confusion"]["counts"]
    charts = (
        Chart(
            "Precision over recall",
            figure_uri(detection_curves_figure(cells["pr_curves"])),
            "The share of found cells that are right over the share of annotated cells that are found, as the minimum "
            "score falls.",
        ),
        Chart(
            "Confusion of cells",
            figure_uri(matrix_figure(names, names, counts, ("annotated as", "taken for"), background=True)),
            "Bottom row: cells found where none is annotated. Right column: annotated cells that were not found. "
            f"{rule(cells['min_score'])}",
        ),
    )
    undefined = tuple(Text(sentence_of(text)) for text in cells["undefined"])
    return Section("Cells", (Charts(charts), _outline_table(cells["segmentation"]), *undefined))


def counts_section(scores: Scores) -> Section:
    """Cells found in each field beside those annotated: the entry "cells" of `scores`."""
    if not _of_single_cells(scores):
        return Section("Cell counts", absent=NO_CELL_SCORES)
    error = scores["cells"]["count_error"]
    annotated, found = ([field[key] for field in error["per_field"]] for key in ("annotated", "found"))
    chart = Chart(
        "Cells of each field",
        figure_uri(counts_figure(annotated, found)),
        f"Mean error {number(error['mean_absolute'], 2)} cells, bias {number(error['mean'], 2, signed=True)}. "
        "A disc is a field, or as many fields as its number.",
    )
    rows = tuple(
        (field["name"], f"{field['annotated']}", f"{field['found']}", f"{field['found'] - field['annotated']:+d}")
        for field in sorted(error["per_field"], key=lambda field: -abs(field["found"] - field["annotated"]))
    )
    table = Table("", ("field", "annotated", "found", "error"), rows)
    return Section("Cell counts", (Charts((chart,)), Folded(f"All {len(rows)} fields, largest error first", (table,))))


def image_section(scores: Scores) -> Section:
    """The vote: scores of each rule, confusion of images, and every image: the entry "images" of `scores`."""
    if "images" not in scores:
        return Section("Subtype of images", absent=f"{scores.get('without_votes', 'no vote was taken')}.")
    images, rules = scores["images"], scores["images"]["rules"]
    keys = ("accuracy", "precision", "sensitivity", "sensitivity_all")
    rows = tuple(
        (name, *(with_interval(of[key]) for key in keys), f"{of['images']}", f"{of['undetected']}")
        for name, of in rules.items()
    )
    note = (
        f"Cells of score {images['min_score']:g} or more vote. Undetected images, without such a cell, are wrong for "
        "the accuracy; sensitivity leaves them out, as that of Revanda et al. does, and sensitivity of all counts "
        "them. In brackets the 95 % interval."
    )
    head = ("rule", "accuracy", "precision", "sensitivity", "sensitivity of all", "images", "undetected")
    table = Table("By vote, %", head, rows, note)
    remarks = tuple(Text(f"Rule {name}: {text}.") for name, of in rules.items() for text in of["undefined"])
    every = Folded(f"All {len(images['images'])} images", (_image_table(images),))
    return Section("Subtype of images", (table, *remarks, *_matrices(rules), every))


def fields_section(fields: Fields) -> Section:
    """Whole fields, from the worst to the best."""
    return Section("Fields", tuple(ranked_galleries(fields)), "no field has a cell, annotated or found.")


def morphology_section(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> Section:
    """A panel for each measure of the cells found; `rows` are those of cells.csv (`wbcjax.evaluate.cells_csv`)."""
    found = {row["class"] for row in rows}
    charts = []
    for key, label in MEASURES.items():
        values = {
            name: [float(row[key]) for row in rows if row["class"] == name and key in row]
            for name in classes
            if name in found
        }
        if any(values.values()):
            charts.append(Chart(label, figure_uri(morphology_figure(values, label))))
    note = Text("Of the cells found. A point is a cell; a box holds the middle half of them, its bar is the median.")
    return Section("Morphology", (note, Charts(tuple(charts), small=True)) if charts else (), "no cell was measured.")


def _contents(annotations: Sequence[FieldAnnotations], classes: Sequence[str]) -> dict[str, int]:
    labels = np.concatenate([np.zeros(0, np.int64), *(field.labels[~field.crowd] for field in annotations)])
    counts = {name: int((labels == label).sum()) for label, name in enumerate(classes, start=1)}
    return counts | {"fields": len(annotations), "crowd": int(sum(field.crowd.sum() for field in annotations))}


def _outline_table(outlines: Scores) -> Table:
    per_class = outlines["per_class"] if len(outlines["per_class"]) > 1 else {}
    rows = tuple(
        (name, percent(outlines[key]), *(percent(of[key]) if key in of else "" for of in per_class.values()))
        for key, name in SEGMENTATION.items()
    )
    return Table("Quality of outlines, %", ("", "all", *per_class), rows, PAIRS)


def _matrices(rules: Mapping[str, Scores]) -> list[Block]:
    """The confusion of images by RULE_SHOWN, and by the other rules, folded; none where no image was voted on."""
    charts = {
        name: Chart(
            f"Confusion of images by the rule {name}",
            _image_matrix(of["confusion"]),
            f"{name}: {MEANINGS[name]}. FN, false negatives: images of the class that were taken for another. FP, "
            "false positives: images of another that were taken for it.",
        )
        for name, of in rules.items()
        if voted(dict(of))
    }
    shown, others = charts.pop(RULE_SHOWN, None), tuple(charts.values())
    title = f"The same by the other rules: {', '.join(charts)}"
    return [*([Charts((shown,))] if shown else ()), *([Folded(title, (Charts(others),))] if others else ())]


def _image_matrix(confusion: Scores) -> str:
    rows = [[*counts, none] for counts, none in zip(confusion["counts"], confusion["undetected"], strict=True)]
    names = confusion["classes"]
    is_names = [f"{name} (FN {missed})" for name, missed in zip(names, confusion["FN"], strict=True)]
    taken_names = [f"{name} (FP {false})" for name, false in zip(names, confusion["FP"], strict=True)]
    return figure_uri(matrix_figure(is_names, [*taken_names, "undetected"], rows, ("is", "taken for")))


def _image_table(images: Scores) -> Table:
    rules = list(images["rules"])
    rows = tuple(
        (
            image["name"],
            image["truth"] or "none",
            of_counts(list(image["counts"].items())) or "none",
            *(image["votes"][rule] or "undetected" for rule in rules),
            "" if all(image["votes"][rule] == image["truth"] for rule in rules) else "differs",
        )
        for image in images["images"]
    )
    return Table("", ("image", "is", "cells voting", *rules, ""), rows)


def _of_single_cells(scores: Scores) -> bool:
    """Whether the scores of `cell_scores` are there beside those of `detection_scores`."""
    return "cells" in scores


def _best_there(miss: Mapping[str, Any]) -> str:
    best = miss["best_score"]
    return f"best score there {best:.2f}" if best else "no detection there"


def _count_score(error: Scores) -> KeyScore:
    return KeyScore(
        "Error of a cell count",
        f"{number(error['mean_absolute'], 2)} cells",
        "How far the number of cells found in a field is off, in the mean over the fields; with its sign, "
        f"{number(error['mean'], 2, signed=True)}: above 0 where too many are found.",
    )


def _with_unit(figure: str) -> str:
    return figure if figure == "n/a" else f"{figure} %"
