"""detectron2's `.pkl` files: a pickled dict of NumPy arrays, {"model": {name: array}, "__author__", ...}."""

from pathlib import Path

import numpy as np

from wbcjax.system.pickle_arrays import PickledArray, read_arrays
from wbcjax.weights.state_dict import find_weights


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays by name, and the other entries as text. Raises OSError; ValueError as `read_arrays` and `find_weights`."""
    weights, metadata = find_weights(read_arrays(path.read_bytes(), "weights"), PickledArray)
    return {name: weight.array() for name, weight in weights.items()}, metadata
