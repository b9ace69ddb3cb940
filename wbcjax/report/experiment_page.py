"""The page of an experiment that compares settings: scores, differences, curves and runs; and the same as tables."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from wbcjax.evaluate.comparison import INTERVAL, RESAMPLINGS, Difference, Estimate, Scored
from wbcjax.evaluate.figures import percent
from wbcjax.report.detection_figures import figure_uri
from wbcjax.report.experiment_figures import curves_figure, settings_figure, validation_figure
from wbcjax.report.run_page import Block, Chart, Charts, Section, Text, run_page
from wbcjax.system import terminal
from wbcjax.system.terminal import Table

TRAIN_FIELDS = "dataset.train_fields"  # the axis of a learning curve


@dataclass(frozen=True)
class Setting:
    """One combination of the values that are compared, with all its trainings."""

    values: tuple[str, ...]  # of each axis
    scores: Mapping[str, Scored]  # by name; {} before a seed is done
    trained_on: float  # items, the mean over its runs; NaN before a seed is done
    seeds: str  # such as "2 of 3": those that are done
    other: tuple[str, ...] = ()  # the values of the setting that it is compared with; () for none
    difference: Difference | None = None  # of the first score
    p_corrected: float = math.nan  # by Holm, for all comparisons of the experiment

    @property
    def by_seed(self) -> Mapping[int, float]:
        """The first score of each seed."""
        return next(iter(self.scores.values())).by_seed


@dataclass(frozen=True)
class RunRow:
    """One run."""

    name: str
    values: tuple[str, ...]
    seed: int
    fold: int
    state: str  # "finished", "failed: why", "begun", "to come"
    steps: int | None = None
    stop: str = ""  # the reason for the end of its training
    trained_on: int | None = None  # items
    scores: Mapping[str, float] = field(default_factory=dict)
    records: Sequence[Mapping[str, Any]] = ()  # of its training


@dataclass(frozen=True)
class Experiment:
    """All of an experiment so far."""

    name: str
    axes: tuple[str, ...]  # keys of the config
    scores: tuple[str, ...]  # their names; the first one is compared
    settings: tuple[Setting, ...]
    runs: tuple[RunRow, ...]
    remarks: tuple[str, ...] = ()


def experiment_page(experiment: Experiment) -> str:
    """The page as HTML, one file that loads nothing."""
    done = sum(row.state == "finished" for row in experiment.runs)
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    subtitle = f"{len(experiment.settings)} settings, {done} of {len(experiment.runs)} runs finished. Written {now}."
    sections = [
        Section("Scores", tuple(_scores(experiment)), "no seed of any setting is finished yet."),
        Section(
            "Differences",
            tuple(_differences(experiment)),
            "no setting with a finished seed has another to be compared with.",
        ),
        Section("Learning curve", tuple(_learning(experiment)), "the number of training fields is not varied."),
        Section(
            "Training", tuple(_training(experiment)), "no finished run has logged two scores of its validation or more."
        ),
        Section("Failures", tuple(_failures(experiment)), "no run has failed."),
        Section("Runs", (_runs(experiment),)),
    ]
    return run_page(f"Experiment {experiment.name}", (subtitle, *experiment.remarks), sections)


def experiment_blocks(experiment: Experiment) -> list[terminal.Block]:
    """The tables of scores and differences for a terminal, and the remarks."""
    tables = [("Scores", _score_table(experiment))] if any(one.scores for one in experiment.settings) else []
    tables += [("Differences", _difference_table(experiment))] if _comparisons(experiment) else []
    titled = [replace(table, title=title) for title, table in tables]  # the page has sections for titles
    return [*titled, list(map(terminal.warned, experiment.remarks))]


def settings_csv(experiment: Experiment) -> bytes:
    """A row for each setting; scores from 0 to 1, empty where they are not defined."""
    head = [*experiment.axes, "seeds", "trained_on"]
    for name in experiment.scores:
        head += [f"{name}{end}" for end in ("", " low", " high", " sd over seeds")]
    head += ["compared with", "difference", "difference low", "difference high", "p", "p Holm"]
    rows = []
    for setting in experiment.settings:
        row: list[Any] = [*setting.values, setting.seeds, setting.trained_on]
        for name in experiment.scores:
            scored = setting.scores.get(name)
            row += [*scored.estimate, scored.spread] if scored else [math.nan] * 4
        less = setting.difference
        row += [named(experiment.axes, setting.other)] if less else [""]
        row += [*less.estimate, less.p, setting.p_corrected] if less else [math.nan] * 5
        rows.append(row)
    return _csv(head, rows)


def runs_csv(experiment: Experiment) -> bytes:
    """A row for each run; scores from 0 to 1, empty where they are not defined."""
    head = ["run", *experiment.axes, "seed", "fold", "state", "steps", "stop", "trained_on", *experiment.scores]
    rows = [
        [row.name, *row.values, row.seed, row.fold, row.state, row.steps, row.stop, row.trained_on]
        + [row.scores.get(name, math.nan) for name in experiment.scores]
        for row in experiment.runs
    ]
    return _csv(head, rows)


def named(axes: Sequence[str], values: Sequence[str]) -> str:
    """A setting in words: "enhance eff, train_fields 10"; "all runs" where nothing is varied."""
    pairs = zip(short_names(axes), values, strict=True)
    return ", ".join(f"{name} {value}" for name, value in pairs) or "all runs"


def short_names(keys: Sequence[str]) -> list[str]:
    """The last part of each key; the whole key where another one ends so too."""
    last = [key.rpartition(".")[2] for key in keys]
    return [name if last.count(name) == 1 else key for name, key in zip(last, keys, strict=True)]


def _scores(experiment: Experiment) -> Iterable[Block]:
    shown = [setting for setting in experiment.settings if setting.scores]
    if shown:
        names = [named(experiment.axes, setting.values) for setting in shown]
        figure = settings_figure(
            names, [setting.scores[experiment.scores[0]] for setting in shown], experiment.scores[0]
        )
        yield _score_table(experiment)
        note = f"Bars: {100 * INTERVAL:g} % intervals. Ticks: single seeds."
        yield Charts((Chart(f"{experiment.scores[0]} of each setting", figure_uri(figure), note),))


def _score_table(experiment: Experiment) -> Table:
    head = [*short_names(experiment.axes), "seeds", "trained on"]
    for name in experiment.scores:
        head += [f"{name}, %", "SD over seeds"]
    rows = []
    for setting in experiment.settings:
        row = [*setting.values, setting.seeds, _count(setting.trained_on)]
        for name in experiment.scores:
            scored = setting.scores.get(name)
            row += [_with_interval(scored.estimate), percent(scored.spread)] if scored else ["n/a", "n/a"]
        rows.append(tuple(row))
    note = (
        f"The mean over seeds (and folds) with its {100 * INTERVAL:g} % interval, by {RESAMPLINGS} resamplings of what "
        "was tested and, of two seeds or more, of the trainings. SD: standard deviation from seed to seed."
    )
    return Table("", tuple(head), tuple(rows), note)


def _differences(experiment: Experiment) -> Iterable[Block]:
    if _comparisons(experiment):
        yield _difference_table(experiment)


def _comparisons(experiment: Experiment) -> list[Setting]:
    return [setting for setting in experiment.settings if setting.difference]


def _difference_table(experiment: Experiment) -> Table:
    compared = _comparisons(experiment)
    many = len(compared) > 1
    rows = []
    for setting in compared:
        assert setting.difference  # see `_comparisons`
        row = [named(experiment.axes, setting.values), named(experiment.axes, setting.other)]
        row += [_with_interval(setting.difference.estimate, signed=True), _p(setting.difference.p)]
        rows.append((*row, *([_p(setting.p_corrected)] if many else [])))
    note = (
        f"Points of {experiment.scores[0]}, with a {100 * INTERVAL:g} % interval. Paired bootstrap: both settings are "
        "scored on the same draws. p: two-sided, of no difference."
    )
    if many:
        note += f" p (Holm) is corrected for the {len(compared)} comparisons."
    head = ("setting", "less", f"difference of {experiment.scores[0]}", "p", *(["p (Holm)"] if many else []))
    return Table("", head, tuple(rows), note)


def _learning(experiment: Experiment) -> Iterable[Block]:
    """Scores over the number of training fields, a line for each combination of the other values."""
    if TRAIN_FIELDS not in experiment.axes:
        return
    position = experiment.axes.index(TRAIN_FIELDS)
    others = [axis for axis in experiment.axes if axis != TRAIN_FIELDS]
    lines: dict[str, list[tuple[float, Scored]]] = {}
    for setting in experiment.settings:
        if setting.scores:
            rest = [value for place, value in enumerate(setting.values) if place != position]
            lines.setdefault(named(others, rest), []).append((setting.trained_on, setting.scores[experiment.scores[0]]))
    if lines:
        figure = curves_figure(lines, experiment.scores[0])
        note = f"Bars: {100 * INTERVAL:g} % intervals. Points: single seeds. A seed's fewer fields lie among its more."
        yield Charts((Chart("By the number of training fields", figure_uri(figure), note),))


def _training(experiment: Experiment) -> Iterable[Block]:
    score = experiment.scores[0].replace(" ", "/") if experiment.scores else ""  # as it is logged
    lines = [(named(experiment.axes, row.values), row.records) for row in experiment.runs]
    logged = [(name, points) for name, of in lines if (points := _points(of, score))]
    if any(len(points) > 1 for _, points in logged):  # else there is no curve
        figure = validation_figure(logged, score)
        note = "One line a run, on its part val."
        yield Charts((Chart(f"{score} during the training", figure_uri(figure), note),))


def _points(records: Sequence[Mapping[str, Any]], score: str) -> list[tuple[float, float]]:
    """Steps, and the score of val there."""
    found = [(record["step"], record.get(score)) for record in records if record["kind"] == "eval"]
    return [(step, value) for step, value in found if value is not None]


def _failures(experiment: Experiment) -> Iterable[Block]:
    for row in experiment.runs:
        if row.state.startswith("failed"):
            yield Text(f"{row.name} {row.state}")


def _runs(experiment: Experiment) -> Table:
    head = ("run", "state", "steps", "trained on", *(f"{name}, %" for name in experiment.scores))
    rows = [
        (
            row.name,
            "failed" if row.state.startswith("failed") else row.state,
            "" if row.steps is None else f"{row.steps}",
            "" if row.trained_on is None else f"{row.trained_on}",
            *(percent(row.scores[name]) if name in row.scores else "" for name in experiment.scores),
        )
        for row in experiment.runs
    ]
    return Table("", head, tuple(rows), "Each is a folder beside this page, with a page of its own.")


def _count(mean: float) -> str:
    return "n/a" if math.isnan(mean) else f"{mean:.0f}"


def _with_interval(estimate: Estimate, *, signed: bool = False) -> str:
    value, low, high = (
        "n/a" if math.isnan(end) else f"{100 * end:+.1f}" if signed else f"{100 * end:.1f}" for end in estimate
    )
    return value if low == "n/a" else f"{value} ({low} to {high})"


def _p(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.3f}"


def _csv(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        writer.writerow(["" if isinstance(entry, float) and math.isnan(entry) else _plain(entry) for entry in row])
    return table.getvalue().encode()


def _plain(entry: Any) -> Any:
    return f"{entry:.6g}" if isinstance(entry, float) else entry
