"""Digests of the files of a checkpoint, in its folder, to find files that were lost, cut short or altered."""

import hashlib
import json
from collections.abc import Collection
from pathlib import Path

from wbcjax.system.files import write_atomically
from wbcjax.system.run_files import DIGESTS


def write_digests(folder: Path, *, without: str = "") -> None:
    """Write {path: [bytes, SHA-256]} of all files in `folder` into it, leaving out those in its subfolder `without`."""
    paths = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    digests = {
        path.as_posix(): [(folder / path).stat().st_size, _digest(folder / path)]
        for path in paths
        if path.parts[0] not in (DIGESTS, without)
    }
    write_atomically(folder / DIGESTS, (json.dumps(digests, indent=1) + "\n").encode())


def has_digests(folder: Path) -> bool:
    """Whether `folder` holds the digests of its files."""
    return (folder / DIGESTS).exists()


def find_fault(folder: Path, parts: Collection[str] = ()) -> str | None:
    """The fault of the first file that differs from its digest in `folder`; None when all are intact.

    `parts` names the files and subfolders to check, all when empty. Files without a digest are not checked.
    Raises OSError for a file that exists but cannot be read.
    """
    written = (folder / DIGESTS).read_bytes()
    try:
        expected = {str(name): (int(size), str(digest)) for name, (size, digest) in json.loads(written).items()}
    except (ValueError, TypeError, AttributeError) as error:
        return f"{folder / DIGESTS} is damaged ({error})"
    for name, (size, digest) in expected.items():
        if parts and name.split("/")[0] not in parts:
            continue
        path = folder / name
        try:
            found = path.stat().st_size
            if found != size:
                return f"{path} has {found} bytes, not the {size} that were written"
            if _digest(path) != digest:
                return f"{path} is not what was written: its SHA-256 differs"
        except (FileNotFoundError, NotADirectoryError):
            return f"{path} is missing"
    return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
