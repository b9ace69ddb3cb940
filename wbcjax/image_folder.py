"""What commands that go through a folder of images have in common: which images, and where results may go."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from wbcjax.smear.formats.checks import is_text
from wbcjax.smear.formats.folders import IMAGES, files


def find_images(place: Path) -> list[Path]:
    """The images at `place`, a file or a folder, by name, hidden ones not.

    Raises FileNotFoundError when there is none, ValueError when two differ in suffix only, or a name is no UTF-8.
    """
    paths = [place] if place.is_file() else files(place, IMAGES) if place.is_dir() else []
    if not paths:
        raise FileNotFoundError(f"{place}: no image there; give one, or a folder with {', '.join(sorted(IMAGES))}")
    if unwritable := [path.name for path in paths if not is_text(path.name)]:
        raise ValueError(f"{place}: these names are no UTF-8 text: {unwritable}; rename the files")
    twice = [stem for stem, count in Counter(path.stem for path in paths).items() if count > 1]
    if twice:
        raise ValueError(f"{place}: images that differ in suffix only would be drawn into one file: {twice}")
    return paths


def check_out(written_to: Sequence[Path], images: Sequence[Path]) -> None:
    """Refuse folders to write to, of which the first holds the others.

    Raises NotADirectoryError for one that is a file, ValueError for one that holds an image, which could be replaced,
    and for one that a link leads out of the first.
    """
    for folder in written_to:
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"--out leads to {folder}, which is a file: choose another folder")
    if outside := [folder for folder in written_to if not folder.resolve().is_relative_to(written_to[0].resolve())]:
        raise ValueError(f"{outside[0]} is a link that leads out of the folder of --out: choose another folder")
    taken = {folder.resolve() for folder in written_to} & {path.parent.resolve() for path in images}
    if taken:
        raise ValueError(f"--out leads to {taken.pop()}, where the images lie: choose another folder")
