"""How far detections and annotated cells cover one another, and which annotated cells touch."""

import cv2
import numpy as np
from jaxtyping import Bool, Float
from pycocotools import mask as coco_mask

from wbcjax.evaluate.detections import FieldAnnotations, FieldDetections

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


def touching(annotations: FieldAnnotations) -> Bool[np.ndarray, " c"]:
    """Which annotated cells touch another cell (or a crowd region) of the field, whatever their classes.

    Of cells of which only the box is known, the filled boxes touch.

    Two cells touch when their masks, each dilated by `TOUCHING_DILATION` pixels (a square of 5 x 5), share a pixel:
    when at most 3 pixels of background lie between them.
    """
    kernel = np.ones((2 * TOUCHING_DILATION + 1,) * 2, np.uint8)
    masks = [coco_mask.decode(rle) for rle in annotations.rles]
    grown = [coco_mask.encode(np.asfortranarray(cv2.dilate(mask, kernel), np.uint8)) for mask in masks]
    if not grown:
        return np.zeros(0, bool)
    overlaps = np.asarray(coco_mask.iou(grown, grown, [0] * len(grown)))
    return np.array([np.delete(row, cell).any() for cell, row in enumerate(overlaps)])


def _overlaps(found: list, cells: list, annotations: FieldAnnotations) -> Float[np.ndarray, "d c"]:
    if not found or not cells:
        return np.zeros((len(found), len(cells)))
    return np.asarray(coco_mask.iou(found, cells, annotations.crowd.astype(int).tolist()))


def _xywh(boxes: Float[np.ndarray, "n 4"]) -> list[list[float]]:
    boxes = boxes.astype(np.float64)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()
