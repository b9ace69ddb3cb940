"""Confusion matrices that the two papers print, what else they print of them, and our scores of them.

Revanda et al. as in `wbcjax.evaluate.paper_tables`.
Suvon: M. N. I. Suvon et al., Towards the Segmentation and Classification of White Blood Cell Cancer Using Hybrid Mask
Recurrent Neural Network and Transfer Learning, Contrast Media & Molecular Imaging, 2021.
"""

from typing import Any

import numpy as np

from wbcjax.evaluate.classification import classification_scores
from wbcjax.evaluate.image_scores import ImageScores, from_confusion
from wbcjax.evaluate.predictions import Predictions

# Revanda, Table 3, by EFF, rows what images are; and section 3.1. Table 3 holds 289 of the 301 images: the others, 3 of
# L1, 8 of L2 and 1 of L3, must be those where no cell was found. They are not in its margin FN.
REVANDA_CONFUSION = {
    "classes": ["L1", "L2", "L3"],
    "counts": [[114, 10, 1], [25, 30, 0], [1, 0, 108]],
    "FN": [11, 25, 1],
    "FP": [26, 10, 1],
}
REVANDA_IMAGES = {"L1": 128, "L2": 63, "L3": 110}
REVANDA_SENSITIVITY = {"L1": 91.20, "L2": 54.55, "L3": 99.08}  # %; section 4.2

# Suvon, Fig. 11 and 12. Rows are what crops are: section 4.2 calls the 5 false positives and the 23 false negatives,
# but the supports and recalls of Fig. 11 have it the other way round.
SUVON_CONFUSION = {"classes": ["myeloma", "non_myeloma"], "counts": [[286, 5], [23, 212]]}
SUVON_ACCURACY = 0.9468
SUVON_REPORT = {
    "myeloma": {"precision": 0.93, "recall": 0.98, "f1": 0.95, "support": 291},
    "non_myeloma": {"precision": 0.98, "recall": 0.90, "f1": 0.94, "support": 235},
    "macro": {"precision": 0.95, "recall": 0.94, "f1": 0.95, "support": 526},
    "weighted": {"precision": 0.95, "recall": 0.95, "f1": 0.95, "support": 526},
}


def revanda_scores() -> ImageScores:
    """All scores of Revanda's Table 3, its undetected images with it, as `from_confusion` has them for a run."""
    counts = REVANDA_CONFUSION["counts"]
    undetected = [images - sum(row) for images, row in zip(REVANDA_IMAGES.values(), counts, strict=True)]
    return from_confusion(counts, undetected)


def suvon_scores() -> dict[str, Any]:
    """`classification_scores` of the crops of Suvon's Fig. 12; of these only what needs no probabilities is theirs.

    That is `accuracy`, `report`, `confusion` and `counts`: each crop is given its class with certainty.
    """
    counts = np.array(SUVON_CONFUSION["counts"])
    labels, taken = (np.repeat(index.ravel(), counts.ravel()) for index in np.indices(counts.shape))
    names = tuple(f"crop {number}" for number in range(len(labels)))
    certain = np.eye(len(counts))[taken]
    predictions = Predictions(names, (), labels, certain, tuple(SUVON_CONFUSION["classes"]))
    return classification_scores(predictions, bootstrap=0)
