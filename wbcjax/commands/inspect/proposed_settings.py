"""Settings that fit an annotated set: the canvas, the RPN's anchors, and the most cells of a field."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from jaxtyping import Float, Int

from wbcjax.input.warp import fit_scale
from wbcjax.ops.anchors import pyramid_anchors

UNIT = 32  # pixels, of a canvas's sides: the stride of the coarsest feature map of a ResNet
RESOLVED = 56.0  # pixels: RoIAlign's 14 bins then have a feature of their own each on the finest level, of stride 4
SMALL = RESOLVED / 2  # pixels: smaller cells get a warning
CANVAS_AREA = 1024 * 1024  # pixels: Matterport's canvas; two such fields fit a GPU of 12 GB
PYRAMID = (2, 3, 4, 5, 6)  # levels that the RPN can use, of strides 4 to 64
FPN_SIZES, FPN_RATIOS = (32.0, 64.0, 128.0, 256.0, 512.0), (0.5, 1.0, 2.0)  # FPN paper, section 4.1
POSITIVE_IOU, LOOSE_IOU = 0.7, 0.5  # the first makes an anchor positive for the RPN
ENOUGH = 0.9  # share of the cells with an anchor of POSITIVE_IOU
USUAL_RATIOS = 0.8  # share of the cells that are no longer than the proposed ratios
MARGIN = 1.1  # of max_cells over the set's most


@dataclass(frozen=True)
class Anchors:
    """The RPN's anchors, laid out on the canvas, and how well the best of them fits the cells."""

    levels: tuple[int, ...]
    sizes: tuple[float, ...]  # square roots of their areas, one per level, in pixels of the canvas
    ratios: tuple[float, ...]  # height / width
    count: int  # on the canvas
    loose: float  # share of the cells with an anchor of IoU 0.5 or more
    positive: float  # and of IoU 0.7


@dataclass(frozen=True)
class Proposal:
    """Settings for a set."""

    canvas: tuple[int, int]  # height, width in pixels
    cell_sizes: tuple[float, float, float]  # pixels of the canvas; 5, 50, 95 % of the cells are smaller
    max_cells: int
    anchors: Anchors
    fpn_anchors: Anchors  # those of the FPN paper, to compare


def propose_settings(
    fields: Int[np.ndarray, "f 2"], boxes: Float[np.ndarray, "c 4"], field: Int[np.ndarray, " c"], most_cells: int
) -> Proposal:
    """Settings for fields of these (height, width), with cells of these boxes in pixels of their fields.

    `field` is each box's position in `fields`; `most_cells` is the largest number in one field. Raises ValueError
    when there is no box.
    """
    if not len(boxes):
        raise ValueError("without cells there is nothing to fit anchors to")
    canvas = propose_canvas(fields, boxes, field)
    on_canvas = boxes * _scales(canvas, fields)[field, None]
    low, median, high = np.quantile(_sizes(on_canvas), (0.05, 0.5, 0.95)).tolist()
    return Proposal(
        canvas=canvas,
        cell_sizes=(low, median, high),
        max_cells=4 * math.ceil(most_cells * MARGIN / 4),
        anchors=propose_anchors(canvas, on_canvas),
        fpn_anchors=_fitted(canvas, on_canvas, PYRAMID, FPN_SIZES, FPN_RATIOS),
    )


def propose_canvas(
    fields: Int[np.ndarray, "f 2"], boxes: Float[np.ndarray, "c 4"], field: Int[np.ndarray, " c"]
) -> tuple[int, int]:
    """The smallest canvas of the fields' shape on which 95 % of the cells are at least RESOLVED pixels across.

    It is no larger than the fields themselves, as that adds no detail, nor than CANVAS_AREA.
    """
    aspect = float(np.median(fields[:, 0] / fields[:, 1]))
    canvas = None
    for length in count(UNIT, UNIT):  # of the shorter side
        sides = (length, length / aspect) if aspect < 1 else (length * aspect, length)
        height, width = (max(UNIT, round(side / UNIT) * UNIT) for side in sides)
        if canvas is not None and height * width > CANVAS_AREA:
            break
        canvas = height, width
        scales = _scales(canvas, fields)
        if np.median(scales) >= 1 or np.quantile(_sizes(boxes * scales[field, None]), 0.05) >= RESOLVED:
            break
    assert canvas is not None
    return canvas


def propose_anchors(canvas: tuple[int, int], boxes: Float[np.ndarray, "c 4"]) -> Anchors:
    """The fewest anchors that overlap ENOUGH of the cells by POSITIVE_IOU, else those that come nearest to it.

    One size per level, from neighbouring levels of the pyramid; three ratios, as pretrained RPNs have them. `boxes` are
    in pixels of the canvas.
    """
    ratios = _ratios(boxes)
    spans = [PYRAMID[start:stop] for start in range(5) for stop in range(start + 1, 6)]
    candidates = [_fitted(canvas, boxes, levels, _centres(_sizes(boxes), len(levels)), ratios) for levels in spans]
    enough = [anchors for anchors in candidates if anchors.positive >= ENOUGH]
    return min(enough, key=lambda a: a.count) if enough else max(candidates, key=lambda a: (a.positive, -a.count))


def _fitted(
    canvas: tuple[int, int],
    boxes: Float[np.ndarray, "c 4"],
    levels: Sequence[int],
    sizes: Sequence[float],
    ratios: tuple[float, ...],
) -> Anchors:
    strides = [2**level for level in levels]
    shapes = [(-(-canvas[0] // stride), -(-canvas[1] // stride)) for stride in strides]
    best = best_ious(boxes, shapes, strides, sizes, ratios)
    total = sum(height * width for height, width in shapes) * len(ratios)
    loose, positive = (float((best >= iou).mean()) for iou in (LOOSE_IOU, POSITIVE_IOU))
    return Anchors(tuple(levels), tuple(sizes), ratios, total, loose, positive)


def best_ious(
    boxes: Float[np.ndarray, "c 4"],
    shapes: Sequence[tuple[int, int]],
    strides: Sequence[int],
    sizes: Sequence[float],
    ratios: tuple[float, ...],
) -> Float[np.ndarray, " c"]:
    """IoU of each box with the best of the anchors that `pyramid_anchors` lays out, one size per level."""
    centres, areas = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)  # (c, 2), (c,)
    best = np.zeros(len(boxes))
    for shape, stride, size in zip(shapes, strides, sizes, strict=True):
        (at_origin,) = pyramid_anchors(((1, 1),), (stride,), ((size,),), ratios, rounded=True)  # (ratios, 4)
        # Of one anchor's copies, the nearest overlaps a box most.
        nearest = np.clip(np.round(centres / stride), 0, np.array(shape[::-1]) - 1) * stride  # (c, 2)
        for anchor in at_origin.astype(np.float64):
            corner = np.maximum(boxes[:, :2], nearest + anchor[:2])
            other_corner = np.minimum(boxes[:, 2:], nearest + anchor[2:])
            shared = np.clip(other_corner - corner, 0, None).prod(axis=1)
            best = np.maximum(best, shared / (areas + (anchor[2:] - anchor[:2]).prod() - shared))
    return best


def _centres(values: Float[np.ndarray, " n"], number: int) -> tuple[float, ...]:
    """`number` centres of the values: k-means of their logarithms, in whole numbers, rising."""
    logs = np.log(values)
    centres = np.quantile(logs, (np.arange(number) + 0.5) / number)  # (number,)
    for _ in range(100):
        nearest = abs(logs[:, None] - centres).argmin(axis=1)  # (n,)
        moved = [logs[nearest == k].mean() if (nearest == k).any() else centres[k] for k in range(number)]
        if np.allclose(moved, centres):
            break
        centres = np.array(moved)
    return tuple(float(value) for value in np.sort(np.round(np.exp(centres))))


def _ratios(boxes: Float[np.ndarray, "c 4"]) -> tuple[float, float, float]:
    """Height / width of low, square and tall anchors; low and tall are reciprocal, since fields are rotated."""
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    tall = max(1.1, float(np.exp(np.quantile(abs(np.log(height / width)), USUAL_RATIOS))))
    return round(1 / tall, 2), 1.0, round(tall, 2)


def _scales(canvas: tuple[int, int], fields: Int[np.ndarray, "f 2"]) -> Float[np.ndarray, " f"]:
    return np.array([fit_scale(height, width, canvas) for height, width in fields.tolist()])


def _sizes(boxes: Float[np.ndarray, "c 4"]) -> Float[np.ndarray, " c"]:
    return np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
