"""Outlines of cells drawn on their field."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

from wbcjax.evaluate.detections import FieldAnnotations, FieldDetections
from wbcjax.report.draw import colour_of, draw_outline, draw_tags

TAG = 0.45  # cv2's font scale


def draw_outlines(
    image: UInt8[np.ndarray, "_ _ 3"],
    cells: FieldAnnotations | FieldDetections,
    tags: Sequence[str] | None = None,
    zoom: float = 1.0,
) -> UInt8[np.ndarray, "_ _ 3"]:
    """A copy of the RGB image with every cell outlined in the colour of its class.

    Args:
        cells: annotated or detected cells of this image. Crowd regions get a thin line.
        tags: what to write at each cell; "" for nothing.
        zoom: the copy's size over the image's.

    Lines and letters grow with the copy beyond 1000 pixels. Raises ValueError when the cells are of an image of
    another size.
    """
    if image.shape[:2] != (cells.height, cells.width):
        raise ValueError(
            f"{cells.name}: the image is {image.shape[:2]}, its cells are of {(cells.height, cells.width)}"
        )
    interpolation = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    drawn = np.asarray(cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=interpolation), np.uint8)
    weight = max(1, round(max(drawn.shape) / 1000))
    crowd = cells.crowd if isinstance(cells, FieldAnnotations) else np.zeros(len(cells.rles), bool)
    colours = [colour_of(int(label)) for label in cells.labels]
    for rle, colour, thin in zip(cells.rles, colours, crowd, strict=True):
        draw_outline(drawn, rle, colour, zoom, thickness=weight if thin else 2 * weight)
    if tags is not None:
        draw_tags(drawn, tags, cells.boxes * zoom, colours, TAG * weight)
    return drawn


def draw_detections(
    image: UInt8[np.ndarray, "_ _ 3"], detections: FieldDetections, classes: Sequence[str], min_score: float
) -> UInt8[np.ndarray, "_ _ 3"]:
    """A copy of the RGB image with the cells that score at least `min_score` outlined, each with class and score.

    `classes` are the names of label 1, 2, ... Raises as `draw_outlines` does.
    """
    sure = detections.select(np.flatnonzero(detections.scores >= min_score))
    tags = [f"{classes[label - 1]} {score:.2f}" for label, score in zip(sure.labels, sure.scores, strict=True)]
    return draw_outlines(image, sure, tags)
