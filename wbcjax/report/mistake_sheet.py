"""The crops that a classifier gets wrong, on one sheet."""

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import UInt8

from wbcjax.evaluate.classification import worst_mistakes
from wbcjax.evaluate.predictions import Predictions
from wbcjax.report.contact_sheet import INK, MARGIN, TEXT, paper
from wbcjax.report.draw import text_size, write
from wbcjax.smear.colours import Colour

CROP_SIDE = 190  # pixels, of a crop on the sheet of mistakes
COLUMNS = 6  # crops side by side
GROUND: Colour = (235, 235, 235)  # around a crop
WRONG: Colour = (190, 30, 30)
FAINT: Colour = (120, 115, 125)
SMALL = 0.4  # cv2's font scale, of their captions


def mistake_sheet(
    image_of: Callable[[int], UInt8[np.ndarray, "_ _ 3"]], predictions: Predictions, limit: int = 24
) -> UInt8[np.ndarray, "_ _ 3"]:
    """An RGB picture of the misclassified crops, the most confident first, with their true classes.

    Args:
        image_of: gives the RGB image of crop 0, 1, ... of `predictions`; called for the crops shown only.
        limit: number of crops shown.
    """
    mistakes = worst_mistakes(predictions)
    shown = mistakes[:limit]
    title = f"{len(shown)} of {len(mistakes)} mistakes in {len(predictions.names)} crops, most confident first"
    tiles = [_mistake_tile(image_of(i), predictions, i) for i in shown.tolist()]
    columns = max(1, min(COLUMNS, len(tiles)))
    height, width = tiles[0].shape[:2] if tiles else (0, 0)
    sheet_width = max(columns * (width + MARGIN) + MARGIN, text_size(title, TEXT)[0] + 2 * MARGIN)
    heading = paper(text_size("Xg", TEXT)[1] + 2 * MARGIN, sheet_width)
    write(heading, title, MARGIN, MARGIN, TEXT, INK)
    sheet = np.concatenate([heading, paper(-(-len(tiles) // columns) * (height + MARGIN), sheet_width)])
    for position, tile in enumerate(tiles):
        row, column = divmod(position, columns)
        top, left = len(heading) + row * (height + MARGIN), MARGIN + column * (width + MARGIN)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def _mistake_tile(
    image: UInt8[np.ndarray, "_ _ 3"], predictions: Predictions, index: int
) -> UInt8[np.ndarray, "_ _ 3"]:
    """A crop in the middle of a square, and below it its true class, the predicted one, and its name."""
    height, width = image.shape[:2]
    zoom = CROP_SIDE / max(height, width)
    size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    crop = cv2.resize(image, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC)
    square = np.full((CROP_SIDE, CROP_SIDE, 3), GROUND, np.uint8)
    top, left = (CROP_SIDE - crop.shape[0]) // 2, (CROP_SIDE - crop.shape[1]) // 2
    square[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    classes, confidence = predictions.classes, predictions.confidence[index]
    line = text_size("Xg", SMALL)[1] + 4
    caption = paper(3 * line + 2, CROP_SIDE)
    texts = (
        ("is ", classes[predictions.labels[index]], "", INK),
        ("taken for ", classes[predictions.predicted[index]], f" {confidence:.2f}", WRONG),
        ("", predictions.names[index], "", FAINT),
    )
    for number, (before, name, after, colour) in enumerate(texts):
        write(caption, _fitted(before, name, after), 0, number * line + 4, SMALL, colour)
    return np.concatenate([square, caption])


def _fitted(before: str, name: str, after: str) -> str:
    """A line of a caption; of too long a name only the end, where names differ."""
    text, kept = before + name + after, name
    while text_size(text, SMALL)[0] > CROP_SIDE and kept:
        kept = kept[1:]
        text = f"{before}..{kept}{after}"
    return text
