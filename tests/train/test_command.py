"""train.py from its flags to its exit code, with the toy in the place of the detector."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DRIVER = """
import os, runpy, signal, sys, types
from tests.train import toy
from tests.train.test_loop import killer
from wbcjax.tasks.experiment import Experiment
from wbcjax.tasks.settings import DetectionConfig

images = killer(12, signal.SIGTERM) if sys.argv.pop(1) == "killed" else toy.Images()

class Detection(Experiment):
    Settings = DetectionConfig

    def task(self, workdir):
        if self.settings.dataset.max_cells == 4:
            raise ValueError("dataset.max_cells is 4; set it to 8 or more")
        return toy.task(images)

stub = types.ModuleType("detection")
stub.Detection = Detection
sys.modules["wbcjax.tasks.detection"] = stub
runpy.run_path("train.py", run_name="__main__")
"""
CONFIG = """
from wbcjax.configs import smear_demo
from tests.train import toy

def get_config():
    config = smear_demo.get_config()  # of which the toy takes the seed and the training
    config.train = toy.config(loss_weights={}).train
    return config
"""


@pytest.fixture
def command(tmp_path):
    (tmp_path / "toy_config.py").write_text(CONFIG)

    def run(how: str, *flags: str) -> subprocess.CompletedProcess:
        places = [f"--config={tmp_path / 'toy_config.py'}", f"--workdir={tmp_path / 'run'}"]
        return subprocess.run(
            [sys.executable, "-c", DRIVER, how, *places, *flags],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.mark.slow
def test_a_terminated_command_saves_and_ends_well_and_refuses_another_config(command, tmp_path):
    killed = command("killed", "--config.train.steps=4")
    assert killed.returncode == 0, killed.stderr
    assert "stopped by SIGTERM after step 2" in killed.stderr
    assert json.loads((tmp_path / "run" / "config.json").read_text())["train"]["steps"] == 4

    other = command("whole", "--config.train.steps=5")
    assert other.returncode == 1
    assert "train.steps: 4 in the workdir, 5 now" in other.stderr
    assert "Traceback" not in other.stderr


@pytest.mark.slow
def test_a_batch_told_per_device_is_noted_whole(command, tmp_path):
    each = ("--config.train.batch_size=0", "--config.train.batch_size_per_device=2")
    assert command("whole", "--config.train.steps=2", *each).returncode == 0
    noted = json.loads((tmp_path / "run" / "config.json").read_text())["train"]
    assert (noted["batch_size"], noted["batch_size_per_device"]) == (16, 0)  # on eight devices

    other = command("whole", "--config.train.steps=2", each[0], "--config.train.batch_size_per_device=1")
    assert "train.batch_size: 16 in the workdir, 8 now" in other.stderr


@pytest.mark.slow
def test_a_set_that_cannot_be_used_is_told_without_a_traceback(command):
    refused = command("whole", "--config.dataset.max_cells=4")
    assert refused.returncode == 1
    assert "train.py: dataset.max_cells is 4; set it to 8 or more" in refused.stderr
    assert "Traceback" not in refused.stderr
