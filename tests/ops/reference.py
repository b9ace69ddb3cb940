"""The committed answers of torchvision, as `make_reference.py` wrote them."""

from pathlib import Path

import numpy as np


def case(name: str) -> dict[str, np.ndarray]:
    """Inputs and outputs of one case, by name."""
    with np.load(Path(__file__).parent / "reference.npz") as stored:
        return {key.removeprefix(f"{name}/"): stored[key] for key in stored.files if key.startswith(f"{name}/")}
