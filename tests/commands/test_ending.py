"""How programs end that are stopped from outside, through their real command lines where that is cheap."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wbcjax import cli
from wbcjax.commands.ending import ending
from wbcjax.commands.inspect import annotated_set as inspect_set

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_program_with_one_line_and_its_cleaning_up_done(capfd, number, code):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    cleaned = []

    def work() -> None:
        try:
            os.kill(os.getpid(), number)
            raise AssertionError("it went on")
        finally:
            cleaned.append(True)

    with pytest.raises(SystemExit) as stop, ending("program"):
        work()
    assert stop.value.code == code
    assert cleaned == [True]
    assert capfd.readouterr().err == f"program: stopped by {number.name}; the files written so far are whole\n"
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_signal_that_python_drops_ends_a_program_with_one_line_too(capfd):
    class Deleted:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    def work() -> None:
        Deleted()
        time.sleep(20)
        raise AssertionError("it went on")

    with pytest.raises(SystemExit, match="143"), ending("program"):
        work()
    assert capfd.readouterr().err == "program: stopped by SIGTERM; the files written so far are whole\n"


def test_every_command_is_ended_so(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(inspect_set, "inspect", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as stop:
        cli.main(["inspect", str(tmp_path), str(tmp_path)])
    assert stop.value.code == 143
    assert capfd.readouterr().err == "wbcjax: stopped by SIGTERM; the files written so far are whole\n"


PRINTING = """
import sys
from wbcjax.commands.ending import ending

with ending("program"):
    print("x" * int(sys.argv[1]))
    if len(sys.argv) > 2:
        sys.exit(sys.argv[2])
"""


def run(output: int, *arguments: str, unbuffered: str = "") -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", PRINTING, *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    return subprocess.run(command, stdout=output, stderr=subprocess.PIPE, env=environment, text=True, check=False)


@pytest.fixture
def unread() -> int:
    """The writing end of a pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("length", ["1", "100000"])  # held back to the end, and more than is held back
def test_a_reader_of_the_output_that_has_gone_is_no_fault(unread, length, unbuffered):
    done = run(unread, length, unbuffered=unbuffered)
    assert (done.returncode, done.stderr) == (141, "")


def test_last_words_survive_a_closed_output(unread):
    """What a program has to say at its end is said though its output is not read."""
    done = run(unread, "1", "program: 2 images could not be read")
    assert (done.returncode, done.stderr) == (1, "program: 2 images could not be read\n")


def test_a_full_disk_under_the_output_is_told_in_one_line():
    with Path("/dev/full").open("w") as full:
        done = run(full.fileno(), "1")
    assert (done.returncode, done.stderr) == (1, "program: its output cannot be written: No space left on device\n")


def test_letters_that_the_terminal_lacks_are_spelled_and_end_nothing():
    """A console of Windows in code page 1252 has no Cyrillic letters."""
    code = "import sys; from wbcjax.cli import main\ntry: main(['--version'])\nexcept SystemExit: print('\u043a.png')"
    environment = os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert done.stdout.splitlines()[-1] == b"\\u043a.png"
