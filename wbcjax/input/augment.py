"""Augmentations of training samples: their settings, and the random maps that they stand for."""

import math
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float

from wbcjax.input.warp import Warp, extent, fit_scale, smooth_bend
from wbcjax.settings.checked import NotNegative, Number, Positive, Share
from wbcjax.settings.parts import PartOf

FOLDS = 0.48  # of the spacing: above it moved points could fold the image (Choi and Lee 2000)
LIMITS = {  # of the numbers from 0 on
    "turn": 180,
    "brightness": 1,
    "contrast": 1,
    "saturation": 1,
    "hue": 180,
    "stain": 1,
    "defocus": 20,
    "shot_noise": 255,
    "read_noise": 255,
    "jpeg": 100,
    "min_visible": 1,
}


@dataclass(frozen=True)
class Elastic:
    """An elastic deformation (Simard et al. 2003): `config.augment.elastic`. Raises ValueError where it would fold."""

    strength: NotNegative = 0.0  # largest move along x and y, pixels of the canvas; 0: none
    spacing: Positive = 64.0  # pixels between the points that are moved at random; the image between them follows

    def __post_init__(self) -> None:
        if self.strength > FOLDS * self.spacing:
            raise ValueError(
                f"elastic.strength is {self.strength}; give at most {FOLDS} of elastic.spacing, {self.spacing}, "
                "or the image would fold"
            )


@dataclass(frozen=True)
class CopyPaste:
    """Cells pasted from other fields (Ghiasi et al. 2021): `config.augment.paste`. For outlined cells of fields."""

    cells: Number = 0  # most of one other field that are pasted; how many is drawn, from 0 on; 0: none
    touching: Share = 0.5  # probability that a cell is put against another, partly over it, and not on free ground
    feather: NotNegative = 1.0  # standard deviation of its soft edge, pixels of the canvas; 0: a hard one


@dataclass(frozen=True)
class Augment:
    """Augmentations of a training sample; the defaults change nothing. Raises ValueError for impossible ranges."""

    flip_horizontal: bool = False
    flip_vertical: bool = False
    rotate: bool = False  # by 0, 90, 180 or 270 degrees; the magnification is kept, what then leaves the canvas is cut
    turn: float = 0.0  # by any angle up to so many degrees to either side, after `rotate`; what was no field is black
    scale: tuple[float, float] = (1.0, 1.0)  # lowest and highest, relative to the scale that fits the upright field
    shift: bool = False  # crop what is larger than the canvas anywhere, not at its centre
    elastic: Elastic = field(default_factory=Elastic)
    paste: CopyPaste = field(default_factory=CopyPaste)
    brightness: float = 0.0  # largest relative change
    contrast: float = 0.0  # largest relative change of the distance from the field's mean luma
    saturation: float = 0.0  # largest relative change
    hue: float = 0.0  # largest turn, degrees
    stain: float = 0.0  # largest change of each dye's optical density: relative, and as much again added to it
    defocus: float = 0.0  # largest standard deviation of a Gaussian blur, pixels of the canvas
    shot_noise: float = 0.0  # largest standard deviation of the noise that grows with the light, grey levels at white
    read_noise: float = 0.0  # likewise of the noise that is everywhere the same
    jpeg: int = 0  # lowest quality of a JPEG compression, up to 100; 0: no compression
    # A cell is ignored of which less than this share stays on the canvas, or is seen beside pasted cells
    min_visible: float = 0.25
    more: tuple[Annotated[Any, PartOf(leading=2)], ...] = ()  # parts, applied after these: see `wbcjax.input.sample`
    room: int = 32  # pixels by which `more` may lengthen a cell: masks travel in windows that are so much larger then

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0 < low <= high:
            raise ValueError(f"augment.scale is {self.scale}; give (lowest, highest) with 0 < lowest <= highest")
        if self.room < 0:
            raise ValueError(f"augment.room is {self.room}; give a number of pixels, 0 or more")
        for name, limit in LIMITS.items():
            if not 0 <= getattr(self, name) <= limit:
                raise ValueError(f"augment.{name} is {getattr(self, name)}; give a number from 0 to {limit}")


def random_warp(augment: Augment, height: int, width: int, canvas: tuple[int, int], rng: np.random.Generator) -> Warp:
    """A random map of a field of `height` x `width` pixels to a canvas (height, width)."""
    matrix = random_matrix(augment, height, width, canvas, rng)
    elastic = augment.elastic
    bend = smooth_bend(canvas, elastic.strength, elastic.spacing, rng) if elastic.strength else None
    return Warp(matrix, canvas, bend)


def random_matrix(
    augment: Augment, height: int, width: int, canvas: tuple[int, int], rng: np.random.Generator
) -> Float[np.ndarray, "3 3"]:
    """A random flip, turn, scale and placement of a field of `height` x `width` pixels on a canvas (height, width).

    Placement is by whole pixels, so that at scale 1 pixels are moved, never mixed.
    """
    matrix = random_linear(augment, fit_scale(height, width, canvas) * rng.uniform(*augment.scale), rng)
    x1, y1, x2, y2 = extent(matrix, (0, 0, width, height))
    matrix[0, 2] = _offset(canvas[1], x2 - x1, augment.shift, rng) - x1
    matrix[1, 2] = _offset(canvas[0], y2 - y1, augment.shift, rng) - y1
    return matrix


def random_linear(augment: Augment, scale: float, rng: np.random.Generator) -> Float[np.ndarray, "3 3"]:
    """A random flip and turn, enlarged by `scale`, about the origin."""
    mirror_x = -1 if augment.flip_horizontal and rng.random() < 0.5 else 1
    mirror_y = -1 if augment.flip_vertical and rng.random() < 0.5 else 1
    turns = rng.integers(4) if augment.rotate else 0
    cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[turns]
    matrix = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ np.diag([scale * mirror_x, scale * mirror_y, 1])
    if augment.turn:
        angle = math.radians(rng.uniform(-augment.turn, augment.turn))
        cos, sin = math.cos(angle), math.sin(angle)
        matrix = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ matrix
    return matrix


def _offset(canvas: int, content: float, shift: bool, rng: np.random.Generator) -> int:
    """The start of content of this length on the canvas: 0 when smaller, covering the canvas when larger."""
    slack = min(int(canvas - content), 0)  # towards 0: larger content still covers the canvas
    return int(rng.integers(slack, 1)) if shift else slack // 2
