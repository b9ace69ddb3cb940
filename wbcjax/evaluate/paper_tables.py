"""The figures that the two papers print, to set a run beside them, and their tables again from their own matrices.

Revanda: A. R. Revanda, C. Fatichah, N. Suciati, Classification of Acute Lymphoblastic Leukemia on White Blood Cell
Microscopy Images Based on Instance Segmentation Using Mask R-CNN, International Journal of Intelligent Engineering and
Systems, 2022. Its 301 test images are those that its 60 training images are flips of.

Suvon: M. N. I. Suvon et al., Towards the Segmentation and Classification of White Blood Cell Cancer Using Hybrid Mask
Recurrent Neural Network and Transfer Learning, Contrast Media & Molecular Imaging, 2021.
"""

from typing import Any, NamedTuple

import numpy as np

from wbcjax.evaluate.classification import classification_scores
from wbcjax.evaluate.image_scores import ImageScores, from_confusion
from wbcjax.evaluate.predictions import Predictions


class SubtypeFigures(NamedTuple):
    """Scores of the subtypes of images, in %."""

    accuracy: float
    precision: float
    sensitivity: float


# Revanda, Table 1: mAP in % by enhancement of the images.
REVANDA_MAP = {"none": 81.96, "he": 60.59, "dhe": 75.82, "clahe": 78.53, "eff": 83.65}
# Revanda, Table 2. Every accuracy is a whole number of 301 images: 241, 232, 223, 223, 252.
REVANDA_SUBTYPES = {
    "none": SubtypeFigures(80.07, 79.91, 79.41),
    "he": SubtypeFigures(77.08, 77.88, 79.48),
    "dhe": SubtypeFigures(74.09, 73.68, 72.90),
    "clahe": SubtypeFigures(74.09, 73.04, 71.10),
    "eff": SubtypeFigures(83.72, 85.17, 81.61),
}
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

SUVON_MAP = 93.0  # %; abstract, section 4.1, Table 2 and conclusion (the introduction has 94 %)
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
