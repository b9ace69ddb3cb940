"""Predicted masks, each in the frame of its box, pasted into the image."""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from pycocotools import mask as coco_mask

from wbcjax.smear.field import text_rle

Library = Literal["torchvision", "detectron2", "matterport"]
PADDING = 1  # zeros put around a mask before it is resized, so that its outline can bend inwards at the box's edge


def paste(
    mask_probabilities: Float[np.ndarray, "d m m"],
    boxes: Float[np.ndarray, "d 4"],
    height: int,
    width: int,
    library: Library,
    threshold: float = 0.5,
) -> list[dict]:
    """Masks predicted in the frames of their boxes, pasted into the image: each as COCO compressed RLE.

    Args:
        mask_probabilities: one square map in [0, 1] per detection, spanning its box.
        boxes: x1, y1, x2, y2 in pixels of the image. What lies outside the image is cut off.
        height, width: of the image, pixels. No mask is drawn at that size, only where its box lies.
        library: the one whose method is used; its RoIAlign is the one that the masks were trained with.
            "detectron2": each pixel takes the probability at its own centre, and boxes keep their fractions of a pixel,
            as in its `paste_masks_in_image`.
            "torchvision": `roi_heads.paste_masks_in_image` followed by `> threshold`, as its detection reference
            (`coco_eval.py`) does.
            "matterport": the map is resized to the box, rounded to whole pixels: `denorm_boxes` and `unmold_mask` of
            mrcnn/utils.py.
        threshold: a pixel belongs to the cell where its probability is greater; with "matterport", greater or equal.

    A box wholly outside the image gives an empty mask.
    Raises ValueError when the two arrays disagree in length, maps are not square, or a box is not finite.
    """
    patches = {"torchvision": _patches, "detectron2": _aligned_patches, "matterport": _unmoulded_patches}[library]
    return [
        patch_rle(pixels, left, top, height, width)
        for pixels, left, top in patches(_checked(mask_probabilities, boxes), boxes, height, width, threshold)
    ]


def patch_rle(pixels: UInt8[np.ndarray, "h w"], left: int, top: int, height: int, width: int) -> dict:
    """COCO compressed RLE, on a `height` x `width` image, of a mask (0 or 1) whose upper left corner is (left, top)."""
    changes = np.diff(np.pad(pixels, ((1, 1), (0, 0))).astype(np.int8), axis=0)  # (h + 1, w)
    column, row = np.nonzero(changes.T)  # down the columns: where a run begins, where it ends, ...
    place = (left + column) * height + top + row
    # A run that goes on at the top of the next column ends where one begins: neither is a change.
    place, times = np.unique(place, return_counts=True)
    place = place[(times == 1) & (place < height * width)]
    counts = np.diff(np.concatenate([[0], place, [height * width]]))
    return text_rle(coco_mask.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width))


class _Patch(NamedTuple):
    """A mask cropped to the pixels where it can lie, and their place on the image."""

    pixels: UInt8[np.ndarray, "h w"]  # 0 or 1
    left: int
    top: int


NOWHERE = _Patch(np.zeros((0, 0), np.uint8), 0, 0)


def _patches(
    mask_probabilities: Float[np.ndarray, "d m m"],
    boxes: Float[np.ndarray, "d 4"],
    height: int,
    width: int,
    threshold: float,
) -> Iterator[_Patch]:
    padded = _padded(mask_probabilities)
    corners = _padded_corners(boxes, mask_probabilities.shape[-1]).tolist()
    for probabilities, (x1, y1, x2, y2) in zip(padded, corners, strict=True):
        left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
        if left < right and top < bottom:
            resized = cv2.resize(probabilities, (x2 - x1, y2 - y1), interpolation=cv2.INTER_LINEAR)
            inside = resized[top - y1 : bottom - y1, left - x1 : right - x1] > threshold
            yield _Patch(inside.astype(np.uint8), left, top)
        else:
            yield NOWHERE


def _aligned_patches(
    mask_probabilities: Float[np.ndarray, "d m m"],
    boxes: Float[np.ndarray, "d 4"],
    height: int,
    width: int,
    threshold: float,
) -> Iterator[_Patch]:
    padded = _padded(mask_probabilities)
    size = mask_probabilities.shape[-1]
    for probabilities, (x1, y1, x2, y2) in zip(padded, boxes.astype(np.float64).tolist(), strict=True):
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
            yield _Patch((drawn > threshold).astype(np.uint8), left, top)
        else:
            yield NOWHERE


def _unmoulded_patches(
    mask_probabilities: Float[np.ndarray, "d m m"],
    boxes: Float[np.ndarray, "d 4"],
    height: int,
    width: int,
    threshold: float,
) -> Iterator[_Patch]:
    whole = np.rint(boxes).astype(np.int64).tolist()
    for probabilities, (x1, y1, x2, y2) in zip(mask_probabilities, whole, strict=True):
        left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
        if left < right and top < bottom:
            rows = _interpolation(len(probabilities), y2 - y1)[top - y1 : bottom - y1]
            columns = _interpolation(len(probabilities), x2 - x1)[left - x1 : right - x1]
            resized = rows @ probabilities @ columns.T  # (h, w)
            # skimage.transform.resize lets no value leave the map's range for the zeros beyond its border
            inside = np.maximum(resized, probabilities.min()) >= threshold
            yield _Patch(inside.astype(np.uint8), left, top)
        else:
            yield NOWHERE


def _interpolation(size: int, length: int) -> Float[np.ndarray, "length size"]:
    """Resizes a line of `size` values to `length`: linear between their centres, to 0 beyond the outermost."""
    at = (np.arange(length) + 0.5) * size / length - 0.5
    return np.maximum(1 - np.abs(at[:, None] - np.arange(size)), 0)


def _checked(
    mask_probabilities: Float[np.ndarray, "d m m"], boxes: Float[np.ndarray, "d 4"]
) -> Float[np.ndarray, "d m m"]:
    if mask_probabilities.ndim != 3 or mask_probabilities.shape[1] != mask_probabilities.shape[2]:
        raise ValueError(f"masks must be (d, m, m), found {mask_probabilities.shape}")
    if boxes.shape != (len(mask_probabilities), 4):
        raise ValueError(
            f"{len(mask_probabilities)} masks need boxes of ({len(mask_probabilities)}, 4), found {boxes.shape}"
        )
    if not np.isfinite(boxes).all():
        raise ValueError(f"box {boxes[~np.isfinite(boxes).all(axis=1)][0].tolist()} is not finite")
    return mask_probabilities.astype(np.float32)


def _padded(mask_probabilities: Float[np.ndarray, "d m m"]) -> Float[np.ndarray, "d n n"]:
    pad = ((0, 0), (PADDING, PADDING), (PADDING, PADDING))
    return np.pad(mask_probabilities, pad)  # (d, m + 2, m + 2)


def _padded_corners(boxes: Float[np.ndarray, "d 4"], mask_size: int) -> Int[np.ndarray, "d 4"]:
    """Whole-pixel corners, x2 and y2 exclusive, of the boxes grown to hold the padded masks."""
    boxes = boxes.astype(np.float32)  # torchvision computes in float32, and truncation is sensitive to it
    centre = (boxes[:, 2:] + boxes[:, :2]) * np.float32(0.5)
    half = (boxes[:, 2:] - boxes[:, :2]) * np.float32(0.5) * np.float32((mask_size + 2 * PADDING) / mask_size)
    low, high = (centre - half).astype(np.int64), (centre + half).astype(np.int64)  # truncated toward zero
    return np.concatenate([low, np.maximum(high, low) + 1], axis=1)
