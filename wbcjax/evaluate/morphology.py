"""Size, shape and stain of one cell, as a haematologist would describe it, from its mask and the field's image."""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from skimage.measure import regionprops

from wbcjax.smear.nuclei import GROUND
from wbcjax.smear.rle import cut_out


class Morphology(NamedTuple):
    """The measures of one cell. Lengths are in pixels, where the name does not say micrometres.

    Of a cell that the image's border cuts, the part that is seen is described; of one in parts, all of them together.
    """

    area: int
    perimeter: float  # holes' too; see `morphology`
    circularity: float  # 4 pi area / perimeter^2: 1 of a disc, less of any other shape, near 0 of a thread
    eccentricity: float  # of the ellipse with the same second moments: 0 of a disc, near 1 of a thread
    solidity: float  # share of the convex hull that the cell fills: 1 without dents
    od_red: float  # mean optical density, see `morphology`
    od_green: float
    od_blue: float
    area_um2: float | None  # None where the pixel size is not known
    perimeter_um: float | None


def morphology(
    rle: Any,
    image: UInt8[np.ndarray, "h w 3"],
    pixel_size: float = 0.0,
    white: Float[np.ndarray, "3"] | None = None,
) -> Morphology:
    """Describe the cell of one mask.

    The perimeter is Crofton's, from the crossings of lines in four directions (scikit-image's `perimeter_crofton`). A
    straight edge comes out 5 % short to 3 % long, by its direction, which evens out on a round cell. The circularity of
    discs with a radius of 12 pixels or more is within 5 % of 1, and nearer as they grow. From the length of the
    outline's pixels (`perimeter`) it would stay 10 % below. The shape of cells a few pixels across means little: by the
    same formula a single pixel has a circularity of 1.75.

    The optical density of a pixel is log10((white + 1) / (value + 1)), channel by channel. Where the camera's values
    are linear in the light it is that of Lambert and Beer, in which dyes add up; elsewhere it is a monotone measure of
    darkness. Bare glass has 0, and lighter pixels less.

    Args:
        rle: COCO RLE of the mask, at image size.
        image: RGB, as the camera took it: contrast enhancement changes the stain.
        pixel_size: micrometres per pixel; 0 where it is not known.
        white: red, green and blue of bare glass; None estimates it by `white_of`. For many cells of a field, estimate
            it once.

    Raises ValueError for a mask of another size than the image's, and for one without a pixel.
    """
    if list(rle["size"]) != list(image.shape[:2]):
        raise ValueError(f"the cell's mask is for an image of {list(rle['size'])}, this one has {image.shape[:2]}")
    mask, left, top = cut_out(rle)
    if not mask.size:
        raise ValueError("the cell's mask has no pixel, so there is nothing to describe; leave the cell out")
    region = regionprops(mask)[0]
    area, perimeter = int(region.area), float(region.perimeter_crofton)
    height, width = mask.shape
    pixels = image[top : top + height, left : left + width][mask > 0]  # (area, 3)
    white = white_of(image) if white is None else white
    density = np.log10((white + 1) / (pixels + 1.0)).mean(axis=0)  # (3,)
    return Morphology(
        area=area,
        perimeter=perimeter,
        circularity=4 * math.pi * area / perimeter**2,
        eccentricity=float(region.eccentricity),
        solidity=float(region.solidity),
        od_red=float(density[0]),
        od_green=float(density[1]),
        od_blue=float(density[2]),
        area_um2=area * pixel_size**2 if pixel_size else None,
        perimeter_um=perimeter * pixel_size if pixel_size else None,
    )


def white_of(image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "3"]:
    """Red, green and blue of light through bare glass: the `GROUND` percentile (95) of each channel of an RGB image.

    It needs a twentieth of the image to be glass; in an image without any the lightest part is taken for white.
    """
    return np.percentile(image.reshape(-1, 3), GROUND, axis=0)
