"""`wbcjax plan`, from the command line to what it prints."""

import re
from pathlib import Path

import pytest

from wbcjax import cli
from wbcjax.commands import plan
from wbcjax.commands.plan.step_time import HARDWARE

CONFIG = """
from wbcjax.configs import base


def get_config():
    config = base.classifier()
    config.dataset.classes = ("a", "b", "c")
    config.dataset.canvas = (64, 64)
    config.model.update({"width": 0.25, "depth": 0.3})
    config.train.update({"batch_size": 8, "steps": 5, "phases": ({"layers": "heads", "epochs": 1},)})
    return config
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "tiny.py").write_text(CONFIG)
    return str(tmp_path / "tiny.py")


def test_every_known_hardware_can_be_named():
    assert set(plan.PRESETS) == set(HARDWARE)


@pytest.mark.slow
def test_a_step_is_planned_without_its_data_set(config: str, capsys: pytest.CaptureFixture):
    cli.main(["plan", "--config", config, "--devices=4", "--hardware=v5e", "--config.train.learning_rate=0.1"])
    told = capsys.readouterr().out
    assert told.startswith(f"{config} --config.train.learning_rate=0.1\n\nOne step\n--------\nparameters")
    assert "images on 4 devices" in told
    assert "It fits 16 GB" in told
    assert "Expected on v5e, calculated and not measured" in told
    assert "197 TFLOP/s at 20%" in told


@pytest.mark.slow
def test_a_batch_told_per_device_is_planned_for_all(config: str, capsys: pytest.CaptureFixture):
    per_device = ["--config.train.batch_size=0", "--config.train.batch_size_per_device=3"]
    cli.main(["plan", "--config", config, "--devices=4", *per_device])
    assert re.search(r"images on 4 devices +12\b", capsys.readouterr().out)


def test_without_hardware_no_time_is_told(config: str, capsys: pytest.CaptureFixture):
    cli.main(["plan", "--config", config, "--devices=4"])
    told = capsys.readouterr().out
    assert "Memory of one device" in told
    assert "fit" not in told
    assert "Expected" not in told


def test_the_measured_input_is_told(config: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("wbcjax.commands.plan.input_rate.measured_rate", lambda experiment: 50.0)
    cli.main(["plan", "--config", config, "--devices=4", "--measure-input"])
    assert capsys.readouterr().out.endswith(
        "The input of this machine makes 50.0 images/s, measured over 10 batches.\n"
    )


@pytest.mark.slow
def test_what_does_not_fit_is_compiled_with_remat_too(config: str, capsys: pytest.CaptureFixture):
    cli.main(["plan", "--config", config, "--devices=4", "--memory=0.001"])
    told = capsys.readouterr().out
    assert "It does not fit 0.001 GB" in told
    assert "--config.model.remat=True: 0." in told


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--devices=0", "0 is no number of devices; give a whole number above 0"),
        ("--memory=-1", "-1 is no such figure; give a number above 0"),
        ("--utilisation=1.5", "1.5 is no share; give a number above 0, and 1 at most"),
        ("--peak-tflops=5", "give --peak-tflops, --bandwidth and --interconnect together"),
        ("--devices=3", "which 3 devices cannot share evenly"),
        ("--config.train.size=3", "config.train.size is unknown"),
    ],
)
def test_what_cannot_be_planned_is_refused(option: str, told: str, config: str, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as stop:
        cli.main(["plan", "--config", config, option])
    assert told in f"{stop.value}{capsys.readouterr().err}"
