"""From a field to the canvas: one map for the image and the masks, so that pixels are resampled once.

Matrices are 3x3 and map (x, y, 1) from the field to the canvas in continuous coordinates, where pixel i covers i..i+1
and its centre lies at i + 0.5. Boxes, which are measured at pixel edges, are mapped by the same matrix as they stand.
A canvas pixel belongs to the field when its centre lies in it: `pixels_before` is that rule, and the only place of it.
"""

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

Region = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels
Box = tuple[int, int, int, int]  # the same in whole pixels, x2 and y2 exclusive

SHRINK = 0.6  # below this scale four neighbours no longer cover the area of a canvas pixel: average areas first
STEP = 4  # pixels between those whose moves are computed; the moves of the others lie between
OVAL = 64  # points on the outline of a cell of which only the box is known


class Bend(NamedTuple):
    """Smooth moves on the canvas: the pixels that are shown where."""

    shown: Float32[np.ndarray, "h w 2"]  # x, y of the pixel, of those without moves, that each pixel shows
    reach: float  # pixels: no pixel shows one that is farther away along x or y


@dataclass(frozen=True, eq=False)
class Warp:
    """A map from a field to the canvas: affine, then bent where there is a `bend`."""

    matrix: Float[np.ndarray, "3 3"]
    canvas: tuple[int, int]  # height, width in pixels
    bend: Bend | None = None

    @property
    def upright(self) -> bool:
        """Whether it only flips, scales, shifts and turns by right angles: rectangles then stay rectangles."""
        (xx, xy, _), (yx, yy, _) = self.matrix[:2].tolist()
        return self.bend is None and (xy == yx == 0 or xx == yy == 0)

    def place(self, region: Region) -> Box:
        """The pixels of the canvas among which a region of the field is drawn; of no width or height where none is."""
        reach = self.bend.reach if self.bend else 0.0
        x1, y1, x2, y2 = extent(self.matrix, region)
        left, top = max(pixels_before(x1 - reach), 0), max(pixels_before(y1 - reach), 0)
        right = max(min(pixels_before(x2 + reach), self.canvas[1]), left)
        bottom = max(min(pixels_before(y2 + reach), self.canvas[0]), top)
        return left, top, right, bottom

    def box(self, box: Region) -> Region:
        """Where a cell of which only the box is known lies on the canvas; it may reach beyond.

        A turned cell is taken for the oval that fills its box, as cells are round and a turned box's own bounds are
        too wide (Kalra et al. 2021).
        """
        if self.upright:
            return extent(self.matrix, box)
        x1, y1, x2, y2 = box
        angle = np.linspace(0, 2 * math.pi, OVAL, endpoint=False)
        x, y = (x1 + x2 + (x2 - x1) * np.cos(angle)) / 2, (y1 + y2 + (y2 - y1) * np.sin(angle)) / 2
        points = (self.matrix @ np.stack([x, y, np.ones(OVAL)]))[:2]  # (2, OVAL)
        if self.bend:
            points = _bent(points, self.bend)
        left, top, right, bottom = (*points.min(axis=1).tolist(), *points.max(axis=1).tolist())
        return left, top, right, bottom


def fit_scale(height: int, width: int, canvas: tuple[int, int]) -> float:
    """The scale at which a field, aspect ratio kept, just fits a canvas (height, width)."""
    return min(canvas[0] / height, canvas[1] / width)


def pixels_before(edge: float) -> int:
    """The number of canvas pixels of a row whose centres lie before `edge`: those of a region that ends there."""
    return math.ceil(edge - 0.5)


def drawn_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """Height and width, in whole canvas pixels, of a field of `height` x `width` pixels drawn at `scale`."""
    return pixels_before(height * scale), pixels_before(width * scale)


def extent(matrix: Float[np.ndarray, "3 3"], region: Region) -> Region:
    """The bounds of the image of a region of the field under an affine map."""
    x1, y1, x2, y2 = region
    (xx, xy, x0), (yx, yy, y0) = matrix[:2].tolist()  # plain numbers: there are many cells
    left, right = min(xx * x1, xx * x2) + min(xy * y1, xy * y2), max(xx * x1, xx * x2) + max(xy * y1, xy * y2)
    top, bottom = min(yx * x1, yx * x2) + min(yy * y1, yy * y2), max(yx * x1, yx * x2) + max(yy * y1, yy * y2)
    return left + x0, top + y0, right + x0, bottom + y0


def area_scale(matrix: Float[np.ndarray, "3 3"]) -> float:
    """The area on the canvas, pixels, of a pixel of the field."""
    (xx, xy, _), (yx, yy, _) = matrix[:2].tolist()
    return abs(xx * yy - xy * yx)


def smooth_bend(canvas: tuple[int, int], strength: float, spacing: float, rng: np.random.Generator) -> Bend:
    """A random free-form deformation by uniform cubic B-splines (Rueckert et al. 1999).

    Control points `spacing` pixels apart move by up to `strength` pixels along x and along y. Nothing folds as long as
    that is below 0.48 of the spacing (Choi and Lee 2000).
    """
    coarse = tuple(-(-side // STEP) for side in canvas)
    rows, columns = (_splines(length, spacing / STEP) for length in coarse)  # (h / STEP, a), (w / STEP, b)
    points = rng.uniform(-strength, strength, (rows.shape[1], columns.shape[1], 2)).astype(np.float32)  # x, y
    moves = np.stack([rows @ points[..., axis] @ columns.T for axis in (0, 1)], axis=-1)
    height, width = canvas
    moves = cv2.resize(moves, (coarse[1] * STEP, coarse[0] * STEP), interpolation=cv2.INTER_LINEAR)[:height, :width]
    return Bend(moves + _pixels(canvas), float(np.abs(points).max()))  # a spline stays within its points


def draw(
    piece: UInt8[np.ndarray, "h w *c"],
    warp: Warp,
    corner: tuple[int, int] = (0, 0),
    border: int = cv2.BORDER_REPLICATE,
) -> tuple[UInt8[np.ndarray, "ph pw *c"], Box]:
    """Draw a piece of a field on the canvas: the drawn patch, and its box on the canvas.

    The piece is the field from its pixel `corner` (x, y) on. The patch holds the canvas pixels whose centres fall into
    the piece, and around a piece that is turned or bent what `draw_in` puts there by `border`; it may be empty.
    """
    (x1, y1), (h, w) = corner, piece.shape[:2]
    box = warp.place((x1, y1, x1 + w, y1 + h))
    return draw_in(box, piece, warp, corner, border), box


def draw_in(
    box: Box,
    piece: UInt8[np.ndarray, "h w *c"],
    warp: Warp,
    corner: tuple[int, int] = (0, 0),
    border: int = cv2.BORDER_REPLICATE,
) -> UInt8[np.ndarray, "ph pw *c"]:
    """The pixels of a box of the canvas, with a piece of a field drawn on it.

    Values are interpolated linearly between pixel centres, after averaging over areas when the map shrinks a lot.
    `border`: OpenCV's word for what lies beyond the piece; by default its edge pixels extend outwards.
    """
    (left, top, right, bottom), (h, w) = box, piece.shape[:2]
    if right == left or bottom == top:
        return np.zeros((bottom - top, right - left, *piece.shape[2:]), np.uint8)
    scale, small_w, small_h = math.sqrt(area_scale(warp.matrix)), w, h
    if scale < SHRINK:
        small_w, small_h = max(round(w * scale), 1), max(round(h * scale), 1)
        piece = cv2.resize(piece, (small_w, small_h), interpolation=cv2.INTER_AREA)
    piece, resized = np.ascontiguousarray(piece), (small_w / w, small_h / h)
    if warp.bend:
        to_piece = _to_piece(warp.matrix, (0, 0), corner, resized)
        at = cv2.transform(warp.bend.shown[top:bottom, left:right], to_piece)  # x, y in the piece's pixels
        return cv2.remap(piece, at, None, cv2.INTER_LINEAR, borderMode=border)  # pyright: ignore[reportCallIssue,reportArgumentType]
    to_piece = _to_piece(warp.matrix, (left, top), corner, resized)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(piece, to_piece, (right - left, bottom - top), flags=flags, borderMode=border)


def pixels_of_field(height: int, width: int, warp: Warp, box: Box) -> Bool[np.ndarray, "ph pw"]:
    """The pixels of a box of the canvas whose centres lie in a field of this height and width."""
    white = np.full((height, width), 255, np.uint8)
    return draw_in(box, white, warp, border=cv2.BORDER_CONSTANT) >= 128


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


def _bent(points: Float[np.ndarray, "2 n"], bend: Bend) -> Float[np.ndarray, "2 n"]:
    """Where the bend shows points of the canvas: p with p + moves(p) = point, found by iteration.

    Beyond the canvas the moves are those at its edge.
    """
    height, width = bend.shown.shape[:2]
    target = found = points - 0.5  # in pixel indices
    for _ in range(12):
        x, y = np.clip(found[0], 0, width - 1), np.clip(found[1], 0, height - 1)
        at = np.stack([x, y], axis=-1).astype(np.float32)[None]  # (1, n, 2)
        shown = cv2.remap(bend.shown, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # pyright: ignore[reportCallIssue,reportArgumentType]
        found = target - (shown[0].T - np.stack([x, y]))
    return found + 0.5


@functools.lru_cache
def _pixels(canvas: tuple[int, int]) -> Float32[np.ndarray, "h w 2"]:
    """x, y of each pixel."""
    return np.stack(np.meshgrid(*(np.arange(side, dtype=np.float32) for side in canvas[::-1])), axis=-1)


@functools.lru_cache
def _splines(length: int, spacing: float) -> Float32[np.ndarray, "length points"]:
    """The weight of each control point, `spacing` pixels apart, at the centre of each of `length` pixels."""
    at = (np.arange(length) + 0.5) / spacing
    first = at.astype(int)
    t, row = at - first, np.arange(length)
    weights = np.zeros((length, int(first[-1]) + 4), np.float32)
    weights[row, first] = (1 - t) ** 3 / 6
    weights[row, first + 1] = (3 * t**3 - 6 * t**2 + 4) / 6
    weights[row, first + 2] = (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6
    weights[row, first + 3] = t**3 / 6
    return weights
