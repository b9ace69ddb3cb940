"""The figures that Revanda et al. print, to compare a run with.

A. R. Revanda, C. Fatichah, N. Suciati, Classification of Acute Lymphoblastic Leukemia on White Blood Cell
Microscopy Images Based on Instance Segmentation Using Mask R-CNN, International Journal of Intelligent Engineering and
Systems, 2022. Its 301 test images are those that its 60 training images are flips of.
"""

from typing import NamedTuple


class SubtypeFigures(NamedTuple):
    """Scores of the subtypes of images, in %."""

    accuracy: float
    precision: float
    sensitivity: float


# Table 1: mAP in % by enhancement of the images.
REVANDA_MAP = {"none": 81.96, "he": 60.59, "dhe": 75.82, "clahe": 78.53, "eff": 83.65}
# Table 2. Every accuracy is a whole number of 301 images: 241, 232, 223, 223, 252.
REVANDA_SUBTYPES = {
    "none": SubtypeFigures(80.07, 79.91, 79.41),
    "he": SubtypeFigures(77.08, 77.88, 79.48),
    "dhe": SubtypeFigures(74.09, 73.68, 72.90),
    "clahe": SubtypeFigures(74.09, 73.04, 71.10),
    "eff": SubtypeFigures(83.72, 85.17, 81.61),
}
