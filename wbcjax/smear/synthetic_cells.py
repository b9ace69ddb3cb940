"""How a white cell of the synthetic smear is drawn: its nucleus, chromatin, nucleoli, cytoplasm and vacuoles."""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from wbcjax.smear.synthetic_kinds import Morphology
from wbcjax.smear.synthetic_paint import (
    AZURE,
    EOSIN,
    PURPLE,
    Outline,
    between,
    depth,
    fill,
    outline,
    overlap,
    texture,
)

OPACITY = 0.85  # share of what lies under a white cell that does not shine through
COVER = 3  # after the three dyes: share of the ground that white cells hide
Layer = Float[np.ndarray, "fh fw 4"]  # densities of EOSIN, AZURE and PURPLE, and COVER


@dataclass(frozen=True)
class Leukocyte:
    """A white cell with a place in the field."""

    label: int  # 1.. of `CLASSES`, or that of `OTHER`
    form: Morphology
    outline: Outline  # around the cell's own centre, microns
    centre: Float[np.ndarray, "2"]  # (x, y) in the field, microns
    radius: float  # microns


def draw_leukocyte(layer: Layer, cell: Leukocyte, scale: float, rng: np.random.Generator) -> None:
    """One white cell over those already drawn, on a grid of `scale` samples to the micron."""
    form = cell.form
    body, corner = fill((cell.centre + cell.outline) * scale)
    within = depth(body) / scale  # microns from the membrane
    nucleus = _nucleus(body, corner, within, cell, scale, rng)  # 1 within, smooth at its edge
    size = 2 * round(0.55 * scale) + 1
    near = cv2.blur(nucleus, (size, size))  # the nucleus: about 0.5 at its edge

    chromatin = _chromatin(nucleus, near, form, scale, rng)
    stains = np.zeros((*body.shape, 4), np.float32)  # (ph, pw, EOSIN AZURE PURPLE COVER)
    stains[..., AZURE] = _cytoplasm(within, near, form, scale, rng) * (1 - nucleus)
    stains[..., AZURE] += chromatin * rng.uniform(0.0, 0.15)  # some nuclei are bluer than others
    stains[..., PURPLE] = chromatin + 0.04
    if max(form.granules) > 0:
        granules = np.clip(0.6 + 0.5 * texture(body.shape, form.granule_size * scale, rng), 0, 2) * (1 - nucleus)
        for dye, density in zip((EOSIN, PURPLE), form.granules, strict=True):
            stains[..., dye] += density * rng.uniform(0.7, 1.2) * granules
    stains *= (1 - 0.85 * _vacuoles(within, form, scale, rng))[..., None]
    stains[..., COVER] = OPACITY
    stains *= body[..., None]

    inside, field = overlap(body, corner, layer)
    layer[field] *= 1 - OPACITY * body[inside][..., None]
    layer[field] += stains[inside]


def _nucleus(
    body: UInt8[np.ndarray, "ph pw"],
    corner: tuple[int, int],
    within: Float[np.ndarray, "ph pw"],
    cell: Leukocyte,
    scale: float,
    rng: np.random.Generator,
) -> Float[np.ndarray, "ph pw"]:
    """1 in the nucleus, 0 in the cytoplasm, with an edge a quarter of a micron wide."""
    form = cell.form
    radius = cell.radius * np.sqrt(between(form.nuclear_share, rng))
    angle, offset = rng.uniform(0, 2 * np.pi), (cell.radius - radius) * rng.uniform(*form.offset)
    centre = cell.centre + offset * np.array([np.cos(angle), np.sin(angle)])
    lobes = rng.integers(form.lobes[0], form.lobes[1] + 1)
    if lobes == 1:
        stretch, cleft = rng.uniform(1.0, 1.2), between(form.cleft, rng)
        parts = [centre + outline(rng, radius, stretch, form.irregularity, cleft, form.cleft_width)]
    else:
        parts = _lobes(int(lobes), radius, cell, form.irregularity, rng)
    nucleus = np.zeros(body.shape, np.uint8)
    points = [np.round((part * scale - 0.5 - np.array(corner)) * 16).astype(np.int32) for part in parts]
    for part in points:
        cv2.fillPoly(nucleus, [part], 1, shift=4)
    for one, other in pairwise(points):  # strands of chromatin join the lobes
        ends = [(int(x), int(y)) for x, y in (one.mean(0), other.mean(0))]
        cv2.line(nucleus, ends[0], ends[1], 1, max(1, round(rng.uniform(0.4, 1.2) * scale)), shift=4)
    nucleus[within < 0.2] = 0  # some cytoplasm always surrounds it
    return cv2.GaussianBlur(nucleus.astype(np.float32), (0, 0), 0.12 * scale)


def _lobes(count: int, radius: float, cell: Leukocyte, irregularity: float, rng: np.random.Generator) -> list[Outline]:
    """Lobes of a segmented nucleus along an arc, together with the area of a circle of `radius`; microns."""
    start, way = rng.uniform(0, 2 * np.pi), rng.choice([-1, 1])
    lobe, arc = radius / np.sqrt(count), 0.5 * cell.radius
    parts = []
    for _ in range(count):
        centre = cell.centre + arc * rng.uniform(0.8, 1.15) * np.array([np.cos(start), np.sin(start)])
        parts.append(centre + outline(rng, lobe * rng.uniform(0.9, 1.1), rng.uniform(1.0, 1.8), irregularity))
        start += way * rng.uniform(1.7, 2.3) * lobe / arc
    return parts


def _chromatin(
    nucleus: Float[np.ndarray, "ph pw"],
    near: Float[np.ndarray, "ph pw"],
    form: Morphology,
    scale: float,
    rng: np.random.Generator,
) -> Float[np.ndarray, "ph pw"]:
    """Purple density: clumps of much the same density and gaps between them, unevenly spread."""
    wide, coarse, fine = (texture(nucleus.shape, form.grain * share * scale, rng) for share in (3.0, 1.0, 0.6))
    clumps = np.tanh(coarse + 0.4 * wide) - np.clip(fine + 0.5 * wide - 0.5, 0, 2)
    along_edge = near * (1 - near)  # where the nuclear membrane makes it denser
    chromatin = form.chromatin * np.exp(rng.normal(0, 0.1)) * nucleus * (1 + form.clumping * clumps + 0.6 * along_edge)
    _clear_nucleoli(chromatin, near, form, scale, rng)
    return chromatin


def _clear_nucleoli(
    chromatin: Float[np.ndarray, "ph pw"],
    near: Float[np.ndarray, "ph pw"],
    form: Morphology,
    scale: float,
    rng: np.random.Generator,
) -> None:
    """Nucleoli are paler than the chromatin around them, which is a little denser along their edges."""
    rows, columns = np.nonzero(near > 0.95)
    for _ in range(rng.integers(form.nucleoli[0], form.nucleoli[1] + 1)):
        if len(rows):
            i = rng.integers(len(rows))
            x, y, size = int(columns[i]), int(rows[i]), scale * between(form.nucleolus_radius, rng)
            reach = round(2 * size)
            top, left = max(y - reach, 0), max(x - reach, 0)
            part = chromatin[top : y + reach + 1, left : x + reach + 1]  # a view
            dy, dx = np.ogrid[top - y : top - y + part.shape[0], left - x : left - x + part.shape[1]]
            away = (dx * dx + dy * dy) / size**2  # squared distance in radii
            part *= 1 - rng.uniform(0.25, 0.5) * np.exp(-(away**2)) + 0.12 * np.exp(-((away - 1.6) ** 2) * 4)


def _cytoplasm(
    within: Float[np.ndarray, "ph pw"],
    near: Float[np.ndarray, "ph pw"],
    form: Morphology,
    scale: float,
    rng: np.random.Generator,
) -> Float[np.ndarray, "ph pw"]:
    """Azure density: mottled, more or less of it along the membrane, and paler on one side of the nucleus."""
    rim = np.clip(1 - within / 0.5, 0, 1)
    mottled = 0.11 * texture(within.shape, 0.5 * scale, rng) + 0.13 * texture(within.shape, 2.5 * scale, rng)
    halo = between(form.halo, rng) * np.clip(2 * near, 0, 1) * _one_side(within.shape, rng)
    uneven = 1 + np.maximum(mottled, -0.7) + rng.uniform(-0.2, 0.4) * rim
    return between(form.cytoplasm, rng) * uneven * (1 - halo)


def _one_side(shape: tuple[int, ...], rng: np.random.Generator) -> Float[np.ndarray, "ph pw"]:
    """From 0 on one side of the patch to 1 on the other."""
    h, w = shape
    angle = rng.uniform(0, 2 * np.pi)
    x, y = np.linspace(-1, 1, w, dtype=np.float32), np.linspace(-1, 1, h, dtype=np.float32)[:, None]
    return np.clip(0.5 + 0.8 * (np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y), 0, 1)


def _vacuoles(
    within: Float[np.ndarray, "ph pw"], form: Morphology, scale: float, rng: np.random.Generator
) -> Float[np.ndarray, "ph pw"]:
    """1 within vacuoles, 0 elsewhere: round, sharp, mostly along the cytoplasm but also over the nucleus."""
    holes = np.zeros(within.shape, np.float32)
    count = rng.integers(form.vacuoles[0], form.vacuoles[1] + 1)
    if count:
        rows, columns = np.nonzero((within > 0.6) & (within < 3.2))
        for i in rng.integers(len(rows), size=count):
            cv2.circle(holes, (int(columns[i]), int(rows[i])), round(scale * rng.uniform(0.3, 0.75)), 1.0, cv2.FILLED)
        holes = cv2.GaussianBlur(holes, (0, 0), 0.08 * scale)
    return holes
