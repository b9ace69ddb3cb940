"""Hashes of the contents of files, cached while the files are unchanged, and of fields."""

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from wbcjax.system.files import open_regular, write_atomically

SETTLED = 2e9  # ns since a file's last change after which another change cannot get the same time stamp (FAT: 2 s)


class Item(NamedTuple):
    """A field, or a crop, of a set: its name, digests of its contents, and counts."""

    name: str
    image: str = ""  # see `pixels_digest`
    cells: str = ""  # a digest of its annotation
    group: str | None = None  # of the items that must not be in two parts of a split, if it has one
    counts: tuple[int, ...] = ()  # its cells of each class, crowd regions apart


def pixels_digest(image: UInt8[np.ndarray, "h w 3"]) -> str:
    """A hash of an RGB image: the same for a copy under another name, and in another format without loss."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()[:32]


def json_digest(data: Any) -> str:
    """A hash of data that JSON can write."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:32]


class Digests:
    """SHA-256 of files and folders by content; a file is read again only when its size or a time of it has changed.

    Known hashes are kept in the file `memory`, which may be deleted at any time.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._known: dict[str, list] = {}  # path -> [size, time of modification, time of change, digest]
        self._learnt = False
        with contextlib.suppress(OSError, ValueError):
            self._known = json.loads(memory.read_bytes())

    def file(self, path: Path) -> str:
        """The hash of a file's content; "" when there is no file, which the annotation readers report."""
        if not path.is_file():
            return ""
        stat = path.stat()
        # The time of change too: a copy may keep an old time of modification, but cannot set this one.
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
        known = self._known.get(str(path.absolute()))
        if known and known[:3] == stamp:
            return known[3]
        with open_regular(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if time.time_ns() - max(stamp[1:]) > SETTLED:
            self._known[str(path.absolute())] = [*stamp, digest]
            self._learnt = True
        return digest

    def folder(self, folder: Path) -> str:
        """The hash of the names and contents of all files and subfolders in a folder, hidden ones apart."""
        digest = hashlib.sha256()
        for parent, subfolders, names in os.walk(folder, followlinks=True):
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            files = sorted(name for name in names if not name.startswith("."))
            contents = [(name, self.file(Path(parent, name))) for name in files]
            digest.update(json.dumps([Path(parent).relative_to(folder).as_posix(), subfolders, contents]).encode())
        return digest.hexdigest()

    def remember(self) -> None:
        """Write new hashes, if any, for the next opening."""
        if self._learnt:
            with contextlib.suppress(OSError):  # a cache that cannot be written only makes opening slower
                write_atomically(self._memory, json.dumps(self._known).encode())
