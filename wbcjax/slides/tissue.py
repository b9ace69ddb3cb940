"""Where a slide shows stained material, by its colour at low magnification; and how sharp a part of it is."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from wbcjax.slides.slide import Slide

SIDE = 4096  # pixels: the longer side of the picture that is looked at: a cell is a pixel of it, or more
# Range of the threshold of colour, of 255: where all of a slide is stained, or nothing, Otsu's would divide the one or
# the noise of the other.
LEAST, MOST = 12, 40
LEAST_TISSUE = 0.001  # of a tile's area: a cell alone in a large tile has as much
# Sharpness of a tile that is searched, at least. Of 30 fields of SegPC-2021 and BCCD, 512 pixels wide, and 12 drawn
# ones none had less than 2.99; blurred by 3 pixels none had more than 1.62.
SHARP = 1.7
SCALES = (1.0, 2.0)  # pixels: the finer and the coarser scale at which details are compared


@dataclass(frozen=True, eq=False)
class Tissue:
    """The stained places of a slide."""

    mask: Bool[np.ndarray, "h w"]
    picture: UInt8[np.ndarray, "h w 3"]  # of the whole slide, RGB, of the same size
    threshold: float  # of the colour: the difference between a pixel's largest and least value

    def share(self, view: tuple[float, float, float, float]) -> float:
        """Of a part of the slide that is tissue; x1, y1, x2, y2 are shares of the slide's width and height."""
        height, width = self.mask.shape
        x1, y1, x2, y2 = view
        left, right = math.floor(x1 * width), max(math.ceil(x2 * width), math.floor(x1 * width) + 1)
        top, bottom = math.floor(y1 * height), max(math.ceil(y2 * height), math.floor(y1 * height) + 1)
        return float(self.mask[top:bottom, left:right].mean())


def find_tissue(slide: Slide, side: int = SIDE) -> Tissue:
    """The places of a slide that are stained: Otsu's threshold of colour, which glass of any brightness has none of.

    N. Otsu, A threshold selection method from gray-level histograms, IEEE Trans. SMC 9, 1979.
    """
    scale = min(1.0, side / max(slide.width, slide.height))
    width, height = (max(round(of * scale), 1) for of in (slide.width, slide.height))
    picture = slide.region(0, 0, width, height, scale)
    smooth = cv2.GaussianBlur(picture, (3, 3), 0)  # the noise of each channel would be a colour
    colour = cv2.subtract(smooth.max(axis=2), smooth.min(axis=2))
    otsu, _ = cv2.threshold(colour, 0, 255, cv2.THRESH_OTSU)
    threshold = float(min(max(otsu, LEAST), MOST))
    return Tissue(np.asarray(colour > threshold), picture, threshold)


def sharpness(image: UInt8[np.ndarray, "h w 3"]) -> float:
    """How sharp an RGB image is: its Laplacian's variance at a fine scale over that at a coarser one; 0: it is flat.

    A blur of b pixels takes the details of an edge at scale s to those at sqrt(s^2 + b^2), so the ratio of two scales
    tells b whatever the contrast, and however much of the image is bare: 8 of a sharp edge, 1.5 at b = 3, towards 1.
    S. Zhuo and T. Sim, Defocus map estimation from a single image, Pattern Recognition 44, 2011, compare gradients so.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine, coarse = (float(cv2.Laplacian(cv2.GaussianBlur(grey, (0, 0), s), cv2.CV_32F).var()) for s in SCALES)
    return fine / coarse if coarse > 0 else 0.0
