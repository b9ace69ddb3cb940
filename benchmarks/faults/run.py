"""A training that may be started many times, and the checks of it once it has ended."""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from benchmarks.faults.compare import differences, final_state, told
from benchmarks.faults.program import Program, Wrong
from benchmarks.faults.task import BAD, EVALUATING
from wbcjax.system.files import write_atomically
from wbcjax.train.checkpoint import checkpoint_directory

STARTS = 4  # after a fault; a training that needs more never ends


@dataclass
class Run:
    """A training in a folder of its own."""

    folder: Path
    config: str = "task"
    processes: int = 1
    devices: int = 1  # of each process
    bad_points: tuple[int, ...] = ()  # images that are read as NaN

    @property
    def workdir(self) -> Path:
        """The --workdir of `train.py`."""
        return self.folder / "run"

    @property
    def log(self) -> Path:
        """Its metrics, which are there once the training has begun."""
        return self.workdir / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Where its checkpoints are, and what is being written of one."""
        return checkpoint_directory(self.workdir)

    @property
    def evaluating(self) -> Path:
        """A file that is there during an evaluation."""
        return self.folder / "evaluating"

    @property
    def bad(self) -> Path:
        """A file that lists points to be read as no numbers."""
        return self.folder / "bad"

    def start(self) -> list[Program]:
        """Start its processes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.bad_points:
            self.spoil(self.bad_points)
        environment = {
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={self.devices}",
            EVALUATING: str(self.evaluating),
            BAD: str(self.bad),
        }
        joining: list[tuple[str, ...]] = [()]
        if self.processes > 1:
            common = (f"--coordinator=localhost:{_free_port()}", f"--num_processes={self.processes}")
            joining = [(*common, f"--process_id={number}") for number in range(self.processes)]
        return [
            Program(self.config, self.workdir, self.folder / f"said_{number}.txt", environment, join)
            for number, join in enumerate(joining)
        ]

    def spoil(self, points: Iterable[int]) -> None:
        """Let these points be read as no numbers."""
        write_atomically(self.bad, " ".join(map(str, points)).encode())

    def clear(self) -> None:
        """Take its folder away, and the disk that was mounted in it."""
        if self.workdir.is_mount():
            subprocess.run(["umount", "--lazy", str(self.workdir)], check=True)
        shutil.rmtree(self.folder)

    def said(self) -> str:
        """All that its processes have written on the terminal."""
        return "".join(
            path.read_text(encoding="utf-8", errors="replace") for path in sorted(self.folder.glob("said_*.txt"))
        )

    def steps(self) -> list[int]:
        """The steps of its checkpoints."""
        if not self.checkpoints.is_dir():
            return []
        return sorted(int(path.name) for path in self.checkpoints.iterdir() if path.name.isdigit())

    def finish(self) -> None:
        """Start it until it comes to its end. Raises Wrong where it does not."""
        for _ in range(STARTS):
            programs = self.start()
            codes = [program.end() for program in programs]
            if any(codes):
                raise Wrong(f"started again, it ended with {codes}: {self.said()[-500:]}")
            if told(self.log).stop == "finished":
                return
        raise Wrong(f"not finished after {STARTS} starts")


@dataclass(frozen=True)
class Base:
    """An undisturbed training: how long it takes, and the state that disturbed ones must reach."""

    run: Run
    starting: float  # seconds up to its first record
    whole: float  # seconds from its start to its end

    @staticmethod
    def of(settings: Run) -> "Base":
        """Train undisturbed; twice, as the first training fills the caches. Raises Wrong where the two differ."""
        bases = [Base.once(replace(settings, folder=settings.folder / str(number))) for number in range(2)]
        if other := differences(bases[0].state, bases[1].state, 0.0):
            raise Wrong(f"two undisturbed trainings differ in {', '.join(other)}")
        return bases[1]

    @staticmethod
    def once(run: Run) -> "Base":
        """Train undisturbed."""
        start = time.monotonic()
        programs = run.start()
        programs[0].until(run.log.exists)
        starting = time.monotonic() - start
        codes = [program.end(300) for program in programs]
        whole = time.monotonic() - start
        if any(codes):
            raise Wrong(f"undisturbed, a training ended with {codes}: {run.said()[-2000:]}")
        return Base(run, starting, whole)

    @cached_property
    def state(self) -> dict:
        """Its last and its best checkpoint."""
        return final_state(self.run.workdir)


@dataclass
class Verdict:
    """How a disturbed training ended."""

    again: int = 0
    lost: int = 0
    problems: list[str] = field(default_factory=list)


def judge(run: Run, base: Base, tolerance: float | None, lines_cut: int = 0, may_complain: bool = False) -> Verdict:
    """Compare a finished training with the undisturbed one: state to the bit, or to `tolerance`, and log.

    A tolerance of None compares no numbers. The fault itself cut `lines_cut` lines of the log. A Python traceback on
    the terminal is a problem unless the run `may_complain`.
    """
    log, wanted = told(run.log), told(base.run.log)
    missing = sorted(set(wanted.losses) - set(log.losses))
    problems = []
    if len(missing) > lines_cut or log.broken > lines_cut:
        problems.append(f"steps missing in the log: {missing}; broken lines: {log.broken}")
    if log.doubled:
        problems.append(f"steps logged twice: {log.doubled}")
    if log.gaps and not lines_cut:
        problems.append(f"went on from steps that were not logged: {log.gaps}")
    if tolerance is not None:
        other = [step for step, loss in log.losses.items() if not _near(loss, wanted.losses[step], tolerance)]
        problems += [f"other losses at steps {other}"] if other else []
        if log.skipped != wanted.skipped:
            problems.append(f"{log.skipped} steps skipped, not {wanted.skipped}")
        other = differences(final_state(run.workdir), base.state, tolerance)
        problems += [f"other values of {', '.join(other)}"] if other else []
    stray = [path.name for path in run.checkpoints.iterdir() if not re.fullmatch(r"\d+(\.torn.*)?", path.name)]
    problems += [f"left behind: {', '.join(stray)}"] if stray else []
    if "Traceback" in run.said() and not may_complain:
        problems.append("a traceback: " + run.said().split("Traceback", 1)[1][:2000])
    return Verdict(log.again, max(len(missing) - lines_cut, 0), problems)


def _near(found: float | None, wanted: float | None, tolerance: float) -> bool:
    if found is None or wanted is None or not tolerance:
        return found == wanted
    return abs(found - wanted) <= tolerance * max(1.0, abs(wanted))


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]
