"""Nuclei and the cells they belong to, where both are instances of a set, with the ratios of their areas."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int
from pycocotools import mask as coco_mask

from wbcjax.evaluate.detections import FieldAnnotations, FieldDetections

NUCLEUS = "nucleus"  # the name of the class; instances of all others are cells
HELD = 0.5  # least share of a nucleus's pixels that lie in its cell
SHARE_DIGITS = 2  # of shares that are compared: smaller differences are a matter of an outline's pixels


class Nuclei(NamedTuple):
    """The nuclei of one cell; several of a cell with a lobed nucleus, or more than one."""

    rows: tuple[int, ...]  # in the field
    # Area of the nuclei within the cell, where they overlap once, ...
    nc_ratio: float  # ... over that of the cytoplasm, which is the cell without them. inf without any; nan: no nucleus
    share: float  # ... over that of the cell; nan without nucleus


def nucleus_label(classes: Sequence[str]) -> int:
    """The label, 1..C, of the class of nuclei; 0 when there is none."""
    return classes.index(NUCLEUS) + 1 if NUCLEUS in classes else 0


def cell_labels(classes: Sequence[str]) -> list[int]:
    """The labels that count as cells: all but nuclei, unless there is nothing else."""
    labels, nucleus = list(range(1, len(classes) + 1)), nucleus_label(classes)
    return [label for label in labels if label != nucleus] or labels


def tie_nuclei(field: FieldAnnotations | FieldDetections, classes: Sequence[str]) -> dict[int, Nuclei]:
    """The nuclei of every cell of a field, by the cell's row. Crowd regions are no cells, and no nuclei.

    A nucleus belongs to the cell that holds most of it, at least `HELD`, and to none when there is no such cell. Where
    cells hold it alike, one lying in the other, it belongs to the smallest.

    Raises ValueError when there is no class `NUCLEUS`.
    """
    label = nucleus_label(classes)
    if not label:
        raise ValueError(f"no class of {tuple(classes)} is {NUCLEUS!r}: the set has no nuclei")
    counted = ~field.crowd if isinstance(field, FieldAnnotations) else np.ones(len(field.rles), bool)
    nuclei, cells = (np.flatnonzero(counted & chosen) for chosen in (field.labels == label, field.labels != label))
    holder = _holders([field.rles[row] for row in nuclei], [field.rles[row] for row in cells])
    return {cell: _nuclei(field.rles, cell, nuclei[holder == i].tolist()) for i, cell in enumerate(cells.tolist())}


def _holders(nuclei: list[Any], cells: list[Any]) -> Int[np.ndarray, " n"]:
    """The position of the cell that each nucleus belongs to; -1 for none."""
    if not nuclei or not cells:
        return np.full(len(nuclei), -1)
    smallest_first = np.argsort([coco_mask.area(cell) for cell in cells], kind="stable")
    # COCO's overlap with a "crowd" region is the share of the other that lies in it.
    shares = np.asarray(coco_mask.iou(nuclei, cells, [1] * len(cells)))[:, smallest_first]  # (n, c)
    shares = np.where(shares >= HELD, shares.round(SHARE_DIGITS), 0)
    return np.where(shares.any(axis=1), smallest_first[shares.argmax(axis=1)], -1)


def _nuclei(rles: Sequence[Any], cell: int, nuclei: list[int]) -> Nuclei:
    if not nuclei:
        return Nuclei((), math.nan, math.nan)
    together = coco_mask.merge([rles[row] for row in nuclei])
    nuclear = int(coco_mask.area(coco_mask.merge([together, rles[cell]], intersect=True)))
    whole = int(coco_mask.area(rles[cell]))
    cytoplasm = whole - nuclear
    return Nuclei(tuple(nuclei), nuclear / cytoplasm if cytoplasm else math.inf, nuclear / whole)
