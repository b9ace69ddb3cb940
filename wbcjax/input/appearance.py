"""Augmentations of what a field looks like; nothing is moved. The order is that of the light: stain, optics, camera."""

import math
from statistics import NormalDist

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from wbcjax.input.augment import Augment

YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])  # NTSC (FCC 1953)
# Optical densities of red, green and blue, for haematoxylin, eosin and DAB (Ruifrok and Johnston 2001)
HED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
HED /= np.linalg.norm(HED, axis=1, keepdims=True)
DENSITY = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)  # of each grey level: black is no infinite one
# 256 equally likely values of a normal distribution of deviation 1: as good as any within 8 bits, and a look-up each
NORMAL = np.array([NormalDist().inv_cdf((k + 0.5) / 256) for k in range(256)])
NORMAL /= NORMAL.std()

Pixels = UInt8[np.ndarray, "h w 3"]  # RGB


def change_appearance(pixels: Pixels, augment: Augment, rng: np.random.Generator) -> Pixels:
    """The pixels of a field under the random changes of `augment` that do not move them."""
    if augment.stain:
        pixels = jitter_stain(pixels, augment.stain, rng)
    if augment.defocus:
        pixels = defocus(pixels, rng.uniform(0, augment.defocus))
    pixels = recolour(pixels, augment, rng)
    if augment.shot_noise or augment.read_noise:
        shot, read = rng.uniform(0, augment.shot_noise), rng.uniform(0, augment.read_noise)
        pixels = add_noise(pixels, shot, read, rng)
    if augment.jpeg:
        pixels = compress(pixels, int(rng.integers(augment.jpeg, 101)))
    return pixels


def jitter_stain(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Another stain and thickness: dyes are parted, and each is multiplied and shifted at random (Tellez et al. 2018).

    Optical densities, which add up over dyes (Beer-Lambert), are written in the basis HED. Each of the three parts
    becomes a * part + b, with a within 1 - strength .. 1 + strength and b within -strength .. strength. The basis is
    that of haematoxylin and eosin: for Romanowsky's dyes it is three directions of change, no measure of either dye.
    """
    factors, shifts = 1 + rng.uniform(-strength, strength, 3), rng.uniform(-strength, strength, 3)
    change = np.linalg.inv(HED) @ np.diag(factors) @ HED  # densities (3,) @ change
    matrix = np.hstack([change.T, (shifts @ HED)[:, None]])  # (3, 4)
    light = cv2.exp(-cv2.transform(cv2.LUT(pixels, DENSITY), matrix))
    return cv2.addWeighted(light, 256, light, 0, -1, dtype=cv2.CV_8U)  # rounded, within 0..255


def defocus(pixels: Pixels, deviation: float) -> Pixels:
    """The pixels out of focus: blurred by a Gaussian of this standard deviation, pixels."""
    return cv2.GaussianBlur(pixels, (0, 0), deviation) if deviation > 0 else pixels


def recolour(pixels: Pixels, augment: Augment, rng: np.random.Generator) -> Pixels:
    """The pixels under a random change of colour, see `random_colour`."""
    mean_luma = float(np.dot(cv2.mean(pixels)[:3], (0.299, 0.587, 0.114)))
    return cv2.transform(pixels, random_colour(augment, mean_luma, rng))


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


def add_noise(pixels: Pixels, shot: float, read: float, rng: np.random.Generator) -> Pixels:
    """Noise of a camera: its variance has a part that grows with the light and one that does not (Foi et al. 2008).

    `shot`: standard deviation, in grey levels, of white by the first part, the Poisson noise of photons, which at a
    camera's counts is as good as normal; `read`: that of all pixels by the second.
    """
    level = np.arange(256.0)[:, None]
    noisy = level + np.sqrt(shot**2 * level / 255 + read**2) * NORMAL  # (level, a random byte)
    table = np.rint(noisy).clip(0, 255).astype(np.uint8).ravel()
    chosen = rng.integers(0, 256, pixels.shape, np.uint8)
    return table[pixels.astype(np.uint16) << 8 | chosen]


def compress(pixels: Pixels, quality: int) -> Pixels:
    """The pixels after JPEG of this quality, 1 to 100."""
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, quality))
    return cv2.cvtColor(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)
