"""Folders of crops on disk, small, the configs that describe them, and sources of crops without the building."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from wbcjax.input.augment import Augment
from wbcjax.input.crop_pipeline import crop_batches
from wbcjax.input.crop_set import CropSource
from wbcjax.input.digest import Item
from wbcjax.input.mix import Mix
from wbcjax.input.pipeline import Stream
from wbcjax.input.settings import CropSetSettings
from wbcjax.input.split import SplitSettings

CLASSES = ("myeloma", "other")


def describe(
    folder: Path, classes: tuple[str, ...] = CLASSES, val_crops: Path | str = "", **split: Any
) -> CropSetSettings:
    """Settings of crops, the fields of half of which train."""
    return CropSetSettings(
        crops=str(folder),
        val_crops=str(val_crops),
        classes=classes,
        split=replace(SplitSettings(train_fraction=0.5), **split),
    )


def write_crops(folder: Path, counts: dict[str, int], seed: int = 0) -> CropSetSettings:
    """A folder of each class with crops "0.png", "1.png", ... of random pixels, and nothing beside."""
    rng = np.random.default_rng(seed)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            cv2.imwrite(str(folder / name / f"{i}.png"), rng.integers(0, 256, (8, 10, 3), np.uint8))
    return describe(folder, tuple(counts))


def write_table(folder: Path, rows: Sequence[tuple[str, str, str]]) -> None:
    """crops.csv of rows (file, field, group); columns in another order than ours, with one more, as others may."""
    with (folder / "crops.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["class", "file", "note", "group", "field"])
        writer.writerows([name.split("/")[0], name, "", group, field] for name, field, group in rows)


def crops_of_fields(folder: Path, fields: int, of_each: int = 2) -> CropSetSettings:
    """Crops of both classes from fields "0.jpg", "1.jpg", ..., without groups."""
    config = write_crops(folder, dict.fromkeys(CLASSES, fields * of_each))
    rows = [(f"{name}/{i}.png", f"{i % fields}.jpg", "") for name in CLASSES for i in range(fields * of_each)]
    write_table(folder, rows)
    return config


def source_of(
    images: Sequence[np.ndarray], labels: Sequence[int], classes: tuple[str, ...] = ("a", "b", "c")
) -> CropSource:
    """RGB images as a built split, without the building."""
    records = [{"image": cv2.imencode(".png", image[..., ::-1])[1].tobytes()} for image in images]
    names = [f"{classes[label]}/{i}.png" for i, label in enumerate(labels)]
    items = [
        Item(name, group=name, counts=tuple(int(label == i) for i in range(len(classes))))
        for name, label in zip(names, labels, strict=True)
    ]
    return CropSource(records, items, classes)


class Setup(NamedTuple):
    """What a stream of batches is made by."""

    dataset: CropSetSettings
    augment: Augment
    mix: Mix
    batch_size: int


def settings(canvas: tuple[int, int], batch_size: int = 4, balance: bool = False, **augment) -> Setup:
    """Nothing is mixed, nor augmented but as told."""
    return Setup(CropSetSettings(canvas=canvas, balance=balance), Augment(**augment), Mix(), batch_size)


def open_batches(source: CropSource, setup: Setup, seed: int, process_index: int = 0, process_count: int = 1):
    """The stream of batches of a process."""
    wanted = Stream(setup.batch_size, seed, process_index, process_count)
    return crop_batches(source, setup.dataset, setup.augment, setup.mix, wanted)
