"""An elastic deformation of a field and its cells (Simard et al. 2003): pixels, masks and boxes move together.

config.augment.more = (part("elastic:Elastic", strength=4.0, smoothness=12.0),)
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from wbcjax.input.sample import Sample


@dataclass(frozen=True)
class Elastic:
    """Moves each pixel by a smooth random field."""

    strength: float = 4.0  # pixels: the largest move
    smoothness: float = 12.0  # pixels: the standard deviation of the Gaussian that smooths the field

    def __call__(self, rng: np.random.Generator, sample: Sample) -> Sample:
        height, width = sample.image.shape[:2]
        moves = cv2.GaussianBlur(rng.uniform(-1, 1, (height, width, 2)), (0, 0), self.smoothness)
        moves *= self.strength / np.abs(moves).max()
        rows, columns = np.mgrid[:height, :width]
        x, y = (columns + moves[..., 0]).astype(np.float32), (rows + moves[..., 1]).astype(np.float32)

        def warp(pixels: np.ndarray, how: int) -> np.ndarray:
            return cv2.remap(pixels, x, y, how, borderMode=cv2.BORDER_CONSTANT)

        masks = [warp(mask.astype(np.uint8), cv2.INTER_NEAREST) > 0 for mask in sample.masks]
        masks = np.array(masks, bool).reshape(sample.masks.shape)  # also where there is no cell
        return replace(sample, image=warp(sample.image, cv2.INTER_LINEAR), masks=masks)
