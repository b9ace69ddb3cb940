"""The faults: what each of them does to a running training, and how the training must end."""

import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.faults.compare import told
from benchmarks.faults.program import Program, Wrong
from benchmarks.faults.run import Base, Run
from benchmarks.faults.task import IMAGES

UNFINISHED = ".orbax-checkpoint-tmp", ".unfinished", ".deleted"  # endings of what a save has not done with


class TooLate(Exception):
    """The training had ended, or was past the moment, when the fault struck: try again."""


@dataclass(frozen=True)
class Struck:
    """What a fault did."""

    step: int  # the last that the log tells of before it
    seconds: float | None = None  # from the request to stop to the end of the process
    lines_cut: int = 0  # of the log


@dataclass(frozen=True)
class Kind:
    """A fault. `strike` starts the training, disturbs it, and leaves it ended, and ready to be started again."""

    told: str
    when: str
    times: int
    strike: Callable[[Run, Base, np.random.Generator], Struck]
    base: str = "task"
    tolerance: float | None = 0.0  # of the final state; None: it cannot be the same
    may_complain: bool = False  # a traceback is in order


def kill(run: Run, base: Base, random: np.random.Generator) -> Struck:
    """SIGKILL at any moment from the start to the end, and up to twice more when it has hardly gone on."""
    struck = None
    for longest in [base.whole] + [2 * base.starting] * int(random.integers(3)):
        programs = run.start()
        time.sleep(random.uniform(0, longest))
        struck = _kill(run, programs)
    assert struck
    return struck


def kill_while_saving(run: Run, base: Base, random: np.random.Generator) -> Struck:
    """SIGKILL as soon as there is an unfinished checkpoint, or at some moment of the next 30 ms."""
    [program] = run.start()
    left = int(random.integers(1, 6))  # saves
    for _ in range(left):
        _before_the_end(program.until(lambda: not _unfinished(run)))
        _before_the_end(program.until(lambda: _unfinished(run)))
    time.sleep(random.uniform(0, 0.03))
    struck = _kill(run, [program])
    if not _unfinished(run):
        raise TooLate
    return struck


def kill_while_evaluating(run: Run, base: Base, random: np.random.Generator) -> Struck:
    """SIGKILL in one of the evaluations."""
    [program] = run.start()
    for _ in range(int(random.integers(1, 4))):
        _before_the_end(program.until(lambda: not run.evaluating.exists()))
        _before_the_end(program.until(run.evaluating.exists))
    time.sleep(random.uniform(0, 0.2))
    struck = _kill(run, [program])
    if not run.evaluating.exists():
        raise TooLate
    return struck


def terminate(run: Run, base: Base, random: np.random.Generator) -> Struck:
    """SIGTERM at any moment: exit code 0, and all finished steps are saved."""
    return _ask(run, base.whole * random.uniform(), signal.SIGTERM, 0)


def interrupt(run: Run, base: Base, random: np.random.Generator) -> Struck:
    """SIGINT once the training has begun: exit code 130."""
    return _ask(run, random.uniform(base.starting, base.whole), signal.SIGINT, 130)


def ask_twice(run: Run, base: Base, random: np.random.Generator) -> Struck:
    """SIGTERM, and again before the first is served."""
    [program] = run.start()
    _begun(program, run)
    time.sleep(random.uniform(0, base.whole - base.starting))
    program.send(signal.SIGTERM)
    time.sleep(random.uniform(0, 0.03))
    program.send(signal.SIGTERM)
    if program.end() != -signal.SIGTERM:
        raise TooLate
    return _struck(run)


def damage(how: Callable[[Path, np.random.Generator], None]) -> Callable[[Run, Base, np.random.Generator], Struck]:
    """SIGKILL, and then something befalls a file of the latest checkpoint, of two at least."""

    def strike(run: Run, base: Base, random: np.random.Generator) -> Struck:
        struck = _kill_after_saves(run, base, random, saves=2)
        latest = run.checkpoints / str(run.steps()[-1])
        files = sorted(path for path in latest.rglob("*") if path.is_file() and path.stat().st_size)
        how(files[random.integers(len(files))], random)
        return struck

    return strike


def truncate(file: Path, random: np.random.Generator) -> None:
    """Cut a file short, anywhere."""
    os.truncate(file, int(random.integers(file.stat().st_size)))


def delete(file: Path, _: np.random.Generator) -> None:
    """Take a file away."""
    file.unlink()


def flip(file: Path, random: np.random.Generator) -> None:
    """Turn one bit of a file."""
    data = bytearray(file.read_bytes())
    data[random.integers(len(data))] ^= 1 << random.integers(8)
    file.write_bytes(data)


def empty_metadata(file: Path, _: np.random.Generator) -> None:
    """Leave nothing in the file that says what a checkpoint is made of."""
    checkpoint = next(folder for folder in file.parents if folder.name.isdigit())
    os.truncate(checkpoint / "_CHECKPOINT_METADATA", 0)


def fill_disk(run: Run, base: Base, random: np.random.Generator) -> Struck:
    """No byte more fits on the disk of the run, from any moment on; then there is space again.

    Where mounting a small disk is not permitted, files may not grow instead.
    """
    run.workdir.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(run.workdir)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    [program] = run.start()
    _begun(program, run)
    time.sleep(random.uniform(0, base.whole - base.starting))
    filler = run.workdir / "filler"
    if mounted:
        program.until(lambda: _fill(filler))  # also what is deleted meanwhile
    else:
        resource.prlimit(program.pid, resource.RLIMIT_FSIZE, (1, 1))
    code = program.end()
    if code == 0:
        raise TooLate
    filler.unlink(missing_ok=True)
    _is_told(run, code, "No space left" if mounted else "File too large")
    return _struck(run)


def cut_log(run: Run, base: Base, random: np.random.Generator) -> Struck:
    """SIGKILL, and the last line of the log is half there."""
    struck = _kill_after_saves(run, base, random, saves=1)
    last = run.log.read_bytes().splitlines(keepends=True)[-1]
    os.truncate(run.log, run.log.stat().st_size - int(random.integers(1, len(last))))
    return Struck(struck.step, lines_cut=1)


def cut_config(run: Run, base: Base, random: np.random.Generator) -> Struck:
    """SIGKILL, and config.json is half there: refused by name, until it is put back."""
    struck = _kill_after_saves(run, base, random, saves=1)
    file = run.workdir / "config.json"
    whole = file.read_bytes()
    os.truncate(file, int(random.integers(len(whole))))
    [program] = run.start()
    _is_told(run, program.end(), "config.json")
    file.write_bytes(whole)
    return struck


def bad_images_in_a_row(run: Run, base: Base, random: np.random.Generator) -> Struck:
    """From any moment on all images are bad: the run stops, with the batch saved. Then they are repaired."""
    [program] = run.start()
    _begun(program, run)
    time.sleep(random.uniform(0, base.whole - base.starting))
    run.spoil(range(IMAGES))
    code = program.end()
    if code == 0:
        raise TooLate
    _is_told(run, code, "in a row")
    for name in ("nonfinite.json", "nonfinite_batch_0.npz"):
        if not (run.workdir / name).is_file():
            raise Wrong(f"no {name}")
    run.bad.unlink()
    return _struck(run)


def kill_one_of_two(run: Run, base: Base, random: np.random.Generator) -> Struck:
    """SIGKILL for one of two processes: the other ends within 30 s by itself."""
    programs = run.start()
    time.sleep(random.uniform(base.starting, base.whole))
    dying, other = random.permutation(2)
    programs[dying].send(signal.SIGKILL)
    if programs[dying].end() == 0:
        programs[other].end()
        raise TooLate
    start = time.monotonic()
    if programs[other].end(30) == 0:
        raise Wrong("the other process ended as if nothing had happened")
    return Struck(_struck(run).step, time.monotonic() - start)


def fewer_devices(run: Run, base: Base, random: np.random.Generator) -> Struck:
    """SIGTERM, and on with 2 devices of 8; SIGTERM, and on with 1."""
    half = (base.whole - base.starting) / 2
    _ask(run, base.starting + random.uniform(0, half), signal.SIGTERM, 0)
    run.devices = 2
    struck = _ask(run, base.starting + random.uniform(0, half), signal.SIGTERM, 0)
    run.devices = 1
    return struck


def _before_the_end(reached: bool) -> None:
    if not reached:
        raise TooLate


def _begun(program: Program, run: Run) -> None:
    if not program.until(run.log.exists):
        raise Wrong(f"did not begin: {run.said()[-500:]}")


def _unfinished(run: Run) -> bool:
    return run.checkpoints.is_dir() and any(path.name.endswith(UNFINISHED) for path in run.checkpoints.iterdir())


def _kill(run: Run, programs: list[Program]) -> Struck:
    for program in programs:
        program.send(signal.SIGKILL)
    if all(program.end() == 0 for program in programs):
        raise TooLate
    return _struck(run)


def _kill_after_saves(run: Run, base: Base, random: np.random.Generator, saves: int) -> Struck:
    [program] = run.start()
    _before_the_end(program.until(lambda: len(run.steps()) >= saves))
    time.sleep(random.uniform(0, (base.whole - base.starting) / 2))
    return _kill(run, [program])


def _ask(run: Run, after: float, number: signal.Signals, wanted: int) -> Struck:
    """Send a signal so many seconds after the start: all steps that were done before the end must be saved."""
    [program] = run.start()
    time.sleep(after)
    begun = run.log.exists()
    start = time.monotonic()
    program.send(number)
    code = program.end()
    seconds = time.monotonic() - start
    if code == 0 and told(run.log).stop == "finished":
        raise TooLate
    # Before `train.py` listens, a signal ends it like any program, and there is nothing to save.
    if code != wanted and (begun or code != -number):
        raise Wrong(f"{number.name} ended it with {code}, not {wanted}: {run.said()[-500:]}")
    struck = _struck(run)
    if struck.step != max(run.steps(), default=0):
        raise Wrong(f"{number.name}: trained to step {struck.step}, saved are {run.steps()}")
    return Struck(struck.step, seconds)


def _fill(file: Path) -> bool:
    """Take all space of a disk; always False."""
    try:
        with file.open("ab", buffering=0) as filler:
            for size in (65536, 4096, 1):
                while filler.write(bytes(size)) == size:
                    pass
    except OSError:
        pass
    return False


def _is_told(run: Run, code: int, words: str) -> None:
    if code != 1 or not any(line.startswith("train.py: ") and words in line for line in run.said().splitlines()):
        raise Wrong(f"ended with {code}, not 1 and a message of {words!r}: {run.said()[-1000:]}")


def _struck(run: Run) -> Struck:
    return Struck(max(told(run.log).losses, default=0) if run.log.exists() else 0)


KINDS = {
    "kill": Kind("kill -9", "any, from the start of the process on", 16, kill),
    "kill_saving": Kind(
        "kill -9 while a checkpoint is written", "on sight of its folder, and 30 ms on", 10, kill_while_saving
    ),
    "kill_evaluating": Kind("kill -9 during an evaluation", "any in it", 6, kill_while_evaluating),
    "term": Kind("SIGTERM (exit code 0)", "any, from the start of the process on", 12, terminate),
    "int": Kind("Ctrl-C (exit code 130)", "any of the training", 4, interrupt),
    "twice": Kind("SIGTERM twice", "any, the second up to 30 ms later", 4, ask_twice, may_complain=True),
    "truncate": Kind("a file of the latest checkpoint cut short", "after kill -9", 4, damage(truncate)),
    "delete": Kind("a file of the latest checkpoint deleted", "after kill -9", 4, damage(delete)),
    "flip": Kind("a bit of the latest checkpoint flipped", "after kill -9", 6, damage(flip)),
    "empty": Kind("the latest checkpoint's metadata emptied", "after kill -9", 2, damage(empty_metadata)),
    "full": Kind("the disk full, then freed", "any of the training", 5, fill_disk, may_complain=True),
    "log": Kind("metrics.jsonl cut in the middle of a line", "after kill -9", 4, cut_log),
    "config": Kind("config.json cut short, then restored", "after kill -9", 2, cut_config),
    "nan": Kind("a bad image (steps with it skipped), and kill -9", "any", 4, kill, "nan"),
    "nan_row": Kind("all images bad, then repaired", "any of the training", 3, bad_images_in_a_row, tolerance=None),
    "two": Kind(
        "kill -9 for one of two processes", "any of the training", 3, kill_one_of_two, "two", may_complain=True
    ),
    "devices": Kind("8 devices, then 2, then 1 (SIGTERM)", "any of the training", 2, fewer_devices, "eight", 1e-5),
    "detector_kill": Kind("kill -9, a Mask R-CNN", "any, from the start of the process on", 3, kill, "detector"),
    "detector_term": Kind("SIGTERM, a Mask R-CNN", "any, from the start of the process on", 2, terminate, "detector"),
}
