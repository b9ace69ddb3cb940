"""The results of a measurement, kept as one JSON file a section. docs/performance.md is written from them."""

import contextlib
import dataclasses
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.timing import Record, Time, median
from wbcjax.system.files import write_atomically

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "torch", "torchvision", "keras", "numpy", "opencv-python-headless")


@dataclasses.dataclass(frozen=True)
class Result:
    """One piece of work, done by several contestants; the first of them is ours."""

    work: str
    records: Mapping[str, Record]
    tuned: bool = False  # malloc, on both sides
    items: int = 1  # images (fields, ...) that a run handles
    unit: str = "image"
    flops: float = 0.0  # of a run, a multiplication and an addition counted as two; 0: not counted
    x: float | None = None  # in a series, what grows

    def median(self, contestant: str) -> Time:
        return median(self.records[contestant].times)

    @property
    def ours(self) -> str:
        return next(iter(self.records))


def summary(records: Mapping[str, Record]) -> str:
    """A line for each contestant: seconds, peak memory in MB, and how many times its time ours is, the first's."""
    ours = median(next(iter(records.values())).times).wall
    lines = [f"{'seconds':28}{'median':>9}{'least':>9}{'most':>9}{'CPU':>9}{'MB':>9}{'to ours':>9}"]
    for name, record in records.items():
        middle, walls = median(record.times), [time.wall for time in record.times]
        figures = f"{middle.wall:9.3f}{min(walls):9.3f}{max(walls):9.3f}{middle.cpu:9.3f}"
        lines.append(f"{name:28}{figures}{record.peak_mb:9.0f}{middle.wall / ours:9.2f}")
    return "\n".join(lines)


def save(path: Path, results: Iterable[Result]) -> None:
    """Write the results of a section with their environment, anew after each result: an interrupt loses none."""
    kept = []
    for result in results:
        kept.append(dataclasses.asdict(result))
        content = {"environment": environment(), "results": kept}
        write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())


def load(path: Path) -> tuple[dict[str, str], list[Result]]:
    """The environment and the results of a section. Raises ValueError, naming the file, when it is no such file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return content["environment"], [_result(entry) for entry in content["results"]]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no results ({error!r}); run its section again") from error


def environment() -> dict[str, str]:
    """Machine, libraries and date. Leaves JAX alone: the process that waits must stay small."""
    return {
        "date": date.today().isoformat(),
        "CPU": f"{_cpu_name()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "libraries": ", ".join(_versions()),
    }


def _versions() -> Iterator[str]:
    for name in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):  # a peer that is not installed has no result either
            yield f"{name} {version(name)}"


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    names = [
        line.split(":")[1].strip()
        for line in info.read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    wide = " with AVX-512" if "avx512f" in info.read_text(encoding="utf-8") else ""
    return (names[0] if names else platform.machine()) + wide


def _result(entry: dict[str, Any]) -> Result:
    records = {
        name: Record(first, [Time(*time) for time in times], held, peak)
        for name, (first, times, held, peak) in entry.pop("records").items()
    }
    return Result(records=records, **entry)
