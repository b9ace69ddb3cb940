"""Common to commands on a folder of images: finding the images, and the message on one that failed."""

from collections import Counter
from pathlib import Path

from wbcjax.smear.formats.fault import is_text
from wbcjax.smear.formats.image_files import image_files, of_unread, unread_images
from wbcjax.smear.formats.image_names import IMAGES
from wbcjax.system.places import error_text


def find_images(place: Path) -> list[Path]:
    """The images at `place`, a file or a folder, by name, hidden ones not.

    Raises FileNotFoundError when there is none, ValueError when two differ in suffix only, or a name is no UTF-8.
    """
    paths = [place] if place.is_file() else image_files(place)[0] if place.is_dir() else []
    if not paths:
        told = "".join(f"\n  {line}" for line in left_out(place))
        kinds = ", ".join(sorted(IMAGES))
        raise FileNotFoundError(f"{place}: no image there; give one, or a folder with {kinds}{told}")
    if unwritable := [path.name for path in paths if not is_text(path.name)]:
        raise ValueError(f"{place}: these names are no UTF-8 text: {unwritable}; rename the files")
    twice = [stem for stem, count in Counter(path.stem for path in paths).items() if count > 1]
    if twice:
        raise ValueError(f"{place}: images that differ in suffix only would be drawn into one file: {twice}")
    return paths


def left_out(place: Path) -> list[str]:
    """A line for each file of a folder that looks like an image and is none of `find_images`; [] of a file."""
    if not place.is_dir():
        return []
    masks = [
        f"{path}: it has the name of an image's masks; rename it if it is an image" for path in image_files(place)[1]
    ]
    return [*masks, *(f"{path}: {'; '.join(of_unread(path))}" for path in unread_images(place))]


def of_image(path: Path, error: Exception) -> str:
    """The message on an image that failed: its path and the error, with the type of an unexpected one."""
    foreseen = isinstance(error, (OSError, ValueError))
    text = error_text(error) if foreseen else f"{type(error).__name__}: {error}"
    return text if str(path) in text else f"{path}: {text}"
