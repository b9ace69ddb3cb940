"""Cells of a folder of images, found and written down: as pictures, label images, a table, and annotations."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8, UInt16
from pycocotools import mask as coco_mask
from tqdm import tqdm

from wbcjax.evaluate.detections import FieldDetections, write_results
from wbcjax.files import write_atomically, write_png
from wbcjax.image_folder import check_out, find_images
from wbcjax.predict import Layout, Predictor
from wbcjax.report.overlay import colour_splash, draw_detections
from wbcjax.smear.field import Cell, SmearField, read_image
from wbcjax.smear.formats.coco_write import write_coco
from wbcjax.smear.formats.via_write import write_via
from wbcjax.smear.rle import cut_out

PICTURES = ("outlines", "splash", "labels")  # folders in which each image has a PNG file of its name
COLUMNS = ("image", "cell", "class", "score", "x1", "y1", "x2", "y2", "area", "centroid_x", "centroid_y")


class Searched(NamedTuple):
    """An image in which cells were looked for."""

    path: Path
    layout: Layout  # how it was shown to the network
    found: FieldDetections  # everything, whatever its score
    cells: FieldDetections  # what counts as a cell
    rows: list[list[Any]]  # of cells.csv


@dataclass
class Outcome:
    """What became of the images of a folder."""

    searched: list[Searched] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)  # of each other image, its path and what was wrong with it


def predict_folder(
    model: Predictor, images: Path, out: Path, min_score: float, class_attribute: str = "cell"
) -> Outcome:
    """Find the cells of an image, or of all images in a folder, and write into the folder `out`:

    - outlines/NAME.png: the image, its cells outlined, each with number, class and score
    - splash/NAME.png: its cells in colour, the rest grey
    - labels/NAME.png: 16-bit label image; a pixel is the number of its cell, of the surest where several have it, or 0
    - cells.csv: a line for each cell. Boxes and centroids are in pixels from the image's upper left corner, so that the
      first pixel's centre is at (0.5, 0.5); areas in pixels
    - via.json, coco.json: the cells as annotations, to look at, correct and train on; in VIA `class_attribute` is the
      region attribute of their class
    - predictions.json: all detections, whatever their score, see `write_results`

    A cell is a detection that scores at least `min_score` and has a pixel; an image's cells are numbered from 1, the
    surest first. An image that cannot be read is left out and noted in the outcome. What was found before an error or
    an interruption is written; where no image could be read, nothing is.

    Raises as `find_images` does, and ValueError where what is written could replace the images, or annotations that
    were corrected since an earlier run wrote them.
    """
    paths = find_images(images)
    check_out([out, *(out / pictures for pictures in PICTURES)], paths)
    _check_uncorrected(out)
    outcome = Outcome()
    try:
        for path in tqdm(paths, desc="predict", unit="image", disable=None):
            try:
                image = read_image(path)
                layout = model.layout(*image.shape[:2])
            except (OSError, ValueError) as error:
                outcome.failed.append(str(error) if str(path) in str(error) else f"{path}: {error}")
                continue
            found = model.predict(image, path.name)
            cells = _cells(found, min_score)
            _write_pictures(out, path.stem, image, cells, model.classes)
            outcome.searched.append(Searched(path, layout, found, cells, _rows(cells, model.classes)))
    finally:
        if outcome.searched:  # else the lists of an earlier run would be replaced by empty ones
            _write_lists(out, outcome.searched, model.classes, class_attribute)
    return outcome


def _check_uncorrected(out: Path) -> None:
    via, coco = out / "via.json", out / "coco.json"
    if via.is_file() and coco.is_file() and via.stat().st_mtime_ns > coco.stat().st_mtime_ns:
        raise ValueError(
            f"{via} was changed after it was written, as by correcting it: choose another folder for --out"
        )


def _cells(found: FieldDetections, min_score: float) -> FieldDetections:
    """What counts as a cell, the surest first."""
    surest_first = np.argsort(-found.scores, kind="stable")
    kept = [row for row in surest_first if found.scores[row] >= min_score and coco_mask.area(found.rles[row])]
    return found.select(np.array(kept, np.int64))


def _write_pictures(
    out: Path, stem: str, image: UInt8[np.ndarray, "h w 3"], cells: FieldDetections, classes: Sequence[str]
) -> None:
    write_png(out / "outlines" / f"{stem}.png", draw_detections(image, cells, classes))
    write_png(out / "splash" / f"{stem}.png", colour_splash(image, cells))
    write_png(out / "labels" / f"{stem}.png", _label_image(cells))


def _label_image(cells: FieldDetections) -> UInt16[np.ndarray, "h w"]:
    labels = np.zeros((cells.height, cells.width), np.uint16)
    for row in reversed(range(len(cells.rles))):
        mask, left, top = cut_out(cells.rles[row])
        labels[top : top + mask.shape[0], left : left + mask.shape[1]][mask > 0] = row + 1
    return labels


def _rows(cells: FieldDetections, classes: Sequence[str]) -> list[list[Any]]:
    """The lines of `COLUMNS` for an image's cells."""
    rows = []
    for number, (box, label, score, rle) in enumerate(
        zip(cells.boxes, cells.labels, cells.scores, cells.rles, strict=True), start=1
    ):
        mask, left, top = cut_out(rle)
        y, x = np.nonzero(mask)
        x1, y1, x2, y2, centroid_x, centroid_y = (
            f"{value:.6g}" for value in (*box.tolist(), left + x.mean() + 0.5, top + y.mean() + 0.5)
        )
        place = [x1, y1, x2, y2, len(x), centroid_x, centroid_y]
        rows.append([cells.name, number, classes[label - 1], f"{score:.4f}", *place])
    return rows


def _write_lists(out: Path, searched: Sequence[Searched], classes: Sequence[str], class_attribute: str) -> None:
    write_results(out / "predictions.json", classes, [image.found for image in searched])
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([COLUMNS, *(row for image in searched for row in image.rows)])
    write_atomically(out / "cells.csv", table.getvalue().encode())
    fields = [_as_field(image) for image in searched]
    scores = [image.cells.scores.tolist() for image in searched]
    write_via(out / "via.json", fields, classes, class_attribute, scores=scores)
    write_coco(out / "coco.json", fields, classes, scores=scores)  # the last: via.json is older until it is corrected


def _as_field(image: Searched) -> SmearField:
    found = image.cells
    cells = tuple(Cell(int(label), rle=rle) for label, rle in zip(found.labels, found.rles, strict=True))
    return SmearField(found.name, found.height, found.width, cells, path=image.path)
