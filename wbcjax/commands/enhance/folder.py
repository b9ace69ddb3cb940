"""Images of a folder with their contrast enhanced, and comparisons of all methods if asked for, written to files."""

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Shaped

from wbcjax.commands.image_folder import find_images, of_image
from wbcjax.enhance import METHODS
from wbcjax.report.enhance_sheet import comparison_sheet
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
    method: str,
    out: Path,
    *,
    compare: bool = False,
    max_value: float | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Outcome:
    """Enhance an image, or all images of a folder, by one of `METHODS`, and write NAME.png of each into `out`.

    Depth (8 or 16 bits) and alpha stay. With `compare`, compare/NAME.png shows the image under all methods, and their
    histograms. `max_value` is the value of white, 4095 for 12-bit images. An image that cannot be enhanced, or has more
    than `max_pixels`, is left out and noted in the outcome.

    Raises as `find_images` and `check_out` do.
    """
    paths = find_images(images)
    check_out(out, paths)
    outcome = Outcome()
    for path in shown(paths, method, "image"):
        try:
            image = read_unscaled(path, max_pixels)
            enhanced = METHODS[method](image, max_value=max_value)
            sheet = comparison_sheet(image, max_value) if compare else None
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


def read_unscaled(path: Path, max_pixels: int = MAX_PIXELS) -> Shaped[np.ndarray, "*image"]:
    """An image file upright, at its own depth, with its alpha: h x w grey, or h x w x 3 or 4 RGB(A).

    Raises as `image_bytes`, and ValueError naming the file unless it is an image of 8 or 16 bits a channel.
    """
    data = np.frombuffer(image_bytes(path, max_pixels), np.uint8)
    try:
        # IMREAD_UNCHANGED alone keeps alpha, and alone ignores the EXIF orientation
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        if image is not None and (image.ndim == 2 or image.shape[2] == 3):
            image = cv2.imdecode(data, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:  # a size beyond what OpenCV takes
        image = None
    if image is None:
        raise ValueError(f"{path}: not an image that OpenCV can decode; replace the file or leave it out")
    if image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{path}: has {image.dtype} pixels; save it with 8 or 16 bits a channel")
    if image.ndim == 2:
        return image
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB)
