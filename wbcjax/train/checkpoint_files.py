"""The files in the folder of a run's checkpoints, besides the arrays that orbax writes and reads."""

import errno
import hashlib
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

from wbcjax.system.files import write_atomically

UNFINISHED = re.compile(r"\d+\.(unfinished|deleted|orbax-checkpoint-tmp)")  # left by a save or deletion cut short
DAMAGED = (ValueError, LookupError, TypeError, AttributeError, FileNotFoundError)  # raised in reading damaged files
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class TornCheckpoint(ValueError):
    """A checkpoint lost a file, or a file of it is not what was written."""


def saved_steps(directory: Path) -> list[int]:
    """The steps that have a checkpoint, in order."""
    paths = directory.iterdir() if directory.is_dir() else ()
    return sorted(int(path.name) for path in paths if re.fullmatch("0|[1-9][0-9]*", path.name) and path.is_dir())


def clear_unfinished(directory: Path, *, ignore_errors: bool = False) -> None:
    """Delete the remains of saves and deletions that were cut short."""
    for path in directory.iterdir():
        if UNFINISHED.match(path.name):
            shutil.rmtree(path, ignore_errors=ignore_errors)


def delete(folder: Path) -> None:
    """Delete a checkpoint, under another name first: its remains are never taken for a checkpoint."""
    shutil.rmtree(folder.rename(folder.with_name(f"{folder.name}.deleted")))


def set_aside(folder: Path) -> Path:
    """Rename a checkpoint to N.torn, or the next free name after it. Returns its new place."""
    aside, number = folder.with_name(f"{folder.name}.torn"), 1
    while aside.exists():
        number += 1
        aside = folder.with_name(f"{folder.name}.torn-{number}")
    return folder.rename(aside)


def read_place(folder: Path) -> dict[str, Any]:
    """The state of the iterator over the training data in a checkpoint."""
    path = folder / "data" / "metadata"
    if not path.exists():  # earlier versions wrote one for each process; they are the same
        path = min((folder / "data").glob("process_0-of-*.json"), default=path)
    return json.loads(path.read_bytes())


def score_item(score: float | None) -> dict[str, Any]:
    """The record of a checkpoint's score, None before an evaluation: {"score", "evaluated", "digest"}."""
    item = {"score": score if score is not None and math.isfinite(score) else -math.inf, "evaluated": score is not None}
    # With its digest in itself: this file alone is ever written again, and two could not be replaced at once.
    return item | {"digest": _digest(item)}


def write_score(folder: Path, score: float | None) -> None:
    """Replace the score of a checkpoint."""
    write_atomically(_score_file(folder), json.dumps(score_item(score)).encode())


def read_score(folder: Path) -> dict[str, Any]:
    """The `score_item` of a checkpoint. Raises TornCheckpoint when it is not what was written."""
    path = _score_file(folder)
    if not path.exists():
        return score_item(None)
    try:
        item = json.loads(path.read_bytes())
        digest = _digest(item)
    except DAMAGED as error:
        raise TornCheckpoint(f"{path} is damaged ({error})") from error
    if item.get("digest", digest) != digest:  # earlier versions wrote none
        raise TornCheckpoint(f"{path} is damaged: its score is not what was written")
    return item


def system_error(error: Exception) -> int | None:
    """The system's number (errno) of a failed write, None for other errors; tensorstore has it in the message alone."""
    if isinstance(error, OSError):
        return error.errno
    number = re.search(r"os_error_code='(\d+)'", str(error))
    return int(number[1]) if number else None


def _digest(item: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps([float(item["score"]), bool(item["evaluated"])]).encode()).hexdigest()


def _score_file(folder: Path) -> Path:
    return folder / "metrics" / "metrics"
