"""Zip archives whose members are stored uncompressed, as torch and Keras write them: a zip bomb is impossible."""

import struct
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# All that `zipfile` raises for a damaged archive.
_DAMAGE = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    EOFError,
    struct.error,
    UnicodeDecodeError,
)


@contextmanager
def open_stored(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive, to read members from. Raises OSError when it cannot be read.

    Raises ValueError when it is damaged or truncated, then or on reading a member; when a member is compressed or
    encrypted, or there twice; and when its members claim to be larger, together, than the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check(archive.infolist(), path.stat().st_size)
            yield archive
    except _DAMAGE as error:
        raise ValueError(f"a damaged or truncated zip archive ({error}); fetch it again") from error


def _check(members: list[zipfile.ZipInfo], size: int) -> None:
    counts = Counter(member.filename for member in members)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ValueError(f"the archive has {twice[0]!r} twice")
    for member in members:
        # `zipfile` adds what it takes for bytes before the archive; a damaged directory makes the sum negative.
        if not 0 <= member.header_offset < size:
            raise ValueError(f"the archive says that {member.filename!r} lies outside the file; fetch it again")
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise ValueError(
                f"{member.filename!r} in it is compressed: a program of TorchScript? Save the weights alone"
            )
        if member.flag_bits & 1:
            raise ValueError(f"{member.filename!r} in it is encrypted; save the model again")
    claimed = sum(member.file_size for member in members)
    if claimed > size:
        raise ValueError(f"its members claim {claimed} bytes, but the file has {size}; fetch it again")
