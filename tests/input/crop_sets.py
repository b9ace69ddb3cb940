"""Folders of crops on disk, small, the configs that describe them, and sources of crops without the building."""

import csv
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from ml_collections import ConfigDict

from wbcjax.input.crop_set import CropSource
from wbcjax.input.digest import Item

CLASSES = ("myeloma", "other")


def describe(folder: Path, classes: tuple[str, ...] = CLASSES, val_crops: Path | str = "", **split) -> ConfigDict:
    """An experiment's `dataset`, as far as building reads it."""
    return ConfigDict(
        {
            "name": "crops",
            "crops": str(folder),
            "val_crops": str(val_crops),
            "classes": classes,
            "enhance": "none",
            "split": {"seed": 0, "train_fraction": 0.5, "train_names": (), "val_names": ()} | split,
        }
    )


def write_crops(folder: Path, counts: dict[str, int], seed: int = 0) -> ConfigDict:
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


def crops_of_fields(folder: Path, fields: int, of_each: int = 2) -> ConfigDict:
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


def settings(canvas: tuple[int, int], batch_size: int = 4, balance: bool = False, **augment) -> ConfigDict:
    """An experiment's config, as far as the pipeline reads it; nothing is augmented but as told."""
    augment = {"scale": (1.0, 1.0)} | augment
    dataset = {"canvas": canvas, "balance": balance}
    mix = {"mixup": 0.0, "cutmix": 0.0}
    return ConfigDict({"dataset": dataset, "augment": augment, "mix": mix, "train": {"batch_size": batch_size}})
