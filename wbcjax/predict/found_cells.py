"""The cells found in one image, as a person in Python wants them: named, counted, drawn, cut out and written."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from wbcjax.evaluate.cell_counts import count_cells, count_classes
from wbcjax.evaluate.detections import FieldDetections
from wbcjax.evaluate.reported_cells import ReportedCells
from wbcjax.report.overlay import draw_detections
from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.formats.coco import coco_data
from wbcjax.smear.formats.geojson import geojson_data
from wbcjax.smear.formats.outline import Outlines, outline_mask
from wbcjax.smear.formats.write_checks import Predicted
from wbcjax.smear.rle import cut_out
from wbcjax.system.files import png_bytes

SHOWN_SIDE = 1200  # pixels: the longer side, at most, of a picture in a notebook

Rows = slice | Sequence[int] | Int[np.ndarray, " k"] | Bool[np.ndarray, " c"]


@dataclass(frozen=True, eq=False)
class FoundCell:
    """One cell of an image."""

    class_name: str
    score: float
    box: Float[np.ndarray, "4"]  # x1, y1, x2, y2 in pixels
    runner_up: tuple[str, float] | None  # the class that came second, and its score
    rle: dict  # COCO compressed RLE, counts as str

    @property
    def mask(self) -> Bool[np.ndarray, "h w"]:
        """The cell's pixels in the whole image."""
        return _mask(self.rle)

    @property
    def polygons(self) -> Outlines:
        """The cell's outline as polygons (x, y) in pixels: see `outline_mask`."""
        return _polygons(self.rle)


@dataclass(frozen=True, eq=False, repr=False)
class FoundCells:
    """The cells found in one image, each once, the highest score first.

    `found[0]` is a cell. `found["L1"]`, `found[:5]`, `found[found.scores > 0.9]` and `found[[3, 1]]` are the same with
    these cells alone. Masks and polygons are made when they are asked for.

    image: as it was taken, RGB.
    classes: names of label 1, 2, ...
    min_score: the least score of a cell.
    cells: boxes, labels, scores, RLEs and runners-up, as arrays.
    detections: all that the network found, of any score and more than once: what COCO's scores are made of.
    """

    image: UInt8[np.ndarray, "h w 3"]
    classes: tuple[str, ...]
    min_score: float
    cells: ReportedCells
    detections: FieldDetections

    @property
    def name(self) -> str:
        """The image's name."""
        return self.cells.name

    @property
    def labels(self) -> Int[np.ndarray, " c"]:
        """The class of each cell, 1 to C."""
        return self.cells.labels

    @property
    def class_names(self) -> list[str]:
        """The name of the class of each cell."""
        return [self.classes[label - 1] for label in self.cells.labels]

    @property
    def scores(self) -> Float[np.ndarray, " c"]:
        """The score of each cell, 0 to 1."""
        return self.cells.scores

    @property
    def boxes(self) -> Float[np.ndarray, "c 4"]:
        """The box of each cell: x1, y1, x2, y2 in pixels, x2 and y2 exclusive."""
        return self.cells.boxes

    @property
    def masks(self) -> Bool[np.ndarray, "c h w"]:
        """The pixels of each cell. Of many cells in a large image that is much memory: a cell has its own `mask`."""
        masks = np.zeros((len(self), self.cells.height, self.cells.width), bool)
        for mask, rle in zip(masks, self.cells.rles, strict=True):
            _paint(mask, rle)
        return masks

    @property
    def polygons(self) -> list[Outlines]:
        """The outline of each cell as polygons (x, y) in pixels; several where a cell is in parts: `outline_mask`."""
        return [_polygons(rle) for rle in self.cells.rles]

    def counts(self) -> dict[str, int]:
        """The number of cells of each class."""
        return count_classes(self.cells.labels, self.classes)

    def draw(self) -> UInt8[np.ndarray, "h w 3"]:
        """A copy of the RGB image with every cell outlined and tagged with its number (from 1), class and score."""
        return draw_detections(self.image, self.cells, self.classes)

    def to_coco(self) -> dict[str, Any]:
        """The cells as a COCO data set of one image, ready for `json.dump`, as `wbcjax predict` writes it."""
        return coco_data([self._field()], self.classes, self._predicted())

    def to_geojson(self) -> dict[str, Any]:
        """The cells as a GeoJSON FeatureCollection that QuPath opens, as `wbcjax predict` writes it."""
        return geojson_data(self._field(), self.classes, self._predicted())

    def _field(self) -> SmearField:
        cells = tuple(Cell(int(label), rle=rle) for label, rle in zip(self.labels, self.cells.rles, strict=True))
        return SmearField(self.name, self.cells.height, self.cells.width, cells, pixels=self.image)

    def _predicted(self) -> Predicted:
        return Predicted([self.scores.tolist()], [self.cells.runners_up(self.classes)])

    def __len__(self) -> int:
        return len(self.cells.rles)

    def __iter__(self) -> Iterator[FoundCell]:
        return map(self._cell, range(len(self)))

    @overload
    def __getitem__(self, rows: int | np.integer) -> FoundCell: ...
    @overload
    def __getitem__(self, rows: str | Rows) -> "FoundCells": ...
    def __getitem__(self, rows: int | np.integer | str | Rows) -> "FoundCell | FoundCells":
        if isinstance(rows, str):
            if rows not in self.classes:
                raise KeyError(f"no class is called {rows!r}; the classes are {', '.join(self.classes)}")
            rows = self.labels == self.classes.index(rows) + 1
        if isinstance(rows, int | np.integer):
            return self._cell(range(len(self))[int(rows)])
        index = rows if isinstance(rows, slice) else np.asarray(rows) if len(rows) else slice(0)
        return replace(self, cells=self.cells.select(np.arange(len(self))[index]))

    def _cell(self, row: int) -> FoundCell:
        cells = self.cells
        (runner_up,) = cells.select(np.array([row])).runners_up(self.classes)
        return FoundCell(self.class_names[row], float(cells.scores[row]), cells.boxes[row], runner_up, cells.rles[row])

    def __repr__(self) -> str:
        size = f"{self.cells.width} x {self.cells.height} pixels"
        if not len(self):
            best = self.detections.scores.max(initial=0)
            surest = f"; the surest of {len(self.detections.rles)} detections has {best:.2f}" if best else ""
            return f"no cell in {size} scores {self.min_score:g} or more{surest}"
        cells = count_cells(self.labels, self.classes)
        nuclei = f" and {_said(len(self) - cells, 'nucleus', 'nuclei')}" if cells < len(self) else ""
        of_class = ", ".join(f"{count} {name}" for name, count in self.counts().items() if count)
        low, high = (f"{score:.2f}" for score in (self.scores.min(), self.scores.max()))
        scores = f"score {low}" if low == high else f"scores {low} to {high}"
        return f"{_said(cells, 'cell', 'cells')}{nuclei} in {size}: {of_class}; {scores}"

    def _repr_png_(self) -> bytes:
        """The picture that a notebook shows."""
        drawn = self.draw()
        zoom = min(1.0, SHOWN_SIDE / max(drawn.shape))
        return png_bytes(np.asarray(cv2.resize(drawn, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)))


def _paint(mask: Bool[np.ndarray, "h w"], rle: dict) -> None:
    inside, left, top = cut_out(rle)
    mask[top : top + inside.shape[0], left : left + inside.shape[1]] = inside


def _mask(rle: dict) -> Bool[np.ndarray, "h w"]:
    mask = np.zeros(rle["size"], bool)
    _paint(mask, rle)
    return mask


def _polygons(rle: dict) -> Outlines:
    return outline_mask(_mask(rle).astype(np.uint8))


def _said(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
