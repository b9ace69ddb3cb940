"""Annotation files named after their images: one for each image, in a folder, or in folders below it."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from wbcjax.smear.formats.checks import Fault, Reading
from wbcjax.smear.formats.image_names import IMAGES, Taken, images_of


def below(folder: Path, suffixes: Sequence[str]) -> Iterator[Path]:
    """The files of a folder and of the folders below it that end in one of the suffixes, in any case; no hidden ones.

    A suffix may have two parts, such as ".geojson.gz". Links to folders are not followed.
    """
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.name.lower().endswith(tuple(suffixes)) and not hidden and not path.is_dir():
            yield path


def files_below(annotations: Path, suffixes: Sequence[str]) -> list[Path]:
    """The one file that is named, or those `below` a folder, by name. Faults: it holds none, or cannot be listed."""
    if not annotations.is_dir():
        return [annotations]
    try:
        found = sorted(below(annotations, suffixes))
    except OSError as error:
        raise Fault(f"cannot be read ({error.strerror})", "correct the path or the folder's permissions") from error
    if not found:
        raise Fault(f"the folder holds no {', '.join(f'*{suffix}' for suffix in suffixes)}", "correct its path")
    return found


def base_of(annotations: Path, file: Path, suffixes: Sequence[str]) -> str:
    """A file's path below the folder of annotations, without its suffix; "a" and "a.png" are names of an image."""
    below = file.relative_to(annotations).as_posix() if annotations.is_dir() else file.name
    for suffix in sorted(suffixes, key=len, reverse=True):
        if below.lower().endswith(suffix):
            return below[: -len(suffix)]
    return below


def image_of(reading: Reading, file: Path, bases: Sequence[str], alone: bool) -> str:
    """The image of a file, by paths without suffix that it may be named after: of this name, or of this stem.

    Of one that is `alone`, the only file of the set, and named after none, it is the only image there is.
    Faults: there is none, or there are several.
    """
    for base in bases:
        place = PurePosixPath(base)
        found = reading.names.by_name(base) if place.suffix.lower() in IMAGES else []
        stems = place.name, f"{place.name}.ome"  # QuPath takes ".ome.tif" for one suffix
        listed = (*(_beside(reading, place.parent, stem) for stem in stems), *map(reading.names.by_stem, stems))
        if found := found or next(filter(None, listed), []):
            return reading.names.one_of(found, file.name, base)
    only = images_of(reading.images)
    if len(only) != 1 or not alone:
        raise Fault(f"there is no image {bases[0]}.* in the image folder", "add the image or delete its annotations")
    found = f"it is not named after an image, and the only one, {only[0].name!r}, is taken"
    reading.suspect(file.name, "", found, "name it after its image")
    return only[0].name


def _beside(reading: Reading, folder: PurePosixPath, stem: str) -> list[Taken]:
    """The images of a stem in a folder below that of the images, as the file lies in one below that of annotations."""
    inner = reading.images / folder
    if folder == PurePosixPath(".") or not inner.is_dir():
        return []
    return [Taken(str(folder / path.name)) for path in images_of(inner) if path.stem == stem]
