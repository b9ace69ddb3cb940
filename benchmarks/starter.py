"""Makes the weights of the starter, wbcjax/starter, anew: `python -m benchmarks.starter --workdir runs/starter`.

Lays the fields of BCCD (https://github.com/Shenggan/BCCD_Dataset, masks of P. P. Banik et al., 2020; both MIT) and
drawn fields of blood and of marrow at three magnifications into WORKDIR/fields, trains on them by
wbcjax/configs/starter.py, packs the weights, and scores them: on a fifth of the fields of BCCD, by hash, which is held
out, and on the plasma cells of SegPC-2021, which it never sees. There other nucleated cells are not annotated, so that
AP says little, and the share found is what is asked.

Cost: twenty minutes on two quiet CPU cores.
"""

import argparse
import dataclasses
import shutil
from pathlib import Path

import numpy as np

from benchmarks.domain import bccd_fields
from wbcjax.configs import starter
from wbcjax.evaluate.cell_scores import cell_scores
from wbcjax.evaluate.detections import annotate
from wbcjax.evaluate.scores import detection_scores
from wbcjax.input.split import SplitSettings, read_names, split_fields
from wbcjax.predict.detector import Predictor, load
from wbcjax.runs.packed import pack
from wbcjax.smear.field import SmearField
from wbcjax.smear.formats.coco import write as write_coco
from wbcjax.smear.read import read
from wbcjax.smear.synthetic import SyntheticSmear, fields
from wbcjax.system import heap, runtime
from wbcjax.system.files import write_png
from wbcjax.system.progress import shown
from wbcjax.tasks.choose import make_task, train

DRAWN = 120  # fields of each tissue at each magnification
# On the canvas a micron is 2.0, 2.9 and 4.2 pixels, times the scale of the augmentation. BCCD's is 5.7.
PIXELS_PER_MICRON = (3.0, 4.35, 6.3)
BLOOD = SyntheticSmear(
    height=288, width=384, others=(0, 5), label_others=True, touching=0.5, stain_variation=0.3, red_cells=(0.0, 0.9)
)
MARROW = dataclasses.replace(BLOOD, tissue="marrow", cells=(1, 2), empty=0.6, others=(4, 16))
APART = 1_000_000  # between the seeds of two magnifications, and of two tissues


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=Path("runs/starter"), help="for the fields and the run")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="where bccd and segpc2021_train are")
    parser.add_argument("--out", type=Path, help="a new folder for the packed weights (default: WORKDIR/packed)")
    options = parser.parse_args()
    runtime.quiet_libraries()
    heap.tune_malloc()
    runtime.use_compilation_cache()

    folder, packed = options.workdir / "fields", options.out or options.workdir / "packed"
    config = starter.get_config()
    config.dataset.annotations = str(folder / "coco.json")
    config.dataset.images = str(folder / "images")
    config.dataset.split.val_names = (str(folder / "val.txt"),)
    if not (folder / "val.txt").is_file():
        lay_fields(options.data / "bccd", folder)
    train(config, make_task(config), options.workdir)
    if not packed.exists():
        pack(options.workdir, packed, "latest")

    held_out = [
        field for field in bccd_fields(options.data / "bccd") if field.name in read_names(str(folder / "val.txt"))
    ]
    segpc = options.data / "segpc2021_train"
    plasma = read(segpc / "via.json", segpc / "images", {"myeloma": 1}).fields
    print(f"{'':26}{'fields':>8}{'cells':>8}{'AP50':>8}{'AP':>8}{'found, %':>10}{'right count, %':>16}")
    for name, weights in (("float32", options.workdir), ("int8", packed)):
        model = load(weights, which="latest")
        for fields_of, annotated in (("BCCD, held out", held_out), ("SegPC-2021", plasma)):
            print(f"{fields_of + ', ' + name:26}" + score(model, annotated))


def score(model: Predictor, annotated: list[SmearField]) -> str:
    """AP50 and AP of masks, the share of cells found at an IoU of 0.5, and of fields whose cells are all counted."""
    truth = [annotate(field.name, field.height, field.width, field.cells) for field in annotated]
    found = list(model.detect_each((field.name, field.image()) for field in shown(annotated, "predict", "field")))
    precision = detection_scores(truth, found, model.classes)["mask"]
    cells = cell_scores(truth, found, model.classes, model.min_score)
    total = cells["counts"]["cells"]
    right = [field["found"] == field["annotated"] for field in cells["count_error"]["per_field"]]
    return (
        f"{len(truth):8}{total:8}{100 * precision['AP50']:8.1f}{100 * precision['AP']:8.1f}"
        f"{100 * (1 - len(cells['misses']) / total):10.1f}{100 * np.mean(right):16.1f}"
    )


def lay_fields(bccd: Path, folder: Path) -> None:
    """Writes coco.json, images/ and val.txt, the names of the held-out fields of BCCD."""
    real = [_one_class(field) for field in bccd_fields(bccd)]
    looks = [(smear, scale) for smear in (BLOOD, MARROW) for scale in PIXELS_PER_MICRON]
    drawn = [field for number, look in enumerate(looks) for field in draw(*look, number * APART)]
    for field in shown(real, "copy fields", "field"):
        assert field.path is not None
        (folder / "images").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(field.path, folder / "images" / field.name)
    for field in shown(drawn, "write drawn fields", "field"):
        write_png(folder / "images" / field.name, field.image())
    write_coco(folder / "coco.json", [*real, *drawn], starter.get_config().dataset.classes)
    held_out = split_fields(real, SplitSettings(train_fraction=0.8))["val"]
    (folder / "val.txt").write_text("".join(f"{field.name}\n" for field in held_out), encoding="utf-8")


def draw(smear: SyntheticSmear, pixels_per_micron: float, seed: int) -> list[SmearField]:
    """Drawn fields at a magnification, every white cell of one class."""
    smear = dataclasses.replace(smear, pixels_per_micron=pixels_per_micron)
    return [_one_class(field) for field in shown(fields(smear, DRAWN, seed), "draw fields", "field", DRAWN)]


def _one_class(field: SmearField) -> SmearField:
    return dataclasses.replace(field, cells=tuple(dataclasses.replace(cell, label=1) for cell in field.cells))


if __name__ == "__main__":
    main()
