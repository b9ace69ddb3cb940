"""Annotated fields and cells as pictures, one by one and together on a contact sheet."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from pycocotools import mask as coco_mask

from wbcjax.evaluate.detections import FieldAnnotations
from wbcjax.report.contact_sheet import INK, MARGIN, TEXT, heading, paper
from wbcjax.report.draw import text_size, write
from wbcjax.report.overlay import draw_outlines
from wbcjax.smear.field import text_rle
from wbcjax.system.terminal import printable

COLUMNS = 4  # fields side by side
PANEL_WIDTH = 400  # pixels
CELL_WIDTH = 240  # pixels, of a picture of single cells: its longer side
AROUND = 0.6  # of the cells' extent, that is shown on each side of them
LEAST = 48  # pixels of the field that are shown at least


@dataclass(frozen=True, eq=False)
class Picture:
    """A field's picture with its caption."""

    name: str
    counts: str  # of its cells
    image: UInt8[np.ndarray, "_ _ 3"]  # RGB


def field_picture(image: UInt8[np.ndarray, "h w 3"], cells: FieldAnnotations) -> UInt8[np.ndarray, "_ _ 3"]:
    """A field with its cells outlined in the colours of their classes, PANEL_WIDTH wide."""
    return draw_outlines(image, cells, zoom=PANEL_WIDTH / cells.width)


def cell_picture(
    image: UInt8[np.ndarray, "h w 3"], cells: FieldAnnotations, rows: Sequence[int]
) -> UInt8[np.ndarray, "_ _ 3"]:
    """The part of a field around some of its cells, these outlined, each in a colour of its own."""
    boxes = cells.boxes[list(rows)]
    left, top, right, bottom = _region(boxes, cells.height, cells.width)
    masks = [np.asarray(coco_mask.decode(cells.rles[row]))[top:bottom, left:right] for row in rows]
    rles: list[Any] = [text_rle(coco_mask.encode(np.asfortranarray(mask))) for mask in masks]
    shown = FieldAnnotations(
        name=cells.name,
        height=bottom - top,
        width=right - left,
        boxes=boxes - np.array([left, top, left, top], np.float32),
        labels=np.arange(1, len(rows) + 1),
        crowd=np.zeros(len(rows), bool),
        outlined=cells.outlined[list(rows)],
        rles=rles,
    )
    return draw_outlines(image[top:bottom, left:right], shown, zoom=CELL_WIDTH / max(bottom - top, right - left))


def field_sheet(pictures: Sequence[Picture], classes: Sequence[str], title: str) -> UInt8[np.ndarray, "_ _ 3"]:
    """Pictures of one width in columns on white, below the title and the colours of the classes.

    Raises ValueError when there is none.
    """
    if not pictures:
        raise ValueError("a contact sheet needs at least one picture")
    tiles = [_tile(picture) for picture in pictures]
    rows = [tiles[start : start + COLUMNS] for start in range(0, len(tiles), COLUMNS)]
    names = [printable(name) for name in classes]
    room = max(text_size(title, TEXT)[0], text_size("".join(names), TEXT)[0] + 50 * len(names))  # both in full
    width = MARGIN + max(len(rows[0]) * (PANEL_WIDTH + MARGIN), room + MARGIN)
    sheet = [heading(printable(title), names, width)]
    for row in rows:
        sheet.append(paper(max(tile.shape[0] for tile in row) + MARGIN, width))
        left = MARGIN
        for tile in row:
            sheet[-1][: tile.shape[0], left : left + tile.shape[1]] = tile
            left += tile.shape[1] + MARGIN
    return np.concatenate(sheet)


def _tile(picture: Picture) -> UInt8[np.ndarray, "_ _ 3"]:
    line, width = text_size("Xg", TEXT)[1] + 4, picture.image.shape[1]
    caption = paper(2 * line + 4, width)
    for number, text in enumerate((picture.name, picture.counts)):
        write(caption, _fitted(printable(text), width), 0, 2 + number * line, TEXT, INK)
    return np.concatenate([caption, picture.image])


def _fitted(text: str, width: int) -> str:
    """The text, without its middle where it is wider than `width` pixels: names mostly differ at their ends."""
    kept = len(text)
    fitted = text
    while text_size(fitted, TEXT)[0] > width and kept > 2:
        kept -= 2
        fitted = f"{text[: kept // 2]}..{text[-(kept // 2) :]}"
    return fitted


def _region(boxes: Float[np.ndarray, "n 4"], height: int, width: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the square of the field around boxes, cut off at its border."""
    corner, other_corner = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    side = max(LEAST, float((other_corner - corner).max()) * (1 + 2 * AROUND))
    x, y = (corner + other_corner) / 2
    left, right = np.clip([x - side / 2, x + side / 2], 0, width).astype(int).tolist()
    top, bottom = np.clip([y - side / 2, y + side / 2], 0, height).astype(int).tolist()
    return left, top, right, bottom
