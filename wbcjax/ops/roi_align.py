"""RoIAlign: features resampled inside boxes of any size (Mask R-CNN paper, section 3).

Three conventions of where the samples lie, by name:
  "aligned"          pixel (i, j) has its centre at (i + 0.5, j + 0.5); detectron2's RoIAlignV2
  "legacy"           without that half pixel, boxes are at least one feature wide; torchvision's models
  "crop_and_resize"  one sample per bin, corners on corners, zero outside; TensorFlow's op, used by Matterport
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

Convention = Literal["aligned", "legacy", "crop_and_resize"]
ROIS_AT_ONCE = 8  # RoIs gathered together on a CPU; more overflow its cache and are slower
ROIS_AT_ONCE_ON_ACCELERATORS = 128  # 103 MB: 4 corners of 4 samples of 7 x 7 bins, 256 channels of float32


def fpn_level(
    boxes: Float[Array, "r 4"], levels: tuple[int, ...], canonical_size: float, rounded: bool
) -> Int[Array, " r"]:
    """Position in `levels` of the level that each box is pooled from (FPN paper, eq. 1, with k0 = 4).

    `rounded` rounds k to nearest, as Matterport does, where the paper and torchvision round down.
    """
    size = jnp.sqrt(jnp.maximum((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), 1e-12))
    k = 4.0 + jnp.log2(size / canonical_size)
    k = jnp.round(k) if rounded else jnp.floor(k + 1e-6)
    return jnp.clip(k, levels[0], levels[-1]).astype(jnp.int32) - levels[0]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FeatureTable:
    """Feature maps of an image, or of n, in one table, so that one gather serves boxes of every level."""

    # Level after level, row after row. In float32: the gradient of a pixel is a sum over hundreds of RoIs, of which
    # bfloat16 would lose most.
    pixels: Float[Array, "*n p c"]
    shapes: tuple[tuple[int, int], ...] = field(metadata={"static": True})  # (height, width) of each level
    dtype: jnp.dtype = field(metadata={"static": True})  # of the maps, and of what is pooled from them


def feature_table(features: tuple[Float[Array, "_ _ c"], ...]) -> FeatureTable:
    """The table of an image's feature maps, of one for each level."""
    pixels = jnp.concatenate([f.reshape(-1, f.shape[-1]) for f in features]).astype(jnp.float32)
    return FeatureTable(pixels, tuple((f.shape[0], f.shape[1]) for f in features), features[0].dtype)


def roi_align(
    table: FeatureTable,
    boxes: Float[Array, "r 4"],
    level: Int[Array, " r"],
    image_shape: tuple[int, int],
    bins: int,
    sampling_ratio: int,
    convention: Convention,
    cpu: bool = False,
) -> Float[Array, "r bins bins c"]:
    """Features of each box, from the feature map that `level` points at, averaged in `bins` x `bins` cells.

    `image_shape` is the canvas (height, width) that boxes refer to. Each bin averages `sampling_ratio` squared bilinear
    samples. `cpu` gathers for fewer boxes at a time.
    """
    shapes = table.shapes
    heights, widths = (jnp.array(s, jnp.int32) for s in zip(*shapes, strict=True))
    offsets = jnp.array([0, *(math.prod(s) for s in shapes[:-1])]).cumsum()
    scales = jnp.array([_scale(s, image_shape, convention) for s in shapes], jnp.float32)  # (levels, 2)
    samples = 1 if convention == "crop_and_resize" else sampling_ratio

    def pool_one(box_and_level: tuple[Float[Array, "4"], Int[Array, ""]]) -> Float[Array, "bins bins c"]:
        box, k = box_and_level
        y = _sample_positions(box[1] * scales[k, 0], box[3] * scales[k, 0], bins, samples, convention)
        x = _sample_positions(box[0] * scales[k, 1], box[2] * scales[k, 1], bins, samples, convention)
        rows, row_weights = _corners(y, heights[k], convention)  # (bins * samples, 2)
        columns, column_weights = _corners(x, widths[k], convention)
        index = offsets[k] + rows[:, None, :, None] * widths[k] + columns[None, :, None, :]  # (p, p, 2, 2)
        weight = row_weights[:, None, :, None] * column_weights[None, :, None, :] / samples**2
        corners = table.pixels[index.reshape(bins, samples, bins, samples, 4)]  # (bins, s, bins, s, 4, c)
        weight = weight.reshape(bins, samples, bins, samples, 4, 1)
        return jnp.sum(corners * weight, axis=(1, 3, 4)).astype(table.dtype)

    at_once = ROIS_AT_ONCE if cpu else ROIS_AT_ONCE_ON_ACCELERATORS
    return jax.lax.map(pool_one, (boxes, level), batch_size=min(at_once, boxes.shape[0]))


def _scale(shape: tuple[int, int], image_shape: tuple[int, int], convention: Convention) -> tuple[float, float]:
    """Image pixels to feature indices, along y and x."""
    if convention == "crop_and_resize":  # corner pixels' centres coincide
        return (shape[0] - 1) / (image_shape[0] - 1), (shape[1] - 1) / (image_shape[1] - 1)
    return shape[0] / image_shape[0], shape[1] / image_shape[1]


def _sample_positions(
    low: Float[Array, ""], high: Float[Array, ""], bins: int, samples: int, convention: Convention
) -> Float[Array, " p"]:
    """Where the samples of one axis lie, in feature indices: bins * samples of them."""
    if convention == "crop_and_resize":
        return low + jnp.arange(bins) * (high - low) / max(bins - 1, 1)
    low, length = _start_and_length(low, high, convention)
    return low + (jnp.arange(bins * samples) + 0.5) * length / (bins * samples)


def _start_and_length(
    low: Float[Array, ""], high: Float[Array, ""], convention: Convention
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    if convention == "aligned":
        return low - 0.5, high - low
    return low, jnp.maximum(high - low, 1.0)


def _corners(
    position: Float[Array, " p"], size: Int[Array, ""], convention: Convention
) -> tuple[Int[Array, "p 2"], Float[Array, "p 2"]]:
    """The two neighbours of each sample on one axis and their weights, both (p, 2)."""
    slack = 0.0 if convention == "crop_and_resize" else 1.0  # how far outside a sample still counts
    last = size - 1.0 if convention == "crop_and_resize" else size * 1.0
    inside = (position >= -slack) & (position <= last)
    position = jnp.clip(position, 0.0, size - 1.0)
    low = jnp.floor(position).astype(jnp.int32)
    fraction = position - low
    neighbours = jnp.stack([low, jnp.minimum(low + 1, size - 1)], axis=-1)
    weights = jnp.stack([1.0 - fraction, fraction], axis=-1) * inside[:, None]
    return neighbours, weights
