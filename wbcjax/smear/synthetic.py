"""Synthetic smear fields: a deterministic renderer of Wright-Giemsa-like lymphoblasts with exact instance masks.

White cells are drawn at three times the pixel grid, as densities of dyes. Optical densities add up (Beer-Lambert), so
stain variation, overlapping red cells and uneven light all act as they do on a slide. A mask samples that fine grid at
the pixel centres, before defocus and noise: the outline is exact, however blurred the image.
"""

import dataclasses
from collections.abc import Iterator

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from pycocotools import mask as coco_mask

from wbcjax.smear.field import Cell, SmearField, text_rle
from wbcjax.smear.synthetic_cells import COVER, Leukocyte, draw_leukocyte
from wbcjax.smear.synthetic_ground import draw_ground
from wbcjax.smear.synthetic_kinds import BLASTS, OTHERS, Morphology
from wbcjax.smear.synthetic_paint import STAINS, between, fill, outline, overlap
from wbcjax.smear.synthetic_settings import CLASSES, SyntheticSmear

FINE = 3  # fine-grid samples per pixel and axis; odd, so that one of them is the pixel's centre
OTHER_KINDS = 0.15  # of a patient's lymphoblasts, at most a third of a field's
ATTEMPTS = 60  # positions tried for a cell before the field counts as full
LUMA = (0.299, 0.587, 0.114)


def fields(smear: SyntheticSmear, count: int, seed: int) -> Iterator[SmearField]:
    """Renders `count` fields, of seeds `seed`, `seed + 1`, ...: keep the seeds of two sets further apart than that."""
    return (render(smear, seed + i) for i in range(count))


def subtype_fields(smear: SyntheticSmear, counts: tuple[int, ...], seed: int) -> Iterator[SmearField]:
    """Renders fields of patients with L1, then L2, then L3, so many of each, of seeds `seed`, `seed + 1`, ..."""
    kinds = np.repeat(range(1, len(counts) + 1), counts).tolist()
    return (render(dataclasses.replace(smear, subtype=kind), seed + i) for i, kind in enumerate(kinds))


def render(smear: SyntheticSmear, seed: int) -> SmearField:
    """Renders one field: the same parameters and seed give the same pixels and masks, (height, width).

    The cells' masks are disjoint: where cells overlap, the upper one owns the pixels. Other leukocytes own theirs too,
    but are cells of the field only with `smear.label_others`. Red cells, platelets and debris are background.
    Raises ValueError for a negative seed, or when not even `smear.cells[0]` lymphoblasts find room.
    """
    if seed < 0:
        raise ValueError(f"synthetic field: seed = {seed}: expected a whole number of at least 0")
    rng = np.random.default_rng(seed)
    film = _Film(smear, rng)
    film.place_blasts()
    film.place_others()

    scale = smear.pixels_per_micron * FINE
    layer = np.zeros((*film.owner.shape, COVER + 1), np.float32)
    for cell in film.cells:
        draw_leukocyte(layer, cell, scale, rng)
    layer = cv2.resize(layer, (smear.width, smear.height), interpolation=cv2.INTER_AREA)  # mean over each pixel
    density = draw_ground(layer[..., COVER], smear, rng)  # (H, W, dye)
    density *= 1 - layer[..., COVER:]
    density[..., :COVER] += layer[..., :COVER]

    owner = film.owner[FINE // 2 :: FINE, FINE // 2 :: FINE]  # (H, W): the cell seen at the pixel's centre
    known = [(i, cell) for i, cell in enumerate(film.cells, start=1) if cell.label <= len(smear.classes)]
    return SmearField(
        name=f"synthetic_{seed:05d}.png",
        height=smear.height,
        width=smear.width,
        cells=tuple(Cell(label=cell.label, rle=_rle(owner == i)) for i, cell in known),
        pixels=_expose(density, smear, rng),
    )


# --------------------------------------------------------------------------------------------------------- placement


class _Film:
    """The white cells of a field, lowest first, and the one that is seen at each sample."""

    def __init__(self, smear: SyntheticSmear, rng: np.random.Generator) -> None:
        self.smear, self.rng = smear, rng
        self.cells: list[Leukocyte] = []
        # On the fine grid: 0, or 1 + the index of the cell seen there.
        self.owner: Int[np.ndarray, "fh fw"] = np.zeros((FINE * smear.height, FINE * smear.width), np.int32)
        self._whole, self._seen = [0], [0]  # fine-grid areas by owner: of the full outline, and of what is seen of it

    def place_blasts(self) -> None:
        """Raises ValueError when fewer find room than the field must have."""
        smear, rng = self.smear, self.rng
        if rng.random() < smear.empty:
            return
        count = int(rng.integers(smear.cells[0], smear.cells[1] + 1))
        for kind in self._mixture(count) if smear.subtype == 0 else self._of_subtype(count):
            self._place(kind + 1, BLASTS[kind])
        if len(self.cells) < smear.cells[0]:
            raise ValueError(
                f"synthetic field of {smear.height}x{smear.width} pixels: room for {len(self.cells)} lymphoblasts, "
                f"cells = {smear.cells} asks for at least {smear.cells[0]}: enlarge the field or ask for fewer"
            )

    def _mixture(self, count: int) -> Iterator[int]:
        weights = np.asarray(self.smear.class_weights, np.float64)
        return (int(self.rng.choice(len(CLASSES), p=weights / weights.sum())) for _ in range(count))

    def _of_subtype(self, count: int) -> list[int]:
        """The kinds of a field's lymphoblasts: mostly its subtype's, and last the few of another kind, a third at most.

        L3 is in fields of its own subtype only: by the pathologists' rule one such cell decides.
        """
        kind = self.smear.subtype - 1
        others = [other for other in range(len(CLASSES) - 1) if other != kind]
        few = min(int(self.rng.binomial(count, OTHER_KINDS)), count // 3)
        return [kind] * (count - few) + self.rng.choice(others, few).tolist()

    def place_others(self) -> None:
        kinds, weights = OTHERS[self.smear.tissue]
        for _ in range(self.rng.integers(self.smear.others[0], self.smear.others[1] + 1)):
            self._place(len(CLASSES) + 1, kinds[self.rng.choice(len(kinds), p=weights)])

    def _place(self, label: int, form: Morphology) -> None:
        """Put a cell of this kind over the others, unless no place leaves enough of every cell in view."""
        radius = between(form.diameter, self.rng) / 2
        edge = outline(self.rng, radius, self.rng.uniform(*form.stretch), form.roughness)
        for _ in range(ATTEMPTS):
            cell = Leukocyte(label, form, edge, self._candidate(radius), radius)
            mask, corner = fill((cell.centre + edge) * self.smear.pixels_per_micron * FINE)
            inside, field = overlap(mask, corner, self.owner)
            covered = np.bincount(self.owner[field][mask[inside] > 0], minlength=len(self._seen))
            left = [before - lost for before, lost in zip(self._seen, covered, strict=True)]
            area, free = int(np.count_nonzero(mask)), covered[0]  # free: inside the field and over no other cell
            shares = [s / w for s, w in zip([*left[1:], free], [*self._whole[1:], area], strict=True)]
            if min(shares) >= self.smear.min_visible:
                self.cells.append(cell)
                self.owner[field][mask[inside] > 0] = len(self.cells)
                self._whole, self._seen = [*self._whole, area], [*left, covered.sum()]
                return

    def _candidate(self, radius: float) -> Float[np.ndarray, "2"]:
        """A centre (x, y) in microns: anywhere in the field, or against an earlier cell."""
        smear, rng = self.smear, self.rng
        if self.cells and rng.random() < smear.touching:
            other = self.cells[rng.integers(len(self.cells))]
            angle = rng.uniform(0, 2 * np.pi)
            distance = (radius + other.radius) * rng.uniform(0.78, 1.02)
            return other.centre + distance * np.array([np.cos(angle), np.sin(angle)])
        return rng.uniform(0, [smear.width, smear.height]) / smear.pixels_per_micron


# ---------------------------------------------------------------------------------------------------------- exposure


def _expose(
    density: Float[np.ndarray, "h w 4"], smear: SyntheticSmear, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Photographs the dyes: colour, light, defocus, camera and sensor noise of this field."""
    strength = np.exp(rng.normal(0, smear.stain_variation, (len(STAINS), 1)))
    colour = np.exp(rng.normal(0, smear.stain_variation / 2, STAINS.shape))
    optical_density = density @ (STAINS * strength * colour).astype(np.float32)  # (H, W, RGB)
    light = np.exp(-optical_density) * _illumination(smear, rng)

    light = cv2.GaussianBlur(light, (0, 0), max(rng.uniform(*smear.defocus), 1e-3))
    saturation = rng.uniform(*smear.saturation)
    light = cv2.transform(light, saturation * np.eye(3) + (1 - saturation) * np.array([LUMA] * 3))
    light += rng.uniform(*smear.noise) * rng.standard_normal(light.shape, np.float32)
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def _illumination(smear: SyntheticSmear, rng: np.random.Generator) -> Float[np.ndarray, "h w 3"]:
    """Light that arrives, grey levels: a tinted lamp, with a vignette whose centre differs a little between colours."""
    x, y = np.linspace(-1, 1, smear.width)[:, None], np.linspace(-1, 1, smear.height)[:, None, None]
    beam_x, beam_y = rng.uniform(-0.5, 0.5, (2, 1)) + rng.normal(0, 0.1, (2, 3))  # of each colour
    squared = (x - beam_x) ** 2 + (y - beam_y) ** 2  # (H, W, RGB)
    lamp = 255 * rng.uniform(0.78, 0.95) * rng.uniform(0.975, 1.025, 3)
    return (lamp * (1 - rng.uniform(*smear.shading) * squared / squared.max())).astype(np.float32)


def _rle(mask: Bool[np.ndarray, "h w"]) -> dict:
    return text_rle(coco_mask.encode(np.asfortranarray(mask, np.uint8)))
