"""docs/performance.md from the sections' JSON files: tables between markers, and plots; the prose is left alone."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from benchmarks import roof
from benchmarks.results import Result, load
from benchmarks.timing import Time
from wbcjax.system.files import write_atomically

BEGIN, END = "<!-- measured: {name} -->", "<!-- end of {name} -->"
COLOURS = {"ours": "#1b6ca8", "torchvision, channels_last": "#c8553d"}
AXES = {"side": "side, pixels", "batch": "images", "cells": "cells in the field", "proposals": "proposals"}


def write_docs(out: Path, docs: Path) -> None:
    """Put the results in the folder `out` into docs/performance.md, between its markers, and plots into docs/images.

    A missing file is begun, with the markers alone. Raises ValueError for a file that lacks the markers of a section,
    FileNotFoundError where nothing was measured.
    """
    measured = {name: load(out / f"{name}.json") for name in TABLES if (out / f"{name}.json").exists()}
    if not measured:
        raise FileNotFoundError(f"{out} holds no results: run `python -m benchmarks --out {out}` first")
    page = docs / "performance.md"
    text = page.read_text(encoding="utf-8") if page.exists() else _blank()
    peak = roof.peak(measured["roof"][1]) if "roof" in measured else None
    for name, (environment, results) in measured.items():
        told = "; ".join(environment.values())
        text = replaced(text, name, f"{TABLES[name](results, peak)}\n\n{told}.", page)
    if "growth" in measured:
        for work in ("inference", "train"):
            growth_plot(docs / "images" / f"growth_{work}.svg", measured["growth"][1], work)
    write_atomically(page, text.encode())


def replaced(text: str, name: str, content: str, page: Path) -> str:
    """`text` with `content` between the markers of section `name`."""
    begin, end = BEGIN.format(name=name), END.format(name=name)
    before, found, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise ValueError(f"{page} has no place for {name}: put the lines {begin} and {end} where its table is to go")
    return f"{before}{begin}\n{content}\n{end}{after}"


def comparison(results: Sequence[Result], peak: float | None) -> str:
    """A row for each contestant at each work: its time with either malloc, and how many times ours it is."""
    titles = ["work", "", "median (least to most)", "ours is faster by", "CPU time", "the same with tuned malloc"]
    rows = [[*titles, "ours is faster by", "CPU time", "peak, MB (as it is / tuned)", "share of the roof"]]
    for work in dict.fromkeys(result.work for result in results):
        both = {result.tuned: result for result in results if result.work == work}
        names = dict.fromkeys(name for result in both.values() for name in result.records)
        for number, name in enumerate(names):
            row = ["" if number else work, name]
            for tuned in (False, True):
                result = both.get(tuned)
                row += _times(result, name) if result and name in result.records else ["", "", ""]
            best = [result for result in both.values() if name in result.records]
            row.append(" / ".join(f"{result.records[name].peak_mb:.0f}" for result in best))
            row.append(" / ".join(_share(result, name, peak) for result in best) if best[0].flops and peak else "")
            rows.append(row)
    used = [column for column in range(len(rows[0])) if any(row[column] for row in rows[1:])]
    return table([[row[column] for column in used] for row in rows])


def stages(results: Sequence[Result], _: float | None) -> str:
    """A row for each stage, a column for each contestant."""
    works = list(dict.fromkeys(result.work for result in results))
    rows = [["stage", *works]]
    for stage in dict.fromkeys(name for result in results for name in result.records):
        cells = [result.median(stage).wall if stage in result.records else None for result in results]
        rows.append([stage, *("" if cell is None else seconds(cell) for cell in cells)])
    totals = [sum(result.median(name).wall for name in result.records) for result in results]
    return table([*rows, ["together", *map(seconds, totals)]])


def rates(results: Sequence[Result], _: float | None) -> str:
    """Images a second of the input and of the step, of each config."""
    rows = [["config", "batch", "input, images/s", "step, images/s", "input is faster by", "input's share of CPU time"]]
    for work in dict.fromkeys(result.work for result in results):
        of_work = {result.ours: result for result in results if result.work == work}
        taken = {name: result.median(name).wall / result.items for name, result in of_work.items()}
        cpu = {name: result.median(name).cpu / result.items for name, result in of_work.items()}
        share = f"{100 * cpu['input'] / (cpu['input'] + cpu['step']):.0f} %"
        speeds = [f"{1 / taken['input']:.1f}", f"{1 / taken['step']:.1f}", f"{taken['step'] / taken['input']:.1f}"]
        rows.append([work, str(of_work["step"].items), *speeds, share])
    return table(rows)


def input_rates(results: Sequence[Result], _: float | None) -> str:
    """Images a second of the input alone, whatever it keeps in memory."""
    rows = [["fields", "", "images/s, median", "least to most", "CPU time an image"]]
    for result in results:
        for number, (name, record) in enumerate(result.records.items()):
            speeds = sorted(result.items / time.wall for time in record.times)
            cpu = seconds(result.median(name).cpu / result.items)
            median = f"{result.items / result.median(name).wall:.1f}"
            rows.append(["" if number else result.work, name, median, f"{speeds[0]:.1f} to {speeds[-1]:.1f}", cpu])
    return table(rows)


def compile_times(results: Sequence[Result], _: float | None) -> str:
    rows = [["program", "first run, empty cache", "first run, filled cache", "a later run"]]
    for result in results:
        firsts = [seconds(result.records[cache].first) for cache in ("empty", "filled")]
        rows.append([result.work, *firsts, seconds(result.median("filled").wall)])
    return table(rows)


def roof_table(results: Sequence[Result], _: float | None) -> str:
    (result,) = results
    rows = [["float32 matrix product", "GF/s, best", "median"]]
    for name, record in result.records.items():
        best = min(time.wall for time in record.times)
        rows.append([name, *(f"{result.flops / wall / 1e9:.0f}" for wall in (best, result.median(name).wall))])
    return table(rows)


def growth_table(results: Sequence[Result], _: float | None) -> str:
    """How many times faster ours is along each series; the plots show the rest."""
    plots = "\n\n".join(f"![{work}](images/growth_{work}.svg)" for work in ("inference", "train"))
    rows = [["", "ours is faster by, at"]]
    for work in dict.fromkeys(result.work for result in results):
        points = [result for result in results if result.work == work]
        rows.append([work, ", ".join(f"{result.x:g}: {_factor(result):.2f}" for result in points)])
    return f"{plots}\n\n{table(rows)}"


TABLES: dict[str, Callable[[Sequence[Result], float | None], str]] = {
    "roof": roof_table,
    "mask_rcnn": comparison,
    "stages": stages,
    "efficientnet": comparison,
    "ops": comparison,
    "data": comparison,
    "pipeline": rates,
    "input": input_rates,
    "compiling": compile_times,
    "growth": growth_table,
}


def growth_plot(path: Path, results: Sequence[Result], work: str) -> None:
    """Median time, with least and most, and peak memory of each series of `work`, as SVG."""
    series = [name for name in AXES if any(result.work == f"{work}, {name}" for result in results)]
    with rc_context({"svg.hashsalt": "growth", "svg.fonttype": "none"}):  # the same figures give the same file
        figure = Figure(figsize=(3.2 * len(series), 5), layout="constrained")
        axes = figure.subplots(2, len(series), squeeze=False)
        for column, name in enumerate(series):
            points = [result for result in results if result.work == f"{work}, {name}"]
            xs = [result.x for result in points]
            for contestant, colour in COLOURS.items():
                times = [[time.wall for time in result.records[contestant].times] for result in points]
                axes[0, column].plot(xs, list(map(statistics.median, times)), "o-", color=colour, label=contestant)
                axes[0, column].fill_between(xs, list(map(min, times)), list(map(max, times)), color=colour, alpha=0.2)
                peaks = [result.records[contestant].peak_mb / 1000 for result in points]
                axes[1, column].plot(xs, peaks, "o-", color=colour)
            axes[1, column].set_xlabel(AXES[name])
            for row in axes:
                row[column].set_ylim(bottom=0)
        axes[0, 0].set_ylabel("time of a run, s")
        axes[1, 0].set_ylabel("peak memory, GB")
        axes[0, 0].legend(frameon=False, fontsize="small")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})


def table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown; the first row is the head."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def seconds(value: float) -> str:
    """Three significant digits, in s or ms."""
    scaled, unit = (value, "s") if value >= 1 else (1000 * value, "ms")
    return f"{scaled:.{0 if scaled >= 100 else 1 if scaled >= 10 else 2}f} {unit}"


def _times(result: Result, name: str) -> list[str]:
    middle: Time = result.median(name)
    walls = [time.wall for time in result.records[name].times]
    faster = "" if name == result.ours else f"{middle.wall / result.median(result.ours).wall:.2f}"
    return [f"{seconds(middle.wall)} ({seconds(min(walls))} to {seconds(max(walls))})", faster, seconds(middle.cpu)]


def _share(result: Result, name: str, peak: float | None) -> str:
    return f"{100 * result.flops / result.median(name).wall / peak:.0f} %" if peak else ""


def _factor(result: Result) -> float:
    """How many times our time the other contestant takes."""
    ours, theirs = (result.median(name).wall for name in result.records)
    return theirs / ours


def _blank() -> str:
    parts = [f"## {name}\n\n{BEGIN.format(name=name)}\n{END.format(name=name)}" for name in TABLES]
    return "\n\n".join(["# Performance", *parts]) + "\n"
