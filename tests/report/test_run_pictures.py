"""Galleries of a run: what a picture of a mistake shows."""

import base64

import cv2
import numpy as np
import pytest

from tests.evaluate.make import HEIGHT, WIDTH, annotated, detected
from wbcjax.report import run_pictures
from wbcjax.report.run_page import Gallery

RED, PINK = (220, 30, 30), (225, 200, 215)


def picture(uri: str) -> np.ndarray:
    data = np.frombuffer(base64.b64decode(uri.partition(",")[2]), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    assert image is not None
    return image


@pytest.mark.parametrize("cell", [(5, 5, 25, 25), (35, 10, 55, 30), (0, 0, 8, 8), (52, 32, 60, 40), (0, 0, 60, 40)])
def test_a_mistake_is_shown_with_the_field_around_it(cell):
    image = np.full((HEIGHT, WIDTH, 3), PINK, np.uint8)
    x1, y1, x2, y2 = cell
    image[y1:y2, x1:x2] = RED
    annotations = annotated([(cell, 1)])
    fields = run_pictures.Fields(lambda _: image, None, [annotations], [detected([])], ("cell",), 0.5)
    mistakes = [run_pictures.Mistake(0, 0, ("missed: cell",))]
    (gallery,) = run_pictures.mistake_blocks(fields, "Missed", "Worst first.", mistakes, lambda _: annotations.boxes)
    assert isinstance(gallery, Gallery)
    assert gallery.note.startswith("1 in all. Worst first.")
    (card,) = gallery.cards
    (_, left), (_, right) = card.pictures
    annotated_picture, found_picture = picture(left), picture(right)
    assert annotated_picture.shape == found_picture.shape
    assert max(found_picture.shape) == run_pictures.CROP_SIDE
    red = (np.abs(found_picture.astype(int) - RED) < 40).all(axis=2)
    zoom = run_pictures.CROP_SIDE / 48 if cell != (0, 0, 60, 40) else run_pictures.CROP_SIDE / 60
    assert red.sum() == pytest.approx((x2 - x1) * (y2 - y1) * zoom**2, rel=0.15)  # whole
    yellow = (np.abs(annotated_picture.astype(int) - (255, 225, 25)) < 60).all(axis=2)
    assert yellow.sum() > 50
