"""Folders with annotation files for each image: which file belongs to which image, and images that no file is for."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from wbcjax.smear.decode import exif_orientation
from wbcjax.smear.formats.checks import Fault, Reading, image_folder
from wbcjax.smear.formats.image_files import image_files, label_stem, masks_beside
from wbcjax.smear.formats.image_names import OWN_NAME, ImageNames

NUMBERED = re.compile("(?P<image>.+)_[0-9]+")
DECIMAL = re.compile(r"\s*[0-9]{1,9}(\.[0-9]{1,9})?\s*")
MOST_PIXELS = 2**32  # of a side that an annotation claims
WRONG_SIZE = "use the image that was annotated, upright and at the same size"


def files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The files of a folder that end in one of the suffixes (lower case; any case matches), by name, hidden ones not.

    The "._" files that macOS leaves on a memory stick are hidden ones. Broken links are included, for the reader to
    report.
    """
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and not path.is_dir()
    )


def annotation_files(annotations: Path, suffixes: Collection[str]) -> list[Path]:
    """The annotation files of a folder, or the one that is named. Faults: it cannot be listed, or holds none."""
    if annotations.is_file():
        return [annotations]
    try:
        found = files(annotations, suffixes)
    except OSError as error:
        raise Fault(f"cannot be read ({error.strerror})", "correct the path or the folder's permissions") from error
    if not found:
        raise Fault(f"the folder holds no {', '.join(f'*{suffix}' for suffix in sorted(suffixes))}", "correct its path")
    return found


def images_by_stem(folder: Path) -> dict[str, list[str]]:
    """The names of a folder's images by their names without suffix. Fault: the folder is not there."""
    image_folder(folder)
    by_stem = {}
    for path in image_files(folder)[0]:
        by_stem.setdefault(path.stem, []).append(path.name)
    return by_stem


def stem_of_numbered(mask: Path) -> str | None:
    """The name of a mask's image without suffix; None when the mask is not named <image>_<number>."""
    match = NUMBERED.fullmatch(mask.stem)
    return None if match is None else match["image"]


def named_after_images(files: Sequence[Path], images: Path) -> tuple[int, int]:
    """How many files have the name of an image, as label images have, and how many that name and a number, as masks.

    Where the files are the images themselves, of cellpose's masks beside them.
    """
    if not files:
        return 0, 0
    image_folder(images)
    if files[0].parent.resolve() == images.resolve():
        return len(masks_beside(files, images)), 0
    names, without = ImageNames(images), files[0].parent
    numbered = filter(None, map(stem_of_numbered, files))

    def is_image(stem: str) -> bool:
        return bool(names.by_stem(stem, without))

    return (
        sum(is_image(label_stem(file.stem, is_image)) for file in files),
        sum(is_image(label_stem(stem, is_image)) for stem in numbered),
    )


def stem_of_label(reading: Reading, file: Path, stem: str, beside: bool = False) -> str:
    """The name without suffix of the image that a label file or a mask is for: see `label_stem`."""
    return label_stem(stem, lambda name: bool(reading.names.by_stem(name, file.parent)), beside)


def image_of_stem(reading: Reading, file: Path, stem: str) -> str:
    """The name of the image of this stem, for a file beside others. Faults: there is none, or there are several."""
    found = reading.names.by_stem(stem, file.parent)
    if not found:
        raise Fault(f"there is no image {stem}.* in the image folder", "add the image or delete its annotations")
    return reading.names.one_of(found, file.name, stem)


def image_of_file(reading: Reading, file: Path, named: str) -> str:
    """The image that an annotation file is for: the one it names, or else the one with the file's own name.

    `named` is a path as any system writes it. Where it leads elsewhere and its last part agrees with the file's own
    name, nothing is said: images move between folders and machines.
    Faults: both images are there and differ, or none is; several images have the file's name.
    """
    found, own = reading.names.by_name(named), reading.names.by_stem(file.stem)
    path = PureWindowsPath(named)
    if not found and not own:
        raise Fault(f"it names the image {path.name!r}, which is not in {reading.images}", "add it or delete the file")
    if not found:
        stale = path.stem != file.stem
        return reading.names.one_of([taken._replace(way=OWN_NAME) for taken in own] if stale else own, file.name, named)
    agreed = [taken for taken in own if taken.name in {other.name for other in found}]
    if not agreed and any(not taken.way for taken in own):
        raise Fault(
            f"it names the image {path.name!r}, and there is an image {own[0].name!r} of its own name",
            "correct the name in it to the image that was annotated",
        )
    return reading.names.one_of(agreed or found, file.name, named)


def suspect_images_without(
    reading: Reading, names_of: dict[str, list[str]], annotated: set[str], stems: set[str], remedy: str
) -> None:
    """Note each image that no file of a folder is for: it is not `annotated`, and no file has its stem."""
    if not reading.annotations.is_dir():
        return
    for stem, names in names_of.items():
        for name in names:
            if name not in annotated and stem not in stems and not reading.has_taken(name):
                reading.suspect(name, "", "it has no annotations, and is left out", remedy)


def check_size(what: str, found: tuple[float, float], image: tuple[int, int], path: Path | None = None) -> None:
    """Fault: the (height, width) that an annotation was made for is not that of its image, which lies at `path`."""
    if found == image:
        return
    told = f"{what} {found[1]} x {found[0]} pixels, the image has {image[1]} x {image[0]}"
    orientation = exif_orientation(path) if path is not None and found == image[::-1] else 1
    if orientation < 5:
        raise Fault(told, WRONG_SIZE)
    raise Fault(
        f"{told} once its EXIF orientation ({orientation}) has turned it upright",
        "save the image as its pixels lie in the file, without the orientation, or annotate it upright",
    )


def check_declared(reading: Reading, name: str, declared: tuple[Any, Any], image: tuple[int, int], path: Path) -> None:
    """Compare the (height, width) in an image's annotations, as they stand there, with those of its image at `path`.

    A side that is missing, no number above 0, or a text is noted as suspect. Fault: a side is another number, or text
    of one.
    """
    told = [_side(side) for side in declared]
    if None in told or any(isinstance(side, str) for side in declared):
        found = "the annotations do not say for which image size they are"
        reading.often(name, "", found, "look whether the cells lie where they were drawn")
    height, width = (own if side is None else side for side, own in zip(told, image, strict=True))
    check_size("the annotations say", (height, width), image, path)


def _side(value: Any) -> float | None:
    """A side in pixels, None where it is not known."""
    if isinstance(value, str):
        value = float(value) if DECIMAL.fullmatch(value) else None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < MOST_PIXELS:
        return None
    return int(value) if value == int(value) else value
