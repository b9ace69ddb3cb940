"""Crops of fields: where their squares lie, what they show, and that the two kinds differ in nothing but that."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbcjax.smear.crops import (
    ANNOTATED,
    BACKGROUND,
    NUCLEUS,
    Window,
    annotated_crops,
    cell_box,
    cut,
    cut_crop,
    other_crops,
    resize,
    square_window,
)
from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.formats.mask_files import rle_of

GROUND, PURPLE = (220, 215, 225), (85, 40, 130)
HEIGHT, WIDTH = 300, 400
SIDE = 60  # of an annotated cell


def square(x: float, y: float, side: float = SIDE) -> np.ndarray:
    return np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]], float)


def make_field(cells: list[Cell], nuclei: list[tuple[int, int]]) -> SmearField:
    """A field whose cells are annotated at will, and that shows round nuclei of 36 pixels with these middles."""
    pixels = np.full((HEIGHT, WIDTH, 3), GROUND, np.uint8)
    for middle in nuclei:
        cv2.circle(pixels, middle, 18, PURPLE, cv2.FILLED)
    return SmearField("a.png", HEIGHT, WIDTH, tuple(cells), pixels=pixels)


def others(field: SmearField, balance: bool = True, seed: int = 0):
    rng = np.random.default_rng(seed)
    return other_crops(field, field.image(), annotated_crops(field, 0.1), SIDE, rng, balance)


def middle(window: Window) -> tuple[float, float]:
    return window.left + window.side / 2, window.top + window.side / 2


@given(
    st.floats(0, 500),
    st.floats(0, 500),
    st.floats(0.1, 300),
    st.floats(0.1, 300),
    st.floats(0, 2),
)
def test_a_square_holds_its_box_and_the_margin_around_its_middle(x, y, width, height, margin):
    window = square_window((x, y, x + width, y + height), margin)
    assert window.side == pytest.approx(max(width, height) * (1 + 2 * margin), abs=1)
    assert middle(window) == pytest.approx((x + width / 2, y + height / 2), abs=0.51)


@given(st.integers(-200, 500), st.integers(-200, 500), st.integers(1, 120))
def test_a_window_is_moved_no_further_than_into_the_image(left, top, side):
    window = Window(left, top, side).inside(100, 130)
    for at, was, length in ((window.left, left, 130), (window.top, top, 100)):
        if side <= length:
            assert at == min(max(was, 0), length - side)
        else:
            assert at <= 0
            assert at + side >= length
            assert abs(at + (side - length) + at) <= 1, "as much of it out on either side"


def test_a_crop_within_the_image_is_its_pixels_and_a_copy_of_them():
    image = np.arange(20 * 30 * 3, dtype=np.uint16).reshape(20, 30, 3).astype(np.uint8)
    part = cut(image, Window(4, 7, 9))
    np.testing.assert_array_equal(part, image[7:16, 4:13])
    part[:] = 0
    assert image[7:16, 4:13].any()


@given(st.integers(-15, 25), st.integers(-15, 25), st.integers(1, 40))
def test_what_lies_beyond_the_image_is_reflected(left, top, side):
    image = np.random.default_rng(0).integers(0, 256, (11, 13, 3), np.uint8)
    padded = np.pad(image, ((60, 60), (60, 60), (0, 0)), mode="reflect")
    expected = padded[top + 60 : top + 60 + side, left + 60 : left + 60 + side]
    np.testing.assert_array_equal(cut(image, Window(left, top, side)), expected)


def test_an_image_of_one_pixel_fills_any_window():
    assert (cut(np.full((1, 1, 3), 7, np.uint8), Window(-2, -1, 4)) == 7).all()


def test_the_box_of_a_cell_is_as_annotated_or_tight_around_it():
    field = make_field([], [])
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:31, 40:52] = 1
    assert cell_box(field, Cell(1, box=(1.5, 2.0, 9.0, 8.5))) == (1.5, 2.0, 9.0, 8.5)
    assert cell_box(field, Cell(1, (square(3, 4, 5), square(20, 2, 4)))) == (3, 2, 24, 9)
    assert cell_box(field, Cell(1, rle=rle_of(mask))) == (40, 10, 52, 31)


def test_every_cell_has_a_crop_and_a_crowd_has_none():
    cells = [Cell(1, (square(100, 100),)), Cell(1, (square(0, 0, 90),), crowd=True), Cell(2, box=(200, 50, 240, 80))]
    crops = annotated_crops(make_field(cells, []), 0.25)
    assert [(crop.rule, crop.cell, crop.window) for crop in crops] == [
        (ANNOTATED, 0, Window(85, 85, 90)),
        (ANNOTATED, 2, Window(190, 35, 60)),
    ]


def test_a_border_cells_crop_invents_no_pixel():
    """A cell at the border is off the middle and no pixel is invented."""
    (crop,) = annotated_crops(make_field([Cell(1, (square(WIDTH - SIDE, 0),))], []), 0.1)
    assert crop.window == Window(WIDTH - 72, 0, 72)
    assert crop.shift == pytest.approx(6 / 72)


def test_nuclei_that_are_annotated_or_in_a_crowd_are_no_negatives():
    cells = [Cell(1, (square(20, 20),)), Cell(1, box=(150, 20, 210, 80)), Cell(1, (square(20, 200, 90),), crowd=True)]
    field = make_field(cells, [(50, 50), (180, 50), (60, 250), (212, 95), (320, 200), (300, 60)])
    shown = sorted(middle(crop.window) for crop in others(field, balance=False))
    # The fourth nucleus shares a corner with the second cell's box.
    np.testing.assert_allclose(shown, [(300, 60), (320, 200)], atol=2)


def test_negatives_have_the_sizes_of_the_annotated_cells_one_for_one():
    cells = [Cell(1, (square(10 + 80 * i, 10, 30 + 10 * i),)) for i in range(4)]
    field = make_field(cells, [(50 + 60 * i, 200) for i in range(6)])
    crops = others(field)
    assert [crop.rule for crop in crops] == [NUCLEUS] * 4
    sides = sorted(crop.window.side for crop in annotated_crops(field, 0.1))
    assert sorted(crop.window.side for crop in crops) == sides
    assert len(others(field, balance=False)) == 6


def test_a_nucleus_at_the_border_stands_for_a_cell_at_the_border():
    inside, at_border = Cell(1, (square(170, 120),)), Cell(1, (square(0, 120),))
    nuclei = [(5, 250), (100, 250), (200, 250)]
    for seed in range(5):
        (crop,) = others(make_field([inside], nuclei), seed=seed)
        assert crop.shift == 0
    field = make_field([inside, at_border], [(25, 250), (200, 250)])
    shifts = {crop.cell: crop.shift for crop in others(field)}
    assert shifts[0] == 0 < shifts[1]


def test_background_fills_up_without_touching_cells_or_nuclei():
    cells = [Cell(1, (square(20, 20),)), Cell(1, (square(120, 20),)), Cell(1, (square(20, 130, 80),), crowd=True)]
    field = make_field(cells, [(320, 200)])
    nucleus, window = others(field)
    assert (nucleus.rule, window.rule) == (NUCLEUS, BACKGROUND)
    left, top, side = window.window
    assert 0 <= left <= WIDTH - side
    assert 0 <= top <= HEIGHT - side
    for cell in cells:
        assert not cell.mask(HEIGHT, WIDTH)[top : top + side, left : left + side].any()
    dark = (cut(field.image(), window.window) == PURPLE).all(axis=2).mean()
    assert dark <= 0.07


def test_background_windows_do_not_overlap_and_stop_where_room_ends():
    cells = [Cell(1, (square(0, 0, 100),)) for _ in range(9)]  # 120 pixels with margin: six windows cannot all be had
    crops = others(make_field(cells, []))
    assert 1 <= len(crops) <= 5
    shown = np.zeros((HEIGHT, WIDTH), int)
    for crop in crops:
        left, top, side = crop.window
        shown[top : top + side, left : left + side] += 1
    assert shown.max() == 1
    assert not shown[:100, :100].any()


def test_cells_larger_than_the_field_have_crops_and_no_background():
    field = make_field([Cell(1, box=(0, 0, WIDTH, HEIGHT))], [])
    (crop,) = annotated_crops(field, 0.1)
    assert cut_crop(field, field.image(), crop, mask_background=False).shape == (480, 480, 3)
    assert others(field) == []


def test_a_field_without_cells_gives_no_negatives():
    assert others(make_field([], [(100, 100)]), balance=False) == []
    assert others(make_field([Cell(1, (square(0, 0),), crowd=True)], [(200, 200)]), balance=False) == []


def test_the_seed_decides():
    field = make_field([Cell(1, (square(20, 20),))], [(60 + 50 * i, 200) for i in range(6)])
    assert others(field, seed=1) == others(field, seed=1)
    assert len({middle(others(field, seed=seed)[0].window) for seed in range(12)}) > 2


def test_masked_crops_of_both_kinds_show_the_same_outline():
    triangle = np.array([[20, 20], [80, 20], [20, 80]], float)
    field = make_field([Cell(1, (triangle,))], [(200, 200)])
    (shown,), (other,) = annotated_crops(field, 0.1), others(field)
    masks = [cut_crop(field, field.image(), crop, True).any(axis=2) for crop in (shown, other)]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert masks[0].mean() == pytest.approx(0.5 / 1.2**2, abs=0.02)


def test_a_masked_negative_at_the_border_keeps_its_nucleus_in_the_outline():
    field = make_field([Cell(1, (square(150, 100),))], [(WIDTH - 12, 290)])
    (other,) = others(field)
    assert other.shift > 0
    pixels = cut_crop(field, field.image(), other, True)
    nuclear = (field.image() == PURPLE).all(axis=2).sum()
    assert (pixels == PURPLE).all(axis=2).sum() == nuclear


def test_a_resized_crop_keeps_its_colours():
    crop = np.full((50, 50, 3), (10, 20, 30), np.uint8)
    for size in (7, 50, 300):
        assert (resize(crop, size) == (10, 20, 30)).all()
        assert resize(crop, size).shape == (size, size, 3)
    stripes = np.tile(np.array([0, 200], np.uint8)[None, :, None], (50, 25, 3))
    assert (resize(stripes, 25) == 100).all(), "shrunk by averaging, not by leaving out"
