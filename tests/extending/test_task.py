"""A task of one's own: a file beside the config, which names its class by path."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

import wbcjax
from tests.train import toy
from wbcjax import cli
from wbcjax.commands.config_file import load_config_file
from wbcjax.commands.export.model import export_run
from wbcjax.models.backbone import everything_trains
from wbcjax.settings.checked import ConfigError
from wbcjax.system.terminal import plain
from wbcjax.tasks.checks import check_machine
from wbcjax.tasks.choose import evaluate, experiment_of, make_task, train
from wbcjax.tasks.experiment import Scored

CONFIG = """
from ml_collections import ConfigDict

def get_config():
    train = {"batch_size": 8, "steps": 3, "log_every": 1, "learning_rate": 1e-4}
    return ConfigDict({"task": "counting:Counting", "seed": 5, "fields": 16, "channels": 4, "train": train})
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Path:
    """A working folder outside of the package, with the example and a config in it."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "counting.py").write_text(Path(__file__).with_name("counting.py").read_text())
    (folder / "count.py").write_text(CONFIG)
    return folder


@pytest.fixture(autouse=True)
def work_there(lab, monkeypatch):
    monkeypatch.chdir(lab)
    monkeypatch.syspath_prepend(str(lab))


def trained(run: Path, *arguments: str) -> ConfigDict:
    """The config of a training as `train.py` does it."""
    config = load_config_file("count.py", arguments)
    check_machine(experiment_of(config))
    assert train(config, make_task(config, run), run, allow_config_change=True) is None
    return config


@pytest.fixture(scope="module")
def run(lab) -> Callable[[], Path]:
    """The folder of a run that stopped after two steps, and went on to the third."""

    def made() -> Path:
        if not (lab / "run").exists():
            trained(lab / "run", "--config.train.steps=2")
            trained(lab / "run")
        return lab / "run"

    return made


@pytest.mark.slow
def test_an_own_task_trains_on_its_loss_and_goes_on(run):
    config = load_config_file("count.py")
    task, (first, *later) = make_task(config), toy.records(run(), "train")
    batches = task.train_batches(config.seed, 0, 1)
    variables, batch = task.init_variables(config.seed), next(batches)
    loss = task.losses(variables, batch, jax.random.split(jax.random.key(0), 8), everything_trains, "")[0]["square"]
    batches.close()
    np.testing.assert_allclose(first["square"], loss, rtol=1e-4)
    assert [record["step"] for record in (first, *later)] == [1, 2, 3]
    assert [record["step"] for record in toy.records(run(), "resume")] == [2]


@pytest.mark.slow
def test_an_own_task_is_evaluated_by_the_scores_of_its_training(run):
    *_, kept = toy.records(run(), "eval")
    told = plain(*evaluate(run(), "latest", trust_parts=True)).splitlines()
    scores = json.loads((run() / "evaluation/val_latest/scores.json").read_text())
    assert scores == pytest.approx({name: kept[name] for name in ("right", "error")})
    assert ["error", f"{scores['error']:.4f}"] in [line.split() for line in told]


def test_settings_of_an_own_task_are_checked_and_set_by_the_command_line():
    assert load_config_file("count.py", ["--config.channels=6"]).channels == 6
    assert load_config_file("count.py").smear.cells == (1, 8)
    with pytest.raises(ConfigError, match=r"config\.chanels is unknown: did you mean config\.channels\?"):
        load_config_file("count.py", ["--config.chanels=6"])
    with pytest.raises(ConfigError, match=r"config\.fields is 0: give a whole number of at least 1"):
        load_config_file("count.py", ["--config.fields=0"])


def test_what_an_own_task_cannot_do_is_refused_in_one_line(run, tmp_path):
    with pytest.raises(ValueError, match=r"run is a run of counting:Counting; give one of detection$"):
        wbcjax.load(run(), trust_parts=True)
    with pytest.raises(ConfigError, match=r"'counting:Counting', which cannot be exported: give Counting a method exp"):
        export_run(run(), tmp_path / "out", trust_parts=True)
    with pytest.raises(SystemExit, match=r"'counting:Counting', which cannot be planned: give Counting a method step"):
        cli.main(["plan", "--config", "count.py"])
    with pytest.raises(ValueError, match="is a run of counting:Counting: it is scored on its own part val alone"):
        evaluate(run(), "best", Scored("test"), trust_parts=True)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("class Mine: ...", "no wbcjax.tasks.experiment.Experiment: name a class that derives from it"),
        ("class Mine(Experiment): ...", "which has no Settings: give it a dataclass that derives from Experiment"),
        ("", "mine has no Mine: "),
    ],
)
def test_a_class_that_is_no_experiment_is_refused_with_the_remedy(tmp_path, monkeypatch, lines, told):
    (tmp_path / "mine.py").write_text(f"from wbcjax.tasks.experiment import Experiment\n{lines}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    with pytest.raises(ConfigError) as refusal:
        load_config_file("count.py", ["--config.task=mine:Mine"])
    assert "config.task is 'mine:Mine'" in str(refusal.value)
    assert told in str(refusal.value)
