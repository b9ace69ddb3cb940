"""COCO's run-length encoded masks, decoded within the cell's bounds and not over the whole field."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from pycocotools import mask as coco_mask


class CutOut(NamedTuple):
    """A mask within its bounds."""

    mask: UInt8[np.ndarray, "h w"]  # 0 or 1; 0 x 0 of an empty mask
    left: int  # pixels
    top: int


def cut_out(rle: Any) -> CutOut:
    """A mask within its bounds."""
    return cut_outs([rle])[0]


def cut_outs(rles: Sequence[Any]) -> list[CutOut]:
    """Masks within their bounds, of valid RLEs; several at once are faster than one by one."""
    if not rles:
        return []
    together: Any = list(rles)
    bounds = coco_mask.toBbox(together).astype(int)
    return [_drawn(*of) for of in zip(_all_run_lengths(rles), rles, bounds.tolist(), strict=True)]


def _all_run_lengths(rles: Sequence[Any]) -> list[Int[np.ndarray, " runs"]]:
    """The `run_lengths` of each, without their checks."""
    texts = [rle["counts"] if isinstance(rle["counts"], bytes) else rle["counts"].encode() for rle in rles]
    digits = np.frombuffer(b"".join(texts), np.uint8) - 48
    last = np.flatnonzero(digits < 32)  # of each number
    first = np.concatenate([[0], last[:-1] + 1])
    shift = 5 * (np.arange(len(digits)) - np.repeat(first, last - first + 1))
    numbers = np.add.reduceat((digits & 31).astype(np.int64) << shift, first)
    numbers -= (digits[last] >> 4 & 1).astype(np.int64) << shift[last] + 5
    ends = np.searchsorted(last, np.cumsum([len(text) for text in texts]))
    runs = np.split(numbers, ends[:-1])
    for of_mask in runs:
        of_mask[1::2] = of_mask[1::2].cumsum()
        of_mask[2::2] = of_mask[2::2].cumsum()
    return runs


def _drawn(runs: Int[np.ndarray, " runs"], rle: Any, bounds: Sequence[int]) -> CutOut:
    (left, top, width, height), rows = bounds, rle["size"][0]
    if width == 0:
        return CutOut(np.zeros((0, 0), np.uint8), 0, 0)
    runs[0] -= left * rows
    runs[-1] -= runs.sum() - width * rows  # one run of 0 follows the bounds
    drawn = np.repeat(np.arange(len(runs), dtype=np.uint8) % 2, runs)  # down the columns
    return CutOut(np.ascontiguousarray(drawn.reshape(width, rows).T[top : top + height]), left, top)


def run_lengths(counts: str | bytes) -> list[int]:
    """Run lengths from a compressed RLE string, as `rleFrString` of the COCO API's maskApi.c defines it.

    Each number is little-endian in 5-bit digits, one character (48 + digit) each, with 32 added while more follow and
    16 in the last as the sign; from the fourth number on it is the difference from the number two before.
    Raises ValueError for other characters, and a number that is cut short or of more digits than a mask can have.
    """
    runs, value, shift = [], 0, 0
    for character in counts.decode("latin-1") if isinstance(counts, bytes) else counts:
        digit = ord(character) - 48
        if not 0 <= digit < 64:
            raise ValueError(f"the mask's counts hold the character {character!r}")
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            if shift > 64:
                raise ValueError("the mask's counts hold a number beyond 64 bits")
            continue
        if digit & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value, shift = 0, 0
    if shift:
        raise ValueError("the mask's counts are cut short")
    return runs
