"""The config of a workdir."""

import json
from pathlib import Path
from typing import Any

import pytest
from ml_collections import ConfigDict

from tests.train import toy
from wbcjax.settings.older_runs import upgrade
from wbcjax.train.workdir import ConfigChanged, KeptConfig, settle_config


def settle(config: ConfigDict, workdir: Path, *, started: bool = True, write: bool = True, **kept: Any) -> dict:
    return settle_config(KeptConfig(config.to_dict(), **kept), workdir, started=started, write=write)


def test_a_new_workdir_gets_the_config(tmp_path):
    config = toy.config(phases=(ConfigDict({"layers": "heads", "epochs": 1}),), boundaries=(1, 2))
    assert settle(config, tmp_path / "new") == {}
    saved = json.loads((tmp_path / "new" / "config.json").read_text())
    assert saved["train"]["phases"] == [{"layers": "heads", "epochs": 1}]
    assert saved["train"]["boundaries"] == [1, 2]
    assert saved["seed"] == 3
    assert settle(config, tmp_path / "new") == {}


def test_another_config_is_refused_with_both_values_of_every_key_that_differs(tmp_path):
    before, now = toy.config(learning_rate=0.1), toy.config(learning_rate=0.2, loss_weights={})
    now.dataset.classes = ("L1", "L2")
    settle(before, tmp_path)
    text = (tmp_path / "config.json").read_text()
    with pytest.raises(ConfigChanged) as error:
        settle(now, tmp_path)
    for line in (
        "dataset.classes: (absent) in the workdir, ['L1', 'L2'] now",
        "train.learning_rate: 0.1 in the workdir, 0.2 now",
        "train.loss_weights.size: 0.5 in the workdir, (absent) now",
        "--allow_config_change",
    ):
        assert line in str(error.value)
    assert "momentum" not in str(error.value)
    assert (tmp_path / "config.json").read_text() == text


@pytest.mark.parametrize("before", ["{}", '{"seed": '])
def test_the_config_of_a_first_try_that_made_no_checkpoint_is_replaced(tmp_path, before):
    (tmp_path / "config.json").write_text(before)
    assert settle(toy.config(steps=5), tmp_path, started=False) == {}
    assert json.loads((tmp_path / "config.json").read_text())["train"]["steps"] == 5


def test_a_changed_config_is_taken_over_when_allowed(tmp_path):
    settle(toy.config(learning_rate=0.1), tmp_path)
    changes = settle(toy.config(learning_rate=0.2), tmp_path, allow_change=True)
    assert changes == {"train.learning_rate": [0.1, 0.2]}
    assert settle(toy.config(learning_rate=0.2), tmp_path) == {}


@pytest.mark.parametrize(
    ("key", "before", "now", "refused"),
    [
        ("dataset.classes", ("L1", "L2"), ("L2", "L1"), True),
        ("dataset.classes", ("L1", "L2"), ("L1", "L2", "L3"), True),
        ("model.rpn.anchor_sizes", (32.0,), (64.0,), True),
        ("model.pixel_mean", (0.0,), (1.0,), True),
        ("model.width", 1.0, 1.2, True),
        ("model.detection.per_image", 32, 100, False),
        ("model.rpn.samples", 64, 256, False),
        ("model.dropout", 0.2, 0.3, False),
        ("dataset.canvas", (128, 128), (256, 256), False),
    ],
)
def test_a_change_of_what_weights_mean_is_refused_though_changes_are_allowed(tmp_path, key, before, now, refused):
    def config(value) -> ConfigDict:
        tree: Any = value
        for part in reversed(key.split(".")):
            tree = {part: tree}
        return ConfigDict(upgrade({"seed": 0} | tree))

    settle(config(before), tmp_path)
    text = (tmp_path / "config.json").read_text()
    if not refused:
        assert list(settle(config(now), tmp_path, allow_change=True)) == [key]
        return
    with pytest.raises(ConfigChanged) as error:
        settle(config(now), tmp_path, allow_change=True)
    assert f"  {key}: {json.loads(json.dumps(before))} in the workdir, {json.loads(json.dumps(now))} now" in str(
        error.value
    )
    assert f"--config.init_from={tmp_path}" in str(error.value)
    assert (tmp_path / "config.json").read_text() == text


def test_an_older_run_without_a_test_part_resumes(tmp_path):
    """A run from before there was a test part goes on with the config of today."""
    split = {"seed": 0, "train_fraction": 0.75, "train_names": (), "val_names": ()}
    settle(ConfigDict({"dataset": {"split": split}}), tmp_path)
    now = ConfigDict({"dataset": {"split": split | {"test_fraction": 0.0, "test_names": ()}}})
    assert settle(now, tmp_path) == {}


def test_a_process_that_only_checks_writes_nothing(tmp_path):
    settle(toy.config(), tmp_path / "new", write=False)
    assert not (tmp_path / "new").exists()


def test_a_broken_config_file_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"seed": ')
    with pytest.raises(ConfigChanged, match=r"config\.json is not JSON"):
        settle(toy.config(), tmp_path, allow_change=True)


def test_a_config_that_holds_an_object_is_refused(tmp_path):
    config = toy.config()
    config.dataset.reader = print
    with pytest.raises(TypeError, match="the config holds <built-in function print>"):
        settle(config, tmp_path)


def test_a_run_from_before_a_setting_came_goes_on_with_what_it_had(tmp_path):
    settle(toy.config(), tmp_path)
    older = json.loads((tmp_path / "config.json").read_text())
    del older["version"], older["train"]["l2_per_array"]
    older["train"] |= {"optimizer": "sgd", "momentum": 0.9}
    (tmp_path / "config.json").write_text(json.dumps(older))

    def settled(config: ConfigDict) -> dict:
        config.update({"task": "detection", "init_from": "", "init_parts": ()})  # which came without a version, too
        return settle(config, tmp_path)

    assert settled(toy.config()) == {}
    with pytest.raises(ConfigChanged, match="l2_per_array: False in the workdir, True now"):
        settled(toy.config(l2_per_array=True))
    with pytest.raises(ConfigChanged, match=r"optimizer\.momentum: 0\.9 in the workdir, 0\.8 now"):
        settled(toy.config(optimizer={"part": "sgd", "momentum": 0.8}))


def test_defaults_that_an_older_run_left_out_are_no_difference(tmp_path):
    def complete(values):
        return {"size": (1, 2), **values}

    before, now = ConfigDict({"steps": 3}), ConfigDict({"steps": 3, "size": (1, 2)})
    for one, other in ((before, now), (now, before)):
        settle(one, tmp_path, started=False)
        assert settle(other, tmp_path, complete=complete) == {}
    now.size = (1, 3)
    with pytest.raises(ConfigChanged, match=r"size: \[1, 2\] in the workdir, \[1, 3\] now"):
        settle(now, tmp_path, complete=complete)


def test_a_map_of_classes_of_an_older_run_becomes_pairs_of_texts():
    older = {"dataset": {"name": "via", "class_of": {"blast": "L1", "unsure": ""}}}
    assert upgrade(older)["dataset"]["class_of"] == [["blast", "L1"], ["unsure", ""]]
