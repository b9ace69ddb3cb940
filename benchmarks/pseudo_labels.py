"""Fields without annotations, outlined by a detector of ten fields: `python -m benchmarks.pseudo_labels RUN DIR`.

RUN trained on `train_fields` of the training fields of SegPC-2021. On the others what it finds takes the place of their
annotations: DIR/coco.json has all fields; the 60 held-out ones are as they were. It prints the command that trains on
them, from the starter.

Cost: a minute of one core, and 7 minutes for the run.
"""

import argparse
import dataclasses
from pathlib import Path

from wbcjax.input.split import SplitSettings, first_by_hash, split_fields
from wbcjax.predict.detector import load
from wbcjax.runs.folder import load_config
from wbcjax.smear.field import Cell
from wbcjax.smear.formats.coco import write as write_coco
from wbcjax.smear.read import read
from wbcjax.system import heap, runtime
from wbcjax.system.progress import shown

TRAIN = """
wbcjax train --config segpc_mask_rcnn:r18_middle --workdir {out}/run --config.dataset.name=coco \\
    --config.dataset.annotations={out}/coco.json --config.dataset.max_cells=64 --config.train.epochs=0 \\
    --config.train.steps=450 --config.train.eval_every_epochs=0 --config.train.max_minutes=0
wbcjax evaluate --workdir {out}/run --checkpoint latest"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run of segpc_mask_rcnn with config.dataset.train_fields")
    parser.add_argument("out", type=Path, help="for coco.json")
    parser.add_argument("--of", type=Path, help="the run that finds the cells (default: RUN)")
    parser.add_argument("--score", type=float, default=0.5, help="from which a detection is a cell (default: 0.5)")
    options = parser.parse_args()
    runtime.quiet_libraries()
    heap.tune_malloc()
    runtime.use_compilation_cache()

    written = options.out / "coco.json"
    if written.exists():
        parser.error(f"{written} exists: name a new folder")
    dataset = load_config(options.run).dataset
    if not dataset.train_fields:
        parser.error(f"{options.run} trained on all fields: train it with --config.dataset.train_fields=10")
    fields = read(Path(dataset.annotations), Path(dataset.images), {"myeloma": 1}).fields
    training = split_fields(fields, SplitSettings(train_fraction=dataset.split.train_fraction))["train"]
    names = [field.name for field in training]
    annotated = {names[row] for row in first_by_hash(names, dataset.train_fields, dataset.train_fields_seed)}
    others = [field for field in training if field.name not in annotated]

    found = load(options.of or options.run, which="latest").detect_each(
        (field.name, field.image()) for field in shown(others, "predict", "field")
    )
    cells = {
        detections.name: tuple(
            Cell(label=1, rle=mask)
            for mask, score in zip(detections.rles, detections.scores, strict=True)
            if score >= options.score
        )
        for detections in found
    }
    marked = [dataclasses.replace(field, cells=cells.get(field.name, field.cells)) for field in fields]
    options.out.mkdir(parents=True, exist_ok=True)
    write_coco(written, marked, dataset.classes)
    count = sum(map(len, cells.values()))
    print(f"{count} cells found in {len(others)} fields, {len(annotated)} keep their annotations")
    print(TRAIN.format(out=options.out))


if __name__ == "__main__":
    main()
