"""The first commands of a new user in an empty folder, on a set that is drawn here: run by the workflow `platforms`."""

import json
import subprocess
from pathlib import Path

import cv2
import numpy as np

TOY = [
    "--config.dataset.synthetic.count=8",
    "--config.model.backbone.width=8",
    "--config.train.epochs=0.0",
    "--config.train.steps=2",
    "--config.train.batch_size=4",
]


def wbcjax(*arguments: str) -> None:
    subprocess.run(["wbcjax", *arguments], check=True)


def main() -> None:
    Path("images").mkdir()
    cv2.imwrite("images/0.png", np.random.default_rng(0).integers(0, 256, (192, 256, 3), np.uint8))
    shape = {"name": "polygon", "all_points_x": [20, 60, 60, 20], "all_points_y": [20, 20, 60, 60]}
    regions = [{"shape_attributes": shape, "region_attributes": {"cell": "L1"}}]
    entry = {"filename": "0.png", "size": 0, "regions": regions, "file_attributes": {}}
    Path("via.json").write_text(json.dumps({"0.png": entry}), encoding="utf-8")

    wbcjax("--version")
    wbcjax("config", "smear_demo", "--write", "mine.py")
    wbcjax("inspect", "via.json", "images", "--out", "report")
    wbcjax("convert", "via.json", "images", "cells", "--to", "geojson")
    wbcjax("enhance", "images", "--out", "enhanced")
    wbcjax("crop", "via.json", "images", "--out", "crops")
    wbcjax("train", "--config", "mine.py", "--workdir", "run", *TOY)
    wbcjax("evaluate", "--workdir", "run")
    wbcjax("predict", "run", "images", "--out", "predicted")


if __name__ == "__main__":
    main()
