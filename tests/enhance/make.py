"""Images to enhance: drawn ones, and real fields where they are at hand."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from wbcjax.smear.field import read_image

DATA = (Path(__file__).parents[2] / "../shared/data").resolve()


def dim_smear(height: int, width: int, seed: int = 0, brightness: float = 0.35) -> np.ndarray:
    """Dark cells on a dim ground, RGB uint8: half of it and more is under-exposed."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), (235, 205, 225), np.float32)
    for _ in range(1 + height * width // 400):
        place = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(image, place, int(rng.integers(2, 12)), rng.uniform(20, 220, 3).tolist(), cv2.FILLED)
    image = cv2.GaussianBlur(image, (0, 0), 0.7) * brightness + rng.normal(0, 2, image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def real_fields(count: int) -> list[np.ndarray]:
    """As many fields of each real set, RGB; the test is skipped where there are none."""
    sets = [sorted((DATA / name / "images").glob("*")) for name in ("bccd", "segpc2021_train")]
    if not all(sets):
        pytest.skip("the real fields of ../shared/data are not here")
    return [read_image(paths[i * len(paths) // count]) for paths in sets for i in range(count)]
