"""Galleries of a run: fields with their annotated and found cells, and its mistakes one by one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from pycocotools import mask as coco_mask

from wbcjax.evaluate.detections import FieldAnnotations, FieldDetections
from wbcjax.evaluate.field_precision import match_field
from wbcjax.evaluate.overlap import mask_overlaps
from wbcjax.evaluate.reported_cells import ReportedCells, reported_cells
from wbcjax.report.overlay import colour_splash, draw_outlines
from wbcjax.report.run_page import Card, Folded, Gallery
from wbcjax.report.set_page import jpeg_uri
from wbcjax.smear.field import text_rle

ImageOf = Callable[[int], UInt8[np.ndarray, "_ _ 3"]]
FIELD_WIDTH = 360  # pixels, of each of a field's pictures
THUMB_WIDTH = 240  # pixels, on the contact sheet
CROP_SIDE = 150  # pixels, of each picture of a cell
AROUND = 2.2  # times the cell's extent is shown of the field
CUT_OFF = 12  # pixels of the field
LEAST = 48  # pixels of the field that are shown at least
SHEET_FIELDS = 20
RANKED = 4  # fields shown of the best, of the median and of the worst
MOST_CELLS = 200  # shown of the mistakes of a kind
WORST = 4  # of them, shown before a click
SEED = 0


@dataclass(frozen=True, eq=False)
class Fields:
    """The fields of a split with their annotations and detections, in the same order."""

    image_of: ImageOf  # as the model is given them
    original_of: ImageOf | None  # before their contrast was enhanced; None where it was not
    annotations: Sequence[FieldAnnotations]
    detections: Sequence[FieldDetections]  # of every score
    classes: Sequence[str]  # of label 1, 2, ...
    min_score: float

    def cells(self, index: int) -> ReportedCells:
        """The cells found in field `index` with the minimum score or more."""
        return reported_cells(self.detections[index], self.min_score, self.classes)


@dataclass(frozen=True)
class Mistake:
    """A cell that was annotated and not found, or found and not annotated."""

    field: int
    row: int  # of the field's annotations or detections
    lines: tuple[str, ...]  # class, score


def sheet_gallery(fields: Fields) -> Gallery:
    """Fields drawn by chance with their annotated cells outlined."""
    total = len(fields.annotations)
    number = min(SHEET_FIELDS, total)
    drawn = sorted(np.random.default_rng(SEED).choice(total, number, replace=False).tolist())
    cards = [
        Card(
            fields.annotations[i].name,
            (("", _outlined(fields.image_of(i), fields.annotations[i], THUMB_WIDTH)),),
            (f"{_cells(fields.annotations[i])}",),
        )
        for i in drawn
    ]
    chosen = "" if number == total else ", drawn by chance"
    note = f"{number} of {total} fields{chosen}, their annotated cells outlined."
    return Gallery("Contact sheet", note, tuple(cards), tuple(fields.classes), "thumbs")


def ranked_galleries(fields: Fields) -> list[Gallery]:
    """The best, median and worst fields by panoptic quality, none twice: input, outlines, and colour splash."""
    quality = [_quality(annotated, fields.cells(i)) for i, annotated in enumerate(fields.annotations)]
    order = [i for i in np.argsort(-np.array(quality), kind="stable").tolist() if not np.isnan(quality[i])]
    worst = order[::-1][: min(RANKED, -(-len(order) // 3))]
    rest = order[: len(order) - len(worst)]
    best, rest = rest[:RANKED], rest[RANKED:]
    start = max(0, (len(rest) - RANKED) // 2)
    ranks = {"Worst fields": worst, "Best fields": best, "Median fields": rest[start : start + RANKED]}
    return [
        Gallery(
            title,
            "By panoptic quality of the field, whose pairs are of one class: the sum of their IoU over pairs + (cells "
            "and detections without one) / 2.",
            tuple(_field_card(fields, i, quality[i]) for i in chosen),
            tuple(fields.classes),
            "fields",
        )
        for title, chosen in ranks.items()
        if chosen
    ]


def mistake_blocks(
    fields: Fields,
    title: str,
    order: str,
    mistakes: Sequence[Mistake],
    boxes_of: Callable[[int], Float[np.ndarray, "n 4"]],
) -> list[Gallery | Folded]:
    """The first MOST_CELLS of `mistakes` as crops, annotated outlines beside those found: WORST of them, others folded.

    `order` is a sentence on it. `boxes_of` gives the boxes of a field that the mistakes' rows index.
    """
    shown = mistakes[:MOST_CELLS]
    image_of = lru_cache(maxsize=1)(fields.image_of)  # a field's mistakes are drawn one after another
    cards = {}
    for mistake in sorted(shown, key=lambda mistake: mistake.field):
        field = mistake.field
        region = _square(boxes_of(field)[mistake.row], *image_of(field).shape[:2])
        pictures = (
            ("annotated", _crop(image_of(field), fields.annotations[field], region)),
            ("found", _crop(image_of(field), fields.cells(field), region)),
        )
        cards[mistake] = Card(fields.annotations[field].name, pictures, mistake.lines)
    worst, others = ([cards[mistake] for mistake in part] for part in (shown[:WORST], shown[WORST:]))
    note = f"{shown_of(len(shown), len(mistakes))} {order} The cell is in the middle, or at the border of its field."
    blocks: list[Gallery | Folded] = [Gallery(title, note, tuple(worst), tuple(fields.classes))] if worst else []
    if others:
        rest = Gallery("", "", tuple(others))
        blocks.append(Folded(f"{title}: the other {len(others)}", (rest,)))
    return blocks


def shown_of(shown: int, total: int) -> str:
    """How many there are, and how many of them are not shown."""
    return f"{total} in all." if shown == total else f"{total} in all; {shown} are shown, {total - shown} are left out."


def thumbnail(image: UInt8[np.ndarray, "h w 3"], width: int) -> str:
    """A picture of that width for the page."""
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    interpolation = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_CUBIC
    return jpeg_uri(np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), np.uint8))


def _field_card(fields: Fields, index: int, quality: float) -> Card:
    image, annotated, found = fields.image_of(index), fields.annotations[index], fields.cells(index)
    pictures = [("input", thumbnail(image, FIELD_WIDTH))]
    if fields.original_of is not None:
        pictures = [("input", thumbnail(fields.original_of(index), FIELD_WIDTH)), ("enhanced", pictures[0][1])]
    pictures += [
        ("annotated", _outlined(image, annotated, FIELD_WIDTH)),
        ("found", _outlined(image, found, FIELD_WIDTH)),
        ("found cells in colour", thumbnail(colour_splash(image, found), FIELD_WIDTH)),
    ]
    counts = f"{_cells(annotated)} annotated, {len(found.rles)} found"
    return Card(annotated.name, tuple(pictures), (f"quality {quality:.3f}: {counts}",))


def _quality(annotations: FieldAnnotations, found: ReportedCells) -> float:
    """Panoptic quality (Kirillov et al., CVPR 2019, Eqn. 1) of one field; NaN where nothing is annotated or found."""
    overlaps = mask_overlaps(annotations, found)
    match = match_field(annotations, found, overlaps, score_threshold=0.0)
    matched = match.cell_of >= 0
    sizes = match.found + (len(match.missed) + len(match.false)) / 2
    return float(overlaps[match.detections[matched], match.cell_of[matched]].sum() / sizes) if sizes else float("nan")


def _cells(annotations: FieldAnnotations) -> str:
    count = int((~annotations.crowd).sum())
    return f"{count} cell{'s' * (count != 1)}"


def _outlined(image: UInt8[np.ndarray, "h w 3"], cells: FieldAnnotations | FieldDetections, width: int) -> str:
    return jpeg_uri(draw_outlines(image, cells, zoom=width / cells.width))


Region = tuple[int, int, int, int]  # left, top, right, bottom


def _crop(image: UInt8[np.ndarray, "h w 3"], cells: FieldAnnotations | FieldDetections, region: Region) -> str:
    """A region of a field with its outlines. A margin is drawn and cut off: cut masks have outlines along the cut."""
    height, width = image.shape[:2]
    left, top, right, bottom = region
    x, y = max(left - CUT_OFF, 0), max(top - CUT_OFF, 0)
    outer = (x, y, min(right + CUT_OFF, width), min(bottom + CUT_OFF, height))
    part = np.ascontiguousarray(image[outer[1] : outer[3], outer[0] : outer[2]])
    zoom = CROP_SIDE / max(right - left, bottom - top)
    drawn = draw_outlines(part, _within(cells, outer), zoom=zoom)
    x1, x2, y1, y2 = (round(side * zoom) for side in (left - x, right - x, top - y, bottom - y))
    return jpeg_uri(np.ascontiguousarray(drawn[y1:y2, x1:x2]))


def _within(cells: FieldAnnotations | FieldDetections, region: Region) -> FieldAnnotations | FieldDetections:
    """The cells that reach into a region of their field, as cells of that region."""
    left, top, right, bottom = region
    x1, y1, x2, y2 = cells.boxes.T
    rows = np.flatnonzero((x1 < right) & (x2 > left) & (y1 < bottom) & (y2 > top))
    masks = [np.asarray(coco_mask.decode(cells.rles[row]))[top:bottom, left:right] for row in rows]
    parts: dict[str, Any] = {
        "boxes": cells.boxes[rows] - np.array([left, top, left, top], np.float32),
        "labels": cells.labels[rows],
        "rles": [text_rle(coco_mask.encode(np.asfortranarray(mask))) for mask in masks],
    }
    if isinstance(cells, FieldAnnotations):
        parts |= {"crowd": cells.crowd[rows], "outlined": cells.outlined[rows]}
    else:
        cells = cells.select(rows)
    return replace(cells, height=bottom - top, width=right - left, **parts)


def _square(box: Float[np.ndarray, " 4"], height: int, width: int) -> Region:
    """A square of the field around a box, moved where it would leave the field; less where the field is smaller."""
    x1, y1, x2, y2 = (float(side) for side in box)
    side = round(max(LEAST, AROUND * max(x2 - x1, y2 - y1)))
    left = int(np.clip((x1 + x2 - side) / 2, 0, max(width - side, 0)))
    top = int(np.clip((y1 + y2 - side) / 2, 0, max(height - side, 0)))
    return left, top, min(left + side, width), min(top + side, height)
