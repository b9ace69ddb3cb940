"""Bicubic resizing with antialiasing and symmetric borders, as MATLAB's imresize does; OpenCV has neither."""

import cv2
import numpy as np
from jaxtyping import Float, Shaped

# Weights of the cubic (a = -1/2) for the pixels that are half as large: of fine pixels 2i-3 .. 2i+4 in coarse pixel i,
# and of coarse pixels i-2 .. i+1 in fine pixel 2i; for fine pixel 2i+1 mirrored.
DOWN = np.array([-3, -9, 29, 111, 111, 29, -9, -3], np.float32) / 256
UP = np.array([-3, 29, 111, -9], np.float32) / 128
AREA = 4  # pixels a side, at least, that the cubic has for each of a thumbnail; larger images are halved before


def halve(image: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "hh hw"]:
    """The image at half its size, rounded up."""
    height, width = image.shape
    if height % 2 or width % 2:
        image = np.asarray(cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REFLECT))
    smooth = cv2.sepFilter2D(image, -1, DOWN, DOWN, anchor=(3, 3), borderType=cv2.BORDER_REFLECT)
    return np.ascontiguousarray(smooth[::2, ::2])


def double(image: Float[np.ndarray, "hh hw"], shape: tuple[int, int]) -> Float[np.ndarray, "h w"]:
    """The image at twice its size, cut to `shape`, which `halve` came from."""
    even, odd, alone = np.pad(UP, (0, 1)), np.pad(UP[::-1], (1, 0)), np.ones(1, np.float32)

    def filtered(x: np.ndarray, across: np.ndarray, along: np.ndarray) -> np.ndarray:
        return np.asarray(cv2.sepFilter2D(x, -1, across, along, borderType=cv2.BORDER_REFLECT))

    wide = np.asarray(cv2.merge([filtered(image, even, alone), filtered(image, odd, alone)]))
    wide = wide.reshape(len(image), -1)[:, : shape[1]]
    out = np.empty(shape, image.dtype)
    out[0::2] = filtered(wide, alone, even)
    out[1::2] = filtered(wide, alone, odd)[: shape[0] // 2]
    return out


def thumbnail(image: Shaped[np.ndarray, "h w c"], side: int) -> Float[np.ndarray, "side side c"]:
    """The image at side x side pixels, float32. Its values may leave the image's range a little, as the cubic does."""
    small = image.astype(np.float32) if image.dtype == np.float16 else image  # OpenCV resizes no half floats
    while max(small.shape[:2]) >= 2 * AREA * side:
        height, width = (length // 2 if length >= 2 * AREA * side else length for length in small.shape[:2])
        small = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_AREA))
    small = small.reshape(*small.shape[:2], image.shape[2]).astype(np.float32)  # OpenCV drops the last axis of grey
    for _ in range(2):  # down the columns, and again when they have become rows
        weights = _cubic_weights(len(small), side)
        small = np.einsum("yh,hk->yk", weights, np.ascontiguousarray(small).reshape(len(small), -1))
        small = small.reshape(side, -1, image.shape[2]).swapaxes(0, 1)
    return np.ascontiguousarray(small)


def _cubic_weights(length: int, side: int) -> Float[np.ndarray, "side length"]:
    """The weights of a line's pixels in each pixel of the line resized to `side`."""
    scale = max(length / side, 1)  # the cubic is widened where pixels get larger
    centres = (np.arange(side) + 0.5) * (length / side) - 0.5
    reach = int(np.ceil(2 * scale))
    places = np.floor(centres)[:, None].astype(int) + np.arange(-reach, reach + 2)
    x = np.abs(places - centres[:, None]) / scale
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    cubic = np.where(x < 1, near, np.where(x < 2, far, 0))
    folded = np.mod(places, 2 * length)  # the line is mirrored beyond its ends
    folded = np.minimum(folded, 2 * length - 1 - folded)
    weights = np.zeros((side, length), np.float32)
    np.add.at(weights, (np.arange(side)[:, None], folded), cubic / cubic.sum(axis=1, keepdims=True))
    return weights
