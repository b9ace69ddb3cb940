"""Exposure fusion framework (Ying et al., CAIP 2017; Revanda et al., 2022, Eqs. 1-10): brightens what is too dark.

The image is fused with a brighter exposure of itself, computed by a camera's brightness transform, most where a map of
the scene's illumination is low. Equation numbers are those of Revanda et al.
"""

import logging
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, overload

import cv2
import numpy as np
from jaxtyping import Float, Shaped

from wbcjax.enhance import multigrid
from wbcjax.enhance.pixels import Pixels, split
from wbcjax.enhance.resize import double, halve, thumbnail

logger = logging.getLogger(__name__)

UNDER_EXPOSED = 0.5  # an illumination below this
LARGEST_RATIO = 7.0  # k is searched for within 1 and this
THUMBNAIL = 50  # pixels a side of the image on which k is searched for
FOUND_MARGIN = 0.01  # taken off the other exposure when k was searched for, as the authors' program does
GRID, FINE_GRID, REFINEMENTS = 121, 21, 2  # values of k tried over all, then between the neighbours of the best, twice
FINEST_SINGLE = 3e-4  # residual below which single precision cannot solve Eq. 10
STRIP = 1 << 15  # pixels fused at a time, few enough to stay in the processor's cache

Map = Float[np.ndarray, "h w"]
HalfMap = Float[np.ndarray, "hh hw"]  # at half the size, rounded up
Image = Shaped[np.ndarray, "*image"]  # as `pixels.split` takes it


@dataclass(frozen=True)
class Parameters:
    """The method's parameters, under the paper's symbols; the defaults are the authors'. Raises ValueError."""

    mu: float = 0.5  # how strongly dark parts are enhanced, Eq. 5
    lam: float = 0.5  # lambda: how smooth the illumination is within its edges, Eqs. 6, 9, 10
    epsilon: float = 0.001  # Eqs. 8-10
    omega: int = 5  # side of the window of Eq. 8, pixels of the half-size map, odd
    a: float = -0.3293  # of the camera's response, Eq. 3
    b: float = 1.1258  # of the camera's response, Eq. 3
    k: float | None = None  # exposure ratio, Eqs. 3, 4; None: the one that shows most in the under-exposed parts
    # "dtype": P = image / white, as in the authors' program. "minmax": P is stretched to span 0 to 1, as in the port
    # that the literature uses; it changes bright smears too.
    normalize: Literal["dtype", "minmax"] = "dtype"
    # Edge weights 1 / (|sum of gradients| |gradient| + epsilon) ("product", the authors' program), or with epsilon
    # added to each factor ("paper", as Eqs. 8 and 9 are printed)
    weights: Literal["product", "paper"] = "product"
    max_value: float | None = None  # the image's value for white: 4095 for 12-bit data; None: the dtype's largest
    rtol: float = 3e-3  # residual of Eq. 10 at which its solution is good enough: within a grey level of the exact one
    max_iterations: int = 500

    def __post_init__(self) -> None:
        checks = [
            ("mu", self.mu > 0, "above 0"),
            ("lam", self.lam >= 0, "0 or more"),
            ("epsilon", self.epsilon > 0, "above 0"),
            ("omega", self.omega > 0 and self.omega % 2 == 1, "an odd number of pixels"),
            ("k", self.k is None or self.k >= 1, "1 or more, or None to search for it"),
            ("normalize", self.normalize in ("dtype", "minmax"), "'dtype' or 'minmax'"),
            ("weights", self.weights in ("product", "paper"), "'product' or 'paper'"),
            ("rtol", 0 < self.rtol < 1, "above 0 and below 1"),
            ("max_iterations", self.max_iterations >= 1, "1 or more"),
        ]
        wrong = [f"{name} = {getattr(self, name)!r}: expected {rule}" for name, good, rule in checks if not good]
        if wrong:
            raise ValueError("eff: " + "; ".join(wrong))


class Illumination(NamedTuple):
    """How brightly each pixel of a scene is lit."""

    L: Map  # initial map, Eq. 7
    T: Map  # refined map, Eq. 10
    iterations: int
    residual: float  # relative, of Eq. 10


class Parts(NamedTuple):
    """What a result of `eff` was made of."""

    L: Map
    T: Map
    W: Map  # weight of the image itself, Eq. 5
    k: float
    iterations: int
    residual: float


@overload
def eff(image: Image, *, return_parts: Literal[False] = False, **parameters: Any) -> Image: ...
@overload
def eff(image: Image, *, return_parts: Literal[True], **parameters: Any) -> tuple[Image, Parts]: ...
def eff(image: Image, *, return_parts: bool = False, **parameters: Any) -> Image | tuple[Image, Parts]:
    """Brighten the under-exposed parts of an image by the exposure fusion framework; elsewhere it stays as it is.

    Args:
        image: h x w (x 1) grey or h x w x 3 RGB, 2 or 4 channels with alpha; uint8, uint16, or float within 0 and 1.
        return_parts: give the maps, k and the solver's figures as well; the maps are then computed in any case.
        parameters: those of `Parameters`.

    The result has the image's shape and dtype; alpha is untouched. Where nothing of the image is under-exposed, k is
    1 and the image is returned unchanged (stretched, if `normalize` is "minmax").

    Raises ValueError for images that `pixels.split` refuses and parameters out of range, TypeError for others' names.
    """
    settings = Parameters(**parameters)
    L = initial_illumination(image, settings)
    half = halve(L)
    # The solution of Eq. 10 stays within the range of its l: here nothing can be under-exposed
    k = 1.0 if settings.k is None and half.min() >= UNDER_EXPOSED else settings.k
    if k == 1 and not return_parts:
        return fuse(image, np.ones_like(L), 1.0, settings)
    light = _refined(L, half, settings)
    k = k or exposure_ratio(image, light.T, settings)
    W = light.T**settings.mu  # Eq. 5
    enhanced = fuse(image, W, k, settings)
    if not return_parts:
        return enhanced
    return enhanced, Parts(light.L, light.T, W, k, light.iterations, light.residual)


def initial_illumination(image: Image, parameters: Parameters = Parameters()) -> Map:
    """L: each pixel's largest colour, within 0 and 1 (Eq. 7)."""
    pixels = split(image, parameters.max_value)
    colour = pixels.colour
    largest = colour[..., 0]
    for channel in range(1, colour.shape[2]):
        largest = np.maximum(largest, colour[..., channel])
    return _normalised(largest, pixels, parameters)


def illumination(image: Image, parameters: Parameters = Parameters()) -> Illumination:
    """How brightly each pixel is lit: smooth, but for the edges of large things (Eqs. 6-10). Raises as `eff` does."""
    L = initial_illumination(image, parameters)
    return _refined(L, halve(L), parameters)


def edge_weights(half: HalfMap, parameters: Parameters = Parameters()) -> tuple[HalfMap, HalfMap]:
    """The weights of Eq. 10 for each pixel's edge to its right and to its lower neighbour, without lambda (Eqs. 8, 9).

    Large where the gradients within a window along the edge's own axis cancel, as those of texture do. Gradients are
    periodic, windows end at the border.
    """
    weights = []
    for axis, window in ((1, (parameters.omega, 1)), (0, (1, parameters.omega))):
        gradient = np.roll(half, -1, axis)
        gradient -= half
        total = np.asarray(cv2.boxFilter(gradient, -1, window, normalize=False, borderType=cv2.BORDER_CONSTANT))
        np.abs(gradient, out=gradient)
        np.abs(total, out=total)
        if parameters.weights == "product":
            total *= gradient
            total += parameters.epsilon
        else:
            total += parameters.epsilon
            gradient += parameters.epsilon
            total *= gradient
        weights.append(np.reciprocal(total, out=total))
    return weights[0], weights[1]


def exposure_ratio(image: Image, T: Map, parameters: Parameters = Parameters()) -> float:
    """The k with which the under-exposed part of the image, where T < 0.5, shows most: has the largest entropy.

    1 where nothing of the image is under-exposed, as in the authors' program. Found on a thumbnail of the image, within
    1 and 7 (Ying et al., section 3.3).
    """
    pixels = split(image, parameters.max_value)
    P = np.clip(_normalised(thumbnail(pixels.colour, THUMBNAIL), pixels, parameters), 0, 1)
    under_exposed = np.multiply(T < UNDER_EXPOSED, np.uint8(255), dtype=np.uint8)
    dark = thumbnail(under_exposed[..., None], THUMBNAIL)[..., 0] > 128
    if not dark.any():
        return 1.0
    brightness = np.prod(P, axis=2, dtype=np.float64) ** (1 / P.shape[2])  # geometric mean of the colours
    return _most_entropy(brightness[dark], parameters)


def brightness_transform(P: np.ndarray, k: float, parameters: Parameters = Parameters()) -> np.ndarray:
    """g(P, k) of Eq. 3: what the camera gives for P at k times the exposure. P is float, within 0 and 1.

    exp(b (1 - k^a)) P^(k^a), the beta-gamma correction of Ying et al.; k = 1 gives P, and values may exceed 1.
    """
    gamma = k**parameters.a
    return np.power(P, P.dtype.type(gamma)) * P.dtype.type(np.exp(parameters.b * (1 - gamma)))


def fuse(image: Image, W: Map, k: float, parameters: Parameters = Parameters()) -> Image:
    """R = W P + (1 - W) g(P, k) (Eq. 4), in the image's dtype: rounded and cut to it.

    Args:
        W: weight of the image itself, 1 where it is well exposed (Eq. 5).
        k: exposure ratio; with 1 the image stays as it is, but for its normalisation.
    """
    if k == 1 and parameters.normalize == "dtype":
        return image.copy()
    pixels = split(image, parameters.max_value)
    lines = pixels.colour.reshape(len(W), -1)  # (h, w c)
    out = np.empty_like(lines)
    whole_numbers = lines.dtype.kind == "u"
    # A table of all whole numbers is quicker than the power of each pixel
    tables = _exposures(np.arange(np.iinfo(lines.dtype).max + 1), pixels, k, parameters) if whole_numbers else ()
    rows = max(1, STRIP // W.shape[1])
    for top in range(0, len(W), rows):
        values, weight = lines[top : top + rows], W[top : top + rows]
        J, gain = (cv2.LUT(values, t) for t in tables) if tables else _exposures(values, pixels, k, parameters)
        R = gain * np.asarray(cv2.merge([weight] * pixels.colour.shape[2])).reshape(values.shape)
        R += J
        np.clip(R, 0, pixels.white, out=R)
        out[top : top + rows] = np.rint(R, out=R) if whole_numbers else R
    return pixels.joined(out.reshape(pixels.colour.shape))


def _exposures(values: np.ndarray, pixels: Pixels, k: float, parameters: Parameters) -> tuple[np.ndarray, np.ndarray]:
    """The brighter exposure J of pixel values, and P - J, both scaled to white."""
    P = np.clip(_normalised(values, pixels, parameters), 0, 1)
    J = brightness_transform(P, k, parameters)
    if parameters.k is not None:
        J = np.minimum(J, 1)
    elif k != 1:
        J = J - P.dtype.type(FOUND_MARGIN)
    white = P.dtype.type(pixels.white)
    return J * white, (P - J) * white


def _refined(L: Map, half: HalfMap, parameters: Parameters) -> Illumination:
    """Solve Eq. 10 with L at half the size for its l, and bring the solution to full size."""
    height, width = half.shape
    # A grid one pixel wide is doubled: it is periodic, so that both halves come out alike
    grid = np.tile(half, (1 if height > 1 else 2, 1 if width > 1 else 2))
    if parameters.rtol < FINEST_SINGLE:
        grid = grid.astype(np.float64)
    right, down = edge_weights(grid, parameters)
    right *= parameters.lam
    down *= parameters.lam
    t, iterations, residual = multigrid.solve(grid, right, down, parameters.rtol, parameters.max_iterations)
    if residual > parameters.rtol:
        logger.warning("eff: residual %.1e after %d steps; raise max_iterations or rtol", residual, iterations)
    T = double(np.ascontiguousarray(t[:height, :width], dtype=np.float32), L.shape)
    return Illumination(L, np.clip(T, 0, 1, out=T), iterations, residual)


def _normalised(values: np.ndarray, pixels: Pixels, parameters: Parameters) -> np.ndarray:
    """Pixel values as P, within 0 and 1; float32, of float64 images float64."""
    low, high = 0.0, pixels.white
    if parameters.normalize == "minmax" and pixels.colour.min() < pixels.colour.max():
        low, high = float(pixels.colour.min()), float(pixels.colour.max())
    P = values.astype(np.float64 if pixels.colour.dtype == np.float64 else np.float32)
    P -= low
    P /= high - low
    return P


def _most_entropy(brightness: Float[np.ndarray, "n"], parameters: Parameters) -> float:
    """The k within 1 and 7 whose exposure of these pixels has the largest entropy: from a coarse grid to a fine one."""
    if np.ptp(brightness) < 1 / 255:
        return 1.0  # one grey level: no exposure shows more (the authors' search of a flat function ends anywhere)
    ks = np.linspace(1, LARGEST_RATIO, GRID)
    for _ in range(REFINEMENTS):
        best = int(np.argmax(_entropies(brightness, ks, parameters)))
        low, high = ks[max(best - 1, 0)], ks[min(best + 1, len(ks) - 1)]
        ks = np.linspace(low, high, FINE_GRID)
    return float(ks[np.argmax(_entropies(brightness, ks, parameters))])


def _entropies(
    brightness: Float[np.ndarray, "n"], ks: Float[np.ndarray, "k"], parameters: Parameters
) -> Float[np.ndarray, "k"]:
    """Entropy, in bits, of the 256 grey levels that each exposure of these pixels takes.

    A pixel between two levels counts for both, as near as it is to each: counted at the nearest alone, the entropy
    would leap with k, and its largest value with the least change of T.
    """
    gammas = ks**parameters.a  # (k)
    scales = 255 * np.exp(parameters.b * (1 - gammas))
    logs = np.log(np.maximum(brightness, np.finfo(np.float32).tiny)).astype(np.float32)  # (n)
    levels = np.exp(gammas.astype(np.float32)[:, None] * logs) * scales.astype(np.float32)[:, None]  # (k, n)
    levels = np.clip(levels, 0, 255)
    lower = np.minimum(levels.astype(np.int64), 254)
    share = (levels - lower).astype(np.float64)  # of the upper level
    bins = (lower + 256 * np.arange(len(ks))[:, None]).reshape(-1)
    counts = np.bincount(bins, 1 - share.reshape(-1), 256 * len(ks))
    counts[1:] += np.bincount(bins, share.reshape(-1), 256 * len(ks))[:-1]
    p = counts.reshape(len(ks), 256) / len(brightness)
    return -np.sum(p * np.log2(np.maximum(p, np.finfo(np.float64).tiny)), axis=1)
