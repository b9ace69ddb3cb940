"""The files of the cells of a slide, written as the cells come: cells.csv, and GeoJSON in chunks."""

import contextlib
import csv
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from jaxtyping import Float
from shapely import Polygon

from wbcjax.evaluate.cells_csv import Row, add_runners_up, cell_rows, columns
from wbcjax.predict.slide_grid import Grid
from wbcjax.predict.slide_merge import CellGroup
from wbcjax.slides.slide import Slide
from wbcjax.slides.tissue import Tissue
from wbcjax.smear.field import Cell
from wbcjax.smear.formats.geojson import feature
from wbcjax.smear.formats.outline import outline_mask
from wbcjax.smear.formats.write_checks import ScoredCell
from wbcjax.smear.rle import cut_outs

CHUNK = 20_000  # cells of a GeoJSON file: QuPath opens some tens of megabytes at once
PARTIAL = ".*.partial"  # files that are being written
PATIENT = "patient"  # the column of cells.csv where patients are known
LENGTHS, AREAS = ("perimeter",), ("area",)  # columns in pixels
DECIMALS = 2  # of a place, in pixels


@dataclass(frozen=True, eq=False)
class SearchedIn:
    """A slide with all that its results need beside what was found."""

    folder: Path  # of the results
    slide: Slide
    grid: Grid
    tissue: Tissue
    classes: Sequence[str]
    pixel_size: float  # at full resolution, in micrometres; 0: not known

    @property
    def times(self) -> Float[np.ndarray, "2"]:
        """Pixels at full resolution for one of the level that was searched, across and down."""
        return np.array([self.slide.width / self.grid.width, self.slide.height / self.grid.height])


@dataclass(frozen=True, eq=False)
class SlideCell:
    """A cell of a slide, in pixels of its full resolution."""

    label: int
    score: float
    runner_up: tuple[str, float] | None
    box: Float[np.ndarray, "4"]
    outlines: list[Float[np.ndarray, "_ 2"]]
    row: Row  # of cells.csv, but for its number


def described(searched: SearchedIn, white: Float[np.ndarray, "3"], group: CellGroup) -> list[SlideCell]:
    """The cells of a group, measured on the slide; `white` is the colour of bare glass there."""
    frame, cells, times = group.frame, group.cells, searched.times
    image = searched.slide.region(frame.left, frame.top, frame.width, frame.height, searched.grid.scale)
    seconds = cells.runners_up(searched.classes)
    rows = cell_rows(image, cells, searched.classes, searched.pixel_size * float(times[0]), white)
    add_runners_up(rows, seconds)
    corner = np.array([frame.left, frame.top])
    found = []
    for index, (row, part) in enumerate(zip(rows, cut_outs(cells.rles), strict=True)):
        box = (cells.boxes[index] + np.tile(corner, 2)) * np.tile(times, 2)
        inside = corner + np.array([part.left - 1, part.top - 1])
        around = np.pad(part.mask, 1)  # since the mask's border would clip its outline
        outlines = [(points + inside) * times for points in outline_mask(around)]
        label, score = int(cells.labels[index]), float(cells.scores[index])
        found.append(SlideCell(label, score, seconds[index], box, outlines, _placed(row, box, corner, times)))
    return found


def _placed(row: Row, box: Float[np.ndarray, "4"], corner: np.ndarray, times: np.ndarray) -> Row:
    """A line of a part of a slide as one of the slide, at full resolution."""
    centre = (np.array([float(row["centroid_x"]), float(row["centroid_y"])]) + corner) * times
    places = zip(("x1", "y1", "x2", "y2", "centroid_x", "centroid_y"), (*box, *centre), strict=True)
    sizes = {name: float(row[name]) * float(times[0]) for name in LENGTHS}
    sizes |= {name: float(row[name]) * float(times.prod()) for name in AREAS}
    return (
        row
        | {name: f"{value:.{DECIMALS}f}" for name, value in places}
        | {name: f"{value:.6g}" for name, value in sizes.items()}
    )


class CellFiles:
    """cells.csv and geojson/NAME.geojson of a slide, whole or not at all; of more than `CHUNK` cells NAME_001, ..."""

    def __init__(self, searched: SearchedIn, patient: str | None) -> None:
        self._folder, self._name = searched.folder, searched.folder.name
        self._classes, self._patient = searched.classes, patient
        self._pixel_size = searched.pixel_size
        self._count, self._features = 0, 0
        self._chunks: list[Path] = []

    @contextlib.contextmanager
    def writing(self, said: Sequence[str]) -> Iterator["CellFiles"]:
        """While entered, cells can be added; at the end the files appear, in place of those that were there.

        said: the names of outputs of further heads.
        """
        geojson = self._folder / "geojson"
        geojson.mkdir(parents=True, exist_ok=True)
        for left in (*self._folder.glob(PARTIAL), *geojson.glob(PARTIAL)):
            left.unlink()  # by a process that was killed
        table = self._folder / f".cells.csv.{os.getpid()}.partial"
        try:
            with table.open("w", encoding="utf-8", newline="") as file:
                known = columns(self._classes, self._pixel_size, said=said)
                names = [*known, *([] if self._patient is None else [PATIENT])]
                self._table = csv.DictWriter(file, names, lineterminator="\n")
                self._table.writeheader()
                yield self
                self._end_chunk()
            for path in geojson.glob("*.geojson"):
                path.unlink()
            for number, chunk in enumerate(self._chunks, start=1):
                suffix = f"_{number:03}" if len(self._chunks) > 1 else ""
                chunk.replace(geojson / f"{self._name}{suffix}.geojson")
            table.replace(self._folder / "cells.csv")
        finally:
            for path in (table, *self._chunks):
                path.unlink(missing_ok=True)

    def add(self, cells: Sequence[SlideCell]) -> None:
        """The cells of a group, which are numbered on."""
        first = self._count
        for cell in cells:
            self._count += 1
            row = cell.row | {"cell": self._count}
            if "in_cell" in row:
                row["in_cell"] += first
            self._table.writerow(row if self._patient is None else row | {PATIENT: self._patient})
            self._write_feature(cell)

    def _write_feature(self, cell: SlideCell) -> None:
        if self._features == CHUNK:
            self._end_chunk()
        if not self._features:
            path = self._folder / "geojson" / f".{len(self._chunks)}.{os.getpid()}.partial"
            self._chunks.append(path)
            self._open = path.open("w", encoding="utf-8", newline="")
            self._open.write('{"type": "FeatureCollection", "features": [\n')
        polygons = [Polygon(np.round(points, DECIMALS)) for points in cell.outlines]
        scored = ScoredCell(Cell(cell.label, tuple(cell.outlines)), cell.score, cell.runner_up)
        data: dict[str, Any] = feature(f"{self._name}#{self._count}", _valid(polygons), scored, self._classes)
        self._open.write(("" if not self._features else ",\n") + json.dumps(data))
        self._features += 1

    def _end_chunk(self) -> None:
        if self._features:
            self._open.write("\n]}\n")
            self._open.close()
        elif not self._chunks:  # no cell at all
            self._chunks.append(self._folder / "geojson" / f".0.{os.getpid()}.partial")
            self._chunks[0].write_text('{"type": "FeatureCollection", "features": []}\n', encoding="utf-8")
        self._features = 0


def _valid(polygons: Sequence[Polygon]) -> list[Polygon]:
    """The polygons, mended where rounding made them cross themselves."""
    if all(polygon.is_valid for polygon in polygons):
        return list(polygons)
    parts = shapely.get_parts([shapely.make_valid(polygon) for polygon in polygons])
    return [part for part in parts if isinstance(part, Polygon)]
