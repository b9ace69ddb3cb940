"""How large the cells of a training are, in micrometres and on the canvas: what tells other magnifications apart."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wbcjax.input.field_set import Measures
from wbcjax.input.warp import fit_scale
from wbcjax.system import run_files

log = logging.getLogger(__name__)

ALIKE = 1.05  # pixel sizes that differ by a smaller factor are one
PIXEL_SIZE, CELL_SIDES = "pixel_size", "cell_sides"  # keys in data.json


class CellSides(NamedTuple):
    """The longer sides of cells' boxes, in canvas pixels: that which 5, 50 and 95 % of the cells do not exceed."""

    low: float
    middle: float
    high: float


def cell_sides(fields: Sequence[Measures], canvas: tuple[int, int]) -> CellSides | None:
    """Of the cells of fields that are fitted to a canvas, crowd regions apart; None where there are none."""
    sides = [side * fit_scale(field.height, field.width, canvas) for field in fields for side in field.sides]
    return CellSides(*np.percentile(sides, (5, 50, 95)).tolist()) if sides else None


def training_pixel_size(fields: Sequence[Measures], given: float) -> float:
    """The micrometres per pixel of training fields: as `given` in the config, else as all files state it; 0: not known.

    Where files state others than is given, or differ among themselves, no image is scaled by what its file states.
    """
    stated = [field.pixel_size for field in fields]
    known = [size for size in stated if size]
    if given and known and not _alike([given, *known]):
        log.warning(
            "config.dataset.pixel_size is %g micrometres, and the files state %g to %g: images to predict on are not "
            "scaled by what their files state; correct the one or the other if they should be",
            given,
            min(known),
            max(known),
        )
        return 0.0
    if given:
        return given
    if len(known) < len(stated) or not known:
        return 0.0
    if not _alike(known):
        log.info("the pixels of the training fields are %g to %g micrometres: no one size", min(known), max(known))
        return 0.0
    size = float(np.median(known))
    log.info("the files of the training fields state %g micrometres per pixel", size)
    return size


def noted_sizes(facts: Mapping[str, Any], place: str | Path) -> tuple[float, CellSides | None]:
    """The pixel size and sides of cells among the `facts` of a run; 0 and None for an older run.

    Raises ValueError where they are broken.
    """
    try:
        sides = facts.get(CELL_SIDES)
        return float(facts.get(PIXEL_SIZE, 0.0)), None if sides is None else CellSides(*map(float, sides))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{place}/{run_files.DATA}: its {PIXEL_SIZE!r} or {CELL_SIDES!r} is broken ({error}); restore the file, or "
            "delete it to do without"
        ) from error


def _alike(sizes: Sequence[float]) -> bool:
    return max(sizes) < ALIKE * min(sizes)
