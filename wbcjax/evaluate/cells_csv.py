"""cells.csv: a line for each cell that was found, with its place, size, shape and stain.

- image, cell: the image's name, and the cell's number in it
- class, score: of the detection
- runner_up, runner_up_score, where cells are of several classes: the class that came second and its score, where the
  cell was detected as another class too
- x1, y1, x2, y2: its box; centroid_x, centroid_y: the centre of its pixels. From the image's upper left corner, so that
  the first pixel's centre is at (0.5, 0.5)
- area, perimeter, circularity, eccentricity, solidity, od_red, od_green, od_blue: see
  `wbcjax.evaluate.morphology.Morphology`
- area_um2, perimeter_um: the same in micrometres, where the pixel size is known
- named, probability, where a classifier named the cells too: its class, and how probable that is
- in_cell, nuclei, nc_ratio, nucleus_share, where a class is called nucleus: of a nucleus, the number of its cell; of
  other cells, how many nuclei they have, the area of these over that of the cytoplasm (inf: there is none), and over
  that of the cell. Empty where they do not apply
- a column for each further head of the network, by its name: its output for the cell; of several numbers NAME_1, ...

Lengths and areas are in pixels where the name does not say micrometres (um).
"""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from wbcjax.evaluate.detections import FieldDetections
from wbcjax.evaluate.morphology import Morphology, morphology, white_of
from wbcjax.evaluate.nuclei_of_cells import cell_labels, nucleus_label, tie_nuclei
from wbcjax.smear.rle import cut_out

FOUND = ("image", "cell", "class", "score", "x1", "y1", "x2", "y2", "area", "centroid_x", "centroid_y")
RUNNER_UP = ("runner_up", "runner_up_score")
MICROMETRES = ("area_um2", "perimeter_um")
NAMED = ("named", "probability")
NUCLEAR = ("in_cell", "nuclei", "nc_ratio", "nucleus_share")

Row = dict[str, Any]  # by column; one that is absent is left empty


def columns(
    classes: Sequence[str], pixel_size: float, named: bool = False, said: Iterable[str] = ()
) -> tuple[str, ...]:
    """The columns of the table of a model with these classes; see this module's docstring.

    named: with those of a classifier. said: those of further heads.
    """
    described = (name for name in Morphology._fields if name not in FOUND and (pixel_size or name not in MICROMETRES))
    second = RUNNER_UP if len(cell_labels(classes)) > 1 else ()
    nuclear = NUCLEAR if nucleus_label(classes) else ()
    return (*FOUND, *second, *(NAMED if named else ()), *described, *nuclear, *said)


def cell_rows(
    image: UInt8[np.ndarray, "h w 3"],
    cells: FieldDetections,
    classes: Sequence[str],
    pixel_size: float,
    white: Float[np.ndarray, "3"] | None = None,
) -> list[Row]:
    """The lines of an image's cells, numbered from 1, each of which has a pixel.

    `image` is the RGB image as it was taken, `pixel_size` its micrometres per pixel, 0 where they are not known, and
    `white` the colour of bare glass; None estimates it.
    """
    white = white_of(image) if white is None else white
    rows = []
    for index, rle in enumerate(cells.rles):
        described = morphology(rle, image, pixel_size, white)._asdict()
        known = {name: _text(value) for name, value in described.items() if value is not None}
        said = {name: _text(float(values[index])) for name, values in cells.said.items()}
        rows.append(_found(cells, index, classes) | known | said)
    if nucleus_label(classes):
        _add_nuclei(rows, cells, classes)
    return rows


def add_runners_up(rows: Sequence[Row], runners_up: Sequence[tuple[str, float] | None]) -> None:
    """Add the class that came second and its score to the cells of `rows`: `ReportedCells.runners_up`."""
    for row, second in zip(rows, runners_up, strict=True):
        if second:
            row |= {"runner_up": second[0], "runner_up_score": f"{second[1]:.4f}"}


def add_names(rows: Sequence[Row], named: FieldDetections, classes: Sequence[str]) -> None:
    """Add the predictions of a classifier with these `classes` to the cells of `rows`."""
    for row, label, score in zip(rows, named.labels, named.scores, strict=True):
        row |= {"named": classes[label - 1], "probability": f"{score:.4f}"}


def cells_csv(
    rows: Iterable[Row], classes: Sequence[str], pixel_size: float, named: bool = False, said: Iterable[str] = ()
) -> bytes:
    """The whole table as a file's bytes; `classes` and `pixel_size` as its rows were made with."""
    table = io.StringIO()
    writer = csv.DictWriter(table, columns(classes, pixel_size, named, said), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue().encode()


def _found(cells: FieldDetections, index: int, classes: Sequence[str]) -> Row:
    """The columns of the detection and its place."""
    x1, y1, x2, y2 = cells.boxes[index].tolist()
    mask, left, top = cut_out(cells.rles[index])
    y, x = np.nonzero(mask)
    place = {
        "x1": x1,
        "y1": y1,
        "x2": x2,
        "y2": y2,
        "centroid_x": float(left + x.mean() + 0.5),
        "centroid_y": float(top + y.mean() + 0.5),
    }
    found = {
        "image": cells.name,
        "cell": index + 1,
        "class": classes[cells.labels[index] - 1],
        "score": f"{cells.scores[index]:.4f}",
    }
    return found | {name: _text(value) for name, value in place.items()}


def _add_nuclei(rows: list[Row], cells: FieldDetections, classes: Sequence[str]) -> None:
    for cell, nuclei in tie_nuclei(cells, classes).items():
        rows[cell]["nuclei"] = len(nuclei.rows)
        if nuclei.rows:
            rows[cell] |= {"nc_ratio": _text(nuclei.nc_ratio), "nucleus_share": _text(nuclei.share)}
        for nucleus in nuclei.rows:
            rows[nucleus]["in_cell"] = cell + 1


def _text(value: float) -> str | int:
    return value if isinstance(value, int) else f"{value:.6g}"
