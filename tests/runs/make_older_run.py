"""Write `older.zip`: two runs as the code of commit b17cc24 left them, and what they predicted then.

It was run once, with the code of that commit (`python -m tests.runs.make_older_run`), and is kept to tell how it came
about. Do not write it anew: it stands for the runs that people have. Later code may not even run this.
"""
# Some of what it imports is gone by now.
# ruff: noqa: I001
# pyright: reportAttributeAccessIssue=false

import json
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"  # read when jax is imported

import numpy as np
from ml_collections import ConfigDict
from pycocotools import mask as coco_mask

import wbcjax
from wbcjax.configs import myeloma_efficientnet_b3, smear_demo
from wbcjax.tasks.experiment import Scored
from wbcjax import tasks
from wbcjax.classify import load_classifier
from wbcjax.crop_folder import crop_folder
from wbcjax.files import write_png
from wbcjax.smear.read import FieldSet
from wbcjax.smear.synthetic import CLASSES, SyntheticSmear, fields, render
from wbcjax.tasks.choose import train

HERE = Path(__file__).parent
OLDER = HERE / "older"  # until it is packed
KEPT = ("config.json", "data.json", "checkpoints")  # of a run: what it predicts, is evaluated and goes on by
GONE = "/gone/since"  # in the place of the folder that the runs were trained in
HEIGHT, WIDTH = 96, 128
IMAGES = {"one_piece.png": (96, 128, 901), "in_tiles.png": (112, 150, 902)}  # height, width, seed
CROP_FIELDS, CROP_SEED = 24, 500


def main() -> None:
    shutil.rmtree(OLDER, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["WBCJAX_CACHE"] = f"{folder}/cache"
        _make_detector(Path("detector"))
        _make_classifier(Path("classifier"))
    shutil.make_archive(str(OLDER), "zip", HERE, OLDER.name)
    shutil.rmtree(OLDER)


def detector_config() -> ConfigDict:
    """Few channels, as the optimizer's state and the averaged weights make four of each weight."""
    config = smear_demo.get_config()
    config.dataset.synthetic.update({"count": 24, "seed": 100, "height": HEIGHT, "width": WIDTH})
    config.dataset.canvas = (HEIGHT, WIDTH)
    config.model.backbone.width = 2
    for part in (config.model.fpn, config.model.rpn, config.model.box_head, config.model.mask_head):
        part.channels = 8
    config.model.mask_head.bins = 7
    config.model.detection.update({"score_threshold": 0.05, "per_image": 16})
    config.train.update({"batch_size": 8, "learning_rate": 4e-3, "warmup_steps": 10, "schedule": "step"})
    config.train.update({"epochs": 0.0, "steps": 240, "log_every": 20, "eval_every_epochs": 0.0, "ema_decay": 0.9})
    # The second phase could go on for longer than the run does, so that the run can be made longer.
    config.train.phases = (
        {"layers": "heads", "epochs": 20.0, "learning_rate_scale": 1.0},
        {"layers": "4+", "epochs": 100.0, "learning_rate_scale": 1.0},
    )
    return config


def classifier_config(crops: Path) -> ConfigDict:
    config = myeloma_efficientnet_b3.get_config("b0_small")
    config.dataset.update({"crops": str(crops), "classes": CLASSES, "canvas": (32, 32)})
    config.model.update({"width": 0.01, "depth": 0.1, "dropout": 0.0, "stochastic_depth": 0.0})
    config.train.update({"batch_size": 16, "epochs": 0.0, "log_every": 20, "warmup_steps": 0, "schedule": "step"})
    config.train.update({"eval_every_epochs": 0.0, "ema_decay": 0.0, "max_minutes": 0.0})
    # Heads last: the optimizer then has a state of them alone, which is small.
    config.train.phases = (
        {"layers": "all", "epochs": 20.0, "learning_rate_scale": 1.0},
        {"layers": "heads", "epochs": 2.0, "learning_rate_scale": 1.0},
    )
    return config


def _make_detector(run: Path) -> None:
    config = detector_config()
    train(config, tasks.make_task(config, run), run)
    tasks.evaluate(run, "best", Scored("val"), out="scored")
    scores = json.loads(Path("scored/scores.json").read_text())
    expected = {"mask_ap": np.array(scores["mask"]["AP"]), "box_ap": np.array(scores["box"]["AP"])}
    model = wbcjax.load(run)
    for name, (height, width, seed) in IMAGES.items():
        image = render(SyntheticSmear(height=height, width=width), seed).image()
        found = model.detect(image, name)
        write_png(OLDER / "images" / name, image)
        expected[f"{name}/boxes"], expected[f"{name}/labels"] = found.boxes, found.labels
        expected[f"{name}/scores"] = found.scores
        expected[f"{name}/masks"] = np.array([coco_mask.decode(rle) for rle in found.rles], bool)  # (n, height, width)
    np.savez_compressed(OLDER / "cells.npz", allow_pickle=False, **expected)
    _keep(run)


def _make_classifier(run: Path) -> None:
    drawn = list(fields(SyntheticSmear(height=HEIGHT, width=WIDTH), CROP_FIELDS, CROP_SEED))
    found = FieldSet(drawn, CLASSES, Counter(), [], refused_fields=0, refused_cells=0, suspects=[])
    crop_folder(found, Path("crops"), size=24)
    config = classifier_config(Path("crops"))
    train(config, tasks.make_task(config, run), run)
    others = render(SyntheticSmear(), CROP_SEED + CROP_FIELDS).image()
    crops = np.stack([others[y : y + 24, x : x + 24] for y in (20, 80) for x in (10, 70, 130, 190)])
    probabilities = load_classifier(run).probabilities(crops)
    np.savez_compressed(OLDER / "crops.npz", allow_pickle=False, crops=crops, probabilities=probabilities)
    _keep(run)


def _keep(run: Path) -> None:
    for name in KEPT:
        copy = shutil.copytree if (run / name).is_dir() else shutil.copy
        (OLDER / run.name).mkdir(parents=True, exist_ok=True)
        copy(run / name, OLDER / run.name / name)
    facts = json.loads((run / "data.json").read_text())
    facts["data"]["folder"] = GONE
    (OLDER / run.name / "data.json").write_text(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()
