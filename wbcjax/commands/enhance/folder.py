"""Images of a folder with their contrast enhanced, and comparisons of all methods if asked for, written to files."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from wbcjax.commands.image_folder import find_images, left_out, of_image
from wbcjax.enhance import Enhancement, Stain, fit_stain
from wbcjax.enhance.stain import middle_of
from wbcjax.report.enhance_sheet import comparison_sheet
from wbcjax.smear.decode import decode_upright
from wbcjax.smear.image_header import MAX_PIXELS, image_bytes
from wbcjax.system.files import write_png
from wbcjax.system.places import check_out
from wbcjax.system.progress import shown


@dataclass
class Outcome:
    """Counts of the images of a folder, and failures."""

    enhanced: int = 0
    unchanged: list[str] = field(default_factory=list)  # names of images that the method left as they were
    failed: list[str] = field(default_factory=list)  # the path and the error of each other image


def enhance_folder(
    images: Path,
    method: Enhancement,
    out: Path,
    *,
    compare: bool = False,
    max_value: float | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Outcome:
    """Enhance an image, or all images of a folder, and write NAME.png of each into `out`.

    Depth (8 or 16 bits) and alpha stay. With `compare`, compare/NAME.png shows the image under all methods, and their
    histograms. `max_value` is the value of white, 4095 for 12-bit images. An image that cannot be enhanced, or has more
    than `max_pixels`, is left out and noted in the outcome, and so are files of image formats that are not read.

    Raises as `find_images` and `check_out` do.
    """
    paths = find_images(images)
    check_out(out, paths)
    outcome = Outcome(failed=left_out(images))
    for path in shown(paths, method.method, "image"):
        try:
            image = read_unscaled(path, max_pixels)
            enhanced = method(image, max_value=max_value)
            sheet = comparison_sheet(image, max_value, method.stain) if compare else None
        except Exception as error:  # any error leaves out this image only
            outcome.failed.append(of_image(path, error))
            continue
        write_png(out / f"{path.stem}.png", enhanced)
        if sheet is not None:
            write_png(out / "compare" / f"{path.stem}.png", sheet)
        outcome.enhanced += 1
        if np.array_equal(enhanced, image):
            outcome.unchanged.append(path.name)
    return outcome


def stain_of(reference: Path, max_value: float | None = None, max_pixels: int = MAX_PIXELS) -> Stain:
    """The stain of a reference image, or of the middle of those in a folder.

    Raises as `find_images` and `read_unscaled`, and ValueError where an image has no stain, with its path.
    """
    fitted = []
    for path in shown(find_images(reference), "fit the stain", "image"):
        try:
            fitted.append(fit_stain(read_unscaled(path, max_pixels), max_value))
        except ValueError as error:
            raise ValueError(of_image(path, error)) from error
    return middle_of(fitted)


def read_unscaled(path: Path, max_pixels: int = MAX_PIXELS) -> Shaped[np.ndarray, "*image"]:
    """An image file upright, at its own depth, with its alpha: h x w grey, or h x w x 3 or 4 RGB(A).

    Raises as `image_bytes` and `decode_upright`.
    """
    return decode_upright(image_bytes(path, max_pixels), str(path), max_pixels, alpha=True)
