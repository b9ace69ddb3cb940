"""Contrast enhancement of smear images: each method takes an image and gives one of the same shape and dtype."""

from collections.abc import Callable
from functools import partial

import numpy as np

from wbcjax.enhance.eff import eff
from wbcjax.enhance.histogram import clahe, dhe, he
from wbcjax.enhance.pixels import unchanged

METHODS: dict[str, Callable[..., np.ndarray]] = {
    "none": unchanged,
    "he": he,
    "dhe": dhe,
    "clahe": clahe,
    "eff": eff,
    "eff_minmax": partial(eff, normalize="minmax"),
}
ENHANCE_VERSION = 2  # raise it whenever a method makes other pixels of the same image: sets are then built anew

__all__ = ["ENHANCE_VERSION", "METHODS", "clahe", "dhe", "eff", "he"]
