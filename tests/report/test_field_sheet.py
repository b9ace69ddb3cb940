"""Pictures of annotated fields and cells: what is outlined in which colour, and how they are set on a sheet."""

import numpy as np
import pytest

from tests.evaluate.make import HEIGHT, WIDTH, annotated
from wbcjax.report.contact_sheet import MARGIN
from wbcjax.report.field_sheet import (
    CELL_WIDTH,
    COLUMNS,
    PANEL_WIDTH,
    Picture,
    cell_picture,
    field_picture,
    field_sheet,
)
from wbcjax.smear.colours import PALETTE

GROUND = (200, 100, 150)
IMAGE = np.full((HEIGHT, WIDTH, 3), GROUND, np.uint8)
CELLS = annotated([((5, 5, 15, 15), 1), ((20, 5, 30, 15), 2), ((45, 25, 60, 40), 3)])


def has(image: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((image == colour).all(axis=2).any())


def picture(shade: int, name="a.png", height=50) -> Picture:
    return Picture(name, "3 cells", np.full((height, PANEL_WIDTH, 3), shade, np.uint8))


def test_a_field_is_outlined_in_the_colours_of_its_classes():
    drawn = field_picture(IMAGE, CELLS)
    assert drawn.shape == (round(HEIGHT * PANEL_WIDTH / WIDTH), PANEL_WIDTH, 3)
    assert all(has(drawn, PALETTE[label]) for label in range(3))
    assert not has(field_picture(IMAGE, annotated([])), PALETTE[0])


def test_a_picture_of_cells_shows_their_surroundings_and_outlines_them_alone():
    drawn = cell_picture(IMAGE, CELLS, (1,))
    assert max(drawn.shape) == CELL_WIDTH
    assert has(drawn, PALETTE[0])  # the first of the picture, whatever its class
    assert not has(drawn, PALETTE[1])
    pair = cell_picture(IMAGE, CELLS, (2, 0))
    assert has(pair, PALETTE[0])
    assert has(pair, PALETTE[1])


def test_a_picture_of_a_cell_at_the_corner_ends_with_the_field():
    image = IMAGE.copy()
    image[-1, -1] = (1, 2, 3)
    drawn = cell_picture(image, CELLS, (2,))  # 48 pixels around (52.5, 32.5): 28 to 60 and 8 to 40
    assert drawn.shape == (CELL_WIDTH, CELL_WIDTH, 3)
    assert abs(drawn[-1, -1].astype(int) - (1, 2, 3)).max() < 40


def test_pictures_are_set_in_columns_under_a_title_on_white():
    shades = range(50, 50 + COLUMNS + 1)
    sheet = field_sheet([picture(shade) for shade in shades], ("L1", "L2"), "5 of 9 fields")
    assert sheet.shape[1] == COLUMNS * (PANEL_WIDTH + MARGIN) + MARGIN
    for shade in shades:
        assert (sheet == shade).all(axis=2).sum() >= 50 * PANEL_WIDTH
    first, second = (np.argwhere((sheet == shade).all(axis=2)) for shade in (50, 51))
    last = np.argwhere((sheet == shades[-1]).all(axis=2))
    assert np.median(first[:, 0]) == np.median(second[:, 0]) < np.median(last[:, 0])
    assert np.median(first[:, 1]) == np.median(last[:, 1]) < np.median(second[:, 1])
    assert has(sheet, PALETTE[0])
    assert has(sheet, PALETTE[1])
    assert not has(sheet, PALETTE[3])


def test_a_title_longer_than_the_pictures_is_shown_whole():
    assert field_sheet([picture(50)], ("L1",), "1 field " * 30).shape[1] > 1000


def test_names_too_long_for_their_picture_are_shortened_and_strange_ones_drawn():
    sheet = field_sheet([picture(50, name="long " * 40), picture(50, name="\x1b\n\ud800 ü 細胞")], ("L1",), "fields")
    right_of_pictures = sheet[40:, 2 * (PANEL_WIDTH + MARGIN) :]
    assert (right_of_pictures == 255).all()


def test_a_sheet_of_no_pictures_is_refused():
    with pytest.raises(ValueError, match="a contact sheet needs at least one picture"):
        field_sheet([], ("L1",), "fields")
