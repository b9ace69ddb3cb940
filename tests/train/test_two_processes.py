"""Two real processes with two devices each do what one does; and when one of them dies, nothing is lost."""

import json
import pickle
import shutil
import signal
import subprocess
from pathlib import Path

import chex
import numpy as np
import pytest

from tests.processes import codes, start, wait_until
from tests.train.saved import contents
from wbcjax.input.field_set import source
from wbcjax.input.settings import FieldSetSettings
from wbcjax.predict.detector import load
from wbcjax.runs.folder import load_config
from wbcjax.smear.synthetic import render
from wbcjax.smear.synthetic_settings import SyntheticSmear
from wbcjax.system.files import write_png
from wbcjax.tasks.detection import detect_split
from wbcjax.train.checkpoint import Checkpoints, checkpoint_directory, load_variables

pytestmark = pytest.mark.slow

STOPPED_WITHIN = 30  # seconds, in which the others end when one process is killed

TOY = """
import runpy, sys, time, types
from tests.train import toy
from wbcjax.tasks.experiment import Experiment
from wbcjax.tasks.settings import DetectionConfig

pause = float(sys.argv.pop(1))  # seconds for each image

class Detection(Experiment):
    Settings = DetectionConfig

    def task(self, workdir):
        return toy.task(toy.Images(on_read=lambda _: time.sleep(pause)))

stub = types.ModuleType("detection")
stub.Detection = Detection
sys.modules["wbcjax.tasks.detection"] = stub
runpy.run_path("train.py", run_name="__main__")
"""
TOY_CONFIG = """
from wbcjax.configs import smear_demo
from tests.train import toy

def get_config():
    config = smear_demo.get_config()  # of which the toy takes the seed and the training
    config.train.update(toy.config(steps=40, log_every=1, checkpoint_minutes=0.005, loss_weights={}).train)
    return config
"""

DETECTOR = """
import pickle, runpy, sys
from pathlib import Path
import jax
from wbcjax.tasks import detection

folder, detect_split = Path(sys.argv.pop(1)), detection.detect_split

def noted(model, fields):
    found = detect_split(model, fields)
    (folder / f"found.{jax.process_index()}").write_bytes(pickle.dumps(found))
    return found

detection.detect_split = noted
runpy.run_path("train.py", run_name="__main__")
"""
DETECTOR_CONFIG = """
from wbcjax.configs import smear_demo
from wbcjax.settings.parts import part

def get_config():
    config = smear_demo.get_config()
    config.dataset.synthetic.update({"count": 9, "height": 64, "width": 64})
    config.dataset.split.train_fraction = 0.4
    config.dataset.canvas = (64, 64)
    config.model.backbone.width = 8
    for module in (config.model.fpn, config.model.rpn, config.model.box_head, config.model.mask_head):
        module.channels = 8
    config.model.mask_head.bins = 7
    config.model.detection.score_threshold = 0.0
    config.train.update({"batch_size": 4, "epochs": 0.0, "steps": 4, "log_every": 1, "warmup_steps": 0})
    config.train.optimizer = part("sgd")
    config.train.learning_rate = 1e-3
    return config
"""


class Runs:
    """Runs of one config, each in a workdir of its own of one folder."""

    def __init__(self, folder: Path, code: str, config: str) -> None:
        self.folder, self._code = folder, code
        (folder / "config.py").write_text(config)

    def start(self, name: str, *first: str, processes: int, devices: int) -> list[subprocess.Popen]:
        arguments = [*first, f"--config={self.folder / 'config.py'}", f"--workdir={self.folder / name}"]
        return start(self._code, arguments, processes=processes, devices=devices, log=self.folder / f"{name}.log")

    def said(self, name: str) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob(f"{name}.log.*")))

    def records(self, name: str, kind: str) -> list[dict]:
        path = self.folder / name / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [record for record in map(json.loads, lines) if record["kind"] == kind]

    def losses(self, name: str) -> dict[int, dict]:
        """By step; of a step that was done again, the later ones."""
        apart = ("kind", "images_per_second")
        return {
            record["step"]: {key: value for key, value in record.items() if key not in apart}
            for record in self.records(name, "train")
        }

    def weights(self, name: str) -> dict:
        return load_variables(self.folder / name, "latest")[0]

    def saved(self, name: str) -> int | None:
        """The step of the latest checkpoint."""
        with Checkpoints(checkpoint_directory(self.folder / name), only_read=True) as checkpoints:
            return checkpoints.latest


def assert_close(found: dict, expected: dict) -> None:
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """One training by two processes with two devices each ("two"), and by one with four ("four")."""
    folder = tmp_path_factory.mktemp("detector")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WBCJAX_CACHE", str(folder / "cache"))  # where all of them want to build the same set
        runs, started = Runs(folder, DETECTOR, DETECTOR_CONFIG), {}
        for name, processes, devices in (("two", 2, 2), ("four", 1, 4)):
            (folder / name).mkdir()
            started[name] = runs.start(name, str(folder / name), processes=processes, devices=devices)
        ended = {name: codes(processes) for name, processes in started.items()}
    assert ended == {"two": [0, 0], "four": [0]}, "\n".join(map(runs.said, ended))
    return runs


def test_two_processes_train_as_one_does(detector):
    found, expected = detector.losses("two"), detector.losses("four")
    assert list(found) == list(expected) == [1, 2, 3, 4]
    assert expected[1]["loss"] > 0
    for step, losses in expected.items():
        assert found[step] == pytest.approx(losses, rel=1e-5), step
    assert_close(detector.weights("two"), detector.weights("four"))


def test_what_two_processes_write_is_written_once(detector):
    folder = detector.folder / "two"
    assert [record["step"] for record in detector.records("two", "train")] == [1, 2, 3, 4]
    assert [record["step"] for record in detector.records("two", "eval")] == [3, 4]
    assert len(detector.records("two", "stop")) == 1
    assert len(list(folder.glob("events.out.tfevents*"))) == 1
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["3", "4"]
    built = [line for line in detector.said("two").splitlines() if "building" in line and "fields" in line]
    assert len(built) + ("building" in detector.said("four")) == 1


def test_two_processes_evaluate_as_one_does_to_the_last_digit(detector):
    found = [pickle.loads((detector.folder / f"two/found.{i}").read_bytes()) for i in range(2)]
    config = load_config(detector.folder / "two")
    val = source(FieldSetSettings.from_config(config.dataset), "val", detector.folder / "cache")
    assert len(val) % 2 == 1, "shares of unequal sizes"
    model = load(detector.folder / "two", which="latest")
    annotated, expected = detect_split(model, val)
    alone = [model.detect(val.field(i).image(), val.names[i]) for i in range(len(val))]  # by one device
    for told in (found[0][1], found[1][1], alone):
        assert [one.name for one in told] == list(val.names)
        assert sum(len(one.scores) for one in told) > 0
        for one, wanted in zip(told, expected, strict=True):
            assert vars(one).keys() == vars(wanted).keys()
            for name, value in vars(wanted).items():
                np.testing.assert_array_equal(getattr(one, name), value, err_msg=name)
    for told, _ in found:
        assert [(one.name, one.rles) for one in told] == [(one.name, one.rles) for one in annotated]


def test_two_processes_share_a_folder_and_write_what_one_writes(detector):
    """`wbcjax predict` of seven images, one of which is broken, and then `evaluate.py`."""
    folder, code = detector.folder, "from wbcjax.cli import main; main()"
    for number in range(6):
        write_png(folder / f"images/{number}.png", render(SyntheticSmear(height=64, width=64), number).image())
    (folder / "images/broken.png").write_bytes(b"no image")
    ended = {}
    for name, processes, devices in (("shared", 2, 2), ("alone", 1, 1)):
        arguments = ["predict", str(folder / "two"), str(folder / "images"), f"--out={folder / name}", "--min-score=0"]
        ended[name] = start(code, arguments, processes=processes, devices=devices, log=folder / f"{name}.log")
    assert [codes(processes) for processes in ended.values()] == [[1, 1], [1]]  # of the broken image
    assert contents(folder / "shared") == contents(folder / "alone")
    assert len((folder / "alone/cells.csv").read_text().splitlines()) > 2
    assert detector.said("shared").count("no image") == detector.said("alone").count("no image")


def test_an_error_of_one_process_is_told_in_a_line_and_ends_both(detector):
    """The first process finds that `--out` holds something; the other one waits for it."""
    folder, code = detector.folder, "from wbcjax.cli import main; main()"
    write_png(folder / "one/image.png", render(SyntheticSmear(height=64, width=64), 1).image())
    arguments = ["predict", str(folder / "two"), str(folder / "one"), f"--out={folder / 'two'}"]
    ended = codes(start(code, arguments, processes=2, devices=1, log=folder / "refused.log"), STOPPED_WITHIN + 30)
    assert ended[0] == 1
    assert ended[1] not in (0, -signal.SIGKILL)
    said = (folder / "refused.log.0").read_text()
    assert "wbcjax: --out leads to" in said
    assert "Traceback" not in said


def test_two_processes_write_one_evaluation(detector):
    folder, code = detector.folder, "import runpy; runpy.run_path('evaluate.py', run_name='__main__')"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WBCJAX_CACHE", str(folder / "cache"))
        ended = {}
        for name, processes, devices in (("two_scores", 2, 2), ("one_score", 1, 1)):
            arguments = [f"--workdir={folder / 'two'}", f"--out={folder / name}"]
            ended[name] = start(code, arguments, processes=processes, devices=devices, log=folder / f"{name}.log")
        assert [codes(processes) for processes in ended.values()] == [[0, 0], [0]], detector.said("two_scores")
    both, one = ((folder / name / "detections.json").read_bytes() for name in ended)
    assert both == one
    assert detector.said("two_scores").count("Scored: ") == detector.said("one_score").count("Scored: ") == 1


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A training that nothing disturbs ("whole"), and one ("broken") that a SIGTERM to one process stopped."""
    runs = Runs(tmp_path_factory.mktemp("toy"), TOY, TOY_CONFIG)
    whole = runs.start("whole", "0", processes=2, devices=2)
    broken = runs.start("broken", "0.02", processes=2, devices=2)
    wait_until(lambda: len(runs.losses("broken")) > 4, broken)
    broken[1].send_signal(signal.SIGTERM)
    assert (codes(broken), codes(whole)) == ([0, 0], [0, 0]), runs.said("broken") + runs.said("whole")
    return runs


def test_one_process_that_is_told_to_stop_stops_both_after_the_same_step(toy):
    (stopped,) = toy.records("broken", "stop")
    assert stopped["reason"] == "SIGTERM"
    assert toy.saved("broken") == stopped["step"] == max(toy.losses("broken")) < 40


def test_one_process_is_killed_the_other_ends_and_nothing_is_repeated_or_lost(toy):
    first = toy.saved("broken")
    running = toy.start("broken", "0.02", processes=2, devices=2)
    wait_until(lambda: toy.saved("broken") > first and max(toy.losses("broken")) > toy.saved("broken"), running)
    running[1].kill()
    survivor, killed = codes(running, STOPPED_WITHIN)
    assert killed == -signal.SIGKILL
    assert survivor != 0
    assert "another task died" in toy.said("broken") or "another process of the run died" in toy.said("broken")

    saved = toy.saved("broken")
    assert first < saved < 40
    shutil.copytree(toy.folder / "broken", toy.folder / "alone")
    again, alone = toy.start("broken", "0", processes=2, devices=2), toy.start("alone", "0", processes=1, devices=4)
    assert (codes(again), codes(alone)) == ([0, 0], [0]), toy.said("broken") + toy.said("alone")
    assert [record["step"] for record in toy.records("broken", "resume")] == [first, saved]
    assert toy.losses("broken") == toy.losses("whole")
    chex.assert_trees_all_equal(toy.weights("broken"), toy.weights("whole"))
    for step, losses in toy.losses("whole").items():
        assert toy.losses("alone")[step] == pytest.approx(losses, rel=1e-5), step
    assert_close(toy.weights("alone"), toy.weights("whole"))
