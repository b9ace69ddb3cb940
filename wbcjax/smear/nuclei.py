"""Nuclei of stained cells, found by their dye alone: they show cells that nobody annotated.

The rule: the purple of chromatin, Otsu's threshold on it, a watershed from the places deepest inside, and bounds on the
size. It needs no training and distinguishes no types: smudged nuclei and large clumps of platelets are found too.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

CELL = 64.0  # pixels of a cell's side on the grid that nuclei are sought on; what follows is in its pixels
LARGEST_SCALE = 4.0  # of that grid to the image's: the nuclei of smaller cells cannot be seen, and memory is limited
BLUR = 1.5  # standard deviation: wider than chromatin, narrower than a nucleus
GAP = 4  # radius: lobes of one nucleus as near as this are joined
SPLIT = 15  # radius: deepest places nearer than this belong to one nucleus
DEPTH_BLUR = 3.0  # standard deviation: lobes that share one deepest place are not split
SEED = 0.6  # of the depth of the deepest place: the radius of what is surely of its nucleus
MIN_AREA = 250  # a disc of 18 pixels across
MAX_AREA = 7000  # a disc of 94
GROUND = 95  # percentile of each channel that is light through bare glass
LEAST_DYE = 0.25  # threshold at least: Otsu's alone splits a field without nuclei into plasma and noise


def find_nuclei(image: UInt8[np.ndarray, "h w 3"], cell_size: float) -> Int[np.ndarray, "h w"]:
    """Nuclei of an RGB image, numbered from 1; 0 elsewhere. A grey image has no dye, and so no nuclei.

    `cell_size`: the usual length of the longer side of a cell's box, in pixels, by which sizes are judged.
    Raises ValueError unless it is above 0.
    """
    if not cell_size > 0:
        raise ValueError(f"the cells' size is {cell_size}; give the length of a cell in pixels, above 0")
    height, width = image.shape[:2]
    scale = min(CELL / cell_size, LARGEST_SCALE)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    dye = cv2.GaussianBlur(nuclear_dye(small), (0, 0), BLUR)
    labels = _sized(_split(_smooth(dye > max(_otsu(dye), LEAST_DYE))))
    return cv2.resize(labels.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST).astype(np.int32)


def boxes_of(labels: Int[np.ndarray, "h w"]) -> Float[np.ndarray, "n 4"]:
    """The boxes (x1, y1, x2, y2), in pixels, around the pixels of number 1, 2, ... n; each has at least one."""
    y, x = np.nonzero(labels)
    row = labels[y, x] - 1
    boxes = np.tile([np.inf, np.inf, -np.inf, -np.inf], (labels.max(initial=0), 1))
    for side, lowest in enumerate((x, y)):
        np.minimum.at(boxes[:, side], row, lowest)
        np.maximum.at(boxes[:, side + 2], row, lowest + 1)
    return boxes


def nuclear_dye(image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """How much a pixel lacks green rather than blue, 0 (none) to 1: 1 - green / blue, each as a share of the ground's.

    The purple of Romanowsky stains, azure and eosin together, is chromatin's: it absorbs green and lets blue pass. Red
    cells absorb blue as well, and cytoplasm less of either. The ground is the GROUND percentile of each channel.
    """
    light = image[..., 1:].astype(np.float32) + 1  # (h, w, green and blue)
    ground = np.percentile(light.reshape(-1, 2)[::7], GROUND, axis=0).astype(np.float32)
    share = np.minimum(light / ground, 1)
    return np.maximum(1 - share[..., 0] / share[..., 1], 0)


def _otsu(dye: Float[np.ndarray, "h w"]) -> float:
    """Otsu's threshold of values of 0 to 1."""
    return cv2.threshold((dye * 255).astype(np.uint8), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0] / 255


def _smooth(mask: Bool[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """A mask, its specks and threads gone, gaps of GAP closed and holes filled."""
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, _disc(2))
    # An empty border, so that closing joins nothing to the edge of the image.
    closed = cv2.morphologyEx(
        cv2.copyMakeBorder(opened, GAP, GAP, GAP, GAP, cv2.BORDER_CONSTANT), cv2.MORPH_CLOSE, _disc(GAP)
    )
    outlines, _ = cv2.findContours(closed[GAP:-GAP, GAP:-GAP].copy(), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros_like(opened), outlines, -1, 1, cv2.FILLED)


def _split(mask: UInt8[np.ndarray, "h w"]) -> Int[np.ndarray, "h w"]:
    """The parts of a mask, those that touch split by a watershed from the places deepest inside."""
    # A nucleus cut by the edge of the image is taken to continue beyond it.
    mask = cv2.copyMakeBorder(mask, SPLIT, SPLIT, SPLIT, SPLIT, cv2.BORDER_REPLICATE)
    depth = cv2.GaussianBlur(cv2.distanceTransform(mask, cv2.DIST_L2, 5), (0, 0), DEPTH_BLUR)
    deepest = (depth >= cv2.dilate(depth, _disc(SPLIT))) & (mask > 0)
    _, _, _, centres = cv2.connectedComponentsWithStats(deepest.astype(np.uint8))
    seeds = np.zeros(mask.shape, np.int32)
    for number, (x, y) in enumerate(np.round(centres[1:]).astype(int).tolist(), start=1):
        cv2.circle(seeds, (x, y), max(1, int(SEED * depth[y, x])), number, cv2.FILLED)
    # On a flat image the watershed lies half way between the seeds; the mask's edge stops the flood.
    labels = cv2.watershed(cv2.merge([255 * mask] * 3), seeds * mask)
    inner = np.s_[SPLIT:-SPLIT, SPLIT:-SPLIT]
    return np.where(mask > 0, np.maximum(labels, 0), 0)[inner]  # watersheds are -1


def _sized(labels: Int[np.ndarray, "h w"]) -> Int[np.ndarray, "h w"]:
    """Only the parts of MIN_AREA to MAX_AREA, numbered anew from 1."""
    areas = np.bincount(labels.ravel())
    kept = (areas >= MIN_AREA) & (areas <= MAX_AREA)
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0)[labels]


def _disc(radius: int) -> UInt8[np.ndarray, "d d"]:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
