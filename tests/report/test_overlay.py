import cv2
import numpy as np
import pytest

from tests.evaluate.make import HEIGHT, WIDTH, annotated, detected
from wbcjax.report.draw import DARK
from wbcjax.report.overlay import colour_splash, draw_detections, draw_outlines
from wbcjax.smear.colours import PALETTE

PINK = (225, 180, 205)


def field() -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), PINK, np.uint8)


def pixels_of(image: np.ndarray, colour: tuple[int, int, int]) -> set[tuple[int, int]]:
    """(x, y) of the pixels that are of this colour, or nearly: lines are anti-aliased."""
    near = np.abs(image.astype(int) - colour).max(axis=2) < 50
    return {(int(x), int(y)) for y, x in np.argwhere(near)}


def test_the_outline_runs_on_the_cells_edge_in_its_classes_colour():
    image = field()
    drawn = draw_outlines(image, annotated([((20, 10, 40, 30), 2)]))
    on_edge = {(x, y) for x in range(24, 36) for y in (10, 29)} | {(x, y) for y in range(14, 26) for x in (20, 39)}
    assert on_edge <= pixels_of(drawn, PALETTE[1])
    changed = np.argwhere((drawn != PINK).any(axis=2))
    assert changed.min(axis=0).tolist() >= [6, 16]
    assert changed.max(axis=0).tolist() <= [33, 43]
    assert (drawn[15:25, 25:35] == PINK).all()  # the cell itself is not covered
    assert (image == PINK).all()  # the image given is left alone


def test_a_zoomed_outline_lies_where_the_cell_is_on_the_zoomed_image():
    drawn = draw_outlines(field(), annotated([((20, 10, 40, 30), 1)]), zoom=3.0)
    assert drawn.shape == (3 * HEIGHT, 3 * WIDTH, 3)
    # The centre of the edge pixel at x = 20 is at 20.5, on the copy 61.5, in its pixel 61; the line is two wide.
    row = np.flatnonzero((drawn[60] == PALETTE[0]).all(axis=1))
    assert {61, 118} <= set(row.tolist()) <= {60, 61, 62, 117, 118, 119}


def test_cells_of_different_classes_have_different_colours_and_crowds_thin_lines():
    drawn = draw_outlines(field(), annotated([((5, 10, 25, 30), 1)], crowds=[((35, 10, 55, 30), 2)]))
    cell, crowd = pixels_of(drawn, PALETTE[0]), pixels_of(drawn, PALETTE[1])
    assert {x < 30 for x, _ in cell} == {True}
    assert {x > 30 for x, _ in crowd} == {True}
    assert 0 < len(crowd) < 0.7 * len(cell)


def test_a_cell_of_one_pixel_and_one_of_none_can_be_drawn():
    drawn = draw_outlines(field(), annotated([((20, 10, 21, 11), 1)]))
    assert (20, 10) in pixels_of(drawn, PALETTE[0])
    assert (draw_outlines(field(), annotated([((20, 10, 20, 10), 1)])) == PINK).all()
    assert (draw_outlines(field(), detected([])) == PINK).all()


def test_colours_repeat_beyond_the_palette():
    drawn = draw_outlines(field(), annotated([((20, 10, 40, 30), len(PALETTE) + 1)]))
    assert pixels_of(drawn, PALETTE[0])


def test_detections_are_drawn_with_number_class_and_score():
    found = detected([((20, 10, 40, 30), 2, 0.987), ((2, 2, 12, 12), 1, 0.5)])
    drawn = draw_detections(field(), found, ("L1", "L2"))
    np.testing.assert_array_equal(drawn, draw_outlines(field(), found, ["1: L2 0.99", "2: L1 0.50"]))


def test_tags_do_without_the_class_where_there_is_only_one():
    found = detected([((20, 10, 40, 30), 1, 0.987)])
    np.testing.assert_array_equal(
        draw_detections(field(), found, ("cell",)), draw_outlines(field(), found, ["1: 0.99"])
    )


def test_the_splash_keeps_colour_where_a_cell_is_and_is_grey_elsewhere():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    before = image.copy()
    splash = colour_splash(image, detected([((20, 10, 40, 30), 1, 0.9), ((30, 20, 50, 40), 2, 0.8)]))
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[10:30, 20:40] = inside[20:40, 30:50] = True
    np.testing.assert_array_equal(splash[inside], image[inside])
    luma = np.round(image[~inside] @ [0.299, 0.587, 0.114])
    assert np.abs(splash[~inside].astype(int) - luma[:, None]).max() <= 1
    np.testing.assert_array_equal(image, before)


def test_the_splash_of_a_field_without_cells_is_grey_all_over():
    splash = colour_splash(field(), detected([]))
    assert (splash == splash[:, :, :1]).all()


def test_lines_grow_on_large_images_so_that_they_can_be_seen():
    large = draw_outlines(field(), annotated([((20, 10, 40, 30), 1)]), zoom=50.0)  # 3000 wide
    across = (large[1000, 900:1150] == PALETTE[0]).all(axis=1).sum()
    assert 5 <= across <= 9


def test_tags_of_cells_at_one_place_do_not_cover_one_another():
    found = detected([((20, 10, 40, 30), 1, 0.9), ((20, 10, 40, 30), 1, 0.8)])

    def ground(tags: list[str]) -> int:
        drawn = draw_outlines(field(), found, tags, zoom=8.0)
        return len(pixels_of(drawn, DARK)) - len(pixels_of(draw_outlines(field(), found, zoom=8.0), DARK))

    one, other = ground(["false 0.90", ""]), ground(["", "false 0.90"])
    assert one > 300
    assert ground(["false 0.90", "false 0.90"]) == pytest.approx(one + other, rel=0.1)


def test_a_tag_at_the_images_border_stays_inside():
    found = detected([((WIDTH - 3, 0, WIDTH, 3), 1, 0.9)])
    drawn = draw_outlines(field(), found, ["a tag"], zoom=8.0)
    bare = draw_outlines(field(), found, zoom=8.0)
    changed = np.argwhere((drawn != bare).any(axis=2))
    (height, width) = changed.max(axis=0) - changed.min(axis=0) + 1
    (text_width, _), _ = cv2.getTextSize("a tag", cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    assert text_width <= width <= text_width + 4
    assert height > 8


def test_cells_of_another_image_are_refused_naming_the_field():
    for draw in (draw_outlines, colour_splash):
        with pytest.raises(ValueError, match=r"field.png: the image is \(20, 20\), its cells are of \(40, 60\)"):
            draw(np.zeros((20, 20, 3), np.uint8), annotated([]))
