"""From a mask in its box's own frame, as a mask head predicts it, to a mask at image size."""

import math

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

PADDING = 1  # zeros put around a mask before it is resized, so that its outline can bend inwards at the box's edge


def paste(
    mask_probabilities: Float[np.ndarray, "d m m"],
    boxes: Float[np.ndarray, "d 4"],
    height: int,
    width: int,
    threshold: float = 0.5,
) -> UInt8[np.ndarray, "d height width"]:
    """Put masks predicted in the frames of their boxes into the image, as 0 or 1.

    Args:
        mask_probabilities: one square map in [0, 1] per detection, spanning its box.
        boxes: x1, y1, x2, y2 in pixels of the image. What lies outside the image is cut off.
        height, width: of the image, pixels.
        threshold: a pixel belongs to the cell where its probability is greater (not equal).

    Raises ValueError when the two arrays disagree in length, maps are not square, or a box is not finite.
    Matches torchvision's `roi_heads.paste_masks_in_image` followed by `> threshold`, as its detection reference
    (`coco_eval.py`) does. Beyond it, a box wholly outside the image gives an empty mask.
    """
    padded = _checked_and_padded(mask_probabilities, boxes)
    corners = _padded_corners(boxes, mask_probabilities.shape[-1])
    masks = np.zeros((len(boxes), height, width), np.uint8)
    for mask, probabilities, (x1, y1, x2, y2) in zip(masks, padded, corners, strict=True):
        left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
        if left < right and top < bottom:
            resized = cv2.resize(probabilities, (int(x2 - x1), int(y2 - y1)), interpolation=cv2.INTER_LINEAR)
            mask[top:bottom, left:right] = resized[top - y1 : bottom - y1, left - x1 : right - x1] > threshold
    return masks


def paste_aligned(
    mask_probabilities: Float[np.ndarray, "d m m"],
    boxes: Float[np.ndarray, "d 4"],
    height: int,
    width: int,
    threshold: float = 0.5,
) -> UInt8[np.ndarray, "d height width"]:
    """As `paste`, but each pixel takes the probability at its own centre, and boxes keep their fractions of a pixel.

    The counterpart of RoIAlign's "aligned" convention; as detectron2's `paste_masks_in_image`.
    """
    padded = _checked_and_padded(mask_probabilities, boxes)
    size = mask_probabilities.shape[-1]
    masks = np.zeros((len(boxes), height, width), np.uint8)
    for mask, probabilities, (x1, y1, x2, y2) in zip(masks, padded, boxes.astype(np.float64), strict=True):
        left, top = max(math.floor(x1), 0), max(math.floor(y1), 0)
        right, bottom = min(math.ceil(x2), width), min(math.ceil(y2), height)
        if left < right and top < bottom and x1 < x2 and y1 < y2:
            across, down = size / (x2 - x1), size / (y2 - y1)  # pixels of the map for one of the image
            to_map = np.array(
                [
                    [across, 0, (left + 0.5 - x1) * across - 0.5 + PADDING],
                    [0, down, (top + 0.5 - y1) * down - 0.5 + PADDING],
                ]
            )
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            drawn = cv2.warpAffine(probabilities, to_map, (right - left, bottom - top), flags=flags)
            mask[top:bottom, left:right] = drawn > threshold
    return masks


def _checked_and_padded(
    mask_probabilities: Float[np.ndarray, "d m m"], boxes: Float[np.ndarray, "d 4"]
) -> Float[np.ndarray, "d n n"]:
    if mask_probabilities.ndim != 3 or mask_probabilities.shape[1] != mask_probabilities.shape[2]:
        raise ValueError(f"masks must be (d, m, m), found {mask_probabilities.shape}")
    if boxes.shape != (len(mask_probabilities), 4):
        raise ValueError(
            f"{len(mask_probabilities)} masks need boxes of ({len(mask_probabilities)}, 4), found {boxes.shape}"
        )
    if not np.isfinite(boxes).all():
        raise ValueError(f"box {boxes[~np.isfinite(boxes).all(axis=1)][0].tolist()} is not finite")

    pad = ((0, 0), (PADDING, PADDING), (PADDING, PADDING))
    return np.pad(mask_probabilities.astype(np.float32), pad)  # (d, m + 2, m + 2)


def _padded_corners(boxes: Float[np.ndarray, "d 4"], mask_size: int) -> Int[np.ndarray, "d 4"]:
    """Whole-pixel corners, x2 and y2 exclusive, of the boxes grown to hold the padded masks."""
    boxes = boxes.astype(np.float32)  # the arithmetic is float32 there, and truncation is sensitive to it
    centre = (boxes[:, 2:] + boxes[:, :2]) * np.float32(0.5)
    half = (boxes[:, 2:] - boxes[:, :2]) * np.float32(0.5) * np.float32((mask_size + 2 * PADDING) / mask_size)
    low, high = (centre - half).astype(np.int64), (centre + half).astype(np.int64)  # truncated toward zero
    return np.concatenate([low, np.maximum(high, low) + 1], axis=1)
