"""What commands that go through a folder of images have in common: which images, and where results may go."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff")


def find_images(place: Path) -> list[Path]:
    """The images at `place`, a file or a folder, by name.

    Raises FileNotFoundError when there is none, ValueError when two differ in suffix only.
    """
    if place.is_file():
        return [place]
    paths = sorted(p for p in place.glob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    if not paths:
        raise FileNotFoundError(f"{place}: no image there; give one, or a folder with {', '.join(IMAGE_SUFFIXES)}")
    twice = [stem for stem, count in Counter(path.stem for path in paths).items() if count > 1]
    if twice:
        raise ValueError(f"{place}: images that differ in suffix only would be drawn into one file: {twice}")
    return paths


def check_out(written_to: Sequence[Path], images: Sequence[Path]) -> None:
    """Raise ValueError when a folder that is written to holds one of the images, which could be replaced."""
    taken = {folder.resolve() for folder in written_to} & {path.parent.resolve() for path in images}
    if taken:
        raise ValueError(f"--out leads to {taken.pop()}, where the images lie: choose another folder")
