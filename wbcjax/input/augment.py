"""From a field to the canvas: one affine map for image and masks alike, and one colour map for the image.

Matrices are 3x3 and map (x, y, 1) from the field to the canvas in continuous coordinates, where pixel i covers i..i+1
and its centre lies at i + 0.5. Boxes, which are measured at pixel edges, are mapped by the same matrix as they stand.
A canvas pixel belongs to the field when its centre lies in it: `pixels_before` is that rule, and the only place of it.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from wbcjax.settings.parts import PartOf

Box = tuple[int, int, int, int]  # x1, y1, x2, y2 in whole pixels, x2 and y2 exclusive

SHRINK = 0.6  # below this scale four neighbours no longer cover what a pixel sees: average areas first
YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])  # NTSC (FCC 1953)


@dataclass(frozen=True)
class Augment:
    """What a training sample may undergo; the defaults leave it as it is. Raises ValueError for impossible ranges."""

    flip_horizontal: bool = False
    flip_vertical: bool = False
    rotate: bool = False  # by 0, 90, 180 or 270 degrees; the magnification is kept, what then leaves the canvas is cut
    scale: tuple[float, float] = (1.0, 1.0)  # lowest and highest, relative to the scale that fits the upright field
    shift: bool = False  # crop what is larger than the canvas anywhere, not at its centre
    brightness: float = 0.0  # largest relative change
    contrast: float = 0.0  # largest relative change of the distance from the field's mean luma
    saturation: float = 0.0  # largest relative change
    hue: float = 0.0  # largest turn, degrees
    min_visible: float = 0.25  # a cell of whose warped area less than this share stays on the canvas is ignored
    more: tuple[Annotated[Any, PartOf(leading=2)], ...] = ()  # parts, applied after these: see `wbcjax.input.sample`

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0 < low <= high:
            raise ValueError(f"augment.scale is {self.scale}; give (lowest, highest) with 0 < lowest <= highest")
        limits = {"brightness": 1, "contrast": 1, "saturation": 1, "hue": 180, "min_visible": 1}
        for name, limit in limits.items():
            if not 0 <= getattr(self, name) <= limit:
                raise ValueError(f"augment.{name} is {getattr(self, name)}; give a number from 0 to {limit}")


def fit_scale(height: int, width: int, canvas: tuple[int, int]) -> float:
    """The scale at which a field, aspect ratio kept, just fits a canvas (height, width)."""
    return min(canvas[0] / height, canvas[1] / width)


def pixels_before(edge: float) -> int:
    """How many canvas pixels of a row have their centres before `edge`: those that belong to what ends there."""
    return math.ceil(edge - 0.5)


def drawn_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """Height and width, in whole canvas pixels, of a field of `height` x `width` pixels drawn at `scale`."""
    return pixels_before(height * scale), pixels_before(width * scale)


def random_matrix(
    augment: Augment, height: int, width: int, canvas: tuple[int, int], rng: np.random.Generator
) -> Float[np.ndarray, "3 3"]:
    """A random flip, turn, scale and placement of a field of `height` x `width` pixels on a canvas (height, width).

    Placement is by whole pixels, so that at scale 1 pixels are moved, never mixed.
    """
    scale = fit_scale(height, width, canvas) * rng.uniform(*augment.scale)
    mirror_x = -1 if augment.flip_horizontal and rng.random() < 0.5 else 1
    mirror_y = -1 if augment.flip_vertical and rng.random() < 0.5 else 1
    turns = rng.integers(4) if augment.rotate else 0
    cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[turns]
    matrix = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ np.diag([scale * mirror_x, scale * mirror_y, 1])

    x1, y1, x2, y2 = extent(matrix, (0, 0, width, height))
    matrix[0, 2] = _offset(canvas[1], x2 - x1, augment.shift, rng) - x1
    matrix[1, 2] = _offset(canvas[0], y2 - y1, augment.shift, rng) - y1
    return matrix


def _offset(canvas: int, content: float, shift: bool, rng: np.random.Generator) -> int:
    """Where content of this length starts on the canvas: at 0 when smaller, covering the canvas when larger."""
    slack = min(int(canvas - content), 0)  # towards 0: larger content still covers the canvas
    return int(rng.integers(slack, 1)) if shift else slack // 2


def random_colour(augment: Augment, mean_luma: float, rng: np.random.Generator) -> Float[np.ndarray, "3 4"]:
    """A random affine map of RGB (0..255): brightness, contrast about `mean_luma`, saturation and hue, in one matrix.

    Saturation scales, and hue turns, the chroma plane of YIQ, which leaves the luma as it is.
    """
    brightness, contrast, saturation = 1 + rng.uniform(-1, 1, 3) * (
        augment.brightness,
        augment.contrast,
        augment.saturation,
    )
    hue = math.radians(rng.uniform(-1, 1) * augment.hue)
    cos, sin = saturation * math.cos(hue), saturation * math.sin(hue)
    linear = np.linalg.inv(YIQ) @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ YIQ
    offset = np.full((3, 1), (1 - contrast) * brightness * mean_luma)
    return np.hstack([brightness * contrast * linear, offset])


def recolour(
    pixels: UInt8[np.ndarray, "h w 3"], augment: Augment, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """RGB pixels under a random change of colour, see `random_colour`."""
    mean_luma = float(np.dot(cv2.mean(pixels)[:3], (0.299, 0.587, 0.114)))
    return cv2.transform(pixels, random_colour(augment, mean_luma, rng))


def extent(
    matrix: Float[np.ndarray, "3 3"], region: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    """Where a region (x1, y1, x2, y2) of the field comes to lie, for maps made of flips, right angles and scales."""
    x1, y1, x2, y2 = region
    corners = matrix @ np.array([[x1, x2], [y1, y2], [1, 1]])  # (3, 2)
    (left, top), (right, bottom) = corners[:2].min(axis=1), corners[:2].max(axis=1)
    return float(left), float(top), float(right), float(bottom)


def warp(
    pixels: UInt8[np.ndarray, "h w *c"], matrix: Float[np.ndarray, "3 3"], canvas: tuple[int, int], region: Box
) -> tuple[UInt8[np.ndarray, "ph pw *c"], Box]:
    """Draw a region of the field's `pixels` on the canvas (height, width): the drawn patch, and where it goes.

    The patch holds the canvas pixels whose centres fall into the region; it may be empty. Values are interpolated
    linearly between pixel centres, after averaging over areas when the map shrinks a lot; the region's edge pixels
    extend outwards.
    """
    x1, y1, x2, y2 = region
    piece = pixels[y1:y2, x1:x2]
    left, top, right, bottom = map(pixels_before, extent(matrix, region))
    left, top = max(left, 0), max(top, 0)
    right, bottom = max(min(right, canvas[1]), left), max(min(bottom, canvas[0]), top)
    if right == left or bottom == top:
        return np.zeros((bottom - top, right - left, *pixels.shape[2:]), np.uint8), (left, top, right, bottom)

    to_canvas = matrix @ _translation(x1, y1)  # from the piece
    scale = math.sqrt(abs(np.linalg.det(matrix)))
    if scale < SHRINK:
        h, w = piece.shape[:2]
        small_w, small_h = max(round(w * scale), 1), max(round(h * scale), 1)
        piece = cv2.resize(piece, (small_w, small_h), interpolation=cv2.INTER_AREA)
        to_canvas = to_canvas @ np.diag([w / small_w, h / small_h, 1])
    to_piece = np.linalg.inv(to_canvas) @ _translation(left + 0.5, top + 0.5)
    patch = cv2.warpAffine(
        np.ascontiguousarray(piece),
        (_translation(-0.5, -0.5) @ to_piece)[:2],
        (right - left, bottom - top),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return patch, (left, top, right, bottom)


def _translation(x: float, y: float) -> Float[np.ndarray, "3 3"]:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)
