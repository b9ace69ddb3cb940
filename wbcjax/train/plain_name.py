"""Names of folders without characters that orbax and tensorstore interpret."""

import contextlib
import re
import tempfile
from collections.abc import Generator
from pathlib import Path, PurePath

# orbax 0.12 finds the parts of a checkpoint by a pattern that begins with its path: with "[1]" or "*" in it, it finds
# none, or those of another folder. tensorstore 0.1.86 takes a backslash for a slash, etils 1.15 "gs:/" for cloud
# storage. On Windows both a drive and the backslashes between folders are what they seem.
_PLAIN = re.compile(r"[\w/ .,+=@~-]*")


def is_plain(path: PurePath) -> bool:
    """Whether no character of a path is taken for a pattern, an escape or a scheme."""
    return _PLAIN.fullmatch(path.as_posix().removeprefix(PurePath(path.drive).as_posix())) is not None


@contextlib.contextmanager
def plain_name(path: Path) -> Generator[Path]:
    """A plain path of `path`, whose last part is plain: its own, or one through a link to its folder.

    The link is in a temporary folder, and is deleted afterwards. Raises OSError where it cannot be made.
    """
    if is_plain(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="wbcjax_") as place:
        if not is_plain(Path(place)):
            raise OSError(
                f"{path} and the folder for temporary files, {tempfile.gettempdir()}, have characters in their names "
                "that checkpoints cannot be saved under: set TMPDIR to another folder, or give another --workdir"
            )
        link = Path(place) / "folder"
        link.symlink_to(path.parent, target_is_directory=True)
        yield link / path.name
