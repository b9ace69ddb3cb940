"""A review of painted images by a network that sees what was painted, without a training: a process of its own.

    python -m tests.commands.review.stub_server IMAGES FOLDER

The "training" ends at once, and its model is less sure of cells of class L2.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from tests.oracle import CLASSES, oracle
from wbcjax.commands.review import serve, training
from wbcjax.commands.review.begin import begun
from wbcjax.commands.review.exports import Exporter
from wbcjax.commands.review.server import Desk
from wbcjax.predict import detector
from wbcjax.predict.detector import Predictor

CANVAS = (192, 256)


class Trained(Predictor):
    """The network after its training."""

    def find(self, pictures):
        for found in super().find(pictures):
            yield replace(found, scores=found.scores * (1 - 0.45 * (found.labels == 2)))


def stub_load(place: Path, **_) -> Predictor:
    first = oracle(CANVAS, (1.0, 1.0))
    if place.name != "run":
        return first
    return Trained(first.network, first.canvas, first.classes, first.library, first.scales)


def stub_training(config: Path, run: Path, log: Path) -> "subprocess.Popen[bytes]":
    run.mkdir(parents=True)
    (run / "metrics.jsonl").write_text(json.dumps({"kind": "train", "step": 2, "loss": 1.5}) + "\n")
    log.write_text("trained\n")
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1)"])


def main() -> None:
    images, folder = map(Path, sys.argv[1:])
    options = argparse.Namespace(
        place=[images], out=folder, classes=list(CLASSES), annotations=None, min_score=None, max_pixels=10**6
    )
    options.reviewer = "a reviewer"
    detector.load, training._start = stub_load, stub_training  # type: ignore[assignment]
    with serve.held(folder):
        reviewed, models, _ = begun(options)
        (folder / "model").mkdir(exist_ok=True)
        models = training.models_of(folder, folder / "model")
        desk = Desk(reviewed, Exporter(reviewed), training.Training(reviewed, models, steps=2))
        serve.serve(serve.Models(desk, "best", False), 0, browser=False)


if __name__ == "__main__":
    main()
