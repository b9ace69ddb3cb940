"""What lies around and under the white cells of the synthetic smear: red cells, platelets, debris and plasma.

Nothing here has a mask, so it is drawn on the pixel grid, edges softened over one pixel.
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float

from wbcjax.smear.synthetic_paint import AZURE, EOSIN, HAEMOGLOBIN, PURPLE, overlap, texture
from wbcjax.smear.synthetic_settings import SyntheticSmear

RED_CELL_RADIUS = 3.6  # microns
Ground = Float[np.ndarray, "h w 4"]  # density of each dye


def draw_ground(cover: Float[np.ndarray, "h w"], smear: SyntheticSmear, rng: np.random.Generator) -> Ground:
    """The ground of a field whose white cells hide the share `cover` of it."""
    h, w = cover.shape
    ground = np.zeros((h, w, 4), np.float32)
    ground[..., HAEMOGLOBIN] = _red_cells(cover, smear, rng)
    _haze(ground, cover, smear, rng)
    extent = np.array([smear.width, smear.height])
    for _ in range(rng.integers(smear.platelets[0], smear.platelets[1] + 1)):
        _platelet(ground, rng.uniform(0, extent), smear.pixels_per_micron, rng)
    for _ in range(rng.integers(smear.debris[0], smear.debris[1] + 1)):
        draw = (_precipitate, _droplet, _dust)[rng.choice(3, p=(0.3, 0.35, 0.35))]
        draw(ground, rng.uniform(0, extent), smear.pixels_per_micron, rng)
    return ground


# --------------------------------------------------------------------------------------------------------- red cells


class _RedCells(NamedTuple):
    """What the red cells of one field have in common."""

    strength: float
    radius: float  # microns
    pallor: float  # of the centre, share of the thickness that is missing there
    pale_width: float  # of the centre, over the radius
    rouleaux: float  # probability that the next cell continues a stack
    bend: float  # of a stack from one cell to the next, radians
    spacing: float  # of stacked cells, over the radius
    fused: float  # share of the thinner of two overlapping cells that adds nothing
    artefacts: float  # probability of a bubble that drying left in a cell


def _red_cells(
    cover: Float[np.ndarray, "h w"], smear: SyntheticSmear, rng: np.random.Generator
) -> Float[np.ndarray, "h w"]:
    """Density of the red cells, alone and in stacks. Where two overlap, their densities add in part."""
    scale, extent = smear.pixels_per_micron, np.array([smear.width, smear.height])
    kind = _RedCells(
        strength=rng.uniform(0.5, 1.2),
        radius=RED_CELL_RADIUS * rng.uniform(0.88, 1.1),
        pallor=rng.uniform(0.1, 0.85),
        pale_width=rng.uniform(0.35, 0.6),
        rouleaux=rng.choice([0.2, 0.5, 0.85]),
        bend=rng.uniform(0.15, 1.2),
        spacing=rng.uniform(0.6, 1.7),
        fused=rng.uniform(0.3, 1.0),
        artefacts=rng.choice([0.0, 0.0, 0.3]),
    )
    density = np.zeros(cover.shape, np.float32)
    wanted, area = rng.uniform(*smear.red_cells) * extent.prod(), 0.0
    centre, heading = rng.uniform(0, extent), rng.uniform(0, 2 * np.pi)
    while area < wanted:
        radius = kind.radius * scale * np.clip(rng.normal(1, 0.06), 0.8, 1.2)  # pixels
        area += np.pi * radius**2
        if rng.random() < kind.rouleaux:
            heading += rng.normal(0, kind.bend)
            step = kind.spacing * radius * rng.uniform(0.8, 1.2)
            centre = centre + step * np.array([np.cos(heading), np.sin(heading)])
        else:
            centre, heading = rng.uniform(-radius, extent + radius), rng.uniform(0, 2 * np.pi)
        x, y = np.clip(centre, 0, extent - 1).astype(int)
        if cover[y, x]:
            continue  # a white cell pushes red cells aside; only their edges reach under it
        thickness, corner = _red_cell(centre, radius, kind, rng)
        inside, field = overlap(thickness, corner, density)
        below, above = density[field], thickness[inside]
        below += above - kind.fused * np.minimum(below, above)
    # Refraction: above or below the focal plane a dark edge runs inside, and a bright one outside, or the reverse.
    return density + rng.uniform(-0.3, 0.6) * (density - cv2.GaussianBlur(density, (0, 0), 0.35 * scale))


def _red_cell(
    centre: Float[np.ndarray, "2"], radius: float, kind: _RedCells, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "ph pw"], tuple[int, int]]:
    """The density of one red cell on a patch of its own, and the patch's (x, y) in the field; pixels.

    A disc, somewhat out of round, dimpled in the middle.
    """
    reach = int(1.35 * radius) + 2
    left, top = (int(v) - reach for v in np.floor(centre))
    x = np.arange(left, left + 2 * reach + 1, dtype=np.float32) + 0.5 - centre[0]
    y = np.arange(top, top + 2 * reach + 1, dtype=np.float32)[:, None] + 0.5 - centre[1]
    place = (x + 1j * y).astype(np.complex64) / np.float32(radius)
    distance = np.abs(place) + np.float32(1e-6)
    direction = place / distance
    square = direction * direction
    waves = rng.normal(0, (0.05, 0.025, 0.02)) * np.exp(1j * rng.uniform(0, 2 * np.pi, 3))
    wave = waves.astype(np.complex64)
    rim = 1 + (square * (wave[0] + wave[1] * direction + wave[2] * square)).real  # where the edge lies
    u = distance / rim  # 0 at the centre, 1 at the edge
    edge = np.clip((1 - u) * np.float32(radius) + 0.5, 0, 1)
    pallor = np.clip(kind.pallor * rng.uniform(0.7, 1.3), 0, 0.95)
    dimple = np.exp(-((u / np.float32(kind.pale_width * rng.uniform(0.85, 1.15))) ** 4))
    thickness = np.clip((1 - u) / 0.25, 0, 1) * 0.25 + 0.75 - np.float32(pallor) * dimple
    if rng.random() < kind.artefacts:
        middle = rng.normal(0, 0.2) + 1j * rng.normal(0, 0.2)
        spot = np.abs(place - np.complex64(middle)) / np.float32(rng.uniform(0.12, 0.22))
        thickness += 0.6 * np.exp(-((spot - 1.5) ** 2) * 4) - 0.8 * np.exp(-(spot**2))  # pale, within a dark ring
    return (kind.strength * np.exp(rng.normal(0, 0.12)) * thickness * edge).astype(np.float32), (left, top)


# -------------------------------------------------------------------------------------------------- plasma and debris


def _haze(ground: Ground, cover: Float[np.ndarray, "h w"], smear: SyntheticSmear, rng: np.random.Generator) -> None:
    """Stained plasma: cloudy and finely grained, absent beside cells, from which it shrinks as it dries."""
    scale, shape = smear.pixels_per_micron, cover.shape
    clouds = 0.06 + 0.008 * texture(shape, 10 * scale, rng)
    clouds += rng.uniform(0, 0.012) * texture(shape, 1.5 * scale, rng)
    clouds += rng.uniform(0, 0.015) * texture(shape, 0.5 * scale, rng)
    cells = np.maximum(cover, np.clip(4 * ground[..., HAEMOGLOBIN], 0, 1))
    beside = cv2.GaussianBlur(cells, (0, 0), rng.uniform(0.3, 0.9) * scale)
    clouds *= 1 - rng.uniform(0.2, 1.0) * np.clip(2 * beside, 0, 1)
    ground[..., EOSIN] += rng.uniform(0.0, 1.0) * clouds
    ground[..., AZURE] += rng.uniform(0.0, 1.0) * clouds


def _platelet(ground: Ground, centre: Float[np.ndarray, "2"], scale: float, rng: np.random.Generator) -> None:
    """Purple granules in a pale-blue body."""
    radius = rng.uniform(0.8, 1.7) * scale
    _blot(ground, centre, radius, AZURE, rng.uniform(0.08, 0.3), rng)
    for _ in range(rng.integers(3, 8)):
        _blot(ground, centre + rng.normal(0, 0.35, 2) * radius, 0.4 * radius, PURPLE, rng.uniform(0.05, 0.25), rng)


def _precipitate(ground: Ground, centre: Float[np.ndarray, "2"], scale: float, rng: np.random.Generator) -> None:
    """A cluster of dark grains of dye."""
    spread = rng.uniform(1, 8) * scale
    for _ in range(rng.integers(1, 25)):
        place = centre + rng.normal(0, spread, 2)
        _blot(ground, place, min(rng.exponential(0.15) + 0.1, 0.8) * scale, PURPLE, rng.uniform(0.2, 0.9), rng)


def _droplet(ground: Ground, centre: Float[np.ndarray, "2"], scale: float, rng: np.random.Generator) -> None:
    """A droplet of fat, or a hole in the film: nothing stained is left in it."""
    field, shape = _disc(ground, centre, rng.uniform(0.8, 5.0) * scale, 0.0, rng)
    ground[field] *= 1 - shape[..., None]


def _dust(ground: Ground, centre: Float[np.ndarray, "2"], scale: float, rng: np.random.Generator) -> None:
    """A speck on the slide or the optics, out of focus."""
    radius = rng.uniform(0.3, 1.2) * scale
    density = rng.uniform(0.1, 0.6)
    for dye in (AZURE, PURPLE):
        field, shape = _disc(ground, centre, radius, 0.5 * radius, rng)
        ground[field][..., dye] += density * shape


def _blot(
    ground: Ground, centre: Float[np.ndarray, "2"], radius: float, dye: int, density: float, rng: np.random.Generator
) -> None:
    field, shape = _disc(ground, centre, radius, 0.3 * radius, rng)
    ground[field][..., dye] += density * shape


def _disc(
    ground: Ground, centre: Float[np.ndarray, "2"], radius: float, softness: float, rng: np.random.Generator
) -> tuple[tuple, Float[np.ndarray, "ph pw"]]:
    """An ellipse whose edge falls off over `softness` and one pixel: where it lies in the field, and its coverage."""
    soft = softness + 0.5
    reach = int(1.3 * radius + soft) + 1
    left, top = (int(v) - reach for v in np.floor(centre))
    right, bottom = left + 2 * reach + 1, top + 2 * reach + 1
    (x1, x2), (y1, y2) = np.clip([left, right], 0, ground.shape[1]), np.clip([top, bottom], 0, ground.shape[0])
    x = np.arange(x1, x2, dtype=np.float32) + 0.5 - centre[0]
    y = np.arange(y1, y2, dtype=np.float32)[:, None] + 0.5 - centre[1]
    angle, stretch = rng.uniform(0, np.pi), rng.uniform(1.0, 1.3)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    distance = np.hypot(along / stretch, across * stretch)
    shape = np.clip((radius - distance) / (2 * soft) + 0.5, 0, 1).astype(np.float32)
    return (slice(y1, y2), slice(x1, x2)), shape
