"""Folders of images, a model with given detections in them, and the files that `wbcjax predict` wrote of them."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from tests.oracle import CLASSES
from wbcjax.commands.predict.folder import Outcome, predict_folder
from wbcjax.enhance import Enhancement
from wbcjax.evaluate.detections import FieldDetections
from wbcjax.models.mask_rcnn import Detections
from wbcjax.predict.detector import Predictor
from wbcjax.predict.devices import CompiledNetwork, OnLocalDevices
from wbcjax.predict.search import Picture
from wbcjax.smear.field import text_rle

HEIGHT, WIDTH = 60, 80
Found = tuple[tuple[int, int, int, int], int, float]  # rectangle, label, score
ONE = ((10, 10, 30, 40), 2, 0.9)


class Teller(Predictor):
    """Finds in each image the rectangles that it was told of under the image's name."""

    def __init__(self, told: dict[str, list[Found]], classes: tuple[str, ...] = CLASSES, enhance: str = "none") -> None:
        local = OnLocalDevices(CompiledNetwork(no_network, 1), {})
        super().__init__(local, (64, 96), classes, "detectron2", enhance=Enhancement(enhance))
        self.told = told
        self.shown: dict[str, np.ndarray] = {}

    def find(self, pictures: Iterable[Picture]) -> Iterator[FieldDetections]:
        for picture in pictures:
            yield self.detect(picture.image, picture.name)

    def detect_each(self, images: Iterable[tuple[str, np.ndarray]]) -> Iterator[FieldDetections]:
        for name, image, *_ in images:
            yield self.detect(image, name)

    def detect(self, image: np.ndarray, name: str = "image", pixel_size: float = 0.0) -> FieldDetections:
        self.shown[name] = image
        height, width = image.shape[:2]
        rles = []
        for (x1, y1, x2, y2), _, _ in self.told.get(name, []):
            mask = np.zeros((height, width), np.uint8, order="F")
            mask[y1:y2, x1:x2] = 1
            rles.append(text_rle(coco_mask.encode(mask)))
        boxes, labels, scores = zip(*self.told[name], strict=True) if self.told.get(name) else ([], [], [])
        return FieldDetections(
            name,
            height,
            width,
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array(labels, np.int32),
            np.array(scores, np.float32),
            rles,
        )


def no_network(*_: object) -> Detections:
    raise AssertionError("what is told needs no network")


def image_folder(folder: Path, *names: str) -> Path:
    """A folder of pink images."""
    folder.mkdir()
    for name in names:
        cv2.imwrite(str(folder / name), np.full((HEIGHT, WIDTH, 3), (205, 180, 225), np.uint8))
    return folder


def search(tmp_path: Path, told: dict[str, list[Found]], min_score: float = 0.5) -> tuple[Outcome, Path]:
    images = image_folder(tmp_path / "images", *told)
    return predict_folder(Teller(told), images, tmp_path / "out", min_score), tmp_path / "out"


def labels_in(out: Path, name: str) -> np.ndarray:
    labels = cv2.imread(str(out / "labels" / name), cv2.IMREAD_UNCHANGED)
    assert labels is not None
    assert labels.dtype == np.uint16
    return labels


def table_in(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "cells.csv").read_text().splitlines()))
