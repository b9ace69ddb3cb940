"""Histogram equalisation, global (HE), dynamic (DHE) and adaptive (CLAHE), on the luminance or on each colour.

The luminance is L of CIE Lab: a and b stay, so stains keep their hue. Equalising red, green and blue apart, as many
programs do, changes the hue of stains. It is here to reproduce such results.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, Int, Num, Shaped, UInt8

from wbcjax.enhance.pixels import Pixels, split

CENTRAL = 0.683  # share of a normal distribution within one standard deviation of its mean

Image = Shaped[np.ndarray, "*image"]  # as `pixels.split` takes it
Mode = Literal["luminance", "per_channel"]
Levels = Num[np.ndarray, "h w"]  # 0 to 255: uint8 of 8-bit images, float32 of deeper ones, which have values between


def he(image: Image, *, max_value: float | None = None, mode: Mode = "luminance") -> Image:
    """Histogram equalisation: grey levels spread so that about as many pixels have each; OpenCV's `equalizeHist`.

    Args:
        image: h x w (x 1) grey or h x w x 3 RGB, 2 or 4 channels with alpha; uint8, uint16, or float within 0 and 1.
        max_value: the value of white; None: the dtype's largest, 1 for floats.
        mode: equalise the luminance, or, "per_channel", each of red, green and blue.

    The result has the image's shape and dtype; alpha is untouched. Histograms have 256 levels whatever the dtype.
    Raises ValueError for images that `pixels.split` refuses.
    """
    return _enhanced(split(image, max_value), mode, lambda levels: _mapped(levels, he_curve(_counts(levels))))


def dhe(image: Image, *, max_value: float | None = None, mode: Mode = "luminance", x: float = 1.0) -> Image:
    """Dynamic histogram equalisation (Abdullah-Al-Wadud et al., 2007): parts of the histogram are equalised apart.

    No part takes over another's range, so that rare levels keep their contrast beside common ones. `x` is the weight of
    a part's pixel count on the range that it gets; with 0 its span alone counts. Else as `he`.
    """
    return _enhanced(split(image, max_value), mode, lambda levels: _mapped(levels, dhe_curve(_counts(levels), x)))


def clahe(
    image: Image,
    *,
    max_value: float | None = None,
    mode: Mode = "luminance",
    clip_limit: float = 2.0,
    tiles: int = 8,
) -> Image:
    """Contrast-limited adaptive histogram equalisation (Zuiderveld, 1994), OpenCV's, in tiles x tiles parts.

    `clip_limit` is the most that a level may count in a tile's histogram, over the mean of all levels. Else as `he`.
    """
    equaliser = cv2.createCLAHE(clip_limit, (tiles, tiles))

    def adapted(levels: Levels) -> Levels:
        eight_bit = np.rint(levels).astype(np.uint8)
        new = np.asarray(equaliser.apply(eight_bit))
        return new if levels.dtype == np.uint8 else levels + (new - eight_bit.astype(np.float32))

    return _enhanced(split(image, max_value), mode, adapted)


def he_curve(counts: Int[np.ndarray, "256"]) -> UInt8[np.ndarray, "256"]:
    """The level that HE puts in place of each, by OpenCV's formula: the darkest level there is becomes 0."""
    darkest = int(np.flatnonzero(counts)[0])
    others = counts.sum() - counts[darkest]
    if others == 0:
        return np.arange(256, dtype=np.uint8)  # one level only: it stays
    above = np.cumsum(counts) - counts[darkest]
    # In single precision, as OpenCV counts, so that halves are rounded as there
    curve = np.rint(above.astype(np.float32) * (np.float32(255) / np.float32(others)))
    return np.maximum(curve, 0).astype(np.uint8)


def dhe_curve(counts: Int[np.ndarray, "256"], x: float = 1.0) -> Float[np.ndarray, "256"]:
    """The level, not rounded, that DHE puts in place of each; it never falls.

    Each part of the histogram gets a range in proportion to its span times (log10 of its count)^x, the ranges
    following one another from 0 to 255, and is equalised within it.
    """
    cuts = dhe_parts(counts)
    totals = np.array([counts[low:high].sum() for low, high in pairwise(cuts)])
    if np.count_nonzero(counts) < 2:
        return np.arange(256.0)  # one level only: it stays
    spans = np.diff(cuts)
    factors = spans * np.log10(np.maximum(totals, 1)) ** x
    if not factors.any():
        factors = spans  # a pixel or none in every part
    ranges = np.cumsum([0, *255 * factors / factors.sum()])
    curve = np.zeros(256)
    for (low, high), (start, end), total in zip(pairwise(cuts), pairwise(ranges), totals, strict=True):
        curve[low:high] = start + (end - start) * np.cumsum(counts[low:high]) / max(total, 1)
    curve[cuts[-1] :] = 255
    return curve


def dhe_parts(counts: Int[np.ndarray, "256"]) -> list[int]:
    """Where DHE cuts the histogram: part i is levels cuts[i] up to cuts[i + 1], that one excluded.

    Cuts are at the minima of the histogram smoothed over three levels, and at a mean -+ its standard deviation where a
    part holds less between these two than a normal distribution does.
    """
    present = np.flatnonzero(counts)
    first, last = int(present[0]), int(present[-1])
    smooth = np.convolve(counts, [1, 1, 1], mode="same")[first : last + 1]
    steps = np.sign(np.diff(smooth))
    turns = np.flatnonzero(steps)  # where it falls or rises; between two of them it is level
    minima = [first + int(fall) + 1 for fall, rise in pairwise(turns) if steps[fall] < steps[rise]]
    cuts = [first, *minima, last + 1]
    parts = [_spread_out(counts, low, high) for low, high in pairwise(cuts)]
    return [*(level for part in parts for level in part), last + 1]


def _spread_out(counts: Int[np.ndarray, "256"], low: int, high: int) -> list[int]:
    """The first level of each part that levels low up to high are cut into, until none has its mass at its ends."""
    levels, weights = np.arange(low, high), counts[low:high]
    total = weights.sum()
    if total == 0:
        return [low]
    mean = (levels * weights).sum() / total
    deviation = np.sqrt(((levels - mean) ** 2 * weights).sum() / total) + 1e-9  # levels right at it count as within
    central = np.abs(levels - mean) <= deviation
    if weights[central].sum() >= CENTRAL * total:
        return [low]
    inner = levels[central]
    ends = sorted({low, int(inner[0]), int(inner[-1]) + 1, high})
    return [level for a, b in pairwise(ends) for level in _spread_out(counts, a, b)]


def _enhanced(pixels: Pixels, mode: Mode, method: Callable[[Levels], Levels]) -> Image:
    """The image with `method` applied to its luminance, or to each of its channels."""
    if mode not in ("luminance", "per_channel"):
        raise ValueError(f"mode = {mode!r}: expected 'luminance' or 'per_channel'")
    eight_bit = pixels.colour.dtype == np.uint8 and pixels.white == 255
    # As OpenCV takes it: uint8, or float32 within 0 and 1
    colour = pixels.colour if eight_bit else pixels.colour.astype(np.float32) * np.float32(1 / pixels.white)

    def applied(channel: Num[np.ndarray, "h w"], white: float) -> Num[np.ndarray, "h w"]:
        return method(channel) if eight_bit else method(channel * np.float32(255 / white)) * np.float32(white / 255)

    if colour.shape[2] == 3 and mode == "luminance":
        lab = np.asarray(cv2.cvtColor(colour, cv2.COLOR_RGB2Lab))
        old = np.asarray(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB))
        lab[..., 0] = applied(np.ascontiguousarray(lab[..., 0]), 100)
        new = np.asarray(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB))
    else:
        old = colour
        new = np.stack([applied(np.ascontiguousarray(c), 1) for c in np.moveaxis(colour, 2, 0)], axis=2)
    # Only the change is added: OpenCV's conversion to Lab and back alone is off by up to 3 grey levels
    change = (new.astype(np.float32) - old) * np.float32(1 if eight_bit else pixels.white)
    enhanced = np.clip(pixels.colour + change, 0, pixels.white)
    whole_numbers = pixels.colour.dtype.kind == "u"
    return pixels.joined((np.rint(enhanced) if whole_numbers else enhanced).astype(pixels.colour.dtype))


def _counts(levels: Levels) -> Int[np.ndarray, "256"]:
    return np.bincount(np.rint(levels).astype(np.uint8).reshape(-1), minlength=256)


def _mapped(levels: Levels, curve: Num[np.ndarray, "256"]) -> Levels:
    """The curve's value at each level; between two levels, between their values."""
    if levels.dtype == np.uint8:
        return np.rint(curve).astype(np.uint8)[levels]
    return np.interp(levels, np.arange(256), curve).astype(np.float32)
