"""What several looks at one field found, joined: views of test-time augmentation, or the models of an ensemble.

Tiles of a field each see a part of it: a cell that a tile does not find may lie outside of it, and the surest tile has
the cell (`tiles.merge`). Looks all see the whole field. A look that does not find a cell speaks against it, and those
that do each have a say in its place and outline.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from pycocotools import mask as coco_mask

from wbcjax.evaluate.detections import FieldDetections
from wbcjax.predict.tiles import SAME_CELL, together
from wbcjax.smear.paste import patch_rle
from wbcjax.smear.rle import cut_outs

TIE = 1e-6  # of its weight: by so much more does the surest detection count, so that no pixel is undecided


def join(looks: Sequence[FieldDetections]) -> FieldDetections:
    """The cells of a field, highest score first, from several looks at the whole of it, in pixels of the field.

    Weighted boxes fusion (Solovyev, Wang and Gabruseva, Image and Vision Computing 107, 2021), with masks. Best score
    first, a detection joins the cell of its class whose surest detection it overlaps most, by an IoU over `SAME_CELL`
    of masks (filled boxes where there is no pixel), unless its look has one there already: within a look the network's
    NMS has decided. Else it is a cell. Of a cell:

    - the score is the sum of its detections' over the number of all looks, whether they found it or not, as the paper
      scales it. So it is the mean probability of the class at that place. What one look of ten made up scores a tenth
    - the box, and outputs of further heads, are the means, weighted by score, as in the paper
    - the mask is the pixels that lie in the masks of more than half of the weight: decision fusion by majority
      (Heckemann et al., NeuroImage 33, 2006). Of all masks it differs least from its detections', by pixels times
      weight. Probabilities, which each come in the frame of a box of its own, would first have to be drawn in the field

    Classes are joined apart, as they are scored: a cell that is found as two classes has the mean of either.
    """
    if len(looks) == 1:
        return looks[0]
    every = together(looks)
    look = np.repeat(np.arange(len(looks)), [len(one.rles) for one in looks])
    cells = _cells(every, look)
    first = every.select(np.array([rows[0] for rows in cells], np.int64))
    weights = [np.maximum(every.scores[rows].astype(np.float64), np.finfo(np.float32).tiny) for rows in cells]
    for i, (rows, weight) in enumerate(zip(cells, weights, strict=True)):
        first.scores[i] = weight.sum() / len(looks)
        first.boxes[i] = weight @ every.boxes[rows] / weight.sum()
        first.rles[i] = _majority([every.rles[row] for row in rows], weight)
        for name, values in first.said.items():
            values[i] = weight @ every.said[name][rows] / weight.sum()
    return first.select(np.argsort(-first.scores, kind="stable"))


def _cells(every: FieldDetections, look: Int[np.ndarray, " d"]) -> list[list[int]]:
    """The detections of each cell, as rows, highest score first."""
    shapes = _shapes(every)
    bounds = _bounds(shapes)
    cells: list[list[int]] = []
    firsts = np.zeros(len(look), np.int64)  # the surest detection of each cell so far
    for row in np.argsort(-every.scores, kind="stable").tolist():
        known = firsts[: len(cells)]
        low, high = np.maximum(bounds[row, :2], bounds[known, :2]), np.minimum(bounds[row, 2:], bounds[known, 2:])
        near = np.flatnonzero((every.labels[known] == every.labels[row]) & (low < high).all(axis=1)).tolist()
        near = [cell for cell in near if look[row] not in look[cells[cell]]]
        overlaps = _overlaps(shapes[row], [shapes[cells[cell][0]] for cell in near])
        if len(near) and overlaps.max() > SAME_CELL:
            cells[near[int(overlaps.argmax())]].append(row)
        else:
            firsts[len(cells)] = row
            cells.append([row])
    return cells


def _shapes(every: FieldDetections) -> list[Any]:
    """The masks, or filled boxes in place of those without a pixel."""
    xywh = np.concatenate([every.boxes[:, :2], every.boxes[:, 2:] - every.boxes[:, :2]], axis=1).astype(np.float64)
    return [
        rle if coco_mask.area(rle) else coco_mask.frPyObjects(box[None], every.height, every.width)[0]
        for rle, box in zip(every.rles, xywh, strict=True)
    ]


def _bounds(rles: Any) -> Float[np.ndarray, "d 4"]:
    boxes = np.array(coco_mask.toBbox(rles) if rles else [], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _overlaps(rle: Any, others: list[Any]) -> Float[np.ndarray, " o"]:
    return np.asarray(coco_mask.iou([rle], others, [0] * len(others)))[0] if others else np.zeros(0)


def _majority(rles: list[Any], weights: Float[np.ndarray, " r"]) -> Any:
    """The pixels that lie in masks of more than half of the weight, the first mask's where it is just half."""
    if all(rle["counts"] == rles[0]["counts"] for rle in rles):
        return rles[0]
    weights = weights * np.where(np.arange(len(weights)) == 0, 1 + TIE, 1.0)
    parts = cut_outs(rles)
    left, top = min(part.left for part in parts), min(part.top for part in parts)
    right = max(part.left + part.mask.shape[1] for part in parts)
    bottom = max(part.top + part.mask.shape[0] for part in parts)
    votes = np.zeros((bottom - top, right - left))
    for part, weight in zip(parts, weights, strict=True):
        rows, columns = part.mask.shape
        votes[part.top - top :, part.left - left :][:rows, :columns] += weight * part.mask
    return patch_rle((votes > weights.sum() / 2).astype(np.uint8), left, top, *rles[0]["size"])
