"""A colour augmentation: a random gamma for each channel, as if the stain had been stronger or weaker.

config.augment.more = (part("colour:Gamma", largest=1.5),)
"""

from dataclasses import dataclass, replace

import numpy as np

from wbcjax.input.sample import Sample


@dataclass(frozen=True)
class Gamma:
    """Raises each channel, as 0..1, to a random power from 1 / `largest` to `largest`."""

    largest: float = 1.25

    def __call__(self, rng: np.random.Generator, sample: Sample) -> Sample:
        power = self.largest ** rng.uniform(-1, 1, 3)  # (3,)
        image = 255 * (sample.image / 255) ** power  # (h, w, 3)
        return replace(sample, image=np.rint(image).astype(np.uint8))
