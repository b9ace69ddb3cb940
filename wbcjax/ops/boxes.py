"""Boxes: area, overlap, and the deltas between one and another."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

# The most a decoded box may grow: a 16 pixel anchor becomes at most 1000 pixels wide (Detectron's constant).
MAX_LOG_SCALE = math.log(1000.0 / 16.0)

Corners = Sequence[Array] | Array  # x1, y1, x2 and y2, which broadcast together


def area(boxes: Float[Array, "*n 4"]) -> Float[Array, "*n"]:
    """Area of each box in square pixels."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def iou(a: Float[Array, "n 4"], b: Float[Array, "m 4"]) -> Float[Array, "n m"]:
    """Intersection over union of every box of `a` with every box of `b`; 0 where both are empty."""
    inter = intersection(a, b)
    return _ratio(inter, area(a)[:, None] + area(b)[None, :] - inter)


def share_inside(a: Float[Array, "n 4"], b: Float[Array, "m 4"]) -> Float[Array, "n m"]:
    """The share of every box of `b` that lies inside every box of `a`; 0 for a box of `b` without area."""
    return _ratio(intersection(a, b), area(b)[None, :])


def intersection(a: Float[Array, "n 4"], b: Float[Array, "m 4"]) -> Float[Array, "n m"]:
    """Area that every box of `a` shares with every box of `b`."""
    low = jnp.maximum(a[:, None, :2], b[None, :, :2])  # (n, m, 2)
    high = jnp.minimum(a[:, None, 2:], b[None, :, 2:])
    return jnp.prod(jnp.maximum(high - low, 0.0), axis=-1)


def overlap_more(a: Corners, b: Corners, iou_threshold: float) -> Bool[Array, "..."]:
    """Whether boxes overlap by more than `iou_threshold`, given as x1, y1, x2 and y2 each; never without area."""
    (left, top, right, bottom), (left_b, top_b, right_b, bottom_b) = a, b
    width = jnp.minimum(right, right_b) - jnp.maximum(left, left_b)  # of what two share
    height = jnp.minimum(bottom, bottom_b) - jnp.maximum(top, top_b)
    inter = jnp.maximum(width, 0.0) * jnp.maximum(height, 0.0)
    areas = (right - left) * (bottom - top) + (right_b - left_b) * (bottom_b - top_b)
    return inter > iou_threshold * (areas - inter)  # multiplied out, so that 0 / 0 is no overlap


def clip(boxes: Float[Array, "*n 4"], size: Float[Array, "2"]) -> Float[Array, "*n 4"]:
    """Boxes cut off at the border of a field of `size` (height, width)."""
    limit = jnp.stack([size[1], size[0], size[1], size[0]])
    return jnp.clip(boxes, 0.0, limit)


def encode(
    boxes: Float[Array, "*n 4"], references: Float[Array, "*n 4"], weights: tuple[float, float, float, float]
) -> Float[Array, "*n 4"]:
    """The deltas (dx, dy, dw, dh) from `references` to `boxes`, times `weights` (R-CNN paper, appendix C).

    Padded boxes without area give finite, meaningless deltas; the caller masks them.
    """
    size, centre = _size_and_centre(boxes)
    reference_size, reference_centre = _size_and_centre(references)
    reference_size = jnp.maximum(reference_size, 1e-6)
    shift = (centre - reference_centre) / reference_size
    scale = jnp.log(jnp.maximum(size, 1e-6) / reference_size)
    return jnp.concatenate([shift, scale], axis=-1) * jnp.asarray(weights, boxes.dtype)


def decode(
    deltas: Float[Array, "*#n 4"], references: Float[Array, "*#n 4"], weights: tuple[float, float, float, float]
) -> Float[Array, "..."]:
    """`references` moved and scaled by `deltas`: the inverse of `encode`."""
    deltas = deltas / jnp.asarray(weights, deltas.dtype)
    reference_size, reference_centre = _size_and_centre(references)
    centre = deltas[..., :2] * reference_size + reference_centre
    half = 0.5 * jnp.exp(jnp.minimum(deltas[..., 2:], MAX_LOG_SCALE)) * reference_size
    return jnp.concatenate([centre - half, centre + half], axis=-1)


def _ratio(part: Float[Array, "n m"], whole: Float[Array, "#n m"]) -> Float[Array, "n m"]:
    return jnp.where(whole > 0.0, part / jnp.where(whole > 0.0, whole, 1.0), 0.0)


def _size_and_centre(boxes: Float[Array, "*n 4"]) -> tuple[Float[Array, "*n 2"], Float[Array, "*n 2"]]:
    size = boxes[..., 2:] - boxes[..., :2]
    return size, boxes[..., :2] + 0.5 * size
