"""Mixup and CutMix of crops, which train a classifier on mixtures of classes."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8


@dataclass(frozen=True)
class Mix:
    """How crops are mixed: for each method the a of Beta(a, a), from which the first crop's share is drawn; 0: unused.

    Raises ValueError for one below 0.
    """

    mixup: float = 0.0  # pixel by pixel (Zhang et al. 2018)
    cutmix: float = 0.0  # by a rectangle of the second one (Yun et al. 2019)

    def __post_init__(self) -> None:
        for name in ("mixup", "cutmix"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"mix.{name} is {getattr(self, name)}; give a number above 0, or 0 to do without")

    @property
    def on(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0


def mix_crops(
    first: UInt8[np.ndarray, "h w 3"], second: UInt8[np.ndarray, "h w 3"], mix: Mix, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
    """A mixture of two crops, and the share of the first in it and in its target. Of two methods one, by chance."""
    if mix.mixup and (not mix.cutmix or rng.random() < 0.5):
        share = rng.beta(mix.mixup, mix.mixup)
        return cv2.addWeighted(first, share, second, 1 - share, 0), share
    height, width = first.shape[:2]
    side = math.sqrt(1 - rng.beta(mix.cutmix, mix.cutmix))  # of the rectangle, relative to the crop's
    y, x = rng.uniform(0, height), rng.uniform(0, width)  # its middle; it is cut off at the crop's border
    top, bottom = (int(np.clip(round(y + sign * side * height / 2), 0, height)) for sign in (-1, 1))
    left, right = (int(np.clip(round(x + sign * side * width / 2), 0, width)) for sign in (-1, 1))
    mixed = first.copy()
    mixed[top:bottom, left:right] = second[top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)
