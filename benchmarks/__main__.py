"""Measure this machine: `python -m benchmarks [--only NAME ...]`, then `python -m benchmarks --write-docs docs`.

Needs the extra `parity`. Each section writes its figures into a JSON file of its own in the folder `--out`, and can be
run apart and again. All of them take an hour and more on two cores. `--write-docs DIR` measures nothing: it puts
tables and plots of these files into DIR/performance.md and DIR/images.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from benchmarks import (
    compiling,
    data,
    efficientnet,
    growth,
    input_rate,
    mask_rcnn,
    ops,
    pipeline,
    results,
    roof,
    stages,
)
from benchmarks.render import seconds, write_docs
from benchmarks.results import Result

SECTIONS = {
    "roof": roof,
    "mask_rcnn": mask_rcnn,
    "stages": stages,
    "efficientnet": efficientnet,
    "ops": ops,
    "data": data,
    "pipeline": pipeline,
    "input": input_rate,
    "compiling": compiling,
    "growth": growth,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="sections to measure")
    parser.add_argument("--rounds", type=int, default=4, help="timed runs of each; fewer of the longest")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="folder of the figures")
    parser.add_argument("--write-docs", type=Path, metavar="DIR", help="write what --out holds as documentation")
    options = parser.parse_args()
    if options.write_docs:
        write_docs(options.out, options.write_docs)
        return
    for name in options.only:
        results.save(options.out / f"{name}.json", told(name, SECTIONS[name].results(options.rounds)))


def told(section: str, measured: Iterator[Result]) -> Iterator[Result]:
    """The results as they come, each told in a line."""
    for result in measured:
        malloc = ", tuned malloc" if result.tuned else ""
        medians = "; ".join(f"{name} {seconds(result.median(name).wall)}" for name in result.records)
        print(f"{section}: {result.work}{malloc}: {medians}", flush=True)
        yield result


if __name__ == "__main__":
    main()
