"""Many fields on one sheet, annotated beside detected, so that a person can see what a model gets wrong."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

from wbcjax.evaluate.cell_matching import match_cells
from wbcjax.evaluate.detections import FieldAnnotations, FieldDetections, check_pairs
from wbcjax.evaluate.field_precision import SCORE_THRESHOLD, FieldMatch
from wbcjax.evaluate.nuclei_of_cells import nucleus_label
from wbcjax.evaluate.overlap import mask_overlaps
from wbcjax.report.draw import text_size, write
from wbcjax.report.overlay import draw_outlines
from wbcjax.smear.colours import Colour, colour_of

PAPER: Colour = (255, 255, 255)
INK: Colour = (25, 20, 30)
TEXT = 0.5  # cv2's font scale
COLUMNS = 2  # fields side by side
PANEL_WIDTH = 480  # pixels, of each of a field's two pictures
MARGIN = 12  # pixels around a field's tile
GAP = 3  # pixels between its two pictures


def contact_sheet(
    image_of: Callable[[int], UInt8[np.ndarray, "_ _ 3"]],
    annotations: Sequence[FieldAnnotations],
    detections: Sequence[FieldDetections],
    classes: Sequence[str],
    score_threshold: float = SCORE_THRESHOLD,
    limit: int = 12,
) -> UInt8[np.ndarray, "_ _ 3"]:
    """An RGB picture of many fields, of each the annotated outlines on the left and the detected ones on the right.

    Missed cells are tagged on the left, false detections on the right. Detections of another class than their cell are
    tagged with its class. A caption counts them. Cells are matched by `match_cells`. Detections in crowd regions are
    not shown.

    Args:
        image_of: gives the RGB image of field 0, 1, ... of the two lists; called for the fields shown only.
        annotations, detections: of the same fields in the same order.
        classes: names of label 1, 2, ..., for the legend.
        score_threshold: detections that score less are left out; of several of one cell that of the highest score is
            shown.
        limit: number of fields shown: those with the most cells missed, false and of another class, most first.

    Raises ValueError when the lists differ in their fields, or there is none.
    """
    check_pairs(annotations, detections)
    if not annotations:
        raise ValueError("a contact sheet needs at least one field")
    pairs, nucleus = zip(annotations, detections, strict=True), nucleus_label(classes)
    matches = [
        match_cells(cells, found, mask_overlaps(cells, found), score_threshold, nucleus) for cells, found in pairs
    ]
    mistaken = [_mistaken(*field) for field in zip(annotations, detections, matches, strict=True)]
    mistakes = [len(match.missed) + len(match.false) + len(of) for match, of in zip(matches, mistaken, strict=True)]
    shown = sorted(range(len(matches)), key=lambda i: -mistakes[i])[:limit]
    tiles = [_tile(image_of(i), annotations[i], detections[i], matches[i], mistaken[i], classes) for i in shown]
    title = (
        f"{len(shown)} of {len(matches)} fields, most mistakes first. Left annotated, right detected, "
        f"score {score_threshold:g} up"
    )
    return _sheet(title, classes, tiles)


def _mistaken(annotations: FieldAnnotations, detections: FieldDetections, match: FieldMatch) -> dict[int, int]:
    """The rows of detections of another class than the cell they found, and that cell's label."""
    pairs = [(row, cell) for row, cell in zip(match.detections, match.cell_of, strict=True) if cell >= 0]
    return {
        int(row): int(annotations.labels[cell])
        for row, cell in pairs
        if detections.labels[row] != annotations.labels[cell]
    }


def _tile(
    image: UInt8[np.ndarray, "_ _ 3"],
    annotations: FieldAnnotations,
    detections: FieldDetections,
    match: FieldMatch,
    mistaken: dict[int, int],
    classes: Sequence[str],
) -> UInt8[np.ndarray, "_ _ 3"]:
    """One field: a caption above, annotated and detected cells side by side."""
    zoom = PANEL_WIDTH / annotations.width
    missed = set(match.missed.tolist())
    cell_tags = ["missed" if i in missed else "" for i in range(len(annotations.rles))]
    wrong = {int(i): f"false {detections.scores[i]:.2f}" for i in match.false}
    wrong |= {i: f"is {classes[label - 1]}" for i, label in mistaken.items()}
    left = draw_outlines(image, annotations, cell_tags, zoom)
    right = draw_outlines(
        image, detections.select(match.detections), [wrong.get(int(i), "") for i in match.detections], zoom
    )
    pictures = np.concatenate([left, paper(left.shape[0], GAP), right], axis=1)
    caption = paper(text_size("Xg", TEXT)[1] + 8, pictures.shape[1])
    other = f", of another class {len(mistaken)}" if len(classes) > 1 else ""
    counts = f"found {match.found} of {match.cells}{other}, missed {len(match.missed)}, false {len(match.false)}"
    write(caption, f"{annotations.name}: {counts}", 0, 4, TEXT, INK)
    return np.concatenate([caption, pictures])


def _sheet(
    title: str, classes: Sequence[str], tiles: Sequence[UInt8[np.ndarray, "_ _ 3"]]
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Tiles in columns, beside margins of paper, below the title and a legend of the classes."""
    rows = [tiles[start : start + COLUMNS] for start in range(0, len(tiles), COLUMNS)]
    width = max(sum(tile.shape[1] for tile in row) + MARGIN * (len(row) + 1) for row in rows)
    parts = [heading(title, classes, width)]
    for row in rows:
        parts.append(paper(max(tile.shape[0] for tile in row) + MARGIN, width))
        left = MARGIN
        for tile in row:
            parts[-1][: tile.shape[0], left : left + tile.shape[1]] = tile
            left += tile.shape[1] + MARGIN
    return np.concatenate(parts)


def heading(title: str, classes: Sequence[str], width: int) -> UInt8[np.ndarray, "_ _ 3"]:
    """The top of a sheet of `width` pixels: its title, and a legend of the classes."""
    line = text_size("Xg", TEXT)[1] + 6
    band = paper(2 * line + MARGIN, width)
    write(band, title, MARGIN, MARGIN, TEXT, INK)
    left, top, bottom = MARGIN, MARGIN + line + 1, MARGIN + 2 * line - 8
    for label, name in enumerate(classes, start=1):
        cv2.rectangle(band, (left, top), (left + 20, bottom), colour_of(label), cv2.FILLED)
        cv2.rectangle(band, (left, top), (left + 20, bottom), INK, 1)
        write(band, name, left + 26, top - 1, TEXT, INK)
        left += 26 + text_size(name, TEXT)[0] + 2 * MARGIN
    return band


def paper(height: int, width: int) -> UInt8[np.ndarray, "_ _ 3"]:
    """A blank part of a sheet."""
    return np.full((height, width, 3), PAPER, np.uint8)
