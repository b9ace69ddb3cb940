"""Two small fields of discs on a noisy ground with boxes and masks, and the settings: what both implementations get."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

COMMITTED_SEED = 13  # of the weights and the scene behind `reference.npz`
CANVAS = (128, 192)  # multiples of 64
SIZES = ((128, 192), (96, 160))  # the second leaves a margin of the canvas empty
CLASSES = 3
CELLS = (5, 3)

# Few proposals, so that no decision (a top-k cut, an overlap near its threshold) is left to the last bits of a float;
# and in training every anchor and every proposal is sampled, so that chance plays no part in the losses.
CANDIDATES = 50  # boxes of each level that enter the RPN's NMS
PROPOSALS = 40
ANCHOR_SAMPLES = 8192
ROI_SAMPLES = 48
POSITIVE_FRACTION = 0.5
SCORE_THRESHOLD = 0.2
DETECTIONS = 30
ANCHOR_SHAPES = 3  # of each place on a level


class Scene(NamedTuple):
    """Fields at the top left of the canvas, as `wbcjax.batch.Batch` holds them, with per-field lists of cells."""

    image: UInt8[np.ndarray, "n h w 3"]
    size: Float[np.ndarray, "n 2"]
    boxes: list[Float[np.ndarray, "cells 4"]]
    labels: list[Int[np.ndarray, " cells"]]
    masks: list[UInt8[np.ndarray, "cells h w"]]


def draw(seed: int) -> Scene:
    """A scene from one seed; boxes are tight around the masks, x2 and y2 exclusive."""
    rng = np.random.default_rng(seed)
    image = np.zeros((len(SIZES), *CANVAS, 3), np.uint8)
    boxes, labels, masks = [], [], []
    for index, ((height, width), count) in enumerate(zip(SIZES, CELLS, strict=True)):
        field_masks = np.stack([_disc(rng, height, width) for _ in range(count)])  # (cells, H, W)
        ground = rng.uniform(120, 220, 3) + rng.normal(0, 12, (height, width, 3))
        for mask in field_masks:
            ground[mask[:height, :width]] = rng.uniform(20, 200, 3) + rng.normal(0, 25, (mask.sum(), 3))
        image[index, :height, :width] = ground.clip(0, 255)
        boxes.append(np.stack([_tight_box(mask) for mask in field_masks]))
        labels.append(rng.integers(1, CLASSES + 1, count))
        masks.append(field_masks.astype(np.uint8))
    return Scene(image, np.array(SIZES, np.float32), boxes, labels, masks)


def _disc(rng: np.random.Generator, height: int, width: int) -> Bool[np.ndarray, "h w"]:
    radii = rng.uniform(10, 30, 2)
    centre = rng.uniform((20, 20), (width - 20, height - 20))
    mask = np.zeros(CANVAS, np.uint8)
    cv2.ellipse(mask, (tuple(centre), tuple(2 * radii), float(rng.uniform(0, 180))), 1, -1)
    mask[height:], mask[:, width:] = 0, 0
    return mask.astype(bool)


def _tight_box(mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, " 4"]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
