"""Overlaps of detections with annotated cells, and which annotated cells touch."""

from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from pycocotools import mask as coco_mask

from wbcjax.evaluate.detections import FieldAnnotations, FieldDetections
from wbcjax.smear.rle import cut_out

TOUCHING_DILATION = 2  # pixels


def mask_overlaps(annotations: FieldAnnotations, detections: FieldDetections) -> Float[np.ndarray, "d c"]:
    """Mask IoU of every detection with every annotated cell; box IoU where only the cell's box is known.

    With a crowd region it is the share of the detection that lies inside it, as in COCO's protocol.
    """
    overlaps = _overlaps(detections.rles, annotations.rles, annotations)
    by_box = ~annotations.outlined & ~annotations.crowd  # (c,)
    if by_box.any():
        overlaps[:, by_box] = box_overlaps(annotations, detections)[:, by_box]
    return overlaps


def box_overlaps(annotations: FieldAnnotations, detections: FieldDetections) -> Float[np.ndarray, "d c"]:
    """Box IoU of every detection with every annotated cell; with a crowd region as for masks."""
    return _overlaps(_xywh(detections.boxes), _xywh(annotations.boxes), annotations)


def touching(annotations: FieldAnnotations, nucleus: int = 0) -> Bool[np.ndarray, " c"]:
    """Which annotated cells touch another cell (or a crowd region) of the field, whatever their classes.

    Nuclei, where `nucleus` is their label, touch only nuclei, and cells only cells: a nucleus does not touch the cell
    that it lies in. Cells of which only the box is known touch by their filled boxes.
    """
    nuclei = annotations.labels == nucleus
    return (touching_pairs(annotations) & (nuclei[:, None] == nuclei)).any(axis=1)


def touching_pairs(annotations: FieldAnnotations) -> Bool[np.ndarray, "c c"]:
    """Which two annotated cells touch; never a cell itself.

    Two cells touch when their masks, each dilated by `TOUCHING_DILATION` pixels (a square of 5 x 5), share a pixel:
    when at most 3 pixels of background lie between them.
    """
    grown = [_grown(rle) for rle in annotations.rles]
    boxes = np.array([(x, y, x + mask.shape[1], y + mask.shape[0]) for mask, x, y in grown]).reshape(-1, 4)
    near = (boxes[:, None, :2] < boxes[:, 2:]).all(axis=2)  # (c, c): the row's box begins before the column's ends
    pairs = np.zeros_like(near)
    for i, j in np.argwhere(np.triu(near & near.T, k=1)).tolist():
        x1, y1 = np.maximum(boxes[i, :2], boxes[j, :2])
        x2, y2 = np.minimum(boxes[i, 2:], boxes[j, 2:])
        of_both = [mask[y1 - y : y2 - y, x1 - x : x2 - x] for mask, x, y in (grown[i], grown[j])]
        pairs[i, j] = pairs[j, i] = np.bitwise_and(*of_both).any()
    return pairs


def _grown(rle: Any) -> tuple[UInt8[np.ndarray, "h w"], int, int]:
    """A mask dilated by `TOUCHING_DILATION`, within its bounds, and their left and top, which may be outside."""
    mask, left, top = cut_out(rle)
    kernel = np.ones((2 * TOUCHING_DILATION + 1,) * 2, np.uint8)
    padded = np.pad(mask, TOUCHING_DILATION)
    return np.asarray(cv2.dilate(padded, kernel), np.uint8), left - TOUCHING_DILATION, top - TOUCHING_DILATION


def _overlaps(found: list, cells: list, annotations: FieldAnnotations) -> Float[np.ndarray, "d c"]:
    if not found or not cells:
        return np.zeros((len(found), len(cells)))
    return np.asarray(coco_mask.iou(found, cells, annotations.crowd.astype(int).tolist()))


def _xywh(boxes: Float[np.ndarray, "n 4"]) -> list[list[float]]:
    boxes = boxes.astype(np.float64)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()
