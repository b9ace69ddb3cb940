"""When cells look of another magnification than in training, and what is said then."""

import dataclasses
import math

import numpy as np
import pytest

from wbcjax.evaluate.detections import FieldDetections
from wbcjax.input.cell_sizes import CellSides
from wbcjax.predict.magnification import FEWEST, MOST_TILES, Look, looked_again, magnified
from wbcjax.predict.search import Layout, Picture, Search

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
    found = magnified([(found.boxes, scale) for found, scale in images], trained)
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


class Stub(Search):
    """A model that is sure of a field's cells at one size on the canvas alone, and of no more than `unsure` there."""

    cell_sides = TRAINED

    def __init__(self, side: float, cells: int, unsure: float = 0.6) -> None:
        self.side, self.cells, self.unsure = side, cells, unsure  # of cells in the image, pixels
        self.asked: list[float] = []

    def layout(self, height: int, width: int, pixel_size: float = 0.0, zoom: float = 1.0) -> Layout:
        return Layout(zoom, [(0, 0)] * math.ceil(zoom * max(height, width) / 900) ** 2)

    def detect_each(self, images):
        for picture in map(Picture._make, images):
            self.asked.append(picture.zoom)
            yield self.at(picture.zoom)

    def find(self, pictures):
        raise AssertionError("not asked for here")

    def with_tta(self):
        raise AssertionError("not asked for here")

    def shown_large(self, *_):
        raise AssertionError("not asked for here")

    def at(self, zoom: float) -> FieldDetections:
        right = TRAINED.low <= zoom * self.side <= TRAINED.high
        field = cells(*[self.side] * self.cells)
        return dataclasses.replace(field, scores=np.full(self.cells, 0.95 if right else self.unsure, np.float32))

    def looks(self, images: int) -> list[Look]:
        def picture() -> Picture:
            return Picture("a", np.zeros((900, 900, 3), np.uint8))

        return [Look(picture, self.at(1.0), 1.0, 0.0)] * images


def said_again(model: Stub, images: int) -> str:
    found = looked_again(model, model.looks(images), 0.5)
    return "" if found is None else str(found)


def test_a_scale_that_makes_cells_sure_is_told():
    assert said_again(Stub(84.0, 5), 4) == "cells look 2.1 x larger than in training; try --scale 0.48"
    assert said_again(Stub(18.0, 5), 4) == "cells look 2.2 x smaller than in training; try --scale 2.2"


def test_images_in_which_nothing_was_found_are_looked_at_again():
    assert said_again(Stub(84.0, 5, unsure=0.0), 4).startswith("cells look 2.1 x larger")


def test_no_image_is_looked_at_again_where_most_cells_are_sure():
    model = Stub(40.0, 5)
    assert said_again(model, 4) == ""
    assert model.asked == []


def test_a_set_too_small_or_unsure_at_every_scale_tells_nothing():
    assert said_again(Stub(84.0, FEWEST - 1), 1) == ""
    assert said_again(Stub(400.0, 50), 4) == ""


def test_looks_again_make_no_more_tiles_than_their_limit():
    model = Stub(84.0, 5)
    said_again(model, 1000)
    assert model.asked.count(0.5) == MOST_TILES
    assert model.asked.count(2.0) == MOST_TILES // 4
