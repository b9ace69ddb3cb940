import cv2
import numpy as np
import pytest

from tests.enhance.make import dim_smear
from wbcjax.enhance import METHODS
from wbcjax.report.contact_sheet import MARGIN
from wbcjax.report.enhance_sheet import CHANNEL_COLOURS, COLUMNS, HISTOGRAM_HEIGHT, PANEL_WIDTH, comparison_sheet

IMAGE = dim_smear(192, 256)
ROWS = -(-len(METHODS) // COLUMNS)
PICTURE_HEIGHT = PANEL_WIDTH * 192 // 256


def panels(sheet: np.ndarray) -> list[np.ndarray]:
    """The sheet's panels, row by row."""
    height, width = (sheet.shape[0] - MARGIN) // ROWS, (sheet.shape[1] - MARGIN) // COLUMNS
    return [
        sheet[MARGIN + row * height : (row + 1) * height, MARGIN + column * width : (column + 1) * width]
        for row in range(ROWS)
        for column in range(COLUMNS)
    ]


def picture(panel: np.ndarray) -> np.ndarray:
    """What is between the caption and the histogram."""
    bottom = len(panel) - HISTOGRAM_HEIGHT - 3
    return panel[bottom - PICTURE_HEIGHT : bottom]


def enlarged(image: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.resize(image, (PANEL_WIDTH, PICTURE_HEIGHT), interpolation=cv2.INTER_CUBIC))


def test_every_method_is_shown_in_order():
    expected = [method(IMAGE) for method in METHODS.values()]
    shown = panels(comparison_sheet(IMAGE))
    for panel, image in zip(shown[: len(expected)], expected, strict=True):
        np.testing.assert_array_equal(picture(panel), enlarged(image))


def test_histograms_of_the_three_colours_stand_where_their_levels_are():
    image = np.full((192, 256, 3), (40, 128, 220), np.uint8)
    histogram = panels(comparison_sheet(image))[0][-HISTOGRAM_HEIGHT:-1].astype(int)
    for level, colour in zip((40, 128, 220), CHANNEL_COLOURS, strict=True):
        columns = np.flatnonzero((np.abs(histogram - colour).max(axis=2) < 60)[: HISTOGRAM_HEIGHT // 2].any(axis=0))
        assert columns.size
        assert np.abs(columns - level / 255 * (PANEL_WIDTH - 1)).max() <= 3


def test_captions_say_where_nothing_changed():
    bright = IMAGE // 4 + 180
    shown = panels(comparison_sheet(bright))
    same = panels(comparison_sheet(np.full_like(bright, 200)))
    caption = slice(0, len(shown[0]) - HISTOGRAM_HEIGHT - 3 - PICTURE_HEIGHT)
    np.testing.assert_array_equal(shown[4][caption], same[4][caption])  # "eff: unchanged"
    assert not np.array_equal(shown[1][caption], same[1][caption])


@pytest.mark.parametrize("image", [IMAGE[..., 0], IMAGE[..., :1], np.dstack([IMAGE, IMAGE[..., 0]]), IMAGE[:, :1]])
def test_grey_alpha_and_narrow_images_are_shown(image):
    sheet = comparison_sheet(image)
    assert sheet.dtype == np.uint8
    assert sheet.shape[2] == 3


def test_deep_images_are_shown_as_8_bits():
    expected = panels(comparison_sheet(IMAGE))
    for image, white in ((IMAGE.astype(np.uint16) * 257, None), (IMAGE.astype(np.uint16) * 16, 4080)):
        shown = panels(comparison_sheet(image, white))
        np.testing.assert_array_equal(picture(shown[0]), picture(expected[0]))
    shown = panels(comparison_sheet(IMAGE.astype(np.float32) / 255))
    np.testing.assert_array_equal(picture(shown[0]), picture(expected[0]))


def test_the_longer_side_is_fitted_to_the_panel():
    upright = comparison_sheet(np.ascontiguousarray(IMAGE.swapaxes(0, 1)))
    assert upright.shape[0] - comparison_sheet(IMAGE).shape[0] == ROWS * (PANEL_WIDTH - PICTURE_HEIGHT)


def test_a_large_image_is_shrunk_to_its_panel():
    large = np.repeat(np.repeat(IMAGE, 3, axis=0), 3, axis=1)
    assert comparison_sheet(large).shape == comparison_sheet(IMAGE).shape
