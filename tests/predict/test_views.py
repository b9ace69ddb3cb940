"""Views of test-time augmentation: what is found in each is turned back to the pixel, and joined to the same cells."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.input.painted import source_of
from tests.oracle import CELLS, as_set, oracle, paint
from tests.predict.stubs import Painted, cells_in
from wbcjax.enhance import METHODS, Enhancement
from wbcjax.evaluate.reported_cells import reported_cells
from wbcjax.predict.search import Ensemble
from wbcjax.predict.views import TURNS, UPRIGHT, VIEWS, View, turned, turned_back
from wbcjax.smear.field import SmearField

SHAPES = st.lists(
    st.tuples(st.integers(-5, 60), st.integers(-5, 45), st.integers(1, 15), st.integers(1, 15), st.integers(0, 179)),
    max_size=6,
)


def painted(height: int, width: int, shapes: list[tuple[int, ...]], touching: bool = False) -> np.ndarray:
    """Ellipses (x, y, two axes, angle), each on top of those before it: cells 1, 2, ... of classes 1 to 3."""
    image = np.zeros((height, width, 3), np.uint8)
    for number, (x, y, wide, high, angle) in enumerate(shapes, start=1):
        colour = (number, 1 + number % 3, 255 - 10 * number)
        cv2.ellipse(image, (x, y), (wide, high), angle, 0, 360, colour, cv2.FILLED)
    return image


@pytest.mark.parametrize("view", TURNS)
@given(st.integers(1, 50), st.integers(1, 70), SHAPES)
@settings(max_examples=25)
def test_what_is_found_in_a_turned_image_is_turned_back_to_the_pixel(view, height, width, shapes):
    image = painted(height, width, shapes)
    found, alone = turned_back(cells_in("a", turned(image, view)), view), cells_in("a", image)
    assert (found.height, found.width) == (height, width)
    np.testing.assert_array_equal(found.boxes, alone.boxes)
    np.testing.assert_array_equal(found.labels, alone.labels)
    assert found.rles == alone.rles


def test_the_eight_turns_are_all_that_a_square_has():
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    seen = [turned(image, view) for view in TURNS]
    expected = [image, image[::-1], image[:, ::-1], image[::-1, ::-1]]
    expected += [one.transpose(1, 0, 2) for one in expected]
    assert sorted(one.tobytes() for one in seen) == sorted(one.tobytes() for one in expected)
    assert sorted(one.shape[:2] for one in seen) == 4 * [(2, 3)] + 4 * [(3, 2)]
    assert all(one.flags.c_contiguous for one in seen)


def test_boxes_between_pixels_are_turned_by_the_edges_of_the_image():
    found = cells_in("a", painted(30, 50, [(20, 10, 5, 3, 0)]))
    found.boxes[:] = (10.25, 5.5, 20.75, 8.0)
    back = turned_back(found, View(quarters=1))  # found in an image of 30 x 50, made of one of 50 x 30
    assert (back.height, back.width) == (50, 30)
    assert back.boxes.tolist() == [[30 - 8.0, 10.25, 30 - 5.5, 20.75]]
    assert turned_back(found, View(flipped=True)).boxes.tolist() == [[50 - 20.75, 5.5, 50 - 10.25, 8.0]]


def test_a_zoomed_view_is_told_in_the_images_own_pixels_as_it_is():
    found = cells_in("a", painted(30, 50, [(20, 10, 5, 3, 0)]))
    assert turned_back(found, View(zoom=1.25)) is found
    assert turned_back(found, UPRIGHT) is found


@given(SHAPES)
@settings(max_examples=50)
def test_cells_joined_from_all_views_are_the_images_own_to_the_pixel(shapes):
    image = painted(40, 60, shapes)
    assert as_set(Painted().with_tta().detect(image, "a")) == as_set(Painted().detect(image, "a"))


FIELDS = {
    "without a cell": [],
    "one cell on its border": [(0, 20, 9, 7, 0)],
    "one cell in its corner": [(59, 39, 12, 12, 0)],
    "one cell of one pixel": [(30, 20, 0, 0, 0)],
    "two cells that touch": [(20, 20, 8, 8, 0), (37, 20, 8, 8, 0)],
    "a cell that covers it": [(30, 20, 80, 80, 0)],
}


@pytest.mark.parametrize("field", FIELDS)
def test_no_cell_is_counted_twice_or_lost_when_ten_views_are_joined(field):
    image, expected = painted(40, 60, FIELDS[field]), len(FIELDS[field])
    found = Painted().predict(image, tta=True)
    assert len(found) == len(found.detections.rles) == expected
    assert as_set(found.cells) == as_set(Painted().predict(image).cells)


def test_every_view_is_shown_once_with_its_zoom_and_each_image_in_turn():
    model, images = Painted(), [painted(10, 20, []), painted(30, 15, [])]
    assert [found.name for found in model.with_tta().detect_each([("a", images[0]), ("b", images[1])])] == ["a", "b"]
    shown = [(picture.name, picture.image.shape[:2], picture.zoom) for picture in model.shown]
    sizes = 2 * [(10, 20), (20, 10), (10, 20), (20, 10)] + 2 * [(10, 20)]
    assert shown[: len(VIEWS)] == [("a", size, view.zoom) for size, view in zip(sizes, VIEWS, strict=True)]
    assert [view.zoom for view in VIEWS] == 8 * [1.0] + [0.8, 1.25]
    assert [name for name, _, _ in shown[len(VIEWS) :]] == ["b"] * len(VIEWS)


def test_a_network_finds_as_many_cells_as_it_can_in_every_turn_in_tiles_and_in_one_piece():
    """The network's most cells, of an image in tiles, are found once each to the pixel by all turns of it."""
    places = [(5 + 22 * (k % 10), 10 + 50 * (k // 10)) for k in range(CELLS)]
    image = paint(120, 230, {(x, y, x + 18, y + 30 + k): 1 + k % 3 for k, (x, y) in enumerate(places)})
    for canvas in ((64, 96), (256, 256)):
        model = oracle(canvas, (1.0, 1.0))
        alone, joined = model.detect(image), Ensemble((model,), TURNS).detect(image)
        assert len(alone.rles) == CELLS
        assert as_set(joined) == as_set(alone)
        assert model.network.compiled.compilations == 1


def test_zoomed_views_find_the_same_cells_where_they_are():
    cells = {(16, 24, 80, 64): 1, (100, 40, 140, 120): 2}
    image, model = paint(128, 192, cells), oracle((160, 256), (1.0, 1.0))
    assert model.layout(128, 192, zoom=0.8).scale == 0.8
    assert len(model.layout(128, 192, zoom=1.5).tiles) > 1
    found = Ensemble((model,), (View(zoom=0.8), View(zoom=1.25))).detect(image)
    assert found.labels.tolist() == list(cells.values())
    np.testing.assert_allclose(found.boxes, np.array(list(cells), float), atol=1.5)


def test_an_image_is_enhanced_once_before_it_is_turned_and_a_built_set_never(monkeypatch):
    image, model = painted(20, 30, [(8, 6, 4, 3, 0)]), Painted()
    model.enhance, calls = Enhancement("he"), []
    monkeypatch.setitem(METHODS, "he", lambda image: calls.append(1) or image[:, ::-1])
    (box,) = model.with_tta().detect(image).boxes.tolist()
    assert (box, len(calls)) == ([30 - 13.0, 3.0, 30 - 4.0, 10.0], 1)
    (found,) = model.with_tta().detect_source(source_of([SmearField("a.png", 20, 30, (), pixels=image)]))
    assert (found.boxes.tolist(), len(calls)) == ([[4.0, 3.0, 13.0, 10.0]], 1)
    assert model.enhance == Enhancement("he")


def test_scores_of_joined_views_have_a_temperature_of_their_own():
    image = painted(20, 30, [(8, 6, 4, 3, 0)])
    model = Painted(tta_temperature=2.0)
    plain, joined = (float(model.predict(image, tta=tta).scores[0]) for tta in (False, True))
    assert plain == pytest.approx(245 / 255)
    assert np.log(joined / (1 - joined)) == pytest.approx(np.log(plain / (1 - plain)) / 2, rel=1e-5)
    assert len(reported_cells(model.detect(image), 0.5, model.classes).rles) == 1
