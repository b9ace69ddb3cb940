"""Where files may go on this machine: the cache, folders for results, and remedies for errors of the file system."""

import errno
import functools
import hashlib
import logging
import os
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

log = logging.getLogger(__name__)

CACHE = "WBCJAX_CACHE"  # the environment variable
NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)  # errors of file systems without locks: some Lustre, NFS
_REMEDIES = {
    errno.ENOENT: "check the name",
    errno.ENOTDIR: "a file is where a folder should be; give another place",
    errno.EISDIR: "a folder is where a file should be; give another name",
    errno.EEXIST: "give another name, or move what is there",
    errno.EACCES: "change its permissions, or give another place",
    errno.EPERM: "change its permissions, or give another place",
    errno.EROFS: "give a place that can be written",
    errno.ENOSPC: "free some space, or give another place",
    errno.EDQUOT: "free some of your quota, or give another place",
    errno.EFBIG: "give a smaller file, or another place",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: "its links lead in a circle; give the place itself",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.ENOMEM: "give the process more memory",
    errno.EIO: "its disk, or the way to it, has failed; try again, or give another place",
    errno.ESTALE: "its file server has lost it; try again",
}


def error_text(error: Exception) -> str:
    """An error of the input, in words: one of the system's with the file, the failure, and the remedy."""
    if not isinstance(error, OSError) or error.errno is None:
        return str(error)
    place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    system = error.strerror == os.strerror(error.errno)  # else it is one of ours, with a remedy of its own
    remedy = f"; {_REMEDIES[error.errno]}" if system and error.errno in _REMEDIES else ""
    of_cache = remedy and error.filename is not None and _is_in_cache(os.fsdecode(error.filename))
    return f"{place}{error.strerror}{remedy}" + (f" ({CACHE} says where the cache is)" if of_cache else "")


def cache_folder() -> Path:
    """Where built sets and compiled programs are kept: in $WBCJAX_CACHE as it is, else in ~/.cache/wbcjax.

    Where there is no home, or none that can be written, in a temporary folder of this user, with one warning.
    Raises ValueError for a WBCJAX_CACHE that names an unknown user, OSError without any temporary folder.
    """
    if place := os.environ.get(CACHE):
        try:
            return Path(place).expanduser()
        except RuntimeError as error:
            raise ValueError(f"{CACHE} is {place!r} ({error}): give the folder's whole path") from error
    try:
        folder = Path("~/.cache/wbcjax").expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        check_writable(folder)
    except RuntimeError:  # neither HOME nor an entry for the user's number
        return _temporary_cache("there is no home folder")
    except OSError as error:
        return _temporary_cache(f"{folder} cannot be written ({error.strerror})")
    return folder


def check_writable(folder: Path) -> None:
    """Raise OSError, naming it, for a folder that cannot be written, or not be made."""
    place = folder.absolute()
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place))
    if not os.access(place, os.W_OK | os.X_OK):  # without a trial: nothing is written before there are results
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def check_out(out: Path, images: Sequence[Path] = ()) -> None:
    """Refuse a folder for results that is neither new nor empty: no file in it is replaced, or mistaken for a result.

    Raises ValueError where one of the `images` lies, NotADirectoryError for a file, FileExistsError for a folder that
    holds something, and OSError for one that cannot be written.
    """
    if any(path.parent.resolve() == out.resolve() for path in images):
        raise ValueError(f"--out leads to {out}, where the images lie: choose another folder")
    if os.path.lexists(out) and not out.is_dir():
        raise NotADirectoryError(f"--out leads to {out}, which is a file: choose another folder")
    if out.is_dir() and any(out.iterdir()):
        raise FileExistsError(
            f"--out leads to {out}, which is not empty: choose a new folder, or empty this one, so that old results do "
            "not stand beside new ones"
        )
    check_writable(out)


def name_of(*places: str) -> str:
    """A folder's name for results from files or folders: two names of the first's path, and a digest of all paths.

    So paths that differ give different names, even where their last parts agree.
    """
    paths = [Path(place).resolve() for place in places]
    names = [part[:60] for part in (*paths[0].parts[1:-1], paths[0].stem)[-2:] if part]
    digest = hashlib.sha256("\0".join(map(str, paths)).encode(errors="surrogateescape")).hexdigest()[:8]
    return "_".join([*names, digest])


@functools.cache  # so that there is one warning
def _temporary_cache(reason: str) -> Path:
    if hasattr(os, "getuid"):
        folder = Path(tempfile.gettempdir(), f"wbcjax-{os.getuid()}")
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            folder = Path(tempfile.mkdtemp(prefix="wbcjax-"))  # programs that others can write must not be run
    else:  # Windows does not say whose a folder is
        folder = Path(tempfile.mkdtemp(prefix="wbcjax-"))
    log.warning("%s: sets and compiled programs are kept in %s; %s can name another folder", reason, folder, CACHE)
    return folder


def _is_in_cache(place: str) -> bool:
    cache = os.environ.get(CACHE)
    return bool(cache) and Path(place).absolute().is_relative_to(Path(cache).absolute())
