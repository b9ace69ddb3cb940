"""An image of any kind as the methods take it: its colours, its alpha, and the value of white."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped


@dataclass(frozen=True, eq=False)
class Pixels:
    """An image taken apart. `joined` puts it together again with new colours."""

    colour: Shaped[np.ndarray, "h w c"]  # C-contiguous, of the image's own dtype; c is 3 (RGB) or 1 (grey)
    alpha: Shaped[np.ndarray, "h w 1"] | None
    shape: tuple[int, ...]  # of the image
    white: float  # the value of white; black is 0

    def joined(self, colour: Shaped[np.ndarray, "h w c"]) -> np.ndarray:
        """The image with these colours in place of its own."""
        parts = [colour] if self.alpha is None else [colour, self.alpha]
        return np.concatenate(parts, axis=2).reshape(self.shape) if len(parts) > 1 else colour.reshape(self.shape)


def split(image: np.ndarray, max_value: float | None = None) -> Pixels:
    """Take an image apart: h x w grey, or h x w x c with c = 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.

    uint8, uint16 and float images are taken; white is the dtype's largest value, 1 for floats, unless `max_value` says
    otherwise (4095 for a 12-bit camera). Raises ValueError for other shapes and dtypes, for an image without pixels,
    and for values that are not finite or not within 0 and white.
    """
    depth = image.shape[2] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or depth not in (1, 2, 3, 4) or image.size == 0:
        raise ValueError(f"the image's shape is {image.shape}: expected h x w, or h x w x 1, 2, 3 or 4, none of them 0")
    if image.dtype not in (np.uint8, np.uint16, np.float16, np.float32, np.float64):
        raise ValueError(f"the image's dtype is {image.dtype}: convert it to uint8, uint16, or a float within 0 and 1")
    channels = image.reshape(*image.shape[:2], depth)
    colour = np.ascontiguousarray(channels[..., : 3 if depth > 2 else 1])
    _check_values(colour, max_value)
    largest = float(np.iinfo(image.dtype).max) if image.dtype.kind == "u" else 1.0
    alpha = channels[..., -1:] if depth in (2, 4) else None
    return Pixels(colour, alpha, image.shape, float(max_value or largest))


def _check_values(colour: Shaped[np.ndarray, "h w c"], max_value: float | None) -> None:
    if max_value is not None and not 0 < max_value < np.inf:
        raise ValueError(f"max_value = {max_value}: expected a number above 0, the value of white")
    if colour.dtype.kind == "f":
        if wrong := int(colour.size - np.isfinite(colour).sum()):
            raise ValueError(f"{wrong} of the image's values are NaN or infinite: replace them first")
        max_value = max_value or 1.0
        if colour.min() < 0:
            raise ValueError(f"the image has values down to {colour.min():g}: expected none below 0")
    if max_value is not None and colour.max() > max_value:
        raise ValueError(f"the image has values up to {colour.max():g}: expected none above white, {max_value:g}")


def unchanged(image: np.ndarray, *, max_value: float | None = None) -> np.ndarray:
    """A copy of the image: the method called none. Raises ValueError for what the other methods would refuse."""
    split(image, max_value)
    return image.copy()
