"""Stain normalisation: the colours of a field brought to those of a reference, as Reinhard and as Macenko do.

Both change what a stain and a scanner have made of a slide, not its contrast. What is known of the reference is a
`Stain`, a few numbers: a config keeps them, so that a run predicts with those that it was trained with.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float32, Shaped

from wbcjax.enhance.pixels import Pixels, split

Three = tuple[float, float, float]
Image = Shaped[np.ndarray, "*image"]  # as `pixels.split` takes it

# Macenko's beta: a pixel whose optical density, the root mean square over its colours, is below it has too little dye
# to be judged. Programs often ask for that much in every colour: eosin, which lets red pass, then hardly counts.
STAINED = 0.15
SIDE = 1.0  # Macenko's alpha: the percentile, from either side, of the directions of densities that are the pure dyes
STRONG = 99  # the percentile of a dye's amount that is taken for its strength
LEAST_SHARE = 0.002  # of the pixels must be stained, else the field is taken for an empty one
LEAST_ANGLE = 0.05  # radians between the two dyes: below it there is one dye, and no telling two apart
MOST_GAIN = 4.0  # of a deviation or a dye: beyond it the noise of a nearly empty field would be made a stain
SAMPLE = 200_000  # pixels at most that a stain is found from, evenly spaced


@dataclass(frozen=True)
class Stain:
    """The colours of a reference: `config.dataset.stain`. The defaults are the middle of drawn smears.

    Raises ValueError for deviations, dyes or strengths that no field has.
    """

    mean: Three = (73.6, 7.7, -6.8)  # of L, a and b of CIE Lab, for "reinhard"
    deviation: Three = (15.1, 10.9, 15.8)  # their standard deviations
    # Optical densities of red, green and blue, of length 1, of the two dyes, for "macenko": azure, then eosin
    dyes: tuple[Three, Three] = ((0.608, 0.783, 0.13), (0.306, 0.791, 0.529))
    strength: tuple[float, float] = (1.67, 0.91)  # the amount of each dye that 99 % of the stained pixels do not exceed

    def __post_init__(self) -> None:
        if min(self.deviation) <= 0 or min(self.strength) <= 0:
            raise ValueError(
                f"stain.deviation is {self.deviation} and stain.strength {self.strength}; give numbers above 0"
            )
        if abs(_angle(np.array(self.dyes))) < LEAST_ANGLE:
            raise ValueError(f"stain.dyes is {self.dyes}; give the densities of two dyes of different colours")


def _unit(vectors: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "2 3"]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _angle(vectors: Float[np.ndarray, "2 3"]) -> float:
    """Between two directions, radians."""
    first, second = _unit(vectors)
    return float(np.arccos(np.clip(np.dot(first, second), -1, 1)))


DRAWN = Stain()


class Dyes(NamedTuple):
    """The two dyes of a field."""

    vectors: Float[np.ndarray, "2 3"]  # optical densities of red, green and blue, of length 1
    strength: Float[np.ndarray, "2"]


def reinhard(image: Image, *, max_value: float | None = None, stain: Stain = DRAWN) -> Image:
    """Mean and standard deviation of each channel made those of the reference (Reinhard et al. 2001), in CIE Lab.

    The paper's space is l-alpha-beta; CIE Lab serves the same end, and has a value for black. `stain`: the reference.
    Images without colours, or of one colour, have no stain: they stay as they are. So does alpha. The result has the
    image's shape and dtype. Raises ValueError for images that `pixels.split` refuses.
    """
    pixels = split(image, max_value)
    if not _has_colours(pixels):
        return image.copy()
    lab = cv2.cvtColor(_shares(pixels), cv2.COLOR_RGB2Lab)
    mean, deviation = _mean_deviation(lab)
    gain = np.minimum(np.array(stain.deviation) / np.maximum(deviation, 1e-6), MOST_GAIN)
    matrix = np.hstack([np.diag(gain), (np.array(stain.mean) - gain * mean)[:, None]])  # (3, 4)
    new = cv2.cvtColor(cv2.transform(lab, matrix), cv2.COLOR_Lab2RGB)
    # Only the change is added: colours beyond the range of RGB would else be cut, also where nothing changes
    return _changed(pixels, new - cv2.cvtColor(lab, cv2.COLOR_Lab2RGB))


def macenko(image: Image, *, max_value: float | None = None, stain: Stain = DRAWN) -> Image:
    """The two dyes of a field made those of the reference, in colour and in strength (Macenko et al. 2009).

    The dyes are the outermost directions of the stained pixels' optical densities, within the plane that holds most of
    these. What density the two do not explain is kept. `stain`: the reference. An image in which no two dyes can be
    told apart stays as it is: an empty, a grey or an evenly coloured one. Shape, dtype and errors as of `reinhard`.
    """
    pixels = split(image, max_value)
    dyes = _dyes(pixels)
    if dyes is None:
        return image.copy()
    gain = np.minimum(np.array(stain.strength) / dyes.strength, MOST_GAIN)
    # Densities d have the amounts d @ pinv(vectors); these become gain times as much of the reference's dyes
    change = np.linalg.pinv(dyes.vectors) @ (gain[:, None] * np.array(stain.dyes) - dyes.vectors)  # (3, 3)
    shares = _shares(pixels)
    light = (shares * 255 + 1) / 256
    new = light * cv2.exp(-cv2.transform(_density(shares), change.T))
    return _changed(pixels, (new - light) * (256 / 255))


def fit_stain(image: Image, max_value: float | None = None) -> Stain:
    """The stain of a reference image. Raises ValueError for one without two dyes, and as `pixels.split`."""
    pixels = split(image, max_value)
    dyes = _dyes(pixels)
    if dyes is None:
        raise ValueError("the image has no two dyes that can be told apart: give a stained field, in colour")
    mean, deviation = _mean_deviation(cv2.cvtColor(_shares(pixels), cv2.COLOR_RGB2Lab))
    return _stain(mean=mean, deviation=deviation, dyes=dyes.vectors, strength=dyes.strength)


def middle_of(stains: Sequence[Stain]) -> Stain:
    """The median of several stains, number by number. Raises ValueError when there is none."""
    if not stains:
        raise ValueError("there is no stain to take the middle of; give one or more stained fields")
    middle = {one.name: np.median([getattr(stain, one.name) for stain in stains], axis=0) for one in fields(Stain)}
    return _stain(**middle | {"dyes": _unit(middle["dyes"])})


def _stain(**numbers: np.ndarray) -> Stain:
    """A stain of arrays, as a config holds it."""
    return Stain(**{name: _plain(array) for name, array in numbers.items()})


def _plain(numbers: np.ndarray) -> tuple:
    """Numbers as a config holds them."""
    rows = np.asarray(numbers).round(5).tolist()
    return tuple(tuple(row) if isinstance(row, list) else row for row in rows)


def _has_colours(pixels: Pixels) -> bool:
    """Whether it is a colour image of more than one colour, and no grey one."""
    colour = pixels.colour
    if colour.shape[2] == 1 or (colour == colour[:1, :1]).all():
        return False
    return bool((colour != colour[..., :1]).any())


def _shares(pixels: Pixels) -> Float32[np.ndarray, "h w 3"]:
    """Colours as shares of white."""
    return pixels.colour.astype(np.float32) * np.float32(1 / pixels.white)


def _density(shares: Float32[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
    """Optical densities; black has that of a grey level of 1 in 256."""
    return -cv2.log((shares * 255 + 1) / 256)


def _mean_deviation(lab: Float32[np.ndarray, "h w 3"]) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    mean, deviation = cv2.meanStdDev(lab)
    return mean[:, 0], deviation[:, 0]


def _dyes(pixels: Pixels) -> Dyes | None:
    """The two dyes of a field; None where it has not two."""
    if not _has_colours(pixels):
        return None
    density = _density(_shares(pixels)).reshape(-1, 3)
    density = density[:: max(1, len(density) // SAMPLE)].astype(np.float64)
    stained = density[np.mean(density**2, axis=1) > STAINED**2]
    if len(stained) < max(2, LEAST_SHARE * len(density)):
        return None
    plane = _plane(stained)
    along = np.einsum("ni,ij->nj", stained, plane)  # (n, 2)
    angles = np.percentile(np.arctan2(along[:, 1], along[:, 0]), (SIDE, 100 - SIDE))
    vectors = _unit(np.stack([np.cos(angles), np.sin(angles)], axis=1) @ plane.T)  # (2, 3)
    if abs(_angle(vectors)) < LEAST_ANGLE or (vectors < -0.2).any():
        return None
    if vectors[0, 0] < vectors[1, 0]:  # azure is blue: it absorbs more red than eosin does
        vectors = vectors[::-1]
    amounts = np.einsum("ni,ij->nj", stained, np.linalg.pinv(vectors))  # (n, 2)
    strength = np.percentile(amounts, STRONG, axis=0)
    return Dyes(vectors, strength) if (strength > 0).all() else None


def _plane(stained: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "3 2"]:
    """Two orthonormal directions of the plane that holds most of the densities; the first one points to more of it."""
    centred = stained - stained.mean(axis=0)
    _, vectors = np.linalg.eigh(np.einsum("ni,nj->ij", centred, centred))
    plane = vectors[:, :0:-1]  # of the largest eigenvalue, and of the second one
    return plane * np.where(plane.sum(axis=0) < 0, -1, 1)


def _changed(pixels: Pixels, change: Float32[np.ndarray, "h w 3"]) -> Image:
    """The image with a change, in shares of white, added to its colours."""
    colour = np.clip(pixels.colour + change * np.float32(pixels.white), 0, pixels.white)
    return pixels.joined((np.rint(colour) if pixels.colour.dtype.kind == "u" else colour).astype(pixels.colour.dtype))
