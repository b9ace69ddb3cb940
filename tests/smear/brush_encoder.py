"""An encoder of Label Studio's brush masks for the tests, from the description of thi.ng/rle-pack's stream of bits."""

import numpy as np

SIZES = (3, 4, 8, 16)  # bits of a length, by size class


def encode(values: list[int], sizes=SIZES) -> list[int]:
    """Values of 8 bits as the bytes of the stream: runs of equal ones, and chunks of single ones between them."""
    bits = f"{len(values):032b}" + f"{7:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    longest = 2 ** max(sizes)
    place = 0
    while place < len(values):
        end = place + 1
        if end < len(values) and values[end] == values[place]:
            while end < len(values) and values[end] == values[place] and end - place < longest:
                end += 1
            bits += _head(1, end - place, sizes) + f"{values[place]:08b}"
        else:
            while end < len(values) and end - place < longest and values[end : end + 1] != values[end + 1 : end + 2]:
                end += 1
            bits += _head(0, end - place, sizes) + "".join(f"{value:08b}" for value in values[place:end])
        place = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)]


def _head(flag: int, length: int, sizes: tuple[int, ...]) -> str:
    number = next(i for i, size in enumerate(sizes) if length <= 2**size)
    return f"{flag}{number:02b}{length - 1:0{sizes[number]}b}"


def of_mask(alpha: np.ndarray) -> list[int]:
    """The stream of a brush mask: white pixels with this alpha."""
    rgba = np.where(alpha[..., None] > 0, 255, 0) * np.ones(4, int)
    rgba[..., 3] = alpha
    return encode(rgba.ravel().tolist())
