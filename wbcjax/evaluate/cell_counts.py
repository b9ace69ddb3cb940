"""How many cells there are of each class, and counts.csv: a line for each class of each image, and of all images.

- image: its name, or ALL
- class, cells: how many cells there are of the class
- n: the number of all cells there. Nuclei, where a class is called nucleus, are no cells
- share: of the class among the cells; low_95, high_95: its 95 % confidence interval by Wilson's score method. They are
  empty where there is no cell, of nuclei, and where there is only one class
- cells_for_5_points: how many cells there must be for an interval of 5 percentage points to either side of this share
- patient, where it is known: whose image it is. Then there are lines of all images of each patient too

An interval tells how far a share of so few counted cells may be from that of all cells of which they are a random draw.
It is of counting alone: the model's own errors, cells missed, made up or misnamed, are not in it.
"""

import csv
import io
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from wbcjax.evaluate.nuclei_of_cells import cell_labels
from wbcjax.system.terminal import Table

ALL = "all images"  # no image's name, since these have suffixes
OF_PATIENT = "all images of the patient"
COLUMNS = ("image", "class", "cells", "n", "share", "low_95", "high_95", "cells_for_5_points")
AIM = 0.05  # half of an interval's width that is aimed at
ROUNDING = 1e-9
Z = NormalDist().inv_cdf(0.975)  # of 95 %


class Share(NamedTuple):
    """A share of the cells, 0 to 1, with its 95 % confidence interval."""

    share: float
    low: float
    high: float


def count_classes(labels: Int[np.ndarray, " c"], classes: Sequence[str]) -> dict[str, int]:
    """The number of labels 1, 2, ... of each of the `classes`, of those that are not there too."""
    counts = np.bincount(labels, minlength=len(classes) + 1)[1:]
    return dict(zip(classes, counts.tolist(), strict=True))


def count_cells(labels: Int[np.ndarray, " c"], classes: Sequence[str]) -> int:
    """The number of labels that are of cells, not of nuclei: see `cell_labels`."""
    return int(np.isin(labels, cell_labels(classes)).sum())


def shares(labels: Int[np.ndarray, " c"], classes: Sequence[str]) -> dict[str, Share]:
    """The share of each class of cells; of none where there is no cell, or one class only."""
    counts, cells, named = count_classes(labels, classes), count_cells(labels, classes), cell_labels(classes)
    if not cells or len(named) == 1:
        return {}
    return {classes[label - 1]: wilson(counts[classes[label - 1]], cells) for label in named}


def wilson(count: int, n: int) -> Share:
    """The share of `count` among `n`, with its 95 % confidence interval by Wilson's score method, for n above 0.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22, 1927.
    """
    share, spread = count / n, Z**2 / n
    middle = (share + spread / 2) / (1 + spread)
    reach = math.sqrt(spread * share * (1 - share) + spread**2 / 4) / (1 + spread)
    # At the ends the interval ends there too, which rounding would miss.
    return Share(share, middle - reach if count else 0.0, middle + reach if count < n else 1.0)


def cells_for(share: float, aim: float = AIM) -> int:
    """The least number of cells at which Wilson's interval of a share is at most twice `aim` wide.

    The width is that of a count whose share is just this one; see `wilson`. `aim` lies between 0 and 0.5.
    """
    # Squared, reach <= aim is a quadratic inequality in 1 / n, see `wilson`.
    a, b, c = Z**4 * (0.25 - aim**2), Z**2 * (share * (1 - share) - 2 * aim**2), -(aim**2)
    return math.ceil(2 * a / (math.sqrt(b**2 - 4 * a * c) - b) - ROUNDING)


def counts_csv(
    images: Sequence[tuple[str, Int[np.ndarray, " _"]]],
    classes: Sequence[str],
    patients: Sequence[str] | None = None,
) -> bytes:
    """The whole table as a file's bytes, of the names of images and the labels of their cells, and their patients."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS if patients is None else (*COLUMNS, "patient"))
    lines = [
        (name, labels, patient) for (name, labels), patient in zip(images, patients or [""] * len(images), strict=True)
    ]
    for patient in dict.fromkeys(patients or ()):
        lines.append((OF_PATIENT, all_labels([labels for _, labels, of in lines if of == patient]), patient))
    for name, labels, patient in [*lines, (ALL, all_labels([labels for _, labels in images]), "")]:
        of_class, n = shares(labels, classes), count_cells(labels, classes)
        for class_name, count in count_classes(labels, classes).items():
            share = of_class.get(class_name)
            text = [*(f"{part:.4f}" for part in share), cells_for(share.share)] if share else [""] * 4
            writer.writerow([name, class_name, count, n, *text, *([] if patients is None else [patient])])
    return table.getvalue().encode()


def counts_table(title: str, labels: Int[np.ndarray, " c"], classes: Sequence[str]) -> Table:
    """The same of one set of cells as a table, without shares where there are none."""
    of_class, n = shares(labels, classes), count_cells(labels, classes)
    counts = count_classes(labels, classes)
    if not of_class:
        return Table(title, ("class", "cells"), tuple((name, f"{count}") for name, count in counts.items()))
    rows = []
    for name, count in counts.items():
        share, low, high = (_percent(part) for part in of_class[name]) if name in of_class else ("", "", "")
        rows.append((name, f"{count}", share, f"{low} to {high}" if low else ""))
    note = f"Shares of {n} cells. The intervals are of counting alone, not of the model's errors."
    return Table(title, ("class", "cells", "share, %", "95 % interval, %"), tuple(rows), note)


def all_labels(images: Sequence[Int[np.ndarray, " _"]]) -> Int[np.ndarray, " c"]:
    """The labels of all images together."""
    return np.concatenate([np.zeros(0, np.int32), *images])


def _percent(share: float) -> str:
    """With a digit after the point near the ends, where a whole number says little."""
    percent = 100 * share
    return f"{percent:.0f}" if 10 <= percent <= 90 else f"{percent:.1f}".removesuffix(".0")
