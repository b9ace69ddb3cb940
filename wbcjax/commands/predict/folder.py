"""Cells found in a folder of images, written as pictures, label images, a table, and annotations."""

import contextlib
import math
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8, UInt16

from wbcjax.commands.image_folder import find_images, left_out, of_image
from wbcjax.evaluate.cell_counts import counts_csv
from wbcjax.evaluate.cells_csv import Row, add_names, add_runners_up, cell_rows, cells_csv
from wbcjax.evaluate.detections import FieldDetections, write_results
from wbcjax.evaluate.nuclei_of_cells import nucleus_label
from wbcjax.evaluate.reported_cells import ReportedCells, reported_cells
from wbcjax.predict.classifier import CropClassifier
from wbcjax.predict.search import Layout, Picture, Search
from wbcjax.report.overlay import colour_splash, draw_detections
from wbcjax.smear.field import Cell, SmearField, read_image
from wbcjax.smear.formats.coco import write as write_coco
from wbcjax.smear.formats.geojson import write as write_geojson
from wbcjax.smear.formats.via import write_via
from wbcjax.smear.formats.write_checks import Predicted
from wbcjax.smear.image_header import MAX_PIXELS
from wbcjax.smear.pixel_size import stated_pixel_size
from wbcjax.smear.rle import cut_out
from wbcjax.system.files import write_atomically, write_png
from wbcjax.system.places import check_out
from wbcjax.system.processes import gather, is_first, process_share
from wbcjax.system.progress import Bar


@dataclass(frozen=True)
class ImageSettings:
    """Settings of the images. Raises ValueError for an impossible `pixel_size`."""

    class_attribute: str = "cell"  # in VIA files, the region attribute of a cell's class
    pixel_size: float = 0.0  # micrometres per pixel of all images; 0: as each file states it
    # Of images whose file does not state it, for measures of cells; 0: not known, and all is in pixels
    else_pixel_size: float = 0.0
    by_files: bool = True  # whether what files state is believed
    max_pixels: int = MAX_PIXELS  # of an image; larger ones are left out

    def __post_init__(self) -> None:
        if not all(0 <= size < math.inf for size in (self.pixel_size, self.else_pixel_size)):
            raise ValueError(
                f"the pixel size is {self.pixel_size or self.else_pixel_size}; give micrometres per pixel, or 0 where "
                "it is not known"
            )


class _Shown(NamedTuple):
    """An image and its layout for the network."""

    path: Path
    image: UInt8[np.ndarray, "h w 3"]
    pixel_size: float  # micrometres; 0: not known
    layout: Layout


class Searched(NamedTuple):
    """An image in which cells were looked for."""

    path: Path
    pixel_size: float  # micrometres per pixel, by which it was scaled; 0: not known
    layout: Layout  # of the image for the network
    found: FieldDetections  # of any score
    cells: ReportedCells
    rows: list[Row]  # of cells.csv
    named: FieldDetections | None  # the same cells with a classifier's classes, if there is one


@dataclass
class Outcome:
    """The results of a folder of images, and failures."""

    searched: list[Searched] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)  # the path and the error of each other image


def predict_folder(
    model: Search,
    images: Path,
    out: Path,
    min_score: float,
    settings: ImageSettings = ImageSettings(),
    classifier: CropClassifier | None = None,
) -> Outcome:
    """Find the cells of an image, or of all images in a folder, and write into the folder `out`:

    - outlines/NAME.png: the image, its cells outlined, each with number, class and score
    - splash/NAME.png: its cells in colour, the rest grey
    - labels/NAME.png: 16-bit label image; a pixel has the number of its cell, or 0. Where cells overlap it is that of
      the highest score; where a class is called nucleus, nuclei come before their cells
    - cells.csv: a line for each cell, its place, size, shape and stain, see `wbcjax.evaluate.cells_csv`
    - counts.csv: the cells of each class of each image and of all, see `wbcjax.evaluate.cell_counts`
    - via.json, coco.json, geojson/NAME.geojson: the cells as annotations, to look at, correct and train on, each with
      its score and the class that came second; the last for QuPath
    - predictions.json: all detections, whatever their score, see `write_results`
    - with a `classifier`, which names every cell but no nucleus by a crop of it: named/NAME.png, the cells with the
      class and probability that it gives them; named_via.json and named_counts.csv; and two columns in cells.csv

    A cell is a detection that scores at least `min_score` and has a pixel; of several classes at one place it is that
    of the highest score (`reported_cells`). An image's cells are numbered from 1, highest score first. An image that
    cannot be read, is too large, or fails in any step is left out and noted in the outcome, files of image formats that
    are not read among them. A file that cannot be
    written ends the call. Results from before an error or an interruption are written; where no image could be read,
    nothing is. Several processes share the images: each writes its own pictures, the first one all lists, and the
    outcome is that of all.

    Raises as `find_images` and `check_out` do, and ValueError for a classifier that cannot name cells of fields.
    """
    if classifier is not None:
        classifier.cut_settings()
    paths, first = find_images(images), is_first()
    if first:
        check_out(out, paths)
    gather([])  # none writes before the folder is checked
    paths = [paths[number] for number in process_share(len(paths))]
    outcome = Outcome(failed=left_out(images) if first else [])
    bar = Bar("predict", "image", len(paths), active=first)

    def leave_out(path: Path, error: Exception) -> None:
        outcome.failed.append(of_image(path, error))
        bar.advance()

    def read() -> Iterator[_Shown]:
        for path in paths:
            try:
                image = read_image(path, settings.max_pixels)
                stated = stated_pixel_size(path) if settings.by_files else 0.0
                pixel_size = settings.pixel_size or stated
                height, width = image.shape[:2]
                yield _Shown(path, image, pixel_size, model.layout(height, width, pixel_size))
            except Exception as error:  # any error leaves out this image only
                leave_out(path, error)

    try:
        with bar, contextlib.closing(_find_each(model, read())) as each:
            for shown, found in each:
                try:
                    if isinstance(found, Exception):
                        raise found
                    searched, pictures = _describe(model, classifier, shown, found, min_score, settings.else_pixel_size)
                except Exception as error:
                    leave_out(shown.path, error)
                    continue
                for kind, picture in pictures.items():
                    write_png(out / kind / f"{shown.path.stem}.png", picture)
                outcome.searched.append(searched)
                bar.advance()
        outcome = Outcome(gather(outcome.searched), gather(outcome.failed))
    finally:
        if outcome.searched and first:
            if classifier:
                _write_named(out, outcome.searched, classifier.classes, settings.class_attribute)
            _write_lists(out, outcome.searched, model.classes, settings)
    gather([])  # none ends before all is written
    return outcome


def _find_each(
    model: Search, images: Iterator[_Shown]
) -> Generator[tuple[_Shown, FieldDetections | Exception], None, None]:
    """The model's detections in each image, or the error that it raises; in their order."""
    waiting: deque[_Shown] = deque()  # images given to the model, without a result so far

    def pictures() -> Iterator[Picture]:
        for shown in images:
            waiting.append(shown)
            yield Picture(shown.path.name, shown.image, shown.pixel_size)

    while True:
        try:
            with contextlib.closing(model.detect_each(pictures())) as each:
                for found in each:
                    yield waiting.popleft(), found
            return
        except Exception:
            if not waiting:
                raise
        while waiting:  # one of them raised the error: each is tried alone
            shown = waiting.popleft()
            try:
                alone: FieldDetections | Exception = model.detect(shown.image, shown.path.name, shown.pixel_size)
            except Exception as error:
                alone = error
            yield shown, alone


def _describe(
    model: Search,
    classifier: CropClassifier | None,
    shown: _Shown,
    found: FieldDetections,
    min_score: float,
    else_pixel_size: float,
) -> tuple[Searched, dict[str, UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w"]]]:
    """The results of an image, and its pictures by the names of their folders."""
    path, image, stated, layout = shown
    cells = reported_cells(found, min_score, model.classes)
    labels = _label_image(cells, nucleus_label(model.classes))
    pictures = {"outlines": draw_detections(image, cells, model.classes), "splash": colour_splash(image, cells)}
    rows = cell_rows(image, cells, model.classes, stated or else_pixel_size)
    add_runners_up(rows, cells.runners_up(model.classes))
    named = None
    if classifier:
        whole = np.flatnonzero(cells.labels != nucleus_label(model.classes))
        named = classifier.name(image, cells.select(whole))
        pictures["named"] = draw_detections(image, named, classifier.classes)
        add_names([rows[row] for row in whole], named, classifier.classes)
    return Searched(path, stated, layout, found, cells, rows, named), {**pictures, "labels": labels}


def _label_image(cells: FieldDetections, nucleus: int) -> UInt16[np.ndarray, "h w"]:
    most = np.iinfo(np.uint16).max  # of a PNG file
    if len(cells.rles) > most:
        raise ValueError(
            f"{len(cells.rles)} cells, more than the {most} that a label image can number: raise the minimum score "
            "(--min-score), or cut the image up"
        )
    labels = np.zeros((cells.height, cells.width), np.uint16)
    # The last is on top: the highest score, and nuclei, which their cells would hide.
    for row in sorted(range(len(cells.rles)), key=lambda row: (cells.labels[row] == nucleus, -row)):
        mask, left, top = cut_out(cells.rles[row])
        labels[top : top + mask.shape[0], left : left + mask.shape[1]][mask > 0] = row + 1
    return labels


def _write_lists(out: Path, searched: Sequence[Searched], classes: Sequence[str], settings: ImageSettings) -> None:
    write_results(out / "predictions.json", classes, [image.found for image in searched])
    rows = [row for image in searched for row in image.rows]
    named = any(image.named for image in searched)
    known = settings.else_pixel_size or max(image.pixel_size for image in searched)
    write_atomically(out / "cells.csv", cells_csv(rows, classes, known, named, searched[0].found.said))
    fields = [_as_field(image.cells, image.path) for image in searched]
    predicted = Predicted(
        scores=[image.cells.scores.tolist() for image in searched],
        runners_up=[image.cells.runners_up(classes) for image in searched],
    )
    write_via(out / "via.json", fields, classes, settings.class_attribute, predicted)
    write_coco(out / "coco.json", fields, classes, predicted)
    write_geojson(out / "geojson", fields, classes, predicted)
    counted = [(image.cells.name, image.cells.labels) for image in searched]
    write_atomically(out / "counts.csv", counts_csv(counted, classes))


def _write_named(out: Path, searched: Sequence[Searched], classes: Sequence[str], class_attribute: str) -> None:
    named = [(image.named, image.path) for image in searched if image.named]
    counted = [(cells.name, cells.labels) for cells, _ in named]
    write_atomically(out / "named_counts.csv", counts_csv(counted, classes))
    predicted = Predicted([cells.scores.tolist() for cells, _ in named])
    write_via(out / "named_via.json", [_as_field(*image) for image in named], classes, class_attribute, predicted)


def _as_field(found: FieldDetections, path: Path) -> SmearField:
    cells = tuple(Cell(int(label), rle=rle) for label, rle in zip(found.labels, found.rles, strict=True))
    return SmearField(found.name, found.height, found.width, cells, path=path)
