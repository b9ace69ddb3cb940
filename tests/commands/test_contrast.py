"""The contrast experiment: what it trains in which order, where it goes on, and one real run of a toy."""

import csv
import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from ml_collections import ConfigDict

from tests.commands.stub_runs import save_detections
from tests.tasks.test_detection import toy_config, write_via
from wbcjax import cli
from wbcjax.commands.config_file import load_config_file
from wbcjax.commands.experiment import paper_protocol, running
from wbcjax.commands.experiment.contrast import PAPER_METHODS, contrast
from wbcjax.commands.experiment.running import RunsFailed
from wbcjax.configs import smear_demo
from wbcjax.evaluate.detections import load
from wbcjax.evaluate.image_scores import from_confusion
from wbcjax.report import experiment_page
from wbcjax.runs.folder import evaluation_folder
from wbcjax.system import heap, runtime
from wbcjax.system.interrupt import Interrupted
from wbcjax.tasks.experiment import Scored
from wbcjax.train.guard import NonFiniteLoss
from wbcjax.train.workdir import ConfigChanged, KeptConfig, config_json, settle_config

ROOT = Path(__file__).parents[2]


class Trainer:
    """Stands in for training and evaluation: leaves the files that they leave, and notes what was asked of it."""

    def __init__(self) -> None:
        self.trained: list[str] = []  # methods
        self.evaluated: list[str] = []
        self.configs: dict[str, ConfigDict] = {}
        self.stop_at: str | None = None  # the method in whose training a SIGTERM arrives
        self.reason = "finished"

    def train(self, config: ConfigDict, task: ConfigDict, workdir: Path) -> signal.Signals | None:
        assert task is config
        method = workdir.name
        self.trained.append(method)
        self.configs[method] = config
        settle_config(KeptConfig(config.to_dict()), workdir, started=(workdir / "metrics.jsonl").exists())
        stopped = self.stop_at == method
        reason = "SIGTERM" if stopped else self.reason
        with (workdir / "metrics.jsonl").open("a") as log:
            log.write(json.dumps({"kind": "train", "step": 10, "loss": 1.0}) + "\n")
            log.write(json.dumps({"kind": "stop", "step": 20, "reason": reason}) + "\n")
        return signal.SIGTERM if stopped else None

    def evaluate(self, workdir: Path, checkpoint: str, scored: Scored, *, trust_parts: bool = True) -> None:
        assert checkpoint == "latest"
        assert trust_parts
        self.evaluated.append(workdir.name)
        right = PAPER_METHODS.index(workdir.name) if workdir.name in PAPER_METHODS else 9
        images = from_confusion([[right, 0, 0], [0, 10, 0], [0, 0, 10]], [10 - right, 0, 0], bootstrap=20)
        scores = {"paper": {"mAP": right / 10, "score_threshold": 0.9}, "images": {"rules": {"pathologists": images}}}
        out = evaluation_folder(workdir, scored.split, checkpoint)
        save_detections(out / "detections.json", right / 10)
        (out / "scores.json").write_text(json.dumps(scores))


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    trainer = Trainer()
    monkeypatch.setenv("WBCJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(running, "make_task", lambda config, run: config)
    monkeypatch.setattr(running, "train", trainer.train)
    monkeypatch.setattr(running, "evaluate", trainer.evaluate)
    monkeypatch.setattr(experiment_page, "figure_uri", lambda figure: f"data:,{type(figure).__name__}")  # takes long
    return trainer


@pytest.fixture
def config() -> ConfigDict:
    config = smear_demo.get_config()
    config.dataset.synthetic.update({"count": 12, "seed": 20, "height": 96, "width": 128})
    return config


def methods_in(workdir: Path) -> list[str]:
    return list(json.loads((workdir / "results.json").read_text())["methods"])


def test_every_method_is_trained_once_with_one_config_seed_and_split(trainer, config, tmp_path):
    assert contrast(config, tmp_path / "all") is None
    assert trainer.trained == trainer.evaluated == ["none", "he", "dhe", "clahe", "eff_minmax"]
    plain = set()
    for method, used in trainer.configs.items():
        assert used.dataset.enhance == method
        used.dataset.enhance = "none"
        plain.add(config_json(used.to_dict()))
    assert plain == {config_json(config.to_dict())}
    assert config.dataset.enhance == "none", "the config given is left as it is"


def test_the_tables_hold_each_runs_own_scores(trainer, config, tmp_path):
    contrast(config, tmp_path)
    text = (tmp_path / "tables.txt").read_text()
    for number, name in enumerate(["without", "HE", "DHE", "CLAHE", "EFF"]):
        first, second = (line.split() for line in text.splitlines() if line.startswith(f"{name} ("))
        assert first[2] == f"{10 * number:.2f}"
        assert second[2] == f"{100 * (20 + number) / 30:.2f}"
    row = json.loads((tmp_path / "results.json").read_text())["methods"]["clahe"]
    assert (row["mAP"], row["steps"], row["stop"]) == (0.3, 20, "finished")
    assert row["subtypes"]["undetected"] == 7


def test_the_page_compares_every_method_with_none(trainer, config, tmp_path):
    contrast(config, tmp_path, ("none", "he", "eff_minmax"))
    page = (tmp_path / "experiment.html").read_text()
    assert "Tested on fields that were held out of the training." in page
    rows = list(csv.DictReader((tmp_path / "experiment.csv").read_text().splitlines()))
    assert [row["dataset.enhance"] for row in rows] == ["none", "he", "eff_minmax"]
    assert [row["compared with"] for row in rows] == ["", "enhance none", "enhance none"]
    assert [float(row["mask AP"]) for row in rows] == sorted(float(row["mask AP"]) for row in rows)


def test_a_method_that_fails_is_told_and_the_others_go_on(trainer, config, tmp_path, monkeypatch):
    def diverged_at_he(config: ConfigDict, task: ConfigDict, workdir: Path) -> signal.Signals | None:
        if workdir.name == "he":
            raise NonFiniteLoss("step 3: loss nan")
        return trainer.train(config, task, workdir)

    monkeypatch.setattr(running, "train", diverged_at_he)
    with pytest.raises(RunsFailed, match="1 of 3 runs failed, the others are done:\n  he: step 3: loss nan"):
        contrast(config, tmp_path, ("none", "he", "dhe"))
    assert methods_in(tmp_path) == ["none", "dhe"]
    assert "he failed: step 3: loss nan" in (tmp_path / "experiment.html").read_text()


def test_a_stopped_experiment_goes_on_where_it_stopped_and_does_nothing_twice(trainer, config, tmp_path):
    trainer.stop_at = "he"
    assert contrast(config, tmp_path, ("none", "he", "dhe")) == signal.SIGTERM
    assert trainer.trained == ["none", "he"]
    assert methods_in(tmp_path) == ["none"]
    trainer.stop_at = None
    assert contrast(config, tmp_path, ("none", "he", "dhe")) is None
    assert trainer.trained == ["none", "he", "he", "dhe"]
    assert trainer.evaluated == ["none", "he", "dhe"]
    contrast(config, tmp_path, ("none", "he", "dhe"))
    assert len(trainer.trained) == 4


def test_methods_added_later_join_the_tables_in_the_papers_order(trainer, config, tmp_path):
    contrast(config, tmp_path, ("clahe",))
    contrast(config, tmp_path, ("none",))
    assert trainer.trained == ["clahe", "none"]
    assert methods_in(tmp_path) == ["none", "clahe"]


def test_a_run_whose_evaluation_broke_is_evaluated_and_not_trained_again(trainer, config, tmp_path, monkeypatch):
    trainer.reason = "max_minutes"  # a run that train() would prolong

    def broken(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(running, "evaluate", broken)
    with pytest.raises(RunsFailed, match="1 of 1 runs failed, the others are done:\n  none: no space left"):
        contrast(config, tmp_path, ("none",))
    monkeypatch.setattr(running, "evaluate", trainer.evaluate)
    contrast(config, tmp_path, ("none",))
    assert (trainer.trained, trainer.evaluated) == (["none"], ["none"])
    assert "max_minutes ended before its last step the training of: none." in (tmp_path / "tables.txt").read_text()


@pytest.mark.parametrize("where", ["make_task", "evaluate"])
def test_a_signal_beside_the_training_stops_the_experiment_and_nothing_is_done_twice(
    trainer, config, tmp_path, monkeypatch, where
):
    undisturbed = getattr(running, where)

    def asked(*_, **__):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the work went on")

    monkeypatch.setattr(running, where, asked)
    assert contrast(config, tmp_path, ("none", "he")) == signal.SIGTERM
    assert methods_in(tmp_path) == []
    monkeypatch.setattr(running, where, undisturbed)
    contrast(config, tmp_path, ("none", "he"))
    assert (trainer.trained, trainer.evaluated) == (["none", "he"], ["none", "he"])


def test_an_evaluation_that_drops_the_request_to_stop_is_not_followed_by_the_next_method(
    trainer, config, tmp_path, monkeypatch
):
    class Deleted:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)

    def asked(*arguments, **named):
        Deleted()
        trainer.evaluate(*arguments, **named)

    dropped = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: dropped.append(report.exc_type))
    monkeypatch.setattr(running, "evaluate", asked)
    assert contrast(config, tmp_path, ("none", "he")) == signal.SIGINT
    assert dropped == [Interrupted]
    assert trainer.trained == ["none"]


@pytest.mark.parametrize("lines", ["", '{"kind": "tr', '{"kind": "resume", "step": 20}\n'])
def test_a_run_that_is_cut_short_is_trained_on(trainer, config, tmp_path, lines):
    contrast(config, tmp_path, ("none",))
    log = tmp_path / "none/metrics.jsonl"
    log.write_text((log.read_text() if "resume" in lines else "") + lines)
    contrast(config, tmp_path, ("none",))
    assert trainer.trained == trainer.evaluated == ["none", "none"]


def test_scores_of_a_run_on_its_way_are_not_taken_for_those_of_its_end(trainer, config, tmp_path):
    trainer.stop_at = "none"
    contrast(config, tmp_path, ("none",))
    trainer.evaluate(tmp_path / "none", "latest", Scored("val"))  # by hand
    trainer.stop_at, trainer.evaluated = None, []
    contrast(config, tmp_path, ("none",))
    assert trainer.evaluated == ["none"]


def test_a_run_that_was_taken_away_leaves_the_tables_at_once(trainer, config, tmp_path):
    contrast(config, tmp_path, ("none", "he"))
    (tmp_path / "he/evaluation/val_latest/scores.json").unlink()
    (tmp_path / "he/metrics.jsonl").unlink()
    trainer.stop_at = "he"
    contrast(config, tmp_path, ("none", "he"))
    assert methods_in(tmp_path) == ["none"]
    assert "HE (he)" not in (tmp_path / "tables.txt").read_text()


def test_another_config_or_protocol_in_the_same_folder_is_refused_by_its_keys(trainer, config, tmp_path):
    contrast(config, tmp_path, ("none",))
    config.dataset.enhance = "he"  # which the methods decide
    config.train.learning_rate = 0.5
    with pytest.raises(ValueError, match=r"experiment\.json is of another experiment") as refused:
        contrast(config, tmp_path, ("he",), "paper")
    told = str(refused.value).splitlines()[1:-1]
    assert told == ["  config.train.learning_rate: 0.001 there, 0.5 now", "  protocol: default there, paper now"]
    assert trainer.trained == ["none"]
    assert not (tmp_path / "paper_set").exists()


def test_annotations_that_change_between_two_methods_are_noticed(trainer, config, tmp_path):
    write_via(tmp_path / "data", 4, seed=0)
    config.dataset.update({"name": "via", "annotations": str(tmp_path / "data/via.json")})
    config.dataset.images = str(tmp_path / "data/images")
    contrast(config, tmp_path / "runs", ("none",))
    write_via(tmp_path / "other", 4, seed=1)
    (tmp_path / "other/via.json").replace(tmp_path / "data/via.json")
    with pytest.raises(ValueError, match=r"another experiment:\n  hash of the annotations: [0-9a-f]+ there"):
        contrast(config, tmp_path / "runs", ("he",))


def test_before_anything_is_trained_the_config_can_be_corrected(trainer, config, tmp_path, monkeypatch):
    def unusable(*_):
        raise ValueError("dataset.max_cells is 4; set it to 8 or more")

    monkeypatch.setattr(running, "make_task", unusable)
    with pytest.raises(RunsFailed, match="max_cells"):
        contrast(config, tmp_path, ("none",))
    monkeypatch.setattr(running, "make_task", lambda config, run: config)
    config.dataset.max_cells = 32
    contrast(config, tmp_path, ("none",))
    assert trainer.configs["none"].dataset.max_cells == 32


def test_runs_that_are_not_the_experiments_are_not_taken_into_its_tables(trainer, config, tmp_path):
    contrast(config, tmp_path, ("none",))
    (tmp_path / "experiment.json").rename(tmp_path / "lost.json")
    with pytest.raises(ValueError, match=r"experiment\.json is missing, and there are runs beside it"):
        contrast(config, tmp_path, ("none",))
    (tmp_path / "lost.json").rename(tmp_path / "experiment.json")
    other = config.copy_and_resolve_references()
    other.seed, other.dataset.enhance = 7, "he"
    (tmp_path / "he").mkdir()
    trainer.train(other, other, tmp_path / "he")
    with pytest.raises(ConfigChanged, match="seed: 7 in the workdir, 0 now"):
        contrast(config, tmp_path, ("he",))


@pytest.mark.parametrize("name", ["experiment.json", "none/evaluation/val_latest/scores.json"])
def test_a_broken_file_of_the_experiment_is_named(trainer, config, tmp_path, name):
    contrast(config, tmp_path, ("none",))
    (tmp_path / name).write_text("{")
    with pytest.raises(ValueError, match=rf"{name}: broken JSON"):
        contrast(config, tmp_path, ("none",))


def test_what_cannot_be_an_experiment_is_refused_before_anything_is_written(trainer, config, tmp_path):
    with pytest.raises(ValueError, match="no method of enhancement is called 'eef'; give some of none, he"):
        contrast(config, tmp_path / "runs", ("none", "eef"))
    with pytest.raises(ValueError, match="protocol is 'papers'; give one of default, paper"):
        contrast(config, tmp_path / "runs", protocol="papers")
    config.dataset.classes = ("L1", "L2")
    with pytest.raises(ValueError, match="without L3: the experiment is on subtypes"):
        contrast(config, tmp_path / "runs")
    config.task = "classification"
    with pytest.raises(ValueError, match="'classification'; the experiment is one of detection"):
        contrast(config, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_the_papers_protocol_warns_and_writes_its_images_once(trainer, config, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(paper_protocol, "PER_SUBTYPE", 1)
    contrast(config, tmp_path, ("none",), "paper")
    assert "cells that were trained on" in caplog.text
    assert "cells that were trained on" in (tmp_path / "tables.txt").read_text()
    written = (tmp_path / "paper_set/coco.json").stat().st_mtime_ns
    contrast(config, tmp_path, ("none", "he"), "paper")
    assert (tmp_path / "paper_set/coco.json").stat().st_mtime_ns == written
    assert trainer.configs["none"].dataset.split == trainer.configs["he"].dataset.split
    split = trainer.configs["he"].dataset.split
    assert [len(split[f"{part}_names"]) for part in ("train", "val", "test")] == [2, 1, 12]
    assert (tmp_path / "he/evaluation/test_latest/scores.json").is_file()


def test_a_lost_set_of_the_papers_protocol_is_named_once_there_are_runs_on_it(trainer, config, tmp_path, monkeypatch):
    monkeypatch.setattr(paper_protocol, "PER_SUBTYPE", 1)
    trainer.stop_at = "none"
    contrast(config, tmp_path, ("none",), "paper")
    shutil.rmtree(tmp_path / "paper_set")
    with pytest.raises(ValueError, match=r"paper_set has no coco\.json, and there are runs .* give another --workdir"):
        contrast(config, tmp_path, ("none",), "paper")
    shutil.rmtree(tmp_path / "none")
    trainer.stop_at = None
    assert contrast(config, tmp_path, ("none",), "paper") is None
    assert (tmp_path / "paper_set/coco.json").is_file()


def command(tmp_path: Path, *more: str) -> list[str]:
    demo = ["--config", "configs/smear_demo.py", "--config.train.batch_size=8"]  # the tests have eight devices
    return ["experiment", "contrast", *demo, "--workdir", str(tmp_path / "runs"), *more]


@pytest.fixture
def _in_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for module, name in ((heap, "tune_malloc"), (runtime, "quiet_libraries"), (runtime, "use_compilation_cache")):
        monkeypatch.setattr(module, name, lambda: None)  # settings of the whole process


@pytest.mark.usefixtures("_in_project")
def test_the_command_takes_overrides_of_the_config_and_prints_both_tables(trainer, tmp_path, capsys):
    cli.main(
        command(tmp_path, "--config.train.steps=7", "--methods", "none", "eff", "--config.dataset.split.seed", "3")
    )
    assert trainer.trained == ["none", "eff"]
    assert trainer.configs["eff"].train.steps == 7
    assert trainer.configs["eff"].dataset.split.seed == 3
    printed = capsys.readouterr().out
    assert printed.startswith((tmp_path / "runs/tables.txt").read_text())
    assert "EFF (eff)" in printed


@pytest.mark.usefixtures("_in_project")
def test_the_command_exits_as_its_training_did(trainer, tmp_path, monkeypatch, capsys):
    trainer.stop_at = "none"
    with pytest.raises(SystemExit) as stopped:
        cli.main(command(tmp_path))
    assert stopped.value.code == 0
    assert capsys.readouterr().out == "", "no tables as if all were done"

    def diverged(*_):
        raise NonFiniteLoss("step 3: loss nan")

    monkeypatch.setattr(running, "train", diverged)
    with pytest.raises(SystemExit, match="wbcjax: 5 of 5 runs failed") as failed:
        cli.main(command(tmp_path))
    assert str(failed.value.code).splitlines()[1:] == [f"  {method}: step 3: loss nan" for method in PAPER_METHODS]
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("_in_project")
@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--config.train.stepz=7"], "stepz"),
        (["--config.train.steps=many"], "config.train.steps is 'many'"),
        (["--workdri=x"], "workdri"),
        (["stray"], "unrecognized arguments: stray"),
        (["--config", "configs/absent.py"], r"absent\.py does not exist"),
    ],
)
def test_arguments_that_nothing_takes_are_refused_by_name(trainer, tmp_path, capsys, more, told):
    with pytest.raises(SystemExit) as stop:
        cli.main(command(tmp_path, *more))
    assert re.search(told, f"{stop.value.code} {capsys.readouterr().err}")
    assert not trainer.trained


def test_other_commands_take_no_overrides(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["enhance", str(tmp_path), "--out", str(tmp_path), "--config.train.steps=7"])
    assert "unrecognized arguments: --config.train.steps=7" in capsys.readouterr().err


def test_a_config_file_is_loaded_in_its_variant():
    assert load_config_file(f"{ROOT}/configs/segpc_mask_rcnn.py:r34").model.backbone.depth == 34


@pytest.mark.slow
def test_a_toy_goes_the_whole_way_by_the_papers_protocol(tmp_path, monkeypatch):
    monkeypatch.setenv("WBCJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(paper_protocol, "PER_SUBTYPE", 2)
    config = toy_config()
    config.dataset.synthetic.update({"count": 6, "subtypes": (2, 2, 2)})
    assert contrast(config, tmp_path / "runs", ("he",), "paper") is None
    _, annotations, _ = load(tmp_path / "runs/he/evaluation/test_latest/detections.json")
    assert len(annotations) == 6
    assert not any("flipped" in field.name for field in annotations)
    row = json.loads((tmp_path / "runs/results.json").read_text())["methods"]["he"]
    assert (row["steps"], row["stop"], row["subtypes"]["images"]) == (2, "finished", 6)
    assert "HE (he)" in (tmp_path / "runs/tables.txt").read_text()


def test_fields_held_out_to_test_are_what_a_split_that_has_some_is_evaluated_on(trainer, config, tmp_path, monkeypatch):
    parts = []

    def noted(workdir: Path, checkpoint: str, scored: Scored, **_: Any) -> None:
        parts.append(scored.split)
        trainer.evaluate(workdir, checkpoint, scored)

    monkeypatch.setattr(running, "evaluate", noted)
    config.dataset.split.test_fraction = 0.25
    contrast(config, tmp_path, ("none",))
    assert parts == ["test"]
    assert (tmp_path / "none/evaluation/test_latest/scores.json").is_file()


def test_a_run_that_goes_on_knows_of_its_folder_and_so_of_what_trained_it(trainer, config, tmp_path, monkeypatch):
    folders = []

    def noted(config: ConfigDict, run: Path | None = None) -> ConfigDict:
        folders.append(run)
        return config

    monkeypatch.setattr(running, "make_task", noted)
    contrast(config, tmp_path, ("none", "he"))
    assert folders == [tmp_path / "none", tmp_path / "he"]
