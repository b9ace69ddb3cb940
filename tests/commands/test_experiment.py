"""`wbcjax experiment`: which runs a grid has, where it goes on, what it refuses, and what its page and tables say."""

import csv
import itertools
import json
import logging
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import ConfigDict

from tests.commands.stub_runs import FIELDS, save_detections, write_note
from tests.tasks.test_detection import toy_config
from wbcjax import cli
from wbcjax.commands.experiment import results, running
from wbcjax.commands.experiment.grid import Axis, Base, Repeats, plan, setting_name
from wbcjax.commands.experiment.results import Results
from wbcjax.commands.experiment.running import Run, RunsFailed, run_all
from wbcjax.evaluate.comparison import Draws
from wbcjax.evaluate.predictions import Predictions, save_predictions
from wbcjax.input.field_set import sources
from wbcjax.input.settings import FieldSetSettings
from wbcjax.report import experiment_page
from wbcjax.runs.folder import evaluation_folder
from wbcjax.settings.checked import ConfigError
from wbcjax.system import heap, runtime
from wbcjax.tasks.experiment import Scored
from wbcjax.train.workdir import ConfigChanged, KeptConfig, settle_config

BASE = Base("smear_demo", ("--config.train.batch_size=8",))  # the tests have eight devices
ENHANCE = Axis("dataset.enhance", ("none", "he"))
RATES = Axis("train.learning_rate", ("0.001", "3e-4"))


class Trainer:
    """Stands in for training and evaluation: leaves the files that they leave, and notes what was asked of it."""

    def __init__(self) -> None:
        self.trained: list[str] = []  # names of runs
        self.evaluated: list[tuple[str, str, str]] = []  # with the part and the checkpoint
        self.stop_at = ""  # the run in whose training a SIGTERM arrives
        self.fails: Callable[[str], Exception | None] = lambda _: None
        self.share: Callable[[ConfigDict], float] = lambda config: 0.8 if config.dataset.enhance == "he" else 0.5
        self.names: Callable[[ConfigDict], tuple[str, ...]] = _names
        self.group: Callable[[str], str | None] = lambda _: None

    def train(self, config: ConfigDict, task: ConfigDict, workdir: Path) -> signal.Signals | None:
        if error := self.fails(workdir.name):
            raise error
        self.trained.append(workdir.name)
        settle_config(KeptConfig(config.to_dict()), workdir, started=(workdir / "metrics.jsonl").exists())
        tested = [(name, self.group(name)) for name in self.names(config)]
        trained: list[tuple[str, str | None]] = [
            (f"train_{row}", None) for row in range(config.dataset.get("train_fields") or 100)
        ]
        write_note(workdir, {"train": trained, "test": tested, "val": tested})
        stopped = self.stop_at == workdir.name
        with (workdir / "metrics.jsonl").open("a") as log:
            for step in (10, 20):
                log.write(json.dumps({"kind": "eval", "step": step, "epoch": step / 10, "mask/AP": step / 40}) + "\n")
            log.write(json.dumps({"kind": "stop", "step": 20, "reason": "SIGTERM" if stopped else "finished"}) + "\n")
        self.config = config
        return signal.SIGTERM if stopped else None

    def evaluate(self, workdir: Path, checkpoint: str, scored: Scored, *, trust_parts: bool) -> None:
        assert trust_parts, "parts of the user's own config are refused"
        self.evaluated.append((workdir.name, scored.split, checkpoint))
        out = evaluation_folder(workdir, scored.split, checkpoint)
        config = ConfigDict(json.loads((workdir / "config.json").read_text()))
        save_detections(out / "detections.json", self.share(config), self.names(config), shift=config.seed)
        (out / "scores.json").write_text("{}")


def _names(config: ConfigDict) -> tuple[str, ...]:
    """The fields that test in the run of a config."""
    folds, fold = config.dataset.split.folds, config.dataset.split.fold
    return tuple(f"{row}.png" for row in range(FIELDS) if not folds or row % folds == fold)


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    trainer = Trainer()
    monkeypatch.setattr(running, "make_task", lambda config, run: config)
    monkeypatch.setattr(running, "train", trainer.train)
    monkeypatch.setattr(running, "evaluate", trainer.evaluate)
    monkeypatch.setattr(results, "Draws", partial(Draws, resamplings=200))
    monkeypatch.setattr(experiment_page, "figure_uri", lambda figure: f"data:,{type(figure).__name__}")  # takes long
    return trainer


def experiment(workdir: Path, axes: list[Axis], seeds: tuple[int, ...] = (0,), folds: int = 0, base: Base = BASE):
    """Run a grid to its end, or to what stops it."""
    runs = plan(base, axes, Repeats(seeds, folds), workdir)
    return run_all(runs, Results(workdir, [axis.key for axis in axes], runs).write)


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_grid_has_every_value_with_every_seed_and_fold_once_in_readable_folders(tmp_path):
    runs = plan(BASE, [ENHANCE], Repeats((3, 5), 2), tmp_path)
    assert [run.name for run in runs[:5]] == [
        "enhance=none,seed=3,fold=0",
        "enhance=he,seed=3,fold=0",
        "enhance=none,seed=3,fold=1",
        "enhance=he,seed=3,fold=1",
        "enhance=none,seed=5,fold=0",
    ]
    made = [(c.dataset.enhance, c.seed, c.dataset.split.fold) for c in (run.config for run in runs)]
    assert sorted(made) == sorted(itertools.product(("none", "he"), (3, 5), (0, 1)))
    assert {run.config.dataset.split.folds for run in runs} == {2}
    assert {(run.part, run.checkpoint) for run in runs} == {("test", "best")}


def test_without_a_part_to_test_on_the_last_weights_count_and_not_those_chosen_on_val(tmp_path):
    (run,) = plan(BASE, [], Repeats(), tmp_path)
    assert (run.name, run.part, run.checkpoint) == ("seed=0", "val", "latest")
    held = Base("smear_demo", (*BASE.overrides, "--config.dataset.split.test_fraction=0.2", "--config.seed=4"))
    (run,) = plan(held, [], Repeats(), tmp_path)
    assert (run.name, run.part, run.checkpoint) == ("seed=4", "test", "best")


def test_variants_of_a_config_file_are_settings_of_many_keys_at_once(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from wbcjax.configs import smear_demo\n"
        "def get_config(variant):\n"
        "    config = smear_demo.get_config()\n"
        "    config.train.update({'batch_size': 8, 'learning_rate': {'slow': 1e-4, 'fast': 1e-2}[variant]})\n"
        "    config.seed = 5\n"
        "    return config\n"
    )
    file = str(tmp_path / "mine.py")
    slow, fast = plan(Base(file), [Axis("variant", ("slow", "fast"))], Repeats(), tmp_path)
    assert (slow.name, slow.config.train.learning_rate) == ("variant=slow,seed=5", 1e-4)
    assert (fast.name, fast.config.train.learning_rate) == ("variant=fast,seed=5", 1e-2)
    with pytest.raises(ConfigError, match=r"names a variant, and variant is varied: give --config=.*mine\.py$"):
        plan(Base(f"{file}:slow"), [Axis("variant", ("slow", "fast"))], Repeats(), tmp_path)


def test_a_learning_curve_takes_its_fields_by_the_runs_seed(tmp_path):
    runs = plan(BASE, [Axis("dataset.train_fields", ("10", "all"))], Repeats((0, 7)), tmp_path)
    found = [(run.name, run.config.dataset.train_fields, run.config.dataset.train_fields_seed) for run in runs]
    assert found == [
        ("train_fields=10,seed=0", 10, 0),
        ("train_fields=all,seed=0", 0, 0),
        ("train_fields=10,seed=7", 10, 7),
        ("train_fields=all,seed=7", 0, 7),
    ]


def test_the_fields_of_a_grids_runs_are_apart_by_fold_and_nested_by_their_number(tmp_path, monkeypatch):
    monkeypatch.setenv("WBCJAX_CACHE", str(tmp_path / "cache"))
    small = ("count=8", "height=64", "width=64")
    base = Base("smear_demo", (*BASE.overrides, *(f"--config.dataset.synthetic.{one}" for one in small)))
    runs = plan(base, [Axis("dataset.train_fields", ("1", "2", "all"))], Repeats((1,), 2), tmp_path)
    parts = {run.name: sources(FieldSetSettings.from_config(run.config.dataset)) for run in runs}
    tested = []
    for fold in range(2):
        few, more, whole = (parts[f"train_fields={count},seed=1,fold={fold}"] for count in (1, 2, "all"))
        assert set(few["train"].names) < set(more["train"].names) < set(whole["train"].names)
        assert few["test"].names == more["test"].names == whole["test"].names
        assert not set(whole["test"].names) & {*whole["train"].names, *whole["val"].names}
        assert not set(whole["val"].names) & set(whole["train"].names)
        tested += whole["test"].names
    assert len(tested) == len(set(tested)) == 8


@given(st.text(max_size=120), st.text(max_size=120))
def test_a_folders_name_is_fit_for_any_file_system_and_long_values_stay_apart(one, other):
    names = [setting_name({"dataset.annotations": value})[0] for value in (one, other)]
    for name in names:
        assert name.isascii()
        assert not set(name) & set('/\\:*?"<>|\n\0 ,')
        assert len(name) <= len("annotations=") + 40
    if min(len(one), len(other)) > 80 and one.isalnum() and other.isalnum() and one.isascii() and other.isascii():
        assert (names[0] == names[1]) == (one == other)


def test_long_paths_that_differ_at_their_start_have_folders_of_their_own(tmp_path):
    paths = tuple(f"/data/{name}/{'folder/' * 10}via.json" for name in "ab")
    one, other = plan(
        Base("segpc_mask_rcnn", BASE.overrides), [Axis("dataset.annotations", paths)], Repeats(), tmp_path
    )
    assert one.folder != other.folder
    assert "via.json-" in one.name


@pytest.mark.parametrize(
    ("axes", "repeats", "told"),
    [
        ([Axis("dataset.enhanse", ("none",))], Repeats(), "did you mean"),
        ([Axis("dataset.enhance", ("none", "eef"))], Repeats(), "config.dataset.enhance is 'eef'"),
        ([Axis("dataset.enhance", ("he", "he"))], Repeats(), "the value he 2 times: give each value once"),
        ([ENHANCE, ENHANCE], Repeats(), "is varied 2 times: give all its values at once"),
        ([Axis("seed", ("1",))], Repeats(), "seed cannot be varied by --vary: give --seeds"),
        ([Axis("dataset.split.fold", ("1",))], Repeats(), "give --folds"),
        ([], Repeats((1, 1)), "--seeds has 1 2 times"),
        ([], Repeats((), 1), "--folds is 1: give 2 folds or more"),
        ([Axis("dataset.split.test_fraction", ("0.2",))], Repeats((), 3), "leave out one or the other"),
        ([Axis("dataset.annotations", ("a b", "a_b"))], Repeats(), "several runs would be in .*annotations=a_b,seed=0"),
    ],
)
def test_what_makes_no_grid_is_refused_before_anything_is_trained(tmp_path, axes, repeats, told):
    with pytest.raises(ConfigError, match=told):
        plan(BASE, axes, repeats, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_stopped_grid_goes_on_where_it_stopped_and_does_nothing_twice(trainer, tmp_path):
    trainer.stop_at = "enhance=none,seed=1"
    assert experiment(tmp_path, [ENHANCE], (0, 1)) == signal.SIGTERM
    assert trainer.trained == ["enhance=none,seed=0", "enhance=he,seed=0", "enhance=none,seed=1"]
    states = {row["run"]: row["state"] for row in rows_of(tmp_path / "runs.csv")}
    assert states["enhance=he,seed=1"] == "to come"
    trainer.stop_at, trainer.trained = "", []
    assert experiment(tmp_path, [ENHANCE], (0, 1)) is None
    assert trainer.trained == ["enhance=none,seed=1", "enhance=he,seed=1"]
    assert len(trainer.evaluated) == 4
    experiment(tmp_path, [ENHANCE], (0, 1))
    assert len(trainer.evaluated) == 4
    assert {row["state"] for row in rows_of(tmp_path / "runs.csv")} == {"finished"}


def test_values_and_seeds_that_come_later_keep_the_runs_that_are_there(trainer, tmp_path):
    experiment(tmp_path, [Axis("dataset.enhance", ("none",))])
    experiment(tmp_path, [ENHANCE], (0, 1))
    assert trainer.trained == ["enhance=none,seed=0", "enhance=he,seed=0", "enhance=none,seed=1", "enhance=he,seed=1"]


def test_a_run_whose_detections_are_gone_is_scored_and_not_trained_again(trainer, tmp_path):
    experiment(tmp_path, [])
    (tmp_path / "seed=0/evaluation/val_latest/detections.json").unlink()
    experiment(tmp_path, [])
    assert (trainer.trained, len(trainer.evaluated)) == (["seed=0"], 2)


def test_other_settings_in_the_same_folders_are_refused_by_what_differs_before_anything_is_trained(trainer, tmp_path):
    experiment(tmp_path, [ENHANCE])
    other = Base("smear_demo", (*BASE.overrides, "--config.train.learning_rate=0.5", "--config.augment.hue=9"))
    with pytest.raises(ConfigChanged) as refused:
        experiment(tmp_path, [Axis("dataset.enhance", ("none", "he", "dhe"))], base=other)
    lines = str(refused.value).splitlines()
    assert lines[0] == f"{tmp_path / 'enhance=none,seed=0'} is a run of other settings:"
    assert lines[1:3] == [
        "  augment.hue: 0.0 in the workdir, 9.0 now",
        "  train.learning_rate: 0.001 in the workdir, 0.5 now",
    ]
    assert lines[3].endswith("(1 more folder is of other settings too).")
    assert len(trainer.trained) == 2


def test_a_run_that_fails_is_told_and_the_others_go_on(trainer, tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    failing: dict[str, Exception] = {
        "enhance=none,seed=0": ValueError("dataset.max_cells is 4; set it to 8 or more"),
        "enhance=he,seed=1": RuntimeError("RESOURCE_EXHAUSTED: out of memory"),
    }
    trainer.fails = failing.get
    with pytest.raises(RunsFailed) as failed:
        experiment(tmp_path, [ENHANCE], (0, 1))
    assert str(failed.value).splitlines() == [
        "2 of 4 runs failed, the others are done:",
        "  enhance=none,seed=0: dataset.max_cells is 4; set it to 8 or more",
        "  enhance=he,seed=1: RuntimeError: RESOURCE_EXHAUSTED: out of memory",
    ]
    assert trainer.trained == ["enhance=he,seed=0", "enhance=none,seed=1"]
    assert [bool(record.exc_info) for record in caplog.records] == [False, True], "a traceback for what is unexpected"
    page = (tmp_path / "experiment.html").read_text()
    assert "enhance=none,seed=0 failed: dataset.max_cells is 4" in page
    states = {row["run"]: row["state"] for row in rows_of(tmp_path / "runs.csv")}
    assert states["enhance=he,seed=1"] == "failed: RuntimeError: RESOURCE_EXHAUSTED: out of memory"
    trainer.fails = lambda _: None
    assert experiment(tmp_path, [ENHANCE], (0, 1)) is None


def test_the_tables_have_means_spreads_differences_and_tests(trainer, tmp_path):
    trainer.share = lambda config: (
        {"none": 0.4, "he": 0.6, "dhe": 0.4}[config.dataset.enhance] + 0.1 * (config.seed == 1)
    )
    axis = Axis("dataset.enhance", ("none", "he", "dhe"))
    experiment(
        tmp_path, [axis], (0, 1), base=Base("smear_demo", (*BASE.overrides, "--config.dataset.split.test_fraction=0.2"))
    )
    none, he, dhe = rows_of(tmp_path / "experiment.csv")
    assert [row["seeds"] for row in (none, he, dhe)] == ["2 of 2"] * 3
    aps = {row["run"]: float(row["mask AP"]) for row in rows_of(tmp_path / "runs.csv")}
    for row, name in ((none, "none"), (he, "he"), (dhe, "dhe")):
        seeds = [aps[f"enhance={name},seed={seed}"] for seed in (0, 1)]
        assert float(row["mask AP"]) == pytest.approx(sum(seeds) / 2, rel=1e-4)
        assert float(row["mask AP sd over seeds"]) == pytest.approx(abs(seeds[0] - seeds[1]) / 2**0.5, rel=1e-4)
        assert float(row["mask AP low"]) < float(row["mask AP"]) < float(row["mask AP high"])
    assert none["compared with"] == none["p"] == ""
    assert float(he["difference"]) == pytest.approx(float(he["mask AP"]) - float(none["mask AP"]), abs=1e-5)
    assert float(he["p"]) < 0.2 < float(dhe["p"])
    assert float(he["p Holm"]) == pytest.approx(min(1.0, 2 * float(he["p"])), rel=1e-3)
    assert dhe["p Holm"] == dhe["p"] or float(dhe["p Holm"]) == 1.0


def test_each_value_of_the_first_setting_is_compared_with_its_first_all_else_equal(trainer, tmp_path):
    experiment(tmp_path, [ENHANCE, RATES])
    compared = {
        (row["dataset.enhance"], row["train.learning_rate"]): row["compared with"]
        for row in rows_of(tmp_path / "experiment.csv")
    }
    assert compared == {
        ("none", "0.001"): "",
        ("none", "3e-4"): "",
        ("he", "0.001"): "enhance none, learning_rate 0.001",
        ("he", "3e-4"): "enhance none, learning_rate 3e-4",
    }


def test_a_seed_counts_when_all_its_folds_are_done(trainer, tmp_path):
    trainer.stop_at = "seed=1,fold=1"
    experiment(tmp_path, [], (0, 1), folds=2)
    (row,) = rows_of(tmp_path / "experiment.csv")
    assert row["seeds"] == "1 of 2"
    folds = [float(run["mask AP"]) for run in rows_of(tmp_path / "runs.csv")[:2]]
    assert float(row["mask AP"]) == pytest.approx(sum(folds) / 2, rel=1e-4)  # each tests ten fields


def page_of(trainer: Trainer, workdir: Path, *arguments: Any, **named: Any) -> str:
    experiment(workdir, *arguments, **named)
    return (workdir / "experiment.html").read_text()


@pytest.mark.slow
def test_the_page_says_what_was_tested_drawn_and_too_few(trainer, tmp_path):
    page = page_of(trainer, tmp_path / "fields", [ENHANCE])
    assert "Scored on val by the last weights" in page
    assert "draws each of the 20 that test by itself, as no groups are known" in page
    assert "one seed is too few" in page
    trainer.group = lambda name: f"patient {int(name.removesuffix('.png')) % 4}"
    page = page_of(trainer, tmp_path / "patients", [], tuple(range(5)), folds=2)
    assert "Scored on test: these fields neither trained nor chose the weights" in page
    assert "draws whole groups: 4, of 20 in all that test" in page
    assert "WARNING: 4 to draw are too few" in page
    assert "seeds are too few" not in page
    assert "one seed is too few" not in page


def test_annotations_that_change_between_runs_are_told(trainer, tmp_path):
    experiment(tmp_path, [Axis("dataset.enhance", ("none",))])
    saved = tmp_path / "enhance=none,seed=0/evaluation/val_latest/detections.json"
    data = json.loads(saved.read_text())
    data["annotations"][3]["iscrowd"] = 1
    saved.write_text(json.dumps(data))
    assert "annotations of 1 that test differ from run to run (3.png first)" in page_of(trainer, tmp_path, [ENHANCE])


def test_a_learning_curve_is_drawn_over_the_fields_that_trained(trainer, tmp_path):
    axes = [ENHANCE, Axis("dataset.train_fields", ("10", "all"))]
    page = page_of(trainer, tmp_path, axes)
    assert "By the number of training fields" in page
    assert "mask/AP during the training" in page
    assert [row["trained_on"] for row in rows_of(tmp_path / "experiment.csv")] == ["10", "100"] * 2


def test_settings_that_look_like_html_are_shown_as_they_are(trainer, tmp_path):
    base = Base("segpc_mask_rcnn", BASE.overrides)
    page = page_of(trainer, tmp_path, [Axis("dataset.annotations", ("<script>a", "b"))], base=base)
    assert "<script" not in page
    assert "&lt;script&gt;a" in page


def test_classifiers_are_compared_by_their_accuracy_on_whole_groups_of_crops(monkeypatch, trainer, tmp_path):
    def evaluate(workdir: Path, checkpoint: str, scored: Scored, *, trust_parts: bool) -> None:
        out = evaluation_folder(workdir, scored.split, checkpoint)
        right = 6 if "enhance=he" in workdir.name else 3
        names, groups = tuple(f"a/{i}.png" for i in range(8)), tuple(f"field {i // 2}" for i in range(8))
        rows = [[0.9, 0.1] if i < right else [0.2, 0.8] for i in range(8)]
        out.mkdir(parents=True)
        save_predictions(
            out / "predictions.json", Predictions(names, groups, np.zeros(8, np.int64), np.array(rows), ("a", "b"))
        )
        (out / "scores.json").write_text("{}")

    monkeypatch.setattr(running, "evaluate", evaluate)
    trainer.names = lambda _: ()
    config = ("--config.dataset.classes=('a','b')", "--config.train.batch_size=8", "--config.dataset.crops=crops")
    base = Base("myeloma_efficientnet_b3", config)
    page = page_of(trainer, tmp_path, [ENHANCE], base=base)
    none, he = rows_of(tmp_path / "experiment.csv")
    assert (float(none["accuracy"]), float(he["accuracy"])) == (3 / 8, 6 / 8)
    assert "draws whole groups: 4, of 8 in all that test" in page


@pytest.fixture
def _of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((heap, "tune_malloc"), (runtime, "quiet_libraries"), (runtime, "use_compilation_cache")):
        monkeypatch.setattr(module, name, lambda: None)  # settings of the whole process


def command(workdir: Path, *more: str) -> list[str]:
    return ["experiment", "--config=smear_demo", "--config.train.batch_size=8", "--workdir", str(workdir), *more]


@pytest.mark.usefixtures("_of_this_process")
def test_the_command_line_makes_the_grid_and_prints_its_tables(trainer, tmp_path, capsys):
    axes = ("--vary", "dataset.enhance", "none", "he", "dhe", "--vary", "config.train.learning_rate", "1e-3")
    cli.main(command(tmp_path, *axes, "--fields", "10", "--seeds", "1", "2"))
    assert len(trainer.trained) == 3 * 1 * 1 * 2
    printed = capsys.readouterr().out
    assert "enhance  learning_rate  train_fields" in printed
    assert "p (Holm)" in printed
    assert f"The page is {tmp_path / 'experiment.html'}" in printed


@pytest.mark.usefixtures("_of_this_process")
def test_the_command_ends_with_one_after_a_failure_and_prints_what_there_is(trainer, tmp_path, capsys):
    trainer.fails = lambda name: OSError(28, "No space left on device") if "he" in name else None
    with pytest.raises(SystemExit) as failed:
        cli.main(command(tmp_path, "--vary", "dataset.enhance", "none", "he"))
    assert str(failed.value.code).startswith("wbcjax: 1 of 2 runs failed, the others are done:\n  enhance=he,seed=0: ")
    assert "1 of 1" in capsys.readouterr().out


@pytest.mark.usefixtures("_of_this_process")
@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--vary", "dataset.enhance"], "--vary dataset.enhance has no values"),
        (["--fields", "0"], "0 is no number of fields; give whole numbers above 0, or all"),
        (["--seeds", "-1"], "-1 is no seed"),
        (["--methods", "he"], "--methods is for `experiment contrast`"),
        (["--folds", "two"], "invalid int value: 'two'"),
        (["--vari=x"], "did you mean --vary?"),
    ],
)
def test_arguments_that_are_none_are_refused_in_a_line(trainer, tmp_path, capsys, more, told):
    with pytest.raises(SystemExit, match="2"):
        cli.main(command(tmp_path, *more))
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not trainer.trained


@pytest.mark.usefixtures("_of_this_process")
def test_the_contrast_experiment_takes_no_grid(trainer, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["experiment", "contrast", *command(tmp_path)[1:], "--seeds", "1"])
    assert "--seeds is not for `experiment contrast`" in capsys.readouterr().err


@pytest.mark.slow
def test_a_toy_grid_goes_the_whole_way(tmp_path, monkeypatch):
    monkeypatch.setenv("WBCJAX_CACHE", str(tmp_path / "cache"))
    config = toy_config()
    runs = []
    for value, fields in (("2", 2), ("all", 0)):
        of_run = config.copy_and_resolve_references()
        of_run.dataset.split.update({"folds": 2, "fold": 0})
        of_run.dataset.train_fields = fields
        of_run.train.batch_size = 8
        runs.append(Run(tmp_path / "runs" / f"train_fields={value}", of_run, "test", "best", (value,)))
    assert run_all(runs, Results(tmp_path / "runs", ["dataset.train_fields"], runs).write) is None
    few, whole = rows_of(tmp_path / "runs/runs.csv")
    assert (few["state"], few["steps"], few["trained_on"]) == ("finished", "2", "2")
    assert (whole["state"], whole["trained_on"]) == ("finished", "4")
    assert "Learning curve" in (tmp_path / "runs/experiment.html").read_text()
