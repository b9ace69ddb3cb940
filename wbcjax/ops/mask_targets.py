"""Mask targets: masks resampled inside boxes, for the loss of the mask head (Mask R-CNN paper, section 3)."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.lax import Precision
from jaxtyping import Float, Int, UInt8

from wbcjax.ops.roi_align import Convention

CROPPED_AT_ONCE = 8  # RoIs cropped together on a CPU, so that their masks in float32 stay few
ROUNDING = 1e-6  # pixels; a sample that lies outside by less than this lies on the border


def crop_masks(
    masks: UInt8[Array, "m h w"],
    boxes: Float[Array, "r 4"],
    which: Int[Array, " r"],
    bins: int,
    convention: Convention,
    cpu: bool = False,
) -> Float[Array, "r bins bins"]:
    """The part of mask `which` inside each box, resampled to `bins` x `bins`: the mask head's target before rounding.

    Every bin averages as many samples as it covers pixels, like torchvision's roi_align with sampling_ratio = -1, or
    takes one sample by the convention of crop_and_resize. Interpolation is separable, so a crop is two matrix products,
    whatever the number of samples. `cpu` crops a few boxes at a time.
    """
    _, height, width = masks.shape

    def crop_one(box_and_which: tuple[Float[Array, "4"], Int[Array, ""]]) -> Float[Array, "bins bins"]:
        box, m = box_and_which
        down = _weights(box[1], box[3], height, bins, convention)
        across = _weights(box[0], box[2], width, bins, convention)
        rows = jnp.matmul(down, masks[m].astype(jnp.float32), precision=Precision.HIGHEST)  # (bins, w)
        return jnp.matmul(rows, across.T, precision=Precision.HIGHEST)

    if cpu:
        return jax.lax.map(crop_one, (boxes, which), batch_size=min(CROPPED_AT_ONCE, boxes.shape[0]))
    return jax.vmap(crop_one)((boxes, which))


def _weights(
    low: Float[Array, ""], high: Float[Array, ""], size: int, bins: int, convention: Convention
) -> Float[Array, "bins size"]:
    """What each of the `size` pixels of an axis counts for in each bin of a box from `low` to `high`."""
    if convention == "crop_and_resize":
        return _of_single_samples(low, high, size, bins)
    return _of_averages(low, high, size, bins, convention)


def _of_averages(
    low: Float[Array, ""], high: Float[Array, ""], size: int, bins: int, convention: Convention
) -> Float[Array, "bins size"]:
    """Of bins that average ceil(length / bins) samples each.

    A sample counts for its two neighbours, by a weight that falls from 1 to 0 over a pixel. Those between two pixels
    are evenly spaced, so that their weights are as many times that of the one in their middle.
    """
    least = 1.0 if convention == "legacy" else 0.0  # pixels that a box has at least
    whole, rest = _places(low, high, bins, bins, least)  # where each bin begins
    if convention == "aligned":
        rest -= 0.5
    length = jnp.maximum(high - low, least)
    samples = jnp.maximum(jnp.ceil(length / bins), 1.0)  # of each bin, known only at run time
    step = jnp.maximum(length, ROUNDING) / (bins * samples)
    pixel = jnp.arange(-1, size + 1) - whole  # and one more at either end, (bins, size + 2)
    before = jnp.clip(jnp.ceil((pixel - rest) / step - 0.5), 0.0, samples)  # samples of the bin before each pixel
    left, here, right = before[:, :-2], before[:, 1:-1], before[:, 2:]

    def together(first: Array, end: Array, outside: Array) -> Array:
        middle = rest + 0.5 * (first + end) * step
        return (end - first) * jnp.where(outside, 1.0, 1.0 - jnp.abs(middle - pixel[:, 1:-1]))

    place = jnp.arange(size)  # a sample less than a pixel outside counts as one on the border
    return (together(left, here, place == 0) + together(here, right, place == size - 1)) / samples


def _of_single_samples(
    low: Float[Array, ""], high: Float[Array, ""], size: int, bins: int
) -> Float[Array, "bins size"]:
    """Of bins that take one sample each, the first at `low` and the last at `high`; none outside."""
    whole, rest = _places(low, high, bins, max(bins - 1, 1), 0.0)
    inside = (whole + rest >= -ROUNDING) & (whole - (size - 1) + rest <= ROUNDING)
    return inside * jnp.maximum(1.0 - jnp.abs(jnp.arange(size) - whole - rest), 0.0)


def _places(
    low: Float[Array, ""], high: Float[Array, ""], count: int, parts: int, least: float
) -> tuple[Float[Array, "count 1"], Float[Array, "count 1"]]:
    """The places low + i (high - low) / parts, in whole pixels and the rest: together float32 would round by 1e-4.

    `least` whole pixels lie between low and high, or more.
    """
    start, end = jnp.floor(low), jnp.floor(high)
    whole, rest = end - start, (high - end) - (low - start)  # of the length
    short = high - low < least
    whole, rest = jnp.where(short, least, whole), jnp.where(short, 0.0, rest)
    i = jnp.arange(count)[:, None]
    quotient, remainder = jnp.divmod(i * whole.astype(jnp.int32), parts)
    return start + quotient, (low - start) + (remainder + i * rest) / parts
