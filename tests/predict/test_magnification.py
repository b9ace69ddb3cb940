"""When cells look of another magnification than in training, and what is said then."""

import numpy as np
import pytest

from wbcjax.evaluate.detections import FieldDetections
from wbcjax.input.cell_sizes import CellSides
from wbcjax.predict.magnification import FEWEST, magnified

TRAINED = CellSides(30.0, 40.0, 60.0)


def cells(*sides: float) -> FieldDetections:
    """Cells of these longer sides, in turn lying and standing."""
    boxes = [
        (5, 5, 5 + side, 5 + side / 2) if i % 2 else (5, 5, 5 + side / 2, 5 + side) for i, side in enumerate(sides)
    ]
    count = len(sides)
    rle = {"size": [900, 900], "counts": ""}
    found = np.array(boxes, np.float32).reshape(-1, 4)
    return FieldDetections("a", 900, 900, found, np.ones(count, np.int32), np.ones(count, np.float32), [rle] * count)


def said(images: list[tuple[FieldDetections, float]], trained: CellSides | None = TRAINED) -> str:
    found = magnified(images, trained)
    return "" if found is None else str(found)


def test_larger_and_smaller_cells_are_told_with_the_scale_to_try():
    assert said([(cells(*[84] * FEWEST), 1.0)]) == "cells look 2.1 x larger than in training; try --scale 0.48"
    assert said([(cells(*[19] * FEWEST), 1.0)]) == "cells look 2.1 x smaller than in training; try --scale 2.1"


def test_sizes_are_those_on_the_canvas():
    assert said([(cells(*[80] * FEWEST), 0.5)]) == ""
    assert said([(cells(*[168] * FEWEST), 0.5)]) == "cells look 2.1 x larger than in training; try --scale 0.24"
    mixed = [(cells(*[84] * FEWEST), 1.0), (cells(*[168] * FEWEST), 0.5), (cells(), 9.0)]
    assert said(mixed).startswith("cells look 2.1 x larger")


@pytest.mark.parametrize("side", [29, 31, 40, 55, 59])
def test_cells_as_in_training_or_nearly_are_not_told(side):
    assert said([(cells(*[side] * 500), 1.0)]) == ""


def test_a_wide_spread_in_training_allows_for_more():
    assert said([(cells(*[84] * 500), 1.0)], CellSides(10.0, 40.0, 90.0)) == ""


def test_too_few_cells_tell_nothing():
    assert said([(cells(*[84] * (FEWEST - 1)), 1.0)]) == ""
    assert said([]) == said([(cells(), 1.0)]) == ""


def test_an_older_run_that_notes_no_sizes_tells_nothing():
    assert said([(cells(*[84] * 500), 1.0)], None) == ""


def test_a_few_large_cells_among_others_tell_nothing():
    assert said([(cells(*[40] * 30, *[120] * 29), 1.0)]) == ""
