"""Names of layers in a `.weights.h5` of Keras 3, read by a process of its own.

HDF5's C library trusts the lengths that a damaged file gives for text and may then crash or take all memory. Arrays are
safe to read once their sizes are checked; text is not, so that it is read where a crash costs nothing.
"""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import h5py

_MEMORY = 2 << 30  # bytes; it takes a tenth of that
_SECONDS = 60


def layer_names(path: Path) -> dict[str, str]:
    """The layer's name by the path of its group (`layers/conv2d_3`), of all layers of the file that name themselves.

    Keras 3.15's `saving_lib` keeps it as the attribute `name` of the layer's group `vars`. Raises ValueError when the
    file is damaged.
    """
    command = [sys.executable, "-I", __file__, str(path.absolute())]
    one_thread = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # each would reserve memory
    try:
        reading = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=True, env=one_thread)
        return json.loads(reading.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        raise ValueError(f"a damaged HDF5 file, its layers' names cannot be read ({error}); fetch it again") from error


def _print_names(path: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    found: dict[str, str] = {}

    def visit(place: str, member: h5py.Group | h5py.Dataset) -> None:
        if place.endswith("/vars") and "name" in member.attrs:
            found[place.removesuffix("/vars")] = str(member.attrs["name"])

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    _print_names(sys.argv[1])
