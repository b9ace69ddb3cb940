"""Training again on the fields that are done: a config, a run of `wbcjax train` beside the review, and its progress."""

import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wbcjax.commands.literal import literal
from wbcjax.commands.review.cells import Refused
from wbcjax.commands.review.exports import VIA, write_annotations
from wbcjax.commands.review.reviewed_set import ReviewedSet
from wbcjax.runs.log import read_log
from wbcjax.smear.field import SmearField
from wbcjax.smear.formats.via import GROUP
from wbcjax.system.files import write_atomically
from wbcjax.system.run_files import METRICS

MODELS, TRAINING = "models.json", "training"  # in the folder of a review
ENDED = ("finished", "max_minutes")  # reasons of a run's last record when it came to its end
FEWEST = 2  # fields that are done: one to train, and one to validate on
PASSES = 20  # over the fields that train
STEPS = (60, 2000)  # of a training, the fewest and the most
SLOWER = 0.3  # times the learning rate of the run that it starts from


def models_of(folder: Path, given: Path | None) -> list[str]:
    """The places of the models of a review, the last of which is in use: the one given, and those trained since.

    A model that is given and is none of them is the next one. So is a training that has ended after its review was
    killed. Raises ValueError for a broken file.
    """
    path = folder / MODELS
    try:
        known = list(map(str, json.loads(path.read_bytes()))) if path.exists() else []
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: no list of models ({error}); restore the file") from error
    places = [*_ended_runs(folder), *([] if given is None else [given])]
    new = [str(place.resolve()) for place in places if str(place.resolve()) not in known]
    if new:
        write_atomically(path, json.dumps(known + new, indent=2).encode())
    return known + new


def _ended_runs(folder: Path) -> list[Path]:
    """The runs of trainings that came to their end, the first one first."""
    runs = []
    for number in sorted(int(path.name) for path in (folder / TRAINING).glob("*") if path.name.isdecimal()):
        run = folder / TRAINING / str(number) / "run"
        try:
            last = read_log(run / METRICS)[-1]
        except (OSError, ValueError):  # it has not begun
            continue
        if last["kind"] == "stop" and last["reason"] in ENDED:
            runs.append(run)
    return runs


@dataclass
class Progress:
    """What is told of a training."""

    state: str = "none"  # "running", "failed" or "finished"
    fields: int = 0  # that it trains and validates on
    step: int = 0
    steps: int = 0
    loss: float | None = None
    message: str = ""
    log: str = ""  # its path


class Training:
    """Trainings of a review, one at a time, each from the weights of the model in use.

    trained: called with the folder of a run that has finished.
    """

    def __init__(self, reviewed: ReviewedSet, models: list[str], trust_parts: bool = False, steps: int = 0) -> None:
        self.reviewed, self.models = reviewed, models
        self.trust_parts, self.steps = trust_parts, steps
        self.trained: Callable[[Path], None] = lambda run: None
        self.progress = Progress()
        self._run: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self) -> threading.Thread:
        """Start one, which the thread waits for. Raises Refused without a start or fields, or while one is running."""
        with self._lock:
            if self.progress.state == "running":
                raise Refused("a training is running: wait for its end")
            fields = self._done_fields()
            folder = self._new_folder()
            settings = self.reviewed.settings
            write_annotations(folder, fields, settings.classes, settings.class_attribute)
            steps = self.steps or _steps(len(fields))
            start = {"run": self.models[-1], "trust_parts": self.trust_parts, "steps": steps}
            write_atomically(folder / "config.py", config_text(self.reviewed, folder, fields, start).encode())
            log, self._run = folder / "log.txt", folder / "run"
            self.progress = Progress("running", len(fields), steps=steps, log=str(log))
            self._process = _start(folder / "config.py", self._run, log)
        thread = threading.Thread(target=self._watch, args=(self._process, log), name="training", daemon=True)
        thread.start()
        return thread

    def end(self) -> None:
        """Stop a training that is running."""
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def now(self) -> Progress:
        """The progress at this moment."""
        if self.progress.state == "running" and self._run and (self._run / METRICS).exists():
            try:
                records = [record for record in read_log(self._run / METRICS) if record["kind"] == "train"]
            except (OSError, ValueError):  # no whole line so far
                records = []
            if records:
                self.progress.step, self.progress.loss = records[-1]["step"], records[-1].get("loss")
        return self.progress

    def _done_fields(self) -> list[SmearField]:
        if not self.models:
            raise Refused(
                "there is no model to start from: train one with `wbcjax inspect` on via.json of this folder, and open "
                "the review again with its run"
            )
        if not Path(self.models[-1]).is_dir():
            raise Refused(f"{self.models[-1]} is an exported model: open the review with the folder of its run")
        with self.reviewed.lock:
            fields = [field.as_field() for field in self.reviewed.fields if field.review.done]
        if len(fields) < FEWEST:
            raise Refused(f"{len(fields)} fields are done: mark {FEWEST} or more as done, to train and to validate on")
        if not any(field.cells for field in fields):
            raise Refused("the fields that are done have no cell: mark one that has as done")
        return fields

    def _new_folder(self) -> Path:
        place = self.reviewed.folder / TRAINING
        number = 1 + max((int(path.name) for path in place.glob("*") if path.name.isdecimal()), default=0)
        folder = place / str(number)
        folder.mkdir(parents=True)
        return folder

    def _watch(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        code = process.wait()
        assert self._run is not None
        if code:
            last = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
            self.progress.state, self.progress.message = "failed", f"ended with {code}: {last[:400]} ({log})"
            return
        self.now()
        self.models.append(str(self._run.resolve()))
        write_atomically(self.reviewed.folder / MODELS, json.dumps(self.models, indent=2).encode())
        try:
            self.trained(self._run)
            self.progress.state = "finished"
        except (OSError, ValueError) as error:
            self.progress.state, self.progress.message = "failed", str(error)


def _start(config: Path, run: Path, log: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "wbcjax", "train", "--config", str(config), "--workdir", str(run)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with log.open("wb") as file:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=environment
        )


def _steps(fields: int) -> int:
    """Steps of batches of four, the size of the shipped configs'; of other sizes there are more passes or fewer."""
    return min(max(math.ceil(PASSES * fields / 4), STEPS[0]), STEPS[1])


def config_text(reviewed: ReviewedSet, folder: Path, fields: Sequence[SmearField], start: dict[str, Any]) -> str:
    """The config of a training on the fields in via.json of a folder.

    start: the `run` whose config and weights it begins with, whether to `trust_parts` of it, and the number of `steps`.
    """
    settings, steps, most = reviewed.settings, start["steps"], max(len(field.cells) for field in fields)
    first = reviewed.fields[0].image
    images = first.path.absolute().parents[len(Path(first.name).parts) - 1]
    values: dict[str, Any] = {
        "run": start["run"],
        "trust_parts": start["trust_parts"],
        "annotations": str((folder / VIA).absolute()),
        "images": str(images),
        "classes": settings.classes,
        "class_attribute": settings.class_attribute,
        "max_pixels": settings.max_pixels,
        "group": GROUP if all(field.group is not None for field in fields) else None,
    }
    return CONFIG.format(
        fields=len(fields),
        most=most,
        steps=steps,
        slower=SLOWER,
        warmup=steps // 10,
        ema=round(1 - 10 / steps, 4) if steps > 10 else 0.0,
        **{name: literal(value) for name, value in values.items()},
    )


CONFIG = '''"""The run below, trained further on {fields} corrected fields; `wbcjax review` wrote this file."""

from ml_collections import ConfigDict

from wbcjax.input.split import SplitSettings
from wbcjax.models.limits import needed
from wbcjax.runs.folder import load_config
from wbcjax.settings.parts import as_values

RUN = {run}
MOST = {most}  # cells of a field


def get_config() -> ConfigDict:
    config = load_config(RUN, trust_parts={trust_parts})
    config.init_from, config.init_parts = RUN, ()

    config.dataset.name = "via"
    config.dataset.annotations = {annotations}
    config.dataset.images = {images}
    config.dataset.classes = {classes}
    config.dataset.class_attribute = {class_attribute}
    config.dataset.class_of, config.dataset.group_attribute = (), {group}
    config.dataset.on_error, config.dataset.max_pixels = "raise", {max_pixels}
    config.dataset.crowd_as_cells = config.dataset.rectangles_as_boxes = config.dataset.drawn = False
    config.dataset.split = ConfigDict(as_values(SplitSettings(train_fraction=0.8)))
    config.dataset.train_fields = 0
    if config.dataset.max_cells < MOST:
        config.dataset.max_cells = MOST
        for name, limit in needed(MOST).items():
            part, setting = name.split(".")
            config.model[part][setting] = max(limit, config.model[part][setting])

    config.train.epochs, config.train.steps, config.train.max_minutes = 0.0, {steps}, 0.0
    config.train.phases = ()
    config.train.learning_rate *= {slower}
    config.train.warmup_steps = {warmup}
    if config.train.ema_decay:
        config.train.ema_decay = {ema}
    config.train.log_every = 5
    config.train.eval_every_epochs = 0.0  # at the end alone
    return config
'''
