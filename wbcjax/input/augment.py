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

SHRINK = 0.6  # below this scale four neighbours no longer cover the area of a canvas pixel: average areas first
YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])  # NTSC (FCC 1953)


@dataclass(frozen=True)
class Augment:
    """Augmentations of a training sample; the defaults change nothing. Raises ValueError for impossible ranges."""

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
    room: int = 32  # pixels by which `more` may lengthen a cell: masks travel in windows that are so much larger then

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0 < low <= high:
            raise ValueError(f"augment.scale is {self.scale}; give (lowest, highest) with 0 < lowest <= highest")
        limits = {"brightness": 1, "contrast": 1, "saturation": 1, "hue": 180, "min_visible": 1}
        if self.room < 0:
            raise ValueError(f"augment.room is {self.room}; give a number of pixels, 0 or more")
        for name, limit in limits.items():
            if not 0 <= getattr(self, name) <= limit:
                raise ValueError(f"augment.{name} is {getattr(self, name)}; give a number from 0 to {limit}")


def fit_scale(height: int, width: int, canvas: tuple[int, int]) -> float:
    """The scale at which a field, aspect ratio kept, just fits a canvas (height, width)."""
    return min(canvas[0] / height, canvas[1] / width)


def pixels_before(edge: float) -> int:
    """The number of canvas pixels of a row whose centres lie before `edge`: those of a region that ends there."""
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
    """The start of content of this length on the canvas: 0 when smaller, covering the canvas when larger."""
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
    """The image of a region (x1, y1, x2, y2) of the field under a map of flips, right angles and scales."""
    x1, y1, x2, y2 = region
    (xx, xy, x0), (yx, yy, y0) = matrix[:2].tolist()  # plain numbers: there are many cells
    left, right = sorted((xx * x1 + xy * y1 + x0, xx * x2 + xy * y2 + x0))
    top, bottom = sorted((yx * x1 + yy * y1 + y0, yx * x2 + yy * y2 + y0))
    return left, top, right, bottom


def area_scale(matrix: Float[np.ndarray, "3 3"]) -> float:
    """The area on the canvas, pixels, of a pixel of the field."""
    (xx, xy, _), (yx, yy, _) = matrix[:2].tolist()
    return abs(xx * yy - xy * yx)


def warp(
    piece: UInt8[np.ndarray, "h w *c"],
    matrix: Float[np.ndarray, "3 3"],
    canvas: tuple[int, int],
    corner: tuple[int, int] = (0, 0),
) -> tuple[UInt8[np.ndarray, "ph pw *c"], Box]:
    """Draw a piece of a field on the canvas (height, width): the drawn patch, and its box on the canvas.

    The piece is the field from its pixel `corner` (x, y) on. The patch holds the canvas pixels whose centres fall into
    the piece; it may be empty. Values are interpolated linearly between pixel centres, after averaging over areas when
    the map shrinks a lot; the piece's edge pixels extend outwards.
    """
    (x1, y1), (h, w) = corner, piece.shape[:2]
    left, top, right, bottom = map(pixels_before, extent(matrix, (x1, y1, x1 + w, y1 + h)))
    left, top = max(left, 0), max(top, 0)
    right, bottom = max(min(right, canvas[1]), left), max(min(bottom, canvas[0]), top)
    if right == left or bottom == top:
        return np.zeros((bottom - top, right - left, *piece.shape[2:]), np.uint8), (left, top, right, bottom)

    scale, small_w, small_h = math.sqrt(area_scale(matrix)), w, h
    if scale < SHRINK:
        small_w, small_h = max(round(w * scale), 1), max(round(h * scale), 1)
        piece = cv2.resize(piece, (small_w, small_h), interpolation=cv2.INTER_AREA)
    patch = cv2.warpAffine(
        np.ascontiguousarray(piece),
        _to_piece(matrix, (left, top), corner, (small_w / w, small_h / h)),
        (right - left, bottom - top),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return patch, (left, top, right, bottom)


def _to_piece(
    matrix: Float[np.ndarray, "3 3"], start: tuple[int, int], corner: tuple[int, int], scale: tuple[float, float]
) -> Float[np.ndarray, "2 3"]:
    """The map from pixel indices of a patch to those of a piece, whose centres are half a pixel on in both.

    The patch begins at the canvas pixel `start`. The piece begins at the field's pixel `corner` and was resized by
    `scale`; all are x, y.
    """
    (xx, xy, x0), (yx, yy, y0) = matrix[:2].tolist()  # plain numbers: there are many cells
    area, x, y = xx * yy - xy * yx, start[0] + 0.5 - x0, start[1] + 0.5 - y0
    (across, down), (left, top) = scale, corner
    return np.array(
        [
            [across * yy / area, -across * xy / area, across * ((yy * x - xy * y) / area - left) - 0.5],
            [-down * yx / area, down * xx / area, down * ((xx * y - yx * x) / area - top) - 0.5],
        ]
    )
