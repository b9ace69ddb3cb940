"""Cells shown on their field: outlined, or in colour on a grey field."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import UInt8
from pycocotools import mask as coco_mask

from wbcjax.evaluate.detections import FieldAnnotations, FieldDetections
from wbcjax.report.draw import draw_outline, draw_tags
from wbcjax.smear.colours import colour_of

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
        tags: text at each cell; "" for none.
        zoom: the copy's size over the image's.

    Lines and letters grow with the copy beyond 1000 pixels. Raises ValueError when the cells are of an image of
    another size.
    """
    _check_size(image, cells)
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
    image: UInt8[np.ndarray, "_ _ 3"], cells: FieldDetections, classes: Sequence[str]
) -> UInt8[np.ndarray, "_ _ 3"]:
    """A copy of the RGB image with every cell outlined and tagged with its number (from 1), class and score.

    `classes` are the names of label 1, 2, ...; where there is only one, tags do without it. Raises as `draw_outlines`.
    """
    names = [f"{name} " if len(classes) > 1 else "" for name in classes]
    found = zip(cells.labels, cells.scores, strict=True)
    tags = [f"{number}: {names[label - 1]}{score:.2f}" for number, (label, score) in enumerate(found, start=1)]
    return draw_outlines(image, cells, tags)


def colour_splash(
    image: UInt8[np.ndarray, "h w 3"], cells: FieldAnnotations | FieldDetections
) -> UInt8[np.ndarray, "h w 3"]:
    """A copy of the RGB image in grey, but for its cells, which keep their colours. Raises as `draw_outlines` does."""
    _check_size(image, cells)
    splash = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if cells.rles:
        inside = coco_mask.decode(coco_mask.merge(cells.rles)).astype(bool)
        splash[inside] = image[inside]
    return splash


def _check_size(image: UInt8[np.ndarray, "_ _ 3"], cells: FieldAnnotations | FieldDetections) -> None:
    if image.shape[:2] != (cells.height, cells.width):
        raise ValueError(
            f"{cells.name}: the image is {image.shape[:2]}, its cells are of {(cells.height, cells.width)}"
        )
