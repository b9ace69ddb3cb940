"""How many cells there are of each class."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from wbcjax.evaluate.nuclei_of_cells import cell_labels


def count_classes(labels: Int[np.ndarray, " c"], classes: Sequence[str]) -> dict[str, int]:
    """The number of labels 1, 2, ... of each of the `classes`, of those that are not there too."""
    counts = np.bincount(labels, minlength=len(classes) + 1)[1:]
    return dict(zip(classes, counts.tolist(), strict=True))


def count_cells(labels: Int[np.ndarray, " c"], classes: Sequence[str]) -> int:
    """The number of labels that are of cells, not of nuclei: see `cell_labels`."""
    return int(np.isin(labels, cell_labels(classes)).sum())
