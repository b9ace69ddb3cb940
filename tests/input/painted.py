"""Fields whose pixels spell out their masks: cell k is full brightness in channel k, and nothing else is."""

import json
from typing import NamedTuple

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from wbcjax.batch import Batch
from wbcjax.input.augment import Augment
from wbcjax.input.digest import Item
from wbcjax.input.field_set import Source, measures
from wbcjax.input.pipeline import Stream, train_batches
from wbcjax.input.settings import FieldSetSettings
from wbcjax.smear.field import Cell, SmearField, text_rle


def painted_field(rng: np.random.Generator, height: int, width: int, cells: int = 3, name: str = "a.png") -> SmearField:
    """Up to three ellipses, overlapping at will and cut by the border; the cell in channel k has label k + 1."""
    image = np.zeros((height, width, 3), np.uint8)
    drawn = []
    for k in range(cells):
        centre = int(rng.integers(width)), int(rng.integers(height))
        axes = int(rng.integers(2, 2 + width // 3)), int(rng.integers(2, 2 + height // 3))
        mask = cv2.ellipse(np.zeros((height, width), np.uint8), centre, axes, rng.uniform(0, 180), 0, 360, 1, -1)
        image[..., k] = 255 * mask
        drawn.append(Cell(label=k + 1, rle=text_rle(coco_mask.encode(np.asfortranarray(mask, np.uint8)))))
    return SmearField(name, height, width, tuple(drawn), pixels=image)


def boxed_field(rng: np.random.Generator, height: int, width: int) -> SmearField:
    """Up to three rectangles, overlapping at will, of which only the boxes are known."""
    image = np.zeros((height, width, 3), np.uint8)
    cells = []
    for k in range(rng.integers(1, 4)):
        w, h = int(rng.integers(12, width + 1)), int(rng.integers(12, height + 1))
        x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
        image[y : y + h, x : x + w, k] = 255
        cells.append(Cell(label=k + 1, box=(float(x), float(y), float(x + w), float(y + h))))
    return SmearField("a.png", height, width, tuple(cells), pixels=image)


def source_of(fields: list[SmearField]) -> Source:
    """The fields as a built split, without the building."""
    items = [Item(field.name) for field in fields]
    return Source([record(field) for field in fields], items, ("a", "b", "c"), list(map(measures, fields)))


def record(field: SmearField) -> dict:
    cells = {
        "label": [c.label for c in field.cells],
        "crowd": [c.crowd for c in field.cells],
        "outlined": [c.outlined for c in field.cells],
        "rle": [json.dumps(c.to_rle(field.height, field.width)).encode() for c in field.cells],
        "box": [c.box or (0, 0, 0, 0) for c in field.cells],
    }
    png = cv2.imencode(".png", cv2.cvtColor(field.image(), cv2.COLOR_RGB2BGR))[1].tobytes()
    size = {"height": field.height, "width": field.width}
    return {"image": png, "name": field.name.encode(), "group": b"", **size, "cells": cells}


class Setup(NamedTuple):
    """What a stream of batches is made by."""

    dataset: FieldSetSettings
    augment: Augment
    batch_size: int


def settings(canvas: tuple[int, int], batch_size: int = 2, max_cells: int = 4, **augment) -> Setup:
    """Nothing is augmented but as told."""
    return Setup(FieldSetSettings(canvas=canvas, max_cells=max_cells), Augment(**augment), batch_size)


def open_batches(source: Source, setup: Setup, seed: int, process_index: int = 0, process_count: int = 1):
    """The stream of batches of a process."""
    wanted = Stream(setup.batch_size, seed, process_index, process_count)
    return train_batches(source, setup.dataset, setup.augment, wanted)


def on_canvas(batch: Batch) -> np.ndarray:
    """The masks of a batch as the canvas has them, (n, m, h, w)."""
    drawn = np.zeros((*batch.labels.shape, *batch.image.shape[1:3]), np.uint8)
    height, width = batch.masks.shape[2:]
    for (i, k), (x, y) in zip(np.ndindex(batch.labels.shape), batch.corners.reshape(-1, 2), strict=True):
        drawn[i, k, y : y + height, x : x + width] = batch.masks[i, k]
    return drawn
