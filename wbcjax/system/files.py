"""Writing files whole or not at all, and reading files from others safely."""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterable
from io import BufferedReader
from pathlib import Path, PurePath

import cv2
import numpy as np
from jaxtyping import Shaped


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` into a file that appears whole or not at all, making its folder when needed.

    Raises OSError when it cannot be written; a file of that name that was there before is then unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.unlink(missing_ok=True)
        with partial.open("xb") as file:  # never through a link that is already there
            file.write(data)
        partial.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error  # with the name that the caller gave
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_new(path: Path, data: bytes) -> None:
    """Put `data` into a new file, as `write_atomically` does. Raises FileExistsError where there is one already."""
    check_new(path)
    write_atomically(path, data)


def check_new(path: Path) -> None:
    """Raises FileExistsError where there is a file, a folder or a link of that name."""
    if path.exists() or path.is_symlink():
        raise FileExistsError(errno.EEXIST, "there is such a file already: name a new one", str(path))


def write_folder(path: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Put files, each by its path below the folder, into a new or empty folder that fills whole or not at all.

    Raises OSError when one cannot be written, or the folder holds files already; ValueError for a path that leads out.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, data in files:
            if PurePath(name).anchor or ".." in PurePath(name).parts:
                raise ValueError(f"{name!r} leads out of the folder {path}")
            file = partial / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        if path.is_dir():
            path.rmdir()
        partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file, or a link to one, to read its bytes; a pipe is not waited for.

    Raises OSError when it cannot be opened or is a pipe, a device or a socket, which may never end or never begin.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file, but a folder, a pipe or a device", str(path))
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, most: int) -> bytes:
    """The bytes of a regular file. Raises OSError as `open_regular`, and for a file of more than `most` bytes."""
    with open_regular(path) as file:
        return read_whole(file, most)


def read_whole(file: BufferedReader, most: int) -> bytes:
    """The bytes of an open file from its start. Raises OSError when they are more than `most`."""
    size = os.fstat(file.fileno()).st_size
    if size > most:
        raise OSError(errno.EFBIG, f"it has more than {most} bytes", file.name)
    file.seek(0)
    return file.read(size)  # not `most`: read allocates as many bytes as are asked for


def write_png(path: Path, image: Shaped[np.ndarray, "*image"]) -> None:
    """Write an image of 8 or 16 bits to a PNG file, whole or not at all: h x w grey, or h x w x 3 or 4 RGB(A)."""
    write_atomically(path, png_bytes(image))


def png_bytes(image: Shaped[np.ndarray, "*image"]) -> bytes:
    """The bytes of such a PNG file."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".png", image)
    return data.tobytes()
