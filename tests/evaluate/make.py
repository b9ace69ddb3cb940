"""Small fields for the tests of this folder: cells as rectangles, and random sets of them."""

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

from wbcjax.evaluate.detections import FieldAnnotations, FieldDetections, annotate
from wbcjax.smear.field import Cell, text_rle

HEIGHT, WIDTH = 40, 60
Rectangle = tuple[int, int, int, int]  # x1, y1, x2, y2


def rle(rectangle: Rectangle, height: int = HEIGHT, width: int = WIDTH) -> dict:
    x1, y1, x2, y2 = rectangle
    mask = np.zeros((height, width), np.uint8, order="F")
    mask[y1:y2, x1:x2] = 1
    return text_rle(coco_mask.encode(mask))


def annotated(cells: Sequence[tuple[Rectangle, int]], crowds=(), boxes=(), name="field.png") -> FieldAnnotations:
    """Cells, then crowd regions, then cells of which only the box is known, each (rectangle, label)."""
    all_cells = [Cell(label, rle=rle(rectangle)) for rectangle, label in cells]
    all_cells += [Cell(label, rle=rle(rectangle), crowd=True) for rectangle, label in crowds]
    all_cells += [Cell(label, box=(float(x1), float(y1), float(x2), float(y2))) for (x1, y1, x2, y2), label in boxes]
    return annotate(name, HEIGHT, WIDTH, all_cells)


def detected(
    found: Sequence[tuple[Rectangle, int, float]], name="field.png", height: int = HEIGHT, width: int = WIDTH
) -> FieldDetections:
    """Detections as (rectangle, label, score)."""
    return FieldDetections(
        name=name,
        height=height,
        width=width,
        boxes=np.array([rectangle for rectangle, _, _ in found], np.float32).reshape(-1, 4),
        labels=np.array([label for _, label, _ in found], np.int32),
        scores=np.array([score for _, _, score in found], np.float32),
        rles=[rle(rectangle, height, width) for rectangle, _, _ in found],
    )


def random_set(seed: int, fields: int = 6) -> tuple[list[FieldAnnotations], list[FieldDetections]]:
    """Fields with 0..8 cells of classes 1..3, crowds, near misses, duplicates, tied scores and false detections.

    Class 4 is never annotated but detected; one field holds over a hundred detections of a class.
    """
    rng = np.random.default_rng(seed)
    annotations, detections = [], []
    for number in range(fields):
        cells = [(_rectangle(rng), int(rng.integers(1, 4))) for _ in range(rng.integers(0, 9))]
        crowds = [(_rectangle(rng), int(rng.integers(1, 4))) for _ in range(rng.integers(0, 3))]
        found = [
            (_moved(rectangle, rng), label if rng.random() < 0.8 else int(rng.integers(1, 5)))
            for rectangle, label in (cells + crowds) * 2
            if rng.random() < 0.7
        ]
        found += [(_rectangle(rng), int(rng.integers(1, 5))) for _ in range(rng.integers(0, 4))]
        if number == 1:
            found += [(_rectangle(rng), 1) for _ in range(130)]
        scored = [(*cell, round(float(rng.random()), 1)) for cell in found]
        annotations.append(annotated(cells, crowds, name=f"{number}.png"))
        detections.append(detected(scored, name=f"{number}.png"))
    return annotations, detections


def _rectangle(rng: np.random.Generator) -> Rectangle:
    x1, y1 = int(rng.integers(0, WIDTH - 12)), int(rng.integers(0, HEIGHT - 12))
    return x1, y1, x1 + int(rng.integers(5, 13)), y1 + int(rng.integers(5, 13))


def _moved(rectangle: Rectangle, rng: np.random.Generator) -> Rectangle:
    x1, y1, x2, y2 = (int(side + rng.choice([-2, -1, 0, 0, 0, 0, 1, 2])) for side in rectangle)
    x1, y1 = max(x1, 0), max(y1, 0)
    return x1, y1, min(max(x2, x1 + 1), WIDTH), min(max(y2, y1 + 1), HEIGHT)
