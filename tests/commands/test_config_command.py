"""`wbcjax config`: the shipped configs by name, and one of them written with all its settings."""

import sys
from pathlib import Path

import pytest

from wbcjax import cli
from wbcjax.commands.config_file import NAMED as NAMED_FILE
from wbcjax.commands.config_file import load_config_file, shipped
from wbcjax.settings.checked import ConfigError
from wbcjax.settings.comments import comments
from wbcjax.train.settings import TrainSettings

VARIANTS = {
    "all_mask_rcnn": ":scratch",
    "segpc_mask_rcnn": ":r18_quick",
    "myeloma_efficientnet_b3": ":b0_small",
    "myeloma_mask_rcnn": ":scratch",
}
NAMED = [f"{name}{variant}" for name in shipped() for variant in {"", VARIANTS.get(name, "")}]


@pytest.mark.parametrize("name", NAMED)
def test_a_written_config_gives_what_the_shipped_one_does(tmp_path, name):
    written = tmp_path / "mine.py"
    cli.main(["config", name, "--config.train.log_every=7", "--write", str(written)])
    assert load_config_file(str(written)) == load_config_file(name, ["--config.train.log_every=7"])


def test_a_written_config_says_what_each_setting_means(tmp_path, capsys):
    cli.main(["config", "smear_demo"])
    text = capsys.readouterr().out
    assert "    config.train.batch_size = 4  # images per step, over all devices\n" in text
    assert "    # A function that gives an optax.GradientTransformation: part(" in text  # above, where it is long
    assert '    config.model.backbone.part = "resnet"\n' in text
    assert max(map(len, text.splitlines())) <= 120


def test_a_config_is_written_over_no_other_file(tmp_path):
    (tmp_path / "mine.py").write_text("precious")
    with pytest.raises(SystemExit, match=r"mine\.py: there is such a file already: name a new one"):
        cli.main(["config", "smear_demo", "--write", str(tmp_path / "mine.py")])
    assert (tmp_path / "mine.py").read_text() == "precious"


def test_the_shipped_configs_are_listed_with_what_they_train(capsys):
    cli.main(["config"])
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert lines[0] == "Shipped configs, for --config"
    assert [row.split()[0] for row in lines[2:-2]] == list(shipped())
    assert "Mask R-CNN of Suvon et al." in text


def test_a_shipped_config_is_found_by_name_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    by_name = load_config_file("segpc_mask_rcnn:r18_quick")
    assert load_config_file("configs/segpc_mask_rcnn.py:r18_quick") == by_name
    assert by_name.dataset.canvas == (192, 256)


def test_a_file_of_ones_own_comes_before_a_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    own = "from wbcjax.configs import smear_demo\n\ndef get_config():\n    config = smear_demo.get_config()\n"
    (tmp_path / "configs/smear_demo.py").write_text(f"{own}    config.seed = 5\n    return config\n")
    assert load_config_file("configs/smear_demo.py").seed == 5
    assert load_config_file("smear_demo").seed == 0


def test_configs_that_import_from_the_old_place_are_told_the_new(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path and not (Path(path) / "configs").is_dir()])
    monkeypatch.delitem(sys.modules, "configs", raising=False)
    (tmp_path / "mine.py").write_text("from configs import base\n")
    with pytest.raises(ConfigError, match=r"the shipped configs have moved: write `from wbcjax\.configs import"):
        load_config_file("mine.py")


def test_comments_beside_and_above_a_field_are_its_own():
    found = comments(TrainSettings)
    assert found["accumulate"].startswith("Parts of a device's share of a batch, one after the other")
    assert found["max_minutes"] == "stop, evaluate and save after so long in this process; 0: never"
    assert found["optimizer"].endswith("and the schedule multiplies them.")  # without what is for the linter
    assert "warmup_steps" not in {name for name, text in found.items() if text}


@pytest.mark.parametrize(
    ("file", "path", "variant"),
    [
        ("C:\\mine\\a.py", "C:\\mine\\a.py", None),
        ("C:\\mine\\a.py:r18", "C:\\mine\\a.py", "r18"),
        ("d:/mine.py.d/a.py:r18", "d:/mine.py.d/a.py", "r18"),
        ("C:\\mine\\a", "C:\\mine\\a", None),
        ("smear_demo:r18", "smear_demo", "r18"),
    ],
)
def test_the_colon_of_a_windows_drive_begins_no_variant(file, path, variant):
    named = NAMED_FILE.fullmatch(file)
    assert named
    assert (named["path"], named["variant"]) == (path, variant)
