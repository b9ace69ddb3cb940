"""How everything here is measured: after six warm-up runs contestants take turns, in one process or each in its own."""

import contextlib
import ctypes
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

WARM_UP = 6  # runs that are not counted: the first compiles, and in the first five memory settles (`heap.settled`)

Task = Callable[[], Any]
Clocks = Callable[[], tuple[float, float]]  # seconds: on the wall, and of all cores together


class Time(NamedTuple):
    """Of one run of a task, in seconds."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Contestant:
    """One side of a comparison: `set_up(**options)`, a function of a module, gives the task to be timed."""

    set_up: Callable[..., Task]
    options: Mapping[str, Any] = field(default_factory=dict)


class Record(NamedTuple):
    """What was measured of one contestant. Memory counts what is beyond that of a process with JAX imported."""

    first: float  # wall seconds of the first run, compiling included
    times: list[Time]  # of the runs after the warm-up
    held_mb: float  # once it was set up
    peak_mb: float


def clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def timed(task: Task, read: Clocks = clocks) -> Time:
    """The time that one run of a task takes."""
    wall, cpu = read()
    task()
    after = read()
    return Time(after[0] - wall, after[1] - cpu)


def in_turns(runs: Mapping[str, Callable[[], Time]], rounds: int, seconds: float = float("inf")) -> dict[str, list]:
    """The times of each of `runs`, one after the other in every round: other work of the machine slows all alike.

    The first `WARM_UP` rounds come first in each list: leave them out. A run that has taken `seconds` altogether takes
    no further part, so that slow ones do not hold up the rest.
    """
    times: dict[str, list[Time]] = {name: [] for name in runs}
    for turn in range(rounds + WARM_UP):
        for name, run in runs.items():
            if turn <= WARM_UP or sum(time.wall for time in times[name]) < seconds:
                times[name].append(run())
    return times


def race(tasks: Mapping[str, Task], rounds: int, seconds: float = float("inf")) -> dict[str, list[Time]]:
    """The times of tasks that take turns in this process, without those of the warm-up."""
    runs = {name: (lambda task=task: timed(task)) for name, task in tasks.items()}
    return {name: times[WARM_UP:] for name, times in in_turns(runs, rounds, seconds).items()}


def contest(
    contestants: Mapping[str, Contestant],
    rounds: int,
    *,
    tuned: bool = False,
    together: bool = True,
    seconds: float = float("inf"),
) -> dict[str, Record]:
    """The record of each contestant. Each has a process of its own, and one works at a time.

    tuned: malloc is set by `wbcjax.system.heap.tune_malloc`, for the whole process.
    together: all processes live side by side and take turns. Otherwise, where they do not fit into memory together,
        each runs from beginning to end in turn, twice over, half of the rounds at a time.
    seconds: see `in_turns`.
    """
    if not together:
        halves = [
            {name: contest({name: one}, -(-rounds // 2), tuned=tuned, seconds=seconds)[name]}
            for _ in range(2)
            for name, one in contestants.items()
        ]
        return {name: _joined([half[name] for half in halves if name in half]) for name in contestants}
    with contextlib.ExitStack() as stack:
        workers = {name: stack.enter_context(_Worker(one, tuned)) for name, one in contestants.items()}
        held = {name: worker.receive() for name, worker in workers.items()}
        times = in_turns({name: partial(worker.ask, "run") for name, worker in workers.items()}, rounds, seconds)
        return {
            name: Record(times[name][0].wall, times[name][WARM_UP:], held[name], worker.ask("peak"))
            for name, worker in workers.items()
        }


def apart(function: Callable[..., Any], **options: Any) -> Any:
    """What `function` returns in a process of its own, so that this one stays small."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, **options).result()


def median(times: Sequence[Time]) -> Time:
    return Time(*(statistics.median(values) for values in zip(*times, strict=True)))


def megabytes(name: str) -> float:
    """An entry of Linux's /proc/self/status, "VmRSS" or "VmHWM" (the most so far); nan elsewhere."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    return int(status.read_text(encoding="utf-8").split(f"{name}:")[1].split()[0]) * 1024 / 1e6


def forget_peak() -> None:
    """Count the peak, "VmHWM", anew, and return freed memory: it would hide allocations from now on."""
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        ctypes.CDLL(None).malloc_trim(0)
        reset.write_text("5", encoding="utf-8")


def _joined(records: Sequence[Record]) -> Record:
    """The records of one contestant's processes as one: all times, the most of the rest."""
    first, held, peak = (
        max(values) for values in zip(*((r.first, r.held_mb, r.peak_mb) for r in records), strict=True)
    )
    return Record(first, [time for record in records for time in record.times], held, peak)


class _Worker:
    """A contestant's process, seen from ours; as a context, alive while it is open."""

    def __init__(self, contestant: Contestant, tuned: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, self._other_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(self._other_end, contestant, tuned), daemon=True)

    def __enter__(self) -> "_Worker":
        self._process.start()
        self._other_end.close()  # so that a process that has died is noticed
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.join()

    def ask(self, what: str) -> Any:
        self._pipe.send(what)
        return self.receive()

    def receive(self) -> Any:
        try:
            return self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"a contestant's process ended with status {self._process.exitcode}") from None


def _serve(pipe: Connection, contestant: Contestant, tuned: bool) -> None:
    from wbcjax.system import heap, runtime  # here, so that the process that waits stays small

    if tuned:
        heap.tune_malloc()
    runtime.use_compilation_cache()
    bare = megabytes("VmRSS")
    task = heap.settled(contestant.set_up(**contestant.options))
    pipe.send(megabytes("VmRSS") - bare)
    with contextlib.suppress(EOFError):  # the other side has closed the pipe: the end
        while True:
            pipe.send(timed(task) if pipe.recv() == "run" else megabytes("VmHWM") - bare)
