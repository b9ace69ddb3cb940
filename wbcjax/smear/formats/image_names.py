"""How an image is found by the name that annotations give it: one rule for every reader.

Names change on their way: Windows separates folders by a backslash, browsers encode signs by percent (RFC 3986), macOS
takes letters and accents apart (Unicode NFD), suffixes change their case, whole paths are those of another machine, and
Label Studio puts eight hexadecimal digits before the names of uploaded files. Only files inside the image folder are
ever taken, and only where no other one fits as well.
"""

import os
import re
import unicodedata
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple, TypeVar
from urllib.parse import unquote

from wbcjax.smear.formats.fault import Fault, brief, is_text

LOSSLESS = frozenset({".bmp", ".png", ".tif", ".tiff"})
IMAGES = LOSSLESS | {".jpeg", ".jpg", ".jp2", ".webp"}
LONGEST_PATH = 4096  # characters; no file has a longer one
MOST_FILES = 2**20  # of an image folder that are looked at when a name is not there

# How an image was found whose name is not there.
SPELT = "found under another spelling"
ELSEWHERE = "found in another place by their last part"
PREFIXED = "found without the digits that Label Studio adds"
OWN_NAME = "found by the name of their annotation file"
WAYS = (SPELT, ELSEWHERE, PREFIXED, OWN_NAME)

Key = TypeVar("Key", bound=Hashable)


class Taken(NamedTuple):
    """An image that was found: its path below the image folder, and the way to it, "" by its very name."""

    name: str
    way: str = ""


class ImageNames:
    """The images of a folder by the names that annotations may give them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ways: dict[str, dict[str, tuple[str, str]]] = {}  # names given and taken by what gave them, for each way

    def by_name(self, name: str) -> list[Taken]:
        """What a name may mean: the image of this very name, or all that fit equally well; [] for none.

        Of a path that leads elsewhere the longest end counts that is there: C:\\data\\p1\\a.png is p1/a.png, and not
        p2/a.png.
        """
        if self.is_there(name):
            return [Taken(name)]
        if len(name) > LONGEST_PATH:
            return []
        ends = [tuple(PurePosixPath(same).parts) for same in _spellings(_local(name))]
        for way, found in (
            (SPELT, [self._whole.get(parts) for parts in ends]),
            (ELSEWHERE, [self._ends.get(parts[start:]) for parts in ends for start in range(len(parts))]),
            (PREFIXED, [self._uploaded.get(_without_prefix(parts[-1])) for parts in ends if parts]),
        ):
            if first := next(filter(None, found), None):
                return [Taken(path, way) for path in _as_written(first, name)]
        return []

    def by_stem(self, stem: str, without: Path | None = None) -> list[Taken]:
        """The images of a name without suffix: of the folder itself, or else of those below it but `without`."""
        if stem in self._top:
            return [Taken(name) for name in self._top[stem]]
        if len(stem) > LONGEST_PATH:
            return []
        listed = {path for same in _spellings(stem) for path in self._stems.get(same, ())}
        if without is not None and without.resolve() != self.folder.resolve():
            listed = {path for path in listed if not (self.folder / path).resolve().is_relative_to(without.resolve())}
        here = sorted(path for path in listed if "/" not in path)
        return [Taken(path, SPELT) for path in here] or [Taken(path, ELSEWHERE) for path in sorted(listed)]

    def is_there(self, name: str) -> bool:
        """Whether the folder has a file of this very name; one that leads out of the folder is not looked for."""
        if "://" in name or leads_out(name):
            return False
        try:
            return (self.folder / name).is_file()
        except (OSError, ValueError, RuntimeError):  # too long, a NUL character, a loop of links
            return False

    def one_of(self, found: Sequence[Taken], file: str, name: str) -> str:
        """The image `found` by a name in a file; `told` says so where it has another name.

        Faults: none or several were found, or a name is no text.
        """
        for text in (name, *(taken.name for taken in found)):
            if not is_text(text):
                raise Fault(f"the file name {text!r} is no UTF-8 text", "rename the file")
        if not found:
            raise self._missing(name)
        if len(found) > 1:
            listed = ", ".join(taken.name for taken in found[:5]) + ", ..." * (len(found) > 5)
            raise Fault(f"there are several images of this name: {listed}", "keep the one that was annotated")
        if found[0].way:
            self._ways.setdefault(found[0].way, {})[file] = (name, found[0].name)
        return found[0].name

    def told(self) -> list[tuple[str, str, str]]:
        """For each way to images by another name than the one given: where, what was found, and the remedy."""
        ways = {way: list(self._ways[way].values()) for way in WAYS if way in self._ways}
        return [
            (
                f"{len(names)} image{'s' * (len(names) > 1)}",
                f"{way} (the first: {brief(names[0][1])} for {brief(names[0][0])})",
                "check that they are the pictures that were annotated",
            )
            for way, names in ways.items()
        ]

    def _missing(self, name: str) -> Fault:
        """The fault of a name for which there is no image: why, and what it may mean."""
        remedy = "name a file inside the image folder, relative to it"
        if "://" in name:
            return Fault(f"the file name {brief(name)} is a web address", "download the image and " + remedy)
        if leads_out(name):
            return Fault(f"the file name {name!r} leads out of the image folder", remedy)
        alike = self._alike(name)
        hint = f", or name it {alike[0]!r}, which is there" if alike else ""
        return Fault(f"there is no such image in {self.folder}", f"add the image or delete its annotations{hint}")

    def _alike(self, name: str) -> list[str]:
        """Images that a name might mean, as it differs in case or in the kind of image: to name them, not to take."""
        stem = PurePosixPath(_local(name[:LONGEST_PATH])).stem.casefold()
        return [path for path in self._paths if PurePosixPath(path).stem.casefold() == stem]

    @cached_property
    def _top(self) -> dict[str, list[str]]:
        """The names of the folder's own images by their stems."""
        return _grouped((path.stem, path.name) for path in images_of(self.folder))

    @cached_property
    def _paths(self) -> list[str]:
        """The images in the folder and below it, by their path; links to folders are not followed."""
        return sorted(islice(_walk(self.folder), MOST_FILES))

    @cached_property
    def _whole(self) -> dict[tuple[str, ...], list[str]]:
        return _grouped((PurePosixPath(same).parts, path) for path in self._paths for same in _spellings(path))

    @cached_property
    def _ends(self) -> dict[tuple[str, ...], list[str]]:
        """The images by each end of their paths."""
        return _grouped(
            (parts[start:], path)
            for parts, paths in self._whole.items()
            for path in paths
            for start in range(len(parts))
        )

    @cached_property
    def _uploaded(self) -> dict[str, list[str]]:
        """The images by the name that an upload to Label Studio, a Django site, gives them, without its prefix."""
        return _grouped((_valid(parts[-1]), path) for parts, paths in self._whole.items() for path in paths)

    @cached_property
    def _stems(self) -> dict[str, list[str]]:
        return _grouped((same, path) for path in self._paths for same in _spellings(PurePosixPath(path).stem))


def images_of(folder: Path) -> list[Path]:
    """The images of a folder by name, hidden ones not; broken links too, for the reader to report."""
    return sorted(path for path in folder.iterdir() if _is_image(path.name) and not path.is_dir())


def leads_out(name: str) -> bool:
    """Whether a path may leave the folder that it is relative to, by its text."""
    here = PurePath(name)  # on Windows with drives and backslashes
    return PurePosixPath(name).is_absolute() or bool(here.anchor) or ".." in (*PurePosixPath(name).parts, *here.parts)


def _is_image(name: str) -> bool:
    return not name.startswith(".") and PurePath(name).suffix.lower() in IMAGES


def _walk(folder: Path) -> Iterator[str]:
    for parent, subfolders, names in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        inside = Path(parent).relative_to(folder)
        yield from ((inside / name).as_posix() for name in names if _is_image(name) and (Path(parent) / name).is_file())


def _grouped(pairs: Iterable[tuple[Key, str]]) -> dict[Key, list[str]]:
    found: dict[Key, dict[str, None]] = {}
    for key, value in pairs:
        found.setdefault(key, {})[value] = None
    return {key: list(values) for key, values in found.items()}


def _local(name: str) -> str:
    """The path in a web address or a query: /data/local-files/?d=p1/a.png is p1/a.png."""
    if "://" not in name and not name.startswith("/data/"):
        return name
    path, _, query = name.partition("?")
    local = re.match(r"(?:.*&)?d=([^&]*)", query, re.DOTALL)
    return local[1] if local else path


def _spellings(name: str) -> list[str]:
    """A path in the forms by which it is compared: as it is and with percent signs decoded."""
    return list(dict.fromkeys(map(_plain, (name, unquote(name)))))


def _plain(name: str) -> str:
    """A path with slashes, composed letters, and its suffix in lower case; .jpeg is .jpg, .tiff is .tif."""
    path = unicodedata.normalize("NFC", name).replace("\\", "/")
    stem, dot, suffix = path.rpartition(".")
    kind = {"jpeg": "jpg", "tiff": "tif"}.get(suffix.lower(), suffix.lower())
    return f"{stem}{dot}{kind}" if f".{kind}" in IMAGES else path


def _without_prefix(name: str) -> str:
    found = re.fullmatch(r"[0-9a-f]{8}-(.+)", name, re.DOTALL)
    return _valid(found[1]) if found else ""


def _valid(name: str) -> str:
    """A file's name as Django's get_valid_filename makes it: spaces become "_", and most other signs go."""
    return re.sub(r"[^-\w.]", "", name.strip().replace(" ", "_"))


def _as_written(paths: list[str], name: str) -> list[str]:
    """Those of several paths that end as the name does, to the letter, if there are any."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return [path for path in paths if path.rpartition("/")[2] == last] or paths
