"""What commands that go through a folder of images have in common: which images, and where results may go."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from wbcjax.smear.formats.folders import IMAGES, files


def find_images(place: Path) -> list[Path]:
    """The images at `place`, a file or a folder, by name, hidden ones not.

    Raises FileNotFoundError when there is none, ValueError when two differ in suffix only.
    """
    if place.is_file():
        return [place]
    paths = files(place, IMAGES) if place.is_dir() else []
    if not paths:
        raise FileNotFoundError(f"{place}: no image there; give one, or a folder with {', '.join(sorted(IMAGES))}")
    twice = [stem for stem, count in Counter(path.stem for path in paths).items() if count > 1]
    if twice:
        raise ValueError(f"{place}: images that differ in suffix only would be drawn into one file: {twice}")
    return paths


def check_out(written_to: Sequence[Path], images: Sequence[Path]) -> None:
    """Refuse folders to write to.

    Raises NotADirectoryError for one that is a file, ValueError for one that holds an image, which could be replaced.
    """
    for folder in written_to:
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"--out leads to {folder}, which is a file: choose another folder")
    taken = {folder.resolve() for folder in written_to} & {path.parent.resolve() for path in images}
    if taken:
        raise ValueError(f"--out leads to {taken.pop()}, where the images lie: choose another folder")
