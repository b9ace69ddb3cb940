"""Lines and letters on an image, for overlays."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from wbcjax.smear.colours import Colour
from wbcjax.smear.rle import cut_out

Place = tuple[int, int, int, int]  # x1, y1, x2, y2

DARK: Colour = (30, 15, 40)
FONT = cv2.FONT_HERSHEY_SIMPLEX
FRACTION_BITS = 4  # cv2 draws at sixteenths of a pixel


def draw_outline(image: UInt8[np.ndarray, "_ _ 3"], rle: dict, colour: Colour, zoom: float, thickness: int) -> None:
    """Outline a mask, with a dark edge, in an image of `zoom` times the mask's size. Thickness is in pixels."""
    mask, left, top = cut_out(rle)
    if not mask.size:
        return
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(left, top))
    lines = [_fixed_point((_smooth(contour[:, 0].astype(np.float64)) + 0.5) * zoom - 0.5) for contour in contours]
    for line_colour, width in ((DARK, thickness + 2), (colour, thickness)):
        cv2.polylines(image, lines, True, line_colour, width, cv2.LINE_AA, FRACTION_BITS)


def draw_tags(
    image: UInt8[np.ndarray, "_ _ 3"],
    tags: Sequence[str],
    boxes: Float[np.ndarray, "n 4"],
    colours: Sequence[Colour],
    scale: float,
) -> None:
    """Write each tag, unless it is "", on a dark ground above its box, or where there is room next to that."""
    taken: list[Place] = []
    for tag, (x1, y1, _, y2), colour in zip(tags, boxes, colours, strict=True):
        if not tag:
            continue
        width, height = (side + 4 for side in text_size(tag, scale))
        left = int(np.clip(x1, 0, max(image.shape[1] - width, 0)))
        tops = [y1 - height - 2, y2 + 2, *(y1 + step * height for step in range(-3, 5))]
        places = [(left, int(np.clip(top, 0, max(image.shape[0] - height, 0)))) for top in tops]
        free = [(x, y) for x, y in places if not _meets((x, y, x + width, y + height), taken)]
        x, y = (free or places)[0]
        taken.append((x, y, x + width, y + height))
        cv2.rectangle(image, (x, y), (x + width - 1, y + height - 1), DARK, cv2.FILLED)
        write(image, tag, x + 2, y + 2, scale, colour)


def text_size(text: str, scale: float) -> tuple[int, int]:
    """Width and height in pixels of one line of text, its descent included."""
    (width, height), below = cv2.getTextSize(text, FONT, scale, _stroke(scale))
    return width, height + below


def write(image: UInt8[np.ndarray, "_ _ 3"], text: str, left: int, top: int, scale: float, colour: Colour) -> None:
    """Write one line of text, its upper left corner at (left, top), into the image."""
    (_, height), _ = cv2.getTextSize(text, FONT, scale, _stroke(scale))
    cv2.putText(image, text, (left, top + height), FONT, scale, colour, _stroke(scale), cv2.LINE_AA)


def _stroke(scale: float) -> int:
    return max(1, round(scale))


def _smooth(points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """The closed line through means of five neighbours each, so that a mask's pixel steps do not show as stairs."""
    if len(points) < 12:
        return points
    return np.mean([np.roll(points, shift, axis=0) for shift in range(-2, 3)], axis=0)


def _fixed_point(points: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, "n 1 2"]:
    return np.round(points * 2**FRACTION_BITS).astype(np.int32)[:, None]


def _meets(place: Place, taken: list[Place]) -> bool:
    x1, y1, x2, y2 = place
    return any(x1 < right and left < x2 and y1 < bottom and top < y2 for left, top, right, bottom in taken)
