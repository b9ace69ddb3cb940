"""ZIP files read within limits: what a few bytes unpack to is bounded before it is unpacked."""

import io
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from wbcjax.smear.formats.checks import Fault, brief
from wbcjax.smear.formats.load import load_bytes
from wbcjax.system.files import open_regular

MOST_MEMBERS = 2**16  # of a ZIP file, and
MOST_BYTES = 2**28  # that its members unpack to, together
ENCRYPTED = 1  # bit of a member's flags
AGAIN = "export the annotations again"


class Zipped:
    """The files in a ZIP file, without what macOS adds. Faults: as `load_bytes`, broken, too large."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = zipfile.ZipFile(io.BytesIO(load_bytes(path)))
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError) as error:
            raise Fault(f"broken ZIP ({error})", f"{AGAIN} or restore the file") from error
        self._members = [member for member in self._file.infolist() if _counts(member.filename)]
        size = sum(member.file_size for member in self._members)
        if len(self._members) > MOST_MEMBERS or size > MOST_BYTES:
            found = f"it holds {len(self._members)} files of {size} bytes, beyond the {MOST_MEMBERS} of {MOST_BYTES}"
            raise Fault(f"{found} that are read", "divide it")
        self.names = [member.filename for member in self._members]

    def read(self, number: int) -> bytes:
        """A member's content. Faults: its name leads out, it is encrypted, or broken."""
        member = self._members[number]
        name = PurePosixPath(member.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in name.parts[0]:
            raise Fault(f"its name {brief(member.filename)} leads out of the ZIP file", AGAIN)
        if member.flag_bits & ENCRYPTED:
            raise Fault("it is encrypted", "export the annotations without a password")
        try:
            return self._file.read(member)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, OSError) as error:
            raise Fault(f"it cannot be unpacked ({error})", AGAIN) from error
        except zlib.error as error:
            raise Fault(f"it cannot be unpacked ({error})", AGAIN) from error


def suffixes_in(path: Path) -> set[str] | None:
    """The suffixes of the files in a ZIP file, lower case, by its table alone; None where it has none to be read."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as packed:
            return {PurePosixPath(name).suffix.lower() for name in packed.namelist() if _counts(name)}
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError):
        return None


def _counts(name: str) -> bool:
    parts = name.split("/")
    return bool(parts[-1]) and "__MACOSX" not in parts and not parts[-1].startswith(".")
