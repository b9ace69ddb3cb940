"""Names of layers in a `.weights.h5` of Keras 3, read by a process of its own.

HDF5's C library trusts the lengths that a damaged file gives for text, and may crash or take all memory. Arrays are
safe to read once their sizes are checked. Text is not: it is read where a crash does no harm.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

_MEMORY = 2 << 30  # bytes; it takes a tenth of that
_ROOM = 64 << 20  # bytes that it needs beside its libraries
_SECONDS = 60
_READY = "ready"  # printed before the file is opened: no earlier failure is the file's fault


def layer_names(path: Path) -> dict[str, str]:
    """The layer's name by the path of its group (`layers/conv2d_3`), of all layers of the file that name themselves.

    Keras 3.15's `saving_lib` keeps it as the attribute `name` of the layer's group `vars`. Raises ValueError when the
    file is damaged, and, with another message, when the process that reads it fails.
    """
    # -I keeps modules of the working folder out. It hides the folders of PYTHONPATH too: they are passed as arguments.
    command = [sys.executable, "-I", __file__, str(path.absolute()), *filter(os.path.isabs, sys.path)]
    one_thread = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # each would reserve memory
    try:
        reading = subprocess.run(
            command, capture_output=True, timeout=_SECONDS, env=one_thread, encoding="utf-8", errors="replace"
        )
    except OSError as error:
        raise ValueError(f"its layers' names are read by a process that cannot be started: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise ValueError(
            f"its layers' names could not be read in {_SECONDS} s: if the machine was not busy, the HDF5 file is "
            "damaged; fetch it again"
        ) from error
    ready, _, names = reading.stdout.partition("\n")
    if ready != _READY:
        raise ValueError(
            f"its layers' names are read by a process that failed before it opened the file ({_failure(reading)}); "
            "mend that, or save the model as .keras, for which there is no such process"
        )
    if reading.returncode:
        raise ValueError(f"a damaged HDF5 file, its layers' names cannot be read ({_failure(reading)}); fetch it again")
    return json.loads(names)


def _failure(reading: subprocess.CompletedProcess[str]) -> str:
    """How the process ended: its last line, as that of a traceback, or the signal that ended it."""
    if reading.returncode < 0:
        return signal.Signals(-reading.returncode).name
    lines = reading.stderr.split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), f"exit status {reading.returncode}")


def _limit_memory() -> None:
    """Take at most _MEMORY, or what was allowed if that is less, and leave no core file.

    Without a limit where the system has none: macOS, and Windows, whose Python has no module `resource`.
    """
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    memory = _MEMORY if most == resource.RLIM_INFINITY else min(_MEMORY, most)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _print_names(path: str, places: list[str]) -> None:
    sys.path[:] = places
    _limit_memory()
    import h5py

    bytearray(_ROOM)
    sys.stdout.write(f"{_READY}\n")
    sys.stdout.flush()
    found: dict[str, str] = {}

    def visit(place: str, member: h5py.Group | h5py.Dataset) -> None:
        if place.endswith("/vars") and "name" in member.attrs:
            found[place.removesuffix("/vars")] = str(member.attrs["name"])

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    _print_names(sys.argv[1], sys.argv[2:])
