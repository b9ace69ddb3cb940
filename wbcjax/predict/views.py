"""The views of test-time augmentation: an image flipped, turned or scaled, and what was found in it turned back.

Flips and turns by right angles move pixels and mix none, so boxes and masks come back to the pixel. A zoom only changes
how large the network sees the image: what it finds is told in the image's own pixels as always.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from wbcjax.evaluate.detections import FieldDetections
from wbcjax.smear.paste import patch_rle
from wbcjax.smear.rle import cut_outs


class View(NamedTuple):
    """How an image is shown: flipped left to right, then turned, at its scale times `zoom`."""

    flipped: bool = False
    quarters: int = 0  # quarter turns counter-clockwise, 0 to 3
    zoom: float = 1.0


UPRIGHT = View()
TURNS = tuple(View(flipped, quarters) for flipped in (False, True) for quarters in range(4))  # all that a square allows
VIEWS = (*TURNS, View(zoom=0.8), View(zoom=1.25))


def turned(image: UInt8[np.ndarray, "_ _ 3"], view: View) -> UInt8[np.ndarray, "_ _ 3"]:
    """The image as the view shows it; its zoom is for the network's layout."""
    return np.ascontiguousarray(np.rot90(image[:, ::-1] if view.flipped else image, view.quarters))


def turned_back(found: FieldDetections, view: View) -> FieldDetections:
    """What was found in a view's image, in pixels of the image that it was made of."""
    if view._replace(zoom=1.0) == UPRIGHT:
        return found
    size = found.height, found.width
    height, width = size[:: -1 if view.quarters % 2 else 1]
    parts = cut_outs(found.rles)
    shapes = np.array([part.mask.shape for part in parts]).reshape(-1, 2)
    corners = np.array([(part.left, part.top) for part in parts]).reshape(-1, 2)
    places = _boxes_back(np.concatenate([corners, corners + shapes[:, ::-1]], axis=1).astype(np.float64), size, view)
    masks = [_mask_back(part.mask, view) for part in parts]
    rles = [
        patch_rle(mask, left, top, height, width)
        for mask, (left, top) in zip(masks, places[:, :2].astype(int).tolist(), strict=True)
    ]
    return replace(found, height=height, width=width, boxes=_boxes_back(found.boxes, size, view), rles=rles)


def _mask_back(mask: UInt8[np.ndarray, "_ _"], view: View) -> UInt8[np.ndarray, "_ _"]:
    back = np.rot90(mask, -view.quarters)
    return back[:, ::-1] if view.flipped else back


def _boxes_back(boxes: Float[np.ndarray, "d 4"], size: tuple[int, int], view: View) -> Float[np.ndarray, "d 4"]:
    """Boxes of a view's image of this size (height, width), in the image that it was made of."""
    height, width = size
    for _ in range(view.quarters):  # clockwise: what was at the bottom is at the left
        x1, y1, x2, y2 = boxes.T
        boxes = np.stack([height - y2, x1, height - y1, x2], axis=1)
        height, width = width, height
    if view.flipped:
        x1, y1, x2, y2 = boxes.T
        boxes = np.stack([width - x2, y1, width - x1, y2], axis=1)
    return boxes
