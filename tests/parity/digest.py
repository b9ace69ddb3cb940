"""What is kept of a stage to compare it by, in one form for both implementations."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

SAMPLE = 1024  # values kept of a large array


def digest(stages: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Stages, small: of large float arrays evenly strided values, mean and rms; of gradients the norm."""
    kept = {}
    for name, values in stages.items():
        if name.startswith("gradient/"):
            kept[f"{name}/norm"] = np.linalg.norm(values.ravel())
        elif values.size <= 2 * SAMPLE or values.dtype == bool:
            kept[name] = values
        else:
            stride = (values.size // SAMPLE) | 1  # odd, so that it walks through all channels
            moments = [values.mean(dtype=np.float64), np.sqrt(np.square(values, dtype=np.float64).mean())]
            kept |= {f"{name}/values": values.ravel()[::stride], f"{name}/moments": np.array(moments, np.float32)}
    return kept


def roi_rows(
    boxes: Float[np.ndarray, "r 4"], labels: Int[np.ndarray, " r"], deltas: Float[np.ndarray, "r 4"]
) -> Float[np.ndarray, "r 9"]:
    """Sampled RoIs as rows of box, label and deltas, ordered by box; deltas of the background are 0."""
    rows = np.concatenate([boxes, labels[:, None], deltas * (labels[:, None] > 0)], axis=1)
    return rows[np.lexsort(boxes.T)].astype(np.float32)
