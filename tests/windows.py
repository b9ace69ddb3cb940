"""`wbcjax` in a process that lacks what Python on Windows lacks, for tests on other systems."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMANDS = """
import json, os, platform, signal, sys

for name in ("fcntl", "resource", "pwd", "grp", "termios", "uvloop", "array_record"):
    sys.modules[name] = None
real, platform.system = platform.system, lambda: "Windows"
import grain  # which looks there whether to import array_record
platform.system = real
import subprocess, tempfile  # which choose their ways by what the system has
for module, name in [
    *((signal, name) for name in ("SIGALRM", "SIGPIPE", "SIGKILL", "SIGHUP", "setitimer", "ITIMER_REAL", "alarm")),
    *((os, name) for name in ("O_NONBLOCK", "getuid", "sched_getaffinity")),
]:
    if hasattr(module, name):
        delattr(module, name)

from wbcjax.cli import main

for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as end:
        if end.code:
            raise
"""


def run(commands: Sequence[Sequence[str]], folder: Path) -> str:
    """What commands of wbcjax say, one after the other in `folder`; its cache is there. AssertionError if one fails."""
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(commands)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "WBCJAX_CACHE": str(folder / "cache"), "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        encoding="cp1252",
        errors="replace",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
