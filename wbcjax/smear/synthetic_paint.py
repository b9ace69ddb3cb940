"""Dyes, outlines, patches and noise, of which the synthetic smear is drawn."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

# Optical density (natural logarithm; red, green, blue) of one unit of each dye, from the mean colours of granules,
# deep-blue cytoplasm, nuclei and red cells in public Wright- and Jenner-Giemsa images.
EOSIN, AZURE, PURPLE, HAEMOGLOBIN = range(4)
STAINS = np.array([[0.06, 0.36, 0.28], [0.98, 0.74, 0.20], [0.82, 1.35, 0.34], [0.14, 0.27, 0.26]], np.float32)

Range = tuple[float, float]  # lowest and highest
Outline = Float[np.ndarray, "k 2"]  # (x, y), closed


def between(limits: Range, rng: np.random.Generator) -> float:
    """A number between two limits, most often half-way: what differs between cells of a kind has a middle and tails."""
    low, high = limits
    return float(rng.triangular(low, (low + high) / 2, high)) if low < high else low


def outline(
    rng: np.random.Generator,
    radius: float,
    stretch: float,
    irregularity: float,
    cleft: float = 0.0,
    cleft_width: float = 0.3,
) -> Outline:
    """A closed outline around 0 with the area of a circle of `radius`: an ellipse, random harmonics and a notch.

    `stretch` is the ratio of the ellipse's axes, `irregularity` about the relative standard deviation of the radius,
    `cleft` the notch's depth over the radius, `cleft_width` its half width in radians.
    """
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    order = np.arange(2, 7)[:, None]
    waves = rng.normal(0, 1.5 * irregularity / order) * np.cos(order * angle + rng.uniform(0, 2 * np.pi, order.shape))
    r = np.clip(1 + waves.sum(0), 0.5, 1.5)
    to_notch = np.angle(np.exp(1j * (angle - rng.uniform(0, 2 * np.pi))))
    r *= 1 - cleft * np.exp(-((to_notch / cleft_width) ** 2))
    turn = rng.uniform(0, np.pi)
    x, y = r * np.cos(angle) * np.sqrt(stretch), r * np.sin(angle) / np.sqrt(stretch)
    points = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], axis=1)
    area = cv2.contourArea(points.astype(np.float32))
    return points * radius * np.sqrt(np.pi / area)


def fill(points: Outline) -> tuple[UInt8[np.ndarray, "ph pw"], tuple[int, int]]:
    """Fills an outline, given in samples of a grid whose sample i lies at i + 0.5, on a patch of its own.

    Returns the patch, 0 or 1, and the (x, y) of its first sample on the grid.
    """
    points = points - 0.5
    low, high = np.floor(points.min(0)).astype(int) - 2, np.ceil(points.max(0)).astype(int) + 3
    patch = np.zeros(tuple((high - low)[::-1]), np.uint8)
    cv2.fillPoly(patch, [np.round((points - low) * 16).astype(np.int32)], 1, shift=4)
    return patch, (int(low[0]), int(low[1]))


def overlap(patch: np.ndarray, corner: tuple[int, int], field: np.ndarray) -> tuple[tuple, tuple]:
    """The index of a patch, and of the field, where the two meet; empty slices when they do not."""
    (x, y), (ph, pw), (fh, fw) = corner, patch.shape[:2], field.shape[:2]
    (x1, x2), (y1, y2) = np.clip([x, x + pw], 0, fw), np.clip([y, y + ph], 0, fh)
    return (slice(y1 - y, y2 - y), slice(x1 - x, x2 - x)), (slice(y1, y2), slice(x1, x2))


def depth(mask: UInt8[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Distance from the outside, in samples."""
    return cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_5)


def texture(shape: tuple[int, ...], grain: float, rng: np.random.Generator) -> Float[np.ndarray, "h w"]:
    """Smooth noise of about unit deviation whose grains are `grain` samples wide."""
    h, w = shape[:2]
    coarse = rng.standard_normal((int(h / grain) + 3, int(w / grain) + 3), np.float32)
    return 1.4 * cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC)
