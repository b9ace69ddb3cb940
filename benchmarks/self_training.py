"""Cells of SegPC-2021 that nobody annotated, ignored in training: `python -m benchmarks.self_training --workdir DIR`.

Two detectors train on half of the training fields each, and are run on the other half. What they are sure of, and no
annotation overlaps, becomes a crowd region: neither a cell nor background. DIR/coco.json has all fields with these
regions; those of the 60 held-out fields are as they were. Then, with the config of the experiment:

    wbcjax train --config benchmarks/segpc_ablation.py --workdir DIR/run --config.dataset.name=coco \\
        --config.dataset.annotations=DIR/coco.json --config.dataset.max_cells=17
    wbcjax evaluate --workdir DIR/run --checkpoint latest

Cost: about 5 minutes of one core for each half, and as much for the run.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from benchmarks.segpc_ablation import get_config
from wbcjax.evaluate.detections import FieldDetections
from wbcjax.input.split import SplitSettings, split_fields
from wbcjax.predict.detector import load
from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.formats.coco import write as write_coco
from wbcjax.smear.read import read
from wbcjax.system import heap, runtime
from wbcjax.system.progress import shown
from wbcjax.tasks.choose import make_task, train

OVERLAP = 0.1  # of the detection, by annotated cells: from there on it is one of them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=Path("runs/self_training"))
    parser.add_argument("--score", type=float, default=0.7, help="from which a detection is sure (default: 0.7)")
    options = parser.parse_args()
    runtime.quiet_libraries()
    heap.tune_malloc()
    runtime.use_compilation_cache()

    dataset = get_config().dataset
    fields = read(Path(dataset.annotations), Path(dataset.images), {"myeloma": 1}).fields
    training = split_fields(fields, SplitSettings(train_fraction=dataset.split.train_fraction))["train"]
    regions: dict[str, list[Cell]] = {}
    for number, trained in enumerate((training[::2], training[1::2])):
        other = [field for field in training if field not in trained]
        config = get_config()
        config.dataset.split.train_names = tuple(field.name for field in trained)
        config.dataset.split.val_names = tuple(field.name for field in other)
        config.train.epochs *= 2  # as many steps as with all fields
        run = options.workdir / f"half{number}"
        train(config, make_task(config), run)
        model = load(run, which="latest")
        found = model.detect_each((field.name, field.image()) for field in shown(other, "predict", "field"))
        regions |= {
            field.name: unannotated(field, detections, options.score)
            for field, detections in zip(other, found, strict=True)
        }
    marked = [dataclasses.replace(field, cells=(*field.cells, *regions.get(field.name, ()))) for field in fields]
    write_coco(options.workdir / "coco.json", marked, dataset.classes)
    count = sum(map(len, regions.values()))
    annotated = sum(len(field.cells) for field in training)
    print(f"{count} regions beside {annotated} annotated cells in {len(training)} training fields")


def unannotated(field: SmearField, found: FieldDetections, sure: float) -> list[Cell]:
    """Crowd regions where a detection of score `sure` and up overlaps no annotated cell."""
    masks = [mask for mask, score in zip(found.rles, found.scores, strict=True) if score >= sure]
    cells: Any = [cell.to_rle(field.height, field.width) for cell in field.cells]
    if not masks:
        return []
    if cells:
        over = np.asarray(coco_mask.iou(masks, cells, [1] * len(cells)))  # of crowds: the share of the detection
        masks = [mask for mask, row in zip(masks, over, strict=True) if row.max() < OVERLAP]
    return [Cell(label=1, rle=mask, crowd=True) for mask in masks]


if __name__ == "__main__":
    main()
