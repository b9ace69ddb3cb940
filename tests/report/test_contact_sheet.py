from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.evaluate.make import HEIGHT, WIDTH, annotated, detected
from wbcjax.report.contact_sheet import GAP, MARGIN, PANEL_WIDTH, contact_sheet
from wbcjax.report.draw import DARK
from wbcjax.smear.colours import PALETTE
from wbcjax.smear.field import read_image
from wbcjax.system.files import write_png

SHADES = ((200, 100, 150), (210, 100, 150), (220, 100, 150))  # of the images of the three fields
CELL, OTHER = (5, 5, 25, 25), (35, 10, 55, 30)
ANNOTATIONS = [
    annotated([(CELL, 1)], name="right.png"),
    annotated([(CELL, 1), (OTHER, 2)], name="wrong.png"),
    annotated([(CELL, 1)], name="missed.png"),
]
DETECTIONS = [
    detected([(CELL, 1, 0.9), (OTHER, 2, 0.3)], name="right.png"),
    detected([(CELL, 2, 0.9)], name="wrong.png"),
    detected([], name="missed.png"),
]


def sheet(**settings) -> tuple[np.ndarray, list[int]]:
    """The sheet, and which fields' images were asked for."""
    asked = []

    def image_of(i: int) -> np.ndarray:
        asked.append(i)
        return np.full((HEIGHT, WIDTH, 3), SHADES[i], np.uint8)

    return contact_sheet(image_of, ANNOTATIONS, DETECTIONS, ("L1", "L2"), **settings), asked


def panels(image: np.ndarray, field: int) -> tuple[np.ndarray, np.ndarray]:
    """The annotated and the detected picture of a field."""
    ys, xs = np.nonzero((image == SHADES[field]).all(axis=2))
    tile = image[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    return tile[:, :PANEL_WIDTH], tile[:, PANEL_WIDTH + GAP :]


def has(image: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((image == colour).all(axis=2).any())


def test_the_worst_fields_come_first_and_only_their_images_are_read():
    assert sheet(limit=2)[1] == [1, 2]
    assert sheet()[1] == [1, 2, 0]


def test_a_cell_of_another_class_is_one_mistake():
    """A cell found as another class is one mistake not a miss and a false alarm."""
    third = (5, 28, 15, 38)
    annotations = [
        annotated([(CELL, 1), (OTHER, 2)], name="two of another class.png"),
        annotated([(CELL, 1), (OTHER, 2), (third, 1)], name="three missed.png"),
    ]
    detections = [
        detected([(CELL, 2, 0.9), (OTHER, 1, 0.9)], name=annotations[0].name),
        detected([], name=annotations[1].name),
    ]
    asked = []

    def image_of(i: int) -> np.ndarray:
        asked.append(i)
        return np.full((HEIGHT, WIDTH, 3), SHADES[i], np.uint8)

    contact_sheet(image_of, annotations, detections, ("L1", "L2"))
    assert asked == [1, 0]


def test_annotated_cells_are_on_the_left_and_confident_detections_on_the_right():
    left, right = panels(sheet()[0], 1)
    assert left.shape == right.shape == (320, PANEL_WIDTH, 3)  # 40 x 60 at zoom 8
    assert has(left, PALETTE[0])
    assert has(left, PALETTE[1])
    assert has(right, PALETTE[1])
    assert not has(right, PALETTE[0])

    _, right = panels(sheet()[0], 0)
    assert not has(right, PALETTE[1])  # scores 0.3
    _, right = panels(sheet(score_threshold=0.3)[0], 0)
    assert has(right, PALETTE[1])

    left, right = panels(sheet()[0], 2)
    assert has(left, PALETTE[0])
    assert (right == SHADES[2]).all()


def test_missed_and_false_cells_are_tagged_and_found_ones_are_not():
    def dark(image: np.ndarray) -> int:
        return int((image == DARK).all(axis=2).sum())

    found = [dark(panel) for panel in panels(sheet()[0], 0)]
    assert found[0] == found[1]  # the same outline, no tag
    missed, _ = panels(sheet()[0], 2)
    assert dark(missed) > found[0] + 300
    _, false = panels(sheet()[0], 1)
    assert dark(false) > found[0] + 300


def test_fields_are_set_in_two_columns_on_white():
    tile = 2 * PANEL_WIDTH + GAP
    image, _ = sheet()
    assert image.shape[1] == 2 * tile + 3 * MARGIN
    assert (image[-MARGIN:] == 255).all()
    assert (image[:, tile + MARGIN : tile + 2 * MARGIN][60:] == 255).all()
    assert sheet(limit=1)[0].shape[1] == tile + 2 * MARGIN


def test_a_sheet_of_no_fields_is_refused():
    with pytest.raises(ValueError, match="a contact sheet needs at least one field"):
        contact_sheet(lambda i: np.zeros((1, 1, 3), np.uint8), [], [], ("L1",))


def test_a_written_png_holds_the_same_pixels(tmp_path: Path):
    image = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)
    write_png(tmp_path / "figures/sheet.png", image)
    np.testing.assert_array_equal(read_image(tmp_path / "figures/sheet.png"), image)
    assert cv2.imread(str(tmp_path / "figures/sheet.png")) is not None
