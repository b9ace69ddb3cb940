"""How well drawn fields replace real ones: `python -m benchmarks.domain --workdir runs/domain`.

Trains the demonstration's model on synthetic fields alone, with every white cell in one class. Scores it on two real
sets, none of whose fields it has seen:

- BCCD: peripheral blood, all white cells (https://github.com/Shenggan/BCCD_Dataset). Each connected part of a mask (P.
  P. Banik et al., 2020) is taken for a cell. A folder bccd/ with images/ and masks/.
- SegPC-2021: bone marrow of myeloma patients, plasma cells (doi 10.21227/7np1-2q42). A folder segpc2021_train/ with
  images/ and coco.json. Its other nucleated cells are many and not annotated. Each detection of one counts as false, so
  that even a perfect detector of white cells stays far below 100.

Cost: 10 minutes on two quiet CPU cores.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from ml_collections import ConfigDict
from pycocotools import mask as coco_mask

from wbcjax.configs import smear_demo
from wbcjax.evaluate.cell_scores import cell_scores
from wbcjax.evaluate.scores import Scores, detection_scores, write_json
from wbcjax.input.field_set import source
from wbcjax.input.settings import FieldSetSettings
from wbcjax.predict.detector import predictor
from wbcjax.report.contact_sheet import contact_sheet
from wbcjax.smear.field import Cell, SmearField, text_rle
from wbcjax.smear.formats.coco import write as write_coco
from wbcjax.smear.synthetic import SyntheticSmear, fields
from wbcjax.system import heap, runtime
from wbcjax.system.files import write_png
from wbcjax.system.progress import shown
from wbcjax.tasks.choose import experiment_of, make_task, train
from wbcjax.tasks.detection import detect_split
from wbcjax.train.checkpoint import load_variables

FIELDS = 320
CANVAS = (192, 256)
# On the canvas a micron is 3.7 pixels, and with augmentation up to 5.5: this spans both real sets.
SMEAR = SyntheticSmear(height=288, width=384, pixels_per_micron=5.5, others=(0, 4), label_others=True)
SCALE = (1.0, 1.5)


class RealSet(NamedTuple):
    """Fields to score on."""

    annotations: Path  # COCO
    images: Path
    class_of: tuple[tuple[str, str], ...]
    canvas: tuple[int, int]  # on which cells have about the size of the drawn ones


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="folder for fields, checkpoints, scores and sheets")
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="where bccd/ and segpc2021_train/ are"
    )
    parser.add_argument("--steps", type=int, default=600, help="training steps, of four fields each")
    options = parser.parse_args()
    runtime.quiet_libraries()
    heap.tune_malloc()
    runtime.use_compilation_cache()

    config = experiment(draw_fields(options.workdir / "fields"), options.steps)
    train(config, make_task(config), options.workdir)
    print(f"{'':8}{'fields':>8}{'cells':>8}{'box AP50':>11}{'mask AP50':>11}{'mask AP':>11}")
    for name, real in real_sets(options.data, options.workdir).items():
        found = score(config, options.workdir, name, real)
        precisions = (found["box"]["AP50"], found["mask"]["AP50"], found["mask"]["AP"])
        counts = f"{found['counts']['fields']:8}{found['counts']['cells']['cell']:8}"
        print(f"{name:8}{counts}" + "".join(f"{100 * precision:11.1f}" for precision in precisions))


def experiment(annotations: Path, steps: int) -> ConfigDict:
    """The demonstration's config, on drawn fields whose cells are all of one class."""
    config = smear_demo.get_config()
    config.dataset.name = "coco"
    config.dataset.annotations = str(annotations)
    config.dataset.images = str(annotations.parent)
    config.dataset.classes = ("cell",)
    config.dataset.class_of = tuple((name, "cell") for name in SMEAR.classes)
    config.dataset.split.train_fraction = 0.9
    config.dataset.canvas = CANVAS
    config.dataset.max_cells = 32
    config.model.rpn.anchor_sizes = (32.0, 50.0, 76.0)
    config.augment.rotate = True
    config.augment.shift = True
    config.augment.scale = SCALE
    config.train.epochs = 0.0
    config.train.steps = steps
    config.train.ema_decay = 0.995
    config.train.eval_every_epochs = 0.0
    return config


def draw_fields(folder: Path) -> Path:
    """Renders the training fields as PNG files and their COCO annotations; returns the path of these."""
    drawn = list(shown(fields(SMEAR, FIELDS, seed=0), "render fields", "field", FIELDS))
    for field in drawn:
        write_png(folder / field.name, field.image())
    write_coco(folder / "coco.json", drawn, SMEAR.classes)
    return folder / "coco.json"


def real_sets(data: Path, workdir: Path) -> dict[str, RealSet]:
    bccd, segpc = data / "bccd", data / "segpc2021_train"
    write_coco(workdir / "bccd.json", bccd_fields(bccd), ("cell",))
    return {
        # A red cell, 7.2 microns, is 102 pixels wide, 41 on this canvas: 5.7 pixels to the micron.
        "bccd": RealSet(workdir / "bccd.json", bccd / "images", (("cell", "cell"),), CANVAS),
        # About 40 pixels, 30 on this canvas: 4.2 pixels to the micron.
        "segpc": RealSet(
            segpc / "coco.json", segpc / "images", (("myeloma_cell", "cell"), ("nucleus", "")), canvas=(288, 384)
        ),
    }


def bccd_fields(bccd: Path) -> list[SmearField]:
    """BCCD's fields, each connected part of a mask as a cell."""
    annotated = []
    for path in sorted((bccd / "masks").iterdir()):
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if mask is None:
            raise ValueError(f"{path}: not an image that OpenCV can decode")
        count, parts = cv2.connectedComponents((mask > 127).astype(np.uint8))
        rles = [text_rle(coco_mask.encode(np.asfortranarray(parts == i, np.uint8))) for i in range(1, count)]
        image = bccd / "images" / f"{path.stem.replace('_Mask', '')}.jpg"
        height, width = mask.shape
        annotated.append(SmearField(image.name, height, width, tuple(Cell(1, rle=rle) for rle in rles), image))
    return annotated


def score(config: ConfigDict, workdir: Path, name: str, real: RealSet) -> Scores:
    """Scores of the trained model on all fields of a real set; writes them and the worst fields below `workdir`."""
    config = config.copy_and_resolve_references()
    config.dataset.update(real._asdict() | {"annotations": str(real.annotations), "images": str(real.images)})
    config.dataset.split.train_fraction = 0.0
    unseen = source(FieldSetSettings.from_config(config.dataset), "val")
    variables, _ = load_variables(workdir, "latest")
    annotated, detections = detect_split(
        predictor(experiment_of(config).settings.model, FieldSetSettings.from_config(config.dataset), variables), unseen
    )
    found = detection_scores(annotated, detections, config.dataset.classes)
    found["cells"] = cell_scores(annotated, detections, config.dataset.classes, config.evaluate.score_threshold)
    write_json(workdir / name / "scores.json", found)
    sheet = contact_sheet(lambda i: unseen.field(i).image(), annotated, detections, config.dataset.classes)
    write_png(workdir / name / "contact_sheet.png", sheet)
    return found


if __name__ == "__main__":
    main()
