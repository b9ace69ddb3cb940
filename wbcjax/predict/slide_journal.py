"""What was found in a slide so far: a line for each row of tiles, so that a search that was killed goes on.

The first line says what is searched by what, a digest of it all. A row is appended whole, and is on the disk before the
next one is begun. A last line that was cut short is dropped.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wbcjax.evaluate.detections import FieldDetections


class SearchedTile(NamedTuple):
    """A tile of a slide: what was measured and what was found in it."""

    column: int
    tissue: float  # share of its area, 0 to 1
    sharpness: float | None  # None where it was not looked at
    left_out: str  # why it was not searched, "" where it was
    found: FieldDetections | None  # in the tile's own pixels; None where it was left out


class Journal:
    """A journal in a file, new or gone on with. Raises ValueError where the file is of another search; OSError."""

    def __init__(self, path: Path, search: dict[str, Any]) -> None:
        self._path = path
        self.rows = 0  # of tiles that are done
        path.parent.mkdir(parents=True, exist_ok=True)
        head = _line(search)
        if not path.exists() or not path.stat().st_size:
            self._append(head)
            return
        end = 0
        with path.open("rb") as file:
            for number, line in enumerate(file):
                if not line.endswith(b"\n"):
                    break
                if number == 0 and line != head:
                    raise ValueError(
                        f"{path}: {_difference(json.loads(line), search)}; choose another folder for --out"
                    )
                self.rows, end = number, end + len(line)
        os.truncate(path, end)
        if not end:
            self._append(head)

    def add(self, row: list[SearchedTile]) -> None:
        """Write a row of tiles, for good."""
        self._append(_line([_tile(tile) for tile in row]))
        self.rows += 1

    def _append(self, line: bytes) -> None:
        with self._path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


def each_row(path: Path, name: str) -> Iterator[list[SearchedTile]]:
    """The rows of tiles of a journal, in their order; what was found in them bears the `name`."""
    with path.open("rb") as file:
        next(file)
        for line in file:
            yield [_read(tile, name) for tile in json.loads(line)]


def _line(data: Any) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode() + b"\n"


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    before, now = before if isinstance(before, dict) else {}, json.loads(json.dumps(now))
    changed = [
        f"{key} is {now.get(key)!r} and was {before.get(key)!r}" for key in now if now.get(key) != before.get(key)
    ]
    return f"it holds what another search found ({changed[0] if changed else 'of another version'})"


def _tile(tile: SearchedTile) -> dict[str, Any]:
    said = {"column": tile.column, "tissue": tile.tissue, "sharpness": tile.sharpness, "left_out": tile.left_out}
    if tile.found is None:
        return said
    return said | {
        "size": [tile.found.height, tile.found.width],
        "boxes": tile.found.boxes.tolist(),
        "labels": tile.found.labels.tolist(),
        "scores": tile.found.scores.tolist(),
        "counts": [rle["counts"] for rle in tile.found.rles],
        "said": {name: values.tolist() for name, values in tile.found.said.items()},
    }


def _read(data: dict[str, Any], name: str) -> SearchedTile:
    measured = data["column"], data["tissue"], data["sharpness"], data["left_out"]
    if "size" not in data:
        return SearchedTile(*measured, None)
    height, width = data["size"]
    found = FieldDetections(
        name=name,
        height=height,
        width=width,
        boxes=np.array(data["boxes"], np.float64).reshape(-1, 4),
        labels=np.array(data["labels"], np.int32),
        scores=np.array(data["scores"], np.float64),
        rles=[{"size": [height, width], "counts": counts} for counts in data["counts"]],
        said={name: np.array(values, np.float64) for name, values in data["said"].items()},
    )
    return SearchedTile(*measured, found)
