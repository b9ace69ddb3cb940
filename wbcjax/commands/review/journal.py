"""The journal of a review: every correction, a JSON object a line, on the disk before it is shown as done."""

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Journal:
    """A file that is only appended to. A line that a kill has cut short was never shown as done, and is dropped.

    Raises ValueError, naming the file and the line, for one that is no entry.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        data = path.read_bytes() if path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        self.entries = [self._entry(line, number) for number, line in enumerate(whole.splitlines(), start=1)]
        with path.open("ab") as file:
            file.truncate(len(whole))
        _to_disk(path.parent)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write an entry, and wait until it is on the disk. Raises OSError, and the file is then as it was."""
        line = json.dumps(entry, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        with self.path.open("ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError as error:
                file.truncate(size)
                raise OSError(error.errno, error.strerror, str(self.path)) from error

    def _entry(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            entry = json.loads(line)
            if not isinstance(entry["field"], str) or not isinstance(entry["action"], str):
                raise TypeError("no field or action")
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self.path}, line {number}: no entry of a journal ({error}); restore the file, or delete this line"
            ) from error
        return entry


def _to_disk(folder: Path) -> None:
    """Put a folder's list of files on the disk, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
