"""Work around the network: COCO evaluation, contrast enhancement, drawing of synthetic fields.

COCO evaluation: boxes and masks of 200 fields of 20 cells, 40 detections each, against pycocotools' COCOeval, from
annotations and detections in memory (RLE) to the averages. EFF: a field of 640 x 480, and 16 of them side by side,
against the algorithm of the public Python ports (benchmarks/enhance.py). Drawing has no peer.
"""

import contextlib
import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import Result
from benchmarks.timing import Contestant, Task, contest

FIELDS, CELLS, SIDE, CLASSES = 200, 20, 512, ("L1", "L2", "L3")


def results(rounds: int) -> Iterator[Result]:
    evaluation = {"ours": Contestant(our_evaluation), "pycocotools": Contestant(their_evaluation)}
    yield Result("COCO evaluation", contest(evaluation, rounds), items=FIELDS, unit="field")
    for tiles in (1, 4):
        enhancement = {
            "ours": Contestant(our_enhancement, {"tiles": tiles}),
            "the ports'": Contestant(their_enhancement, {"tiles": tiles}),
        }
        title = f"EFF, {640 * tiles} x {480 * tiles}"
        yield Result(title, contest(enhancement, rounds, seconds=10.0), items=tiles**2)
    for height, width in ((192, 256), (512, 512), (1024, 1024)):
        drawing = {"ours": Contestant(drawing_of, {"height": height, "width": width})}
        yield Result(f"drawing fields of {width} x {height}", contest(drawing, rounds), items=4, unit="field")


def found_cells() -> tuple[list, list]:
    """Annotated fields, and the detections that a fair model might give."""
    from wbcjax.evaluate.detections import FieldDetections, annotate
    from wbcjax.smear.field import Cell
    from wbcjax.smear.paste import paste

    rng = np.random.default_rng(0)
    y, x = np.mgrid[:28, :28] - 13.5
    disc = 1 / (1 + np.exp(np.hypot(x, y) - 13)).astype(np.float32)
    annotations, detections = [], []
    for number in range(FIELDS):
        size = rng.uniform(30, 80, (CELLS, 2))
        low = rng.uniform(0, SIDE - size)
        boxes = np.concatenate([low, low + size], axis=1)
        labels = rng.integers(1, len(CLASSES) + 1, CELLS)
        name = f"{number}.png"
        outlines = paste(np.repeat(disc[None], CELLS, 0), boxes, SIDE, SIDE, "torchvision")
        cells = [Cell(int(label), rle=rle) for label, rle in zip(labels, outlines, strict=True)]
        annotations.append(annotate(name, SIDE, SIDE, cells))
        boxes = np.concatenate([boxes + rng.normal(0, 3, boxes.shape), rng.permutation(boxes)])
        labels = np.concatenate([labels, labels])
        scores = rng.uniform(0, 1, 2 * CELLS)
        rles = paste(np.repeat(disc[None], 2 * CELLS, 0), boxes, SIDE, SIDE, "torchvision")
        detections.append(FieldDetections(name, SIDE, SIDE, boxes.astype(np.float32), labels, scores, rles))
    return annotations, detections


def our_evaluation() -> Task:
    from wbcjax.evaluate.average_precision import average_precision
    from wbcjax.evaluate.overlap import box_overlaps, mask_overlaps

    annotations, detections = found_cells()

    def run() -> list[float]:
        return [
            average_precision(annotations, detections, list(map(overlaps, annotations, detections)), len(CLASSES)).ap
            for overlaps in (box_overlaps, mask_overlaps)
        ]

    return run


def their_evaluation() -> Task:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    from wbcjax.evaluate.detections import save

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        path = Path(folder) / "detections.json"
        save(path, CLASSES, *found_cells())
        truth: Any = COCO(path)
        found = truth.loadRes(json.loads(path.read_text(encoding="utf-8"))["detections"])

    def run() -> list[float]:
        return [average(kind) for kind in ("bbox", "segm")]

    def average(kind: Any) -> float:
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation: Any = COCOeval(truth, found, kind)
            # Ours has no averages by area, nor by fewer detections. They are left out here too: the work is the same.
            evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
            evaluation.params.maxDets = [100]
            evaluation.evaluate()
            evaluation.accumulate()
        return evaluation.eval["precision"].mean()

    return run


def our_enhancement(tiles: int) -> Task:
    from benchmarks import enhance

    image = enhance.mosaic(None, tiles)
    return lambda: enhance.eff(image, normalize="minmax")


def their_enhancement(tiles: int) -> Task:
    from benchmarks import enhance

    image = enhance.mosaic(None, tiles)
    return lambda: enhance.port(image)


def drawing_of(height: int, width: int) -> Task:
    """Draws four fields of the demonstration's cells, one to eight in each."""
    from wbcjax.smear.synthetic import SyntheticSmear, fields

    smear = SyntheticSmear(height, width)
    return lambda: [field.image() for field in fields(smear, 4, seed=0)]
