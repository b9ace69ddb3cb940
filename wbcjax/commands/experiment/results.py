"""The results of an experiment so far: its page and its tables, in its folder."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from wbcjax.commands.experiment.running import Failures, Run
from wbcjax.commands.experiment.tested import Tested, tested
from wbcjax.evaluate.comparison import FEW_SEEDS, FEW_UNITS, Draws, Training, difference, holm, score_of
from wbcjax.report.experiment_page import Experiment, RunRow, Setting, experiment_page, runs_csv, settings_csv
from wbcjax.system.files import write_atomically

PAGE, SETTINGS, RUNS = "experiment.html", "experiment.csv", "runs.csv"
SCORED_ON = {
    "test": "Scored on test: these fields neither trained nor chose the weights, which are those that did best on val.",
    "val": "There is no part test. Scored on val by the last weights: these fields neither trained nor chose the "
    "weights.",
}


class Results:
    """The results of these runs, as far as they are finished."""

    def __init__(self, workdir: Path, axes: Sequence[str], runs: Sequence[Run], remarks: Sequence[str] = ()) -> None:
        """`axes`: the settings whose values are compared. `remarks`: what a reader must know beside the figures."""
        self._workdir, self._axes, self._runs, self._remarks = workdir, tuple(axes), runs, tuple(remarks)
        # By the run's name, as matching and resampling take seconds:
        self._tested: dict[str, Tested] = {}
        self._samples: dict[str, dict[str, Float[np.ndarray, " b"]]] = {}
        self._unit_of: dict[str, str] = {}  # of the items in `_samples`
        self.written: Experiment | None = None

    def write(self, failures: Failures) -> None:
        """Write the page and both tables anew; `failures`: what stopped runs, by their names."""
        self.written = self._experiment(failures)
        write_atomically(self._workdir / PAGE, experiment_page(self.written).encode())
        write_atomically(self._workdir / SETTINGS, settings_csv(self.written))
        write_atomically(self._workdir / RUNS, runs_csv(self.written))

    def _experiment(self, failures: Failures) -> Experiment:
        done = {run.name: self._of(run) for run in self._runs if run.finished}
        draws, samples = self._resampled(done)
        scores = tuple(next(iter(samples.values()), {}))
        settings = []
        for number, values in enumerate(dict.fromkeys(run.values for run in self._runs)):
            runs = [run for run in self._runs if run.values == values]
            whole = _whole_seeds(runs, done)
            trainings = {
                score: [Training(run.seed, run.fold, done[run.name].items, samples[run.name][score]) for run in whole]
                for score in scores
            }
            settings.append(
                Setting(
                    values=values,
                    scores={score: score_of(of, draws, number) for score, of in trainings.items() if of},
                    trained_on=float(np.mean([done[run.name].trained_on for run in whole])) if whole else float("nan"),
                    seeds=f"{len({run.seed for run in whole})} of {len({run.seed for run in runs})}",
                )
            )
        compared = _compared(settings, scores)
        return Experiment(
            name=self._workdir.resolve().name,
            axes=self._axes,
            scores=scores,
            settings=compared,
            runs=tuple(_row(run, done.get(run.name), samples.get(run.name, {}), failures) for run in self._runs),
            remarks=(*self._remarks, *_remarks(self._runs, compared, done, draws)),
        )

    def _of(self, run: Run) -> Tested:
        if run.name not in self._tested:
            self._tested[run.name] = tested(run)
        return self._tested[run.name]

    def _resampled(self, done: Mapping[str, Tested]) -> tuple[Draws, dict[str, dict[str, Float[np.ndarray, " b"]]]]:
        """The draws of all items that are tested, and the scores of each run in them."""
        unit_of = {item: unit for one in done.values() for item, unit in zip(one.items, one.groups, strict=True)}
        if unit_of != self._unit_of:  # more folds than before
            self._samples, self._unit_of = {}, unit_of
        draws = Draws(unit_of)
        for name, one in done.items():
            if name not in self._samples:
                self._samples[name] = one.sample(draws.of(one.items))
        return draws, {name: self._samples[name] for name in done}


def _whole_seeds(runs: Sequence[Run], done: Mapping[str, Tested]) -> list[Run]:
    """Of the runs of a setting, those of seeds whose folds are all done."""
    lacking = {run.seed for run in runs if run.name not in done}
    return [run for run in runs if run.seed not in lacking]


def _compared(settings: Sequence[Setting], scores: Sequence[str]) -> tuple[Setting, ...]:
    """The settings with their differences from the one that has the first value of the first axis, all else equal."""
    by_values = {setting.values: setting for setting in settings}
    found = []
    for setting in settings:
        other = by_values[(settings[0].values[:1] + setting.values[1:])]
        if other is setting or not (setting.scores and other.scores):
            found.append(setting)
        else:
            less = difference(setting.scores[scores[0]], other.scores[scores[0]])
            found.append(dataclasses.replace(setting, other=other.values, difference=less))
    corrected = holm([setting.difference.p if setting.difference else float("nan") for setting in found])
    return tuple(dataclasses.replace(setting, p_corrected=p) for setting, p in zip(found, corrected, strict=True))


def _row(run: Run, done: Tested | None, samples: Mapping[str, np.ndarray], failures: Failures) -> RunRow:
    stop = run.stop
    failed = f"failed: {failures[run.name]}" if run.name in failures else ""
    return RunRow(
        name=run.name,
        values=run.values,
        seed=run.seed,
        fold=run.fold,
        state="finished" if done else failed or ("begun" if run.folder.is_dir() else "to come"),
        steps=stop["step"] if stop else None,
        stop=stop["reason"] if stop else "",
        trained_on=done.trained_on if done else None,
        scores={name: float(values[0]) for name, values in samples.items()},
        records=done.records if done else (),
    )


def _remarks(
    runs: Sequence[Run], settings: Sequence[Setting], done: Mapping[str, Tested], draws: Draws
) -> Iterator[str]:
    """What a comparison of the settings needs."""
    if not done:
        yield "No run is finished yet."
        return
    yield SCORED_ON[runs[0].part]
    items = {item for one in done.values() for item in one.items}
    if draws.units < len(items):
        yield f"The bootstrap draws whole groups: {draws.units}, of {len(items)} in all that test."
    else:
        yield (
            f"The bootstrap draws each of the {len(items)} that test by itself, as no groups are known: where several "
            "are of one patient, intervals are too narrow and p-values too small."
        )
    if draws.units < FEW_UNITS:
        yield f"WARNING: {draws.units} to draw are too few: intervals are too narrow and p-values too small."
    seeds = {len(setting.by_seed) for setting in settings if setting.scores}
    if seeds and min(seeds) < FEW_SEEDS:
        yield (
            "WARNING: one seed is too few to know how much trainings of one setting differ: intervals and p-values are "
            "of these very trainings, and another seed may turn them."
            if min(seeds) == 1
            else f"WARNING: {min(seeds)} seeds are too few, {FEW_SEEDS} or more are better: where trainings of one "
            "setting differ much, intervals are too narrow and p-values too small."
        )
    truths = [dict(zip(one.items, one.truth, strict=True)) for one in done.values()]
    first: dict[str, str] = {}
    for truth in truths:
        first = truth | first
    if changed := sorted({item for truth in truths for item, digest in truth.items() if digest != first[item]}):
        yield (
            f"WARNING: the annotations of {len(changed)} that test differ from run to run ({changed[0]} first): their "
            "scores are not of the same cells."
        )
    steps = {run.stop["step"] for run in runs if run.name in done and run.stop}
    if len(steps) > 1:
        yield (
            f"The runs have trained for different numbers of steps, {min(steps)} to {max(steps)}, which their scores "
            "show too; --config.train.steps gives all the same."
        )
    if cut := [run.name for run in runs if run.name in done and run.stop and run.stop["reason"] == "max_minutes"]:
        yield f"config.train.max_minutes ended before its last step the training of: {'; '.join(cut)}."
