"""Names of folders that orbax and tensorstore take for names."""

import contextlib
import re
import tempfile
from collections.abc import Generator
from pathlib import Path

# orbax 0.12 looks for the parts of a checkpoint by a pattern that begins with its path, so that "[1]" or "*" in it
# finds none, or those of another folder; tensorstore 0.1.86 takes a backslash for a slash, etils 1.15 "gs:/" for a
# place in a cloud.
_PLAIN = re.compile(r"[\w/ .,+=@~-]*")


def is_plain(path: Path) -> bool:
    """Whether a path has only characters that nothing takes for a pattern, an escape or a scheme."""
    return _PLAIN.fullmatch(str(path)) is not None


@contextlib.contextmanager
def plain_name(path: Path) -> Generator[Path]:
    """A name for `path`, whose last part is plain, that is plain altogether: its own, or one by a link to its folder.

    The link is in a temporary folder, and gone afterwards. Raises OSError where there can be none.
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
