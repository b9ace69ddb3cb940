"""Enhancement of smear images: each method takes an image and gives one of the same shape and dtype.

Contrast enhancement needs the image alone; stain normalisation also a reference, a `Stain`.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from wbcjax.enhance.eff import eff
from wbcjax.enhance.histogram import clahe, dhe, he
from wbcjax.enhance.pixels import unchanged
from wbcjax.enhance.stain import DRAWN, Stain, fit_stain, macenko, reinhard

METHODS: dict[str, Callable[..., np.ndarray]] = {
    "none": unchanged,
    "he": he,
    "dhe": dhe,
    "clahe": clahe,
    "eff": eff,
    "eff_minmax": partial(eff, normalize="minmax"),
    "reinhard": reinhard,
    "macenko": macenko,
}
TO_A_STAIN = ("reinhard", "macenko")  # the methods that take a `Stain`
ENHANCE_VERSION = 2  # raise it whenever a method makes other pixels of the same image: sets are then built anew


@dataclass(frozen=True)
class Enhancement:
    """One of METHODS with all that it needs: `Enhancement("reinhard", fit_stain(reference))(image)`."""

    method: str = "none"
    stain: Stain = DRAWN

    def __call__(self, image: np.ndarray, **options: Any) -> np.ndarray:
        """The image enhanced; `options` as of the method."""
        reference = {"stain": self.stain} if self.method in TO_A_STAIN else {}
        return METHODS[self.method](image, **reference, **options)

    @property
    def identity(self) -> tuple[Any, ...]:
        """What the pixels depend on, as JSON takes it."""
        reference = (asdict(self.stain),) if self.method in TO_A_STAIN else ()
        return (self.method, ENHANCE_VERSION, *reference)


AS_THEY_ARE = Enhancement()

__all__ = [
    "AS_THEY_ARE",
    "DRAWN",
    "ENHANCE_VERSION",
    "METHODS",
    "Enhancement",
    "Stain",
    "clahe",
    "dhe",
    "eff",
    "fit_stain",
    "he",
    "macenko",
    "reinhard",
]
