"""Faults tried on a training, and what was lost: `python -m benchmarks.faults [--only KIND ...] [--times N]`.

A small training runs undisturbed once. Then the same training is disturbed, and started again with the same command
until it ends. Its last and best checkpoints must equal the undisturbed ones: all weights, statistics, averages, the
optimizer, step, random key, place in the data and scores. Its log must have every step once, except for those that a
resume did again. Most kinds disturb a toy, some a Mask R-CNN. Ends with 1 when a trial differs.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.faults.kinds import KINDS, Struck, TooLate
from benchmarks.faults.program import Wrong
from benchmarks.faults.run import Base, Run, Verdict, judge
from wbcjax.system import runtime
from wbcjax.system.progress import shown

BASES = {
    "task": {},
    "nan": {"bad_points": (7,)},
    "two": {"processes": 2, "devices": 2},
    "eight": {"devices": 8},
    "detector": {"config": "detector"},
}
TRIES = 20  # to strike before the end
HOW = {0.0: "to the bit", 1e-5: "to 1e-5", None: "to the end; what was skipped stays so"}


@dataclass
class Row:
    """Results of the trials of a kind."""

    trials: int = 0
    steps: list[int] = field(default_factory=list)  # at which it struck
    seconds: list[float] = field(default_factory=list)  # to the exit
    again: int = 0
    lost: int = 0
    right: int = 0  # trials that ended as they must
    problems: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--times", type=int, help="trials of each kind (default: as the table of kinds says)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="trials at once")
    options = parser.parse_args()

    runtime.quiet_libraries()
    start = time.monotonic()
    rows = {name: Row() for name in options.only}
    with tempfile.TemporaryDirectory(prefix="faults_") as place:
        bases = undisturbed(Path(place), options.only)
        with ThreadPoolExecutor(options.workers) as pool:
            trials = [
                (
                    name,
                    number,
                    pool.submit(trial, name, bases[KINDS[name].base], Path(place), [options.seed, kind, number]),
                )
                for kind, name in enumerate(KINDS)
                if name in rows
                for number in range(options.times or KINDS[name].times)
            ]
            for name, number, done in shown(trials, "break", "trial"):
                add(rows[name], number, *done.result())
    print(table(rows))
    print(f"\n{len(trials)} trials in {(time.monotonic() - start) / 60:.1f} minutes, seed {options.seed}.")
    if problems := [f"{name}, {problem}" for name, row in rows.items() for problem in row.problems]:
        sys.exit("\n".join(["", *problems]))


def undisturbed(folder: Path, names: Sequence[str]) -> dict[str, Base]:
    """The undisturbed trainings that trials of these kinds are compared with."""
    wanted = sorted({KINDS[name].base for name in names})
    return {name: Base.of(Run(folder / f"undisturbed_{name}", **BASES[name])) for name in wanted}


def trial(name: str, base: Base, folder: Path, seed: Sequence[int]) -> tuple[Struck | None, Verdict]:
    """Disturb a training and go on with it to its end; again where the fault came too late. Leaves nothing behind."""
    kind, random = KINDS[name], np.random.default_rng(seed)
    for attempt in range(TRIES):
        run = replace(base.run, folder=folder / "_".join(map(str, [name, *seed, attempt])))
        struck = None
        try:
            struck = kind.strike(run, base, random)
            run.finish()
            return struck, judge(run, base, kind.tolerance, struck.lines_cut, kind.may_complain)
        except TooLate:
            pass
        except Wrong as error:
            return struck, Verdict(problems=[str(error)])
        finally:
            run.clear()
    return None, Verdict(problems=[f"did not strike in time {TRIES} times"])


def add(row: Row, number: int, struck: Struck | None, verdict: Verdict) -> None:
    """Count a trial."""
    row.trials += 1
    if struck:
        row.steps.append(struck.step)
        row.seconds += [] if struck.seconds is None else [struck.seconds]
    row.again, row.lost = max(row.again, verdict.again), max(row.lost, verdict.lost)
    row.right += not verdict.problems
    row.problems += [f"trial {number}: {problem}" for problem in verdict.problems]


def table(rows: Mapping[str, Row]) -> str:
    """A line of Markdown for each kind."""
    lines = [
        "| fault | times | at what moments | steps done again, at most | seconds to the exit, at most | lost "
        "| recovered |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        kind = KINDS[name]
        moments = f"{kind.when}; after steps {min(row.steps)} to {max(row.steps)}" if row.steps else kind.when
        seconds = f"{max(row.seconds):.1f}" if row.seconds else ""
        lost = f"{row.lost} steps" if row.lost else "nothing"
        recovered = f"{'all' if row.right == row.trials else row.right} {HOW[kind.tolerance]}"
        lines.append(f"| {kind.told} | {row.trials} | {moments} | {row.again} | {seconds} | {lost} | {recovered} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
