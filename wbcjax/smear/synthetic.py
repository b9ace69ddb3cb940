"""Synthetic smear fields: a deterministic renderer of Wright-Giemsa-like lymphoblasts with exact instance masks.

Geometry is drawn at three times the pixel grid, as densities of three stains. Absorbance adds up in optical density
(Beer-Lambert), so stain variation, overlapping red cells and uneven light all act as they do on a slide. A mask is the
sample of that fine grid at the pixel centres, taken before defocus and noise: the outline is known, however blurred.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from pycocotools import mask as coco_mask

from wbcjax.smear.field import Cell, SmearField, text_rle

CLASSES = ("L1", "L2", "L3")

FINE = 3  # fine-grid samples per pixel and axis; odd, so that one of them is the pixel's centre
ATTEMPTS = 60  # positions tried for a cell before the field counts as full

# Optical density (natural logarithm; red, green, blue) of one unit of each stain, from the mean colours of red cells,
# deep-blue cytoplasm and nuclei in public Wright-Giemsa images.
EOSIN, AZURE, PURPLE = range(3)
STAINS = np.array([[0.06, 0.33, 0.31], [0.98, 0.70, 0.20], [0.82, 1.65, 0.62]], np.float32)

Range = tuple[float, float]
Density = Float[np.ndarray, "fh fw 3"]  # of each stain, on the fine grid


@dataclass(frozen=True)
class SyntheticSmear:
    """What the rendered fields look like. A range is drawn from uniformly, once per field. Raises ValueError."""

    height: int = 192  # pixels
    width: int = 256  # pixels
    pixels_per_micron: float = 3.7  # lymphoblasts of 8 to 15 microns become 30 to 55 pixels wide
    cells: tuple[int, int] = (1, 8)  # lymphoblasts in a field that has any; drawn ones that find no room are left out
    empty: float = 0.04  # probability of a field without lymphoblasts
    class_weights: tuple[float, float, float] = (0.4, 0.3, 0.3)  # relative frequency of L1, L2, L3
    touching: float = 0.35  # probability that a lymphoblast is put against one that is already there
    min_visible: float = 0.6  # least share of a lymphoblast in view, and of an upper one that lies over no other
    red_cells: Range = (0.05, 0.5)  # area of all red cells over the area of the field
    platelets: tuple[int, int] = (0, 4)  # per field
    stain_variation: float = 0.1  # relative standard deviation of a stain's strength; of its colour, half of that
    shading: Range = (0.0, 0.25)  # share of the light lost in the farthest corner
    defocus: Range = (0.3, 0.8)  # standard deviation of the blur, pixels
    noise: Range = (1.0, 3.5)  # standard deviation of the sensor noise, grey levels of 255

    def __post_init__(self) -> None:
        largest = max(m.diameter[1] for m in MORPHOLOGY) * self.pixels_per_micron
        checks = [
            ("pixels_per_micron", self.pixels_per_micron >= 1, "at least 1, or no detail of a cell can be seen"),
            ("height", self.height >= largest, f"at least {largest:.0f} pixels, the widest lymphoblast"),
            ("width", self.width >= largest, f"at least {largest:.0f} pixels, the widest lymphoblast"),
            ("class_weights", len(self.class_weights) == len(CLASSES), f"one number for each of {CLASSES}"),
            ("class_weights", min(self.class_weights) >= 0 < sum(self.class_weights), "none below 0, sum above 0"),
            ("min_visible", 0 < self.min_visible <= 1, "above 0 and at most 1"),
            ("stain_variation", 0 <= self.stain_variation <= 0.5, "within 0..0.5"),
        ]
        for name in ("empty", "touching"):
            checks.append((name, 0 <= getattr(self, name) <= 1, "a probability, 0..1"))
        for name, limit in (("red_cells", 1.0), ("shading", 0.9), ("defocus", 5.0), ("noise", 50.0)):
            checks.append((name, _ordered(getattr(self, name), 0, limit), f"(low, high) within 0..{limit:g}"))
        for name, least in (("cells", 1), ("platelets", 0)):
            numbers = getattr(self, name)
            whole = all(isinstance(number, int) for number in numbers)
            checks.append((name, whole and _ordered(numbers, least, 10_000), f"(low, high), whole, {least} or more"))
        wrong = [f"{name} = {getattr(self, name)!r}: expected {rule}" for name, good, rule in checks if not good]
        if wrong:
            raise ValueError("SyntheticSmear: " + "; ".join(wrong))


def _ordered(limits: tuple[float, ...], least: float, most: float) -> bool:
    return len(limits) == 2 and least <= limits[0] <= limits[1] <= most


@dataclass(frozen=True)
class Morphology:
    """What tells a FAB subtype apart (Bennett et al., 1976). Ranges are drawn from uniformly, once per cell."""

    diameter: Range  # of the circle of equal area, microns
    nuclear_share: Range  # area of the nucleus over that of the cell
    irregularity: float  # of the nuclear outline: relative standard deviation of its radius, roughly
    cleft: Range  # depth of the notch in the nucleus over its radius
    chromatin: float  # purple density of the nucleus
    clumping: float  # relative contrast of the chromatin
    nucleoli: tuple[int, int]  # number
    nucleolus_radius: Range  # microns
    cytoplasm: Range  # azure density
    vacuoles: tuple[int, int]  # number


MORPHOLOGY = (
    Morphology((8.0, 9.8), (0.78, 0.88), 0.02, (0.0, 0.05), 1.1, 0.09, (0, 0), (0.5, 0.6), (0.40, 0.60), (0, 0)),
    Morphology((12.0, 15.0), (0.46, 0.60), 0.10, (0.25, 0.55), 0.85, 0.13, (1, 3), (0.8, 1.2), (0.32, 0.52), (0, 1)),
    Morphology((10.5, 13.0), (0.52, 0.64), 0.03, (0.0, 0.05), 0.95, 0.12, (1, 2), (0.5, 0.8), (0.95, 1.25), (6, 12)),
)


@dataclass(frozen=True)
class Blast:
    """A lymphoblast with a place in the field."""

    label: int
    outline: Float[np.ndarray, "k 2"]  # (x, y) around the cell's own centre, microns
    centre: Float[np.ndarray, "2"]  # (x, y) in the field, microns
    radius: float  # microns


def fields(smear: SyntheticSmear, count: int, seed: int) -> Iterator[SmearField]:
    """Renders `count` fields, of seeds `seed`, `seed + 1`, ...: keep the seeds of two sets further apart than that."""
    return (render(smear, seed + i) for i in range(count))


def render(smear: SyntheticSmear, seed: int) -> SmearField:
    """Renders one field: the same parameters and seed give the same pixels and masks, (height, width).

    The cells' masks are disjoint: where cells overlap the upper one owns the pixels. Red cells and platelets are
    background. Raises ValueError for a negative seed, or when not even `smear.cells[0]` lymphoblasts find room.
    """
    if seed < 0:
        raise ValueError(f"synthetic field: seed = {seed}: expected a whole number of at least 0")
    rng = np.random.default_rng(seed)
    blasts, owner = _place(smear, rng)
    density = np.zeros((*owner.shape, len(STAINS)), np.float32)  # (FINE*H, FINE*W, stain)
    _draw_red_cells(density, owner, smear, rng)
    _draw_platelets(density, smear, rng)
    for blast in blasts:
        _draw_blast(density, blast, smear, rng)

    owner = owner[FINE // 2 :: FINE, FINE // 2 :: FINE]  # (H, W): 0, or 1 + the index of the cell seen at the centre
    return SmearField(
        name=f"synthetic_{seed:05d}.png",
        height=smear.height,
        width=smear.width,
        cells=tuple(Cell(label=b.label, rle=_rle(owner == i)) for i, b in enumerate(blasts, start=1)),
        pixels=_expose(density, smear, rng),
    )


# ---------------------------------------------------------------------------------------------------------- geometry


def _place(smear: SyntheticSmear, rng: np.random.Generator) -> tuple[list[Blast], Int[np.ndarray, "fh fw"]]:
    """Finds a place for each lymphoblast, lowest first. Returns them with the fine-grid map of who is seen where."""
    owner = np.zeros((FINE * smear.height, FINE * smear.width), np.int32)
    blasts: list[Blast] = []
    if rng.random() < smear.empty:
        return blasts, owner
    weights = np.asarray(smear.class_weights, np.float64)
    whole, seen = [0], [0]  # fine-grid areas by owner: of the full outline, and of what is still seen of it
    for _ in range(rng.integers(smear.cells[0], smear.cells[1] + 1)):
        label = 1 + int(rng.choice(len(CLASSES), p=weights / weights.sum()))
        radius = rng.uniform(*MORPHOLOGY[label - 1].diameter) / 2
        outline = _outline(rng, radius, stretch=rng.uniform(1.0, 1.18), irregularity=0.03)
        for _ in range(ATTEMPTS):
            blast = Blast(label, outline, _candidate(smear, blasts, radius, rng), radius)
            mask, corner = _fill(outline, blast.centre, smear)
            inside, field = _overlap(mask, corner, owner)
            covered = np.bincount(owner[field][mask[inside] > 0], minlength=len(seen))
            left = [before - lost for before, lost in zip(seen, covered, strict=True)]
            area, free = int(np.count_nonzero(mask)), covered[0]  # free: inside the field and over no other cell
            shares = [s / w for s, w in zip([*left[1:], free], [*whole[1:], area], strict=True)]
            if min(shares) >= smear.min_visible:
                blasts.append(blast)
                owner[field][mask[inside] > 0] = len(blasts)
                whole, seen = [*whole, area], [*left, covered.sum()]
                break
    if len(blasts) < smear.cells[0]:
        raise ValueError(
            f"synthetic field of {smear.height}x{smear.width} pixels: room for {len(blasts)} lymphoblasts, "
            f"cells = {smear.cells} asks for at least {smear.cells[0]}: enlarge the field or ask for fewer"
        )
    return blasts, owner


def _candidate(smear: SyntheticSmear, blasts: list[Blast], radius: float, rng: np.random.Generator) -> np.ndarray:
    """A centre (x, y) in microns: anywhere in the field, or against an earlier cell."""
    if blasts and rng.random() < smear.touching:
        other = blasts[rng.integers(len(blasts))]
        angle = rng.uniform(0, 2 * np.pi)
        distance = (radius + other.radius) * rng.uniform(0.78, 1.02)
        return other.centre + distance * np.array([np.cos(angle), np.sin(angle)])
    return rng.uniform(0, [smear.width, smear.height]) / smear.pixels_per_micron


def _outline(
    rng: np.random.Generator, radius: float, stretch: float, irregularity: float, cleft: float = 0.0
) -> Float[np.ndarray, "k 2"]:
    """A closed outline around 0 with the area of a circle of `radius`: an ellipse, random harmonics and a notch."""
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    order = np.arange(2, 7)[:, None]
    waves = rng.normal(0, 1.5 * irregularity / order) * np.cos(order * angle + rng.uniform(0, 2 * np.pi, order.shape))
    r = np.clip(1 + waves.sum(0), 0.5, 1.5)
    to_notch = np.angle(np.exp(1j * (angle - rng.uniform(0, 2 * np.pi))))
    r *= 1 - cleft * np.exp(-((to_notch / 0.3) ** 2))
    turn = rng.uniform(0, np.pi)
    x, y = r * np.cos(angle) * np.sqrt(stretch), r * np.sin(angle) / np.sqrt(stretch)
    points = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], axis=1)
    area = cv2.contourArea(points.astype(np.float32))
    return points * radius * np.sqrt(np.pi / area)


def _fill(
    outline: Float[np.ndarray, "k 2"], centre: Float[np.ndarray, "2"], smear: SyntheticSmear
) -> tuple[UInt8[np.ndarray, "ph pw"], tuple[int, int]]:
    """Fills an outline on a fine-grid patch of its own. Returns the patch, 0 or 1, and its (x, y) in the field."""
    points = (centre + outline) * smear.pixels_per_micron * FINE - 0.5  # sample i of the fine grid lies at i + 0.5
    low, high = np.floor(points.min(0)).astype(int) - 2, np.ceil(points.max(0)).astype(int) + 3
    patch = np.zeros(tuple((high - low)[::-1]), np.uint8)
    cv2.fillPoly(patch, [np.round((points - low) * 16).astype(np.int32)], 1, shift=4)
    return patch, (int(low[0]), int(low[1]))


def _overlap(patch: np.ndarray, corner: tuple[int, int], field: np.ndarray) -> tuple[tuple, tuple]:
    """The index of a patch, and of the field, where the two meet; empty slices when they do not."""
    (x, y), (ph, pw), (fh, fw) = corner, patch.shape[:2], field.shape[:2]
    (x1, x2), (y1, y2) = np.clip([x, x + pw], 0, fw), np.clip([y, y + ph], 0, fh)
    return (slice(y1 - y, y2 - y), slice(x1 - x, x2 - x)), (slice(y1, y2), slice(x1, x2))


# ----------------------------------------------------------------------------------------------------------- drawing


def _draw_red_cells(
    density: Density, owner: Int[np.ndarray, "fh fw"], smear: SyntheticSmear, rng: np.random.Generator
) -> None:
    """Red cells, half of them in clumps, under the lymphoblasts. Where two overlap, their densities add in part."""
    extent = np.array([smear.width, smear.height]) / smear.pixels_per_micron
    wanted = rng.uniform(*smear.red_cells) * extent.prod()
    strength, pallor = rng.uniform(0.75, 1.1), rng.uniform(0.35, 0.85)  # of the field
    centre, area = extent / 2, 0.0
    while area < wanted:
        radius = rng.normal(3.5, 0.18)
        area += np.pi * radius**2
        angle = rng.uniform(0, 2 * np.pi)
        near = centre + radius * rng.uniform(1.3, 2.1) * np.array([np.cos(angle), np.sin(angle)])
        centre = near if rng.random() < 0.5 else rng.uniform(-radius, extent + radius)
        x, y = (np.clip(centre, 0, extent - 1e-6) * smear.pixels_per_micron * FINE).astype(int)
        if owner[y, x]:
            continue  # a lymphoblast pushes red cells aside; only their edges reach under it
        outline = _outline(rng, radius, stretch=rng.uniform(1.0, 1.2), irregularity=0.03)
        mask, corner = _fill(outline, centre, smear)
        inside, field = _overlap(mask, corner, owner)
        depth = _depth(mask) / (radius * smear.pixels_per_micron * FINE)  # 0 at the edge, about 1 at the centre
        dimple = np.clip((depth - 0.2) / 0.5, 0, 1)
        thickness = mask * strength * (0.8 + 0.2 * np.clip(depth / 0.15, 0, 1)) * (1 - pallor * dimple * dimple)
        below = density[field][..., EOSIN]  # a view
        below += thickness[inside] - 0.5 * np.minimum(below, thickness[inside])


def _draw_platelets(density: Density, smear: SyntheticSmear, rng: np.random.Generator) -> None:
    extent = np.array([smear.width, smear.height]) / smear.pixels_per_micron
    for _ in range(rng.integers(smear.platelets[0], smear.platelets[1] + 1)):
        outline = _outline(rng, rng.uniform(0.7, 1.2), stretch=rng.uniform(1.0, 1.5), irregularity=0.1)
        mask, corner = _fill(outline, rng.uniform(0, extent), smear)
        inside, field = _overlap(mask, corner, density)
        density[field][..., PURPLE] += (mask * rng.uniform(0.15, 0.35))[inside]


def _draw_blast(density: Density, blast: Blast, smear: SyntheticSmear, rng: np.random.Generator) -> None:
    """One lymphoblast over whatever lies below it, of which a little shines through."""
    form, scale = MORPHOLOGY[blast.label - 1], smear.pixels_per_micron * FINE  # scale: fine samples per micron
    body, corner = _fill(blast.outline, blast.centre, smear)
    depth = _depth(body) / scale  # microns from the membrane
    nucleus = _nucleus(body, corner, depth, blast, smear, rng)
    grain = _texture(body.shape, 0.5 * scale, rng)

    rim = np.clip(1 - depth / 0.5, 0, 1)  # the membrane and the cytoplasm along it stain a little more deeply
    azure = rng.uniform(*form.cytoplasm) * (1 + 0.06 * grain + 0.35 * rim)
    azure *= 1 - 0.75 * nucleus
    purple = form.chromatin * rng.uniform(0.92, 1.08) * nucleus * (1 + form.clumping * grain)
    purple += 0.04 * body
    stains = np.stack([np.zeros_like(azure), azure, purple], axis=-1) * body[..., None]  # (ph, pw, stain)
    stains *= 1 - 0.85 * _vacuoles(depth, form, scale, rng)[..., None]

    inside, field = _overlap(body, corner, density)
    density[field] *= 1 - 0.85 * body[inside][..., None]
    density[field] += stains[inside]


def _nucleus(
    body: UInt8[np.ndarray, "ph pw"],
    corner: tuple[int, int],
    depth: Float[np.ndarray, "ph pw"],
    blast: Blast,
    smear: SyntheticSmear,
    rng: np.random.Generator,
) -> Float[np.ndarray, "ph pw"]:
    """Relative chromatin density: 1 in the nucleus, less in its nucleoli, 0 in the cytoplasm."""
    form, scale = MORPHOLOGY[blast.label - 1], smear.pixels_per_micron * FINE
    radius = blast.radius * np.sqrt(rng.uniform(*form.nuclear_share))
    angle, offset = rng.uniform(0, 2 * np.pi), (blast.radius - radius) * rng.uniform(0.2, 0.7)
    centre = blast.centre + offset * np.array([np.cos(angle), np.sin(angle)])
    outline = _outline(rng, radius, rng.uniform(1.0, 1.1), form.irregularity, rng.uniform(*form.cleft))
    filled, own_corner = _fill(outline, centre, smear)
    inside, place = _overlap(filled, (own_corner[0] - corner[0], own_corner[1] - corner[1]), body)
    nucleus = np.zeros(body.shape, np.float32)
    nucleus[place] = filled[inside]
    nucleus *= depth > 0.2  # some cytoplasm always surrounds it

    rows, columns = np.nonzero(_depth(nucleus.astype(np.uint8)) > 1.1 * scale)
    for _ in range(rng.integers(form.nucleoli[0], form.nucleoli[1] + 1)):
        if len(rows):
            i = rng.integers(len(rows))
            size = scale * rng.uniform(*form.nucleolus_radius)
            cv2.circle(nucleus, (int(columns[i]), int(rows[i])), round(size), rng.uniform(0.35, 0.5), cv2.FILLED)
    return cv2.GaussianBlur(nucleus, (0, 0), 0.12 * scale)


def _vacuoles(
    depth: Float[np.ndarray, "ph pw"], form: Morphology, scale: float, rng: np.random.Generator
) -> Float[np.ndarray, "ph pw"]:
    """1 within vacuoles, 0 elsewhere: round, sharp, mostly along the cytoplasm but also over the nucleus."""
    holes = np.zeros(depth.shape, np.float32)
    rows, columns = np.nonzero((depth > 0.6) & (depth < 3.2))
    for _ in range(rng.integers(form.vacuoles[0], form.vacuoles[1] + 1)):
        i = rng.integers(len(rows))
        cv2.circle(holes, (int(columns[i]), int(rows[i])), round(scale * rng.uniform(0.35, 0.75)), 1.0, cv2.FILLED)
    return cv2.GaussianBlur(holes, (0, 0), 0.08 * scale)


def _depth(mask: UInt8[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Distance from the outside, in samples."""
    return cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_5)


def _texture(shape: tuple[int, ...], grain: float, rng: np.random.Generator) -> Float[np.ndarray, "h w"]:
    """Smooth noise of about unit deviation whose grains are `grain` samples wide."""
    h, w = shape[:2]
    coarse = rng.standard_normal((int(h / grain) + 2, int(w / grain) + 2), np.float32)
    return 1.4 * cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC)


# ---------------------------------------------------------------------------------------------------------- exposure


def _expose(density: Density, smear: SyntheticSmear, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Photographs the stain densities: colour, light, defocus and sensor noise of this field."""
    h, w = smear.height, smear.width
    density = cv2.resize(density, (w, h), interpolation=cv2.INTER_AREA)  # (H, W, stain): mean over each pixel
    plasma = 0.05 + 0.009 * _texture((h, w), 1.5 * smear.pixels_per_micron, rng)
    density[..., EOSIN] += rng.uniform(0.2, 1.6) * plasma
    density[..., AZURE] += rng.uniform(0.2, 1.6) * plasma

    strength = np.exp(rng.normal(0, smear.stain_variation, (3, 1)))
    colour = np.exp(rng.normal(0, smear.stain_variation / 2, (3, 3)))
    optical_density = density @ (STAINS * strength * colour).astype(np.float32)  # (H, W, RGB)
    lamp = rng.uniform(0.88, 0.97) * rng.uniform(0.97, 1.03, 3)
    light = 255 * np.exp(-optical_density) * (lamp * _shading(smear, rng)[..., None]).astype(np.float32)

    light = cv2.GaussianBlur(light, (0, 0), max(rng.uniform(*smear.defocus), 1e-3))
    light += rng.uniform(*smear.noise) * rng.standard_normal(light.shape, np.float32)
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def _shading(smear: SyntheticSmear, rng: np.random.Generator) -> Float[np.ndarray, "h w"]:
    """Share of the light that arrives: a vignette around a random centre of the beam."""
    x, y = np.linspace(-1, 1, smear.width), np.linspace(-1, 1, smear.height)[:, None]
    beam_x, beam_y = rng.uniform(-0.5, 0.5, 2)
    squared = (x - beam_x) ** 2 + (y - beam_y) ** 2
    return 1 - rng.uniform(*smear.shading) * squared / squared.max()


def _rle(mask: Bool[np.ndarray, "h w"]) -> dict:
    return text_rle(coco_mask.encode(np.asfortranarray(mask, np.uint8)))
