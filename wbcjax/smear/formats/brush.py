"""Label Studio's brush masks: the run lengths of https://thi.ng/rle-pack, packed in bits.

The stream, of bits from the highest of each byte on: 32 bits with the number of values, 5 with the bits of a value less
1, four times 4 with the bits of a run's length less 1, one for each size class. Then chunks: 1 bit that is 1 for a run;
2 bits with its size class; its length less 1 in the bits of that class; and one value for a run, else as many as the
length says. The values are bytes of RGBA pixels, row by row; the brush sets the alpha channel.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt8

from wbcjax.smear.formats.checks import Fault

OPAQUE = 128  # of 255: pixels on the rim of a stroke are in part covered
REDRAW = "redraw or delete the region"


def decode(rle: Sequence[Any], height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """The pixels that a brush covers by half or more, on an image of height x width. Faults: as for `runs`."""
    ends, values = runs(rle, 4 * height * width)
    pixels = np.diff(ends // 4, prepend=0)  # alpha is the last of each four values
    return np.repeat(values >= OPAQUE, pixels).reshape(height, width)


def runs(rle: Sequence[Any], count: int) -> tuple[Int[np.ndarray, " n"], UInt8[np.ndarray, " n"]]:
    """The end and the value of each run of `count` values; single values are runs of one.

    Faults: no bytes, cut short, of another number of values or another kind, or a run beyond the last value. The number
    is compared before anything is made of it: the memory is that of the bytes, however long the runs.
    """
    stream = _Bits(_bytes(rle))
    declared, bits = stream.read(32), stream.read(5) + 1
    if declared != count:
        raise Fault(f"the mask has {declared} values, and {count} belong to the pixels of its image in RGBA", REDRAW)
    if bits != 8:
        raise Fault(f"the mask has values of {bits} bits, and 8 are read", REDRAW)
    lengths_of = [stream.read(4) + 1 for _ in range(4)]
    ends, values, end = [], [], 0
    while end < count:
        is_run = stream.read(1)
        length = stream.read(lengths_of[stream.read(2)]) + 1
        if end + length > count:
            raise Fault("a run of the mask goes beyond its last pixel", REDRAW)
        values.append(stream.bytes(1 if is_run else length))
        ends.append([end + length] if is_run else np.arange(end, end + length) + 1)
        end += length
    return np.concatenate(ends), np.concatenate(values)


def _bytes(rle: Sequence[Any]) -> UInt8[np.ndarray, " n"]:
    if not all(type(value) is int and 0 <= value <= 255 for value in rle):
        raise Fault('the mask\'s "rle" holds something else than bytes', REDRAW)
    return np.array(rle, np.uint8)


class _Bits:
    """Bytes read by the bit. Fault: they are at an end."""

    def __init__(self, data: UInt8[np.ndarray, " n"]) -> None:
        self._bits = np.unpackbits(data)
        self._text = data.tobytes()
        self._place = 0

    def read(self, count: int) -> int:
        """The next bits, 32 at most, as a number."""
        start = self._step(count)
        window = int.from_bytes(self._text[start // 8 : start // 8 + 5].ljust(5, b"\0"))
        return window >> 40 - start % 8 - count & (1 << count) - 1

    def bytes(self, count: int) -> UInt8[np.ndarray, " count"]:
        """The next numbers of 8 bits."""
        start = self._step(8 * count)
        return np.packbits(self._bits[start : self._place])

    def _step(self, count: int) -> int:
        start, self._place = self._place, self._place + count
        if self._place > len(self._bits):
            raise Fault("the mask's runs are cut short", "export the annotations again, or redraw the region")
        return start
