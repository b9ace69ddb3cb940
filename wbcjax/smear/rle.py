"""COCO's run-length encoded masks, without drawing the whole field that a cell is a small part of."""

from typing import Any

import numpy as np
from jaxtyping import UInt8
from pycocotools import mask as coco_mask


def cut_out(rle: Any) -> tuple[UInt8[np.ndarray, "h w"], int, int]:
    """A mask within its bounds, 0 or 1, and the left and top of these in pixels; 0 x 0 at (0, 0) of an empty mask."""
    left, top, width, height = (int(side) for side in coco_mask.toBbox(rle))
    rows = rle["size"][0]
    runs = run_lengths(rle["counts"])  # of 0 and 1 in turn, down the columns
    if width == 0:
        return np.zeros((0, 0), np.uint8), 0, 0
    runs[0] -= left * rows
    drawn = np.repeat(np.arange(len(runs), dtype=np.uint8) % 2, _up_to(runs, width * rows))
    return np.ascontiguousarray(drawn.reshape(width, rows).T[top : top + height]), left, top


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


def _up_to(runs: list[int], total: int) -> list[int]:
    """The runs with the last shortened to this total: what is behind a mask's bounds is one run of 0."""
    return [*runs[:-1], runs[-1] - (sum(runs) - total)]
