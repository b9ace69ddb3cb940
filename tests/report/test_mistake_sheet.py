import numpy as np

from wbcjax.evaluate.predictions import Predictions
from wbcjax.report.contact_sheet import MARGIN
from wbcjax.report.mistake_sheet import COLUMNS, CROP_SIDE, WRONG, mistake_sheet

SHADE = (180, 100, 150)


def predictions(confidences, name="crop", classes=("myeloma", "non_myeloma")) -> Predictions:
    """All of the first class; wrong where the confidence in the second is above one half."""
    second = np.array(confidences)
    names = tuple(f"{name}{i}.png" for i in range(len(second)))
    return Predictions(names, (), np.zeros(len(second), np.int64), np.stack([1 - second, second], axis=1), classes)


def sheet(one: Predictions, shape=(30, 30), **settings) -> tuple[np.ndarray, list[int]]:
    """The sheet, and which crops were asked for; crop i has the shade's red, less i."""
    asked = []

    def image_of(i: int) -> np.ndarray:
        asked.append(i)
        return np.full((*shape, 3), (SHADE[0] - i, *SHADE[1:]), np.uint8)

    return mistake_sheet(image_of, one, **settings), asked


def place(image: np.ndarray, crop: int) -> tuple[int, int, int, int]:
    """Top, left, height and width of a crop on the sheet."""
    ys, xs = np.nonzero((image == (SHADE[0] - crop, *SHADE[1:])).all(axis=2))
    return ys.min(), xs.min(), int(np.ptp(ys)) + 1, int(np.ptp(xs)) + 1


def test_the_most_confident_mistakes_come_first_and_only_their_crops_are_read():
    one = predictions([0.6, 0.2, 0.9, 0.7])
    image, asked = sheet(one)
    assert asked == [2, 3, 0]
    assert [place(image, crop)[1] for crop in asked] == [MARGIN + n * (CROP_SIDE + MARGIN) for n in range(3)]
    assert len({place(image, crop)[0] for crop in asked}) == 1
    assert sheet(one, limit=1)[1] == [2]


def test_crops_of_any_shape_fill_the_square_and_keep_their_proportions():
    for shape in ((30, 60), (1000, 500), (1, 7)):
        _, _, height, width = place(sheet(predictions([0.9]), shape)[0], 0)
        assert max(height, width) == CROP_SIDE
        assert abs(min(height, width) - CROP_SIDE * min(shape) / max(shape)) <= 0.5


def test_more_mistakes_than_columns_start_another_row():
    image, asked = sheet(predictions(np.linspace(0.9, 0.6, COLUMNS + 1)))
    assert asked == list(range(COLUMNS + 1))
    assert place(image, COLUMNS)[0] > place(image, 0)[0] + CROP_SIDE
    assert place(image, COLUMNS)[1] == place(image, 0)[1]
    assert image.shape[1] == COLUMNS * (CROP_SIDE + MARGIN) + MARGIN


def test_captions_stay_below_their_crops_however_long_the_names():
    def red(image: np.ndarray) -> np.ndarray:
        return np.flatnonzero((image == WRONG).all(axis=2).any(axis=0))

    long = ("plasma cell of the bone marrow", "another nucleated cell of the bone marrow")
    image, _ = sheet(predictions([0.9], "a very long name of a folder/and of a crop in it/" * 3, long))
    columns = red(image)
    assert columns.min() >= MARGIN
    assert columns.max() < MARGIN + CROP_SIDE
    assert columns.max() - columns.min() > 0.8 * CROP_SIDE
    short = red(sheet(predictions([0.9], classes=("a", "b")))[0])
    assert short.max() < columns.max()


def test_without_mistakes_the_sheet_says_so():
    image, asked = sheet(predictions([0.1, 0.2]))
    assert asked == []
    assert image.shape[0] < 60
    assert image.min() < 60  # the title
