"""Common to sets of fields and of crops: their folders, their image files, and TFDS without its output."""

import contextlib
import hashlib
import importlib.util
import io
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import cv2
import grain
import numpy as np
import tensorflow_datasets as tfds
from filelock import FileLock, Timeout
from jaxtyping import UInt8

from wbcjax.enhance import Enhancement
from wbcjax.input.digest import Digests
from wbcjax.smear.image_header import image_bytes
from wbcjax.system.places import NO_LOCKS, cache_folder

log = logging.getLogger(__name__)


@runtime_checkable
class Picture(Protocol):
    """A field or a crop."""

    @property
    def path(self) -> Path | None: ...  # of its image file; None when it was rendered

    @property
    def max_pixels(self) -> int: ...  # of its image file; a larger one is not read

    def image(self) -> UInt8[np.ndarray, "h w 3"]: ...


class Rows(Sequence[Mapping[str, Any]]):
    """Some of the records of a set, in a chosen order, read on access."""

    def __init__(self, records: Sequence[Mapping[str, Any]], rows: Sequence[int]) -> None:
        self._records, self._rows = records, tuple(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._records[self._rows[index]]


def cache_root(cache_dir: str | Path | None) -> Path:
    """The folder of sets: the one given, else `cache_folder()`; in it `parquet`, where that is the format of sets."""
    root = Path(cache_dir).expanduser() if cache_dir else cache_folder()
    return root if record_format() == "array_record" else root / record_format()


def digests_of(root: Path, places: Sequence[str]) -> Digests:
    """Digests of the files of a set, kept in one file for all sets made of the same files or folders."""
    absolute = [str(Path(place).absolute()) for place in places]
    memory = hashlib.sha256(json.dumps(absolute).encode()).hexdigest()[:16]
    return Digests(root / "digests" / f"{memory}.json")


def image_files(pictures: Sequence[Picture], enhance: Enhancement) -> Iterator[bytes]:
    """The bytes of an image file of each picture, in their order, enhanced; made on all cores."""
    cores = os.cpu_count() or 1
    read = grain.ReadOptions(num_threads=cores, prefetch_buffer_size=2 * cores)
    images = grain.MapDataset.range(len(pictures)).map(lambda index: _encoded(pictures[index], enhance))
    with contextlib.closing(iter(images.to_iter_dataset(read))) as iterator:
        yield from iterator


def record_format() -> str:
    """The format, of those of TFDS with random access, that sets are kept in: ArrayRecord, which Windows has not.

    There it is Parquet. The records are the same, but those of an open set are all in memory.
    """
    return "array_record" if importlib.util.find_spec("array_record") else "parquet"


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """While entered, other processes wait to build the set of this folder; also on other machines that share it.

    On file systems without locks they do not wait, and the first one to finish wins, see `prepare`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"), fallback_to_soft=False)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(lock.acquire(timeout=0))
        except Timeout:
            log.info("waiting for another process that builds %s", folder)
            held.enter_context(lock)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            log.info("%s cannot be locked (%s): other processes may build the same set", folder, error.strerror)
        yield


def prepare(builder: tfds.core.DatasetBuilder, is_current: Callable[[], bool]) -> None:
    """Write a set. TFDS writes beside its folder and renames at the end: a broken build leaves no set.

    `is_current`: whether the set is there and up to date. Raises OSError when the set cannot be written.
    """
    tfds.disable_progress_bar()  # of which it shows several at a time; the builders show one
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces a "download" of unknown size
            builder.download_and_prepare()
    except OSError:
        # Another process may have finished the same set first: then the rename fails, and the other's set is used.
        if not is_current():
            raise


def _encoded(picture: Picture, enhance: Enhancement) -> bytes:
    """An image file with the picture's pixels, enhanced; without enhancement its own file, where it has one."""
    if enhance.method == "none" and picture.path is not None:
        return image_bytes(picture.path, picture.max_pixels)
    return cv2.imencode(".png", cv2.cvtColor(enhance(picture.image()), cv2.COLOR_RGB2BGR))[1].tobytes()
