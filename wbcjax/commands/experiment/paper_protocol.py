"""The images of Revanda et al.: flips of 20 fields of each subtype train and validate, all fields as they are test.

Sections 3.1, 3.3 and 3.5, by which the 60 flips are split 3 : 1. A flip mirrors rows and columns at once, so that there
is one new image of a field. Here images are enhanced after they are flipped, in the paper before.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ml_collections import ConfigDict
from pycocotools import mask as coco_mask

from wbcjax.evaluate.vote import SUBTYPES, vote
from wbcjax.input.contents import field_set
from wbcjax.input.settings import SYNTHETIC, FieldSetSettings
from wbcjax.smear.field import Cell, SmearField, text_rle
from wbcjax.smear.formats.coco import write as write_coco
from wbcjax.system.files import write_atomically, write_png
from wbcjax.system.progress import shown

PER_SUBTYPE = 20  # section 3.1
# One flip in four validates (section 3.5). That these are 5 of each subtype, so that both parts are balanced, is ours.
VALIDATING = 4
FLIPPED = "flipped"  # folder of the flips among the images, with one each for those that train and validate
ANNOTATIONS, IMAGES = "coco.json", "images"


def write_paper_set(dataset: FieldSetSettings, folder: Path) -> None:
    """Write all fields of a set and flips of some into `folder`, as images and a COCO file.

    PER_SUBTYPE fields of each subtype are flipped, chosen by the seed of `dataset.split`. One in VALIDATING of the
    flips validates, the others train. Raises ValueError when there are too few, and as `field_set` does.
    """
    fields = field_set(dataset).fields
    chosen = choose(fields, dataset.classes, PER_SUBTYPE, dataset.split.seed)
    written = [_write(field, folder / IMAGES) for field in shown(fields, "copy fields", "field")]
    for number, field in enumerate(shown(chosen, "flip fields", "field")):
        written.append(_write(flip(field, "train" if number % VALIDATING else "val"), folder / IMAGES))
    write_coco(folder / ANNOTATIONS, written, dataset.classes)


def on_paper_set(config: ConfigDict, folder: Path) -> ConfigDict:
    """`config`, changed to train and validate on the flips in `folder`, as they are, and to test on all other fields.

    Augmentation by flips and rotations is off, as it would undo the flips.
    """
    names = [image["file_name"] for image in json.loads((folder / ANNOTATIONS).read_text(encoding="utf-8"))["images"]]
    changed = config.copy_and_resolve_references()
    dataset = changed.dataset
    dataset.drawn = dataset.drawn or dataset.name == SYNTHETIC
    dataset.name, dataset.on_error = "coco", "raise"
    dataset.annotations, dataset.images = str(folder / ANNOTATIONS), str(folder / IMAGES)
    dataset.class_of, dataset.group_attribute = (), None
    dataset.split.test_fraction, dataset.split.folds, dataset.split.fold = 0.0, 0, 0
    parts = {part: tuple(name for name in names if name.startswith(f"{FLIPPED}/{part}/")) for part in ("train", "val")}
    dataset.split.train_names, dataset.split.val_names = parts["train"], parts["val"]
    dataset.split.test_names = tuple(name for name in names if name not in {*parts["train"], *parts["val"]})
    changed.augment.update({"flip_horizontal": False, "flip_vertical": False, "rotate": False})
    return changed


def choose(fields: Sequence[SmearField], classes: Sequence[str], count: int, seed: int) -> list[SmearField]:
    """`count` fields of each subtype, drawn without replacement. Raises ValueError where there are fewer.

    The subtype of a field is that of its annotated cells by the pathologists' rule, crowd regions apart.
    """
    subtypes = [_subtype(field, classes) for field in fields]
    rng = np.random.default_rng(seed)
    groups = {name: [field for field, of in zip(fields, subtypes, strict=True) if of == name] for name in SUBTYPES}
    if few := [f"{len(group)} of {name}" for name, group in groups.items() if len(group) < count]:
        raise ValueError(
            f"the paper's protocol flips {count} fields of each of {', '.join(SUBTYPES)}, and there are only "
            f"{', '.join(few)} by the pathologists' rule: annotate more fields, or take --protocol default"
        )
    return [group[i] for group in groups.values() for i in np.sort(rng.choice(len(group), count, replace=False))]


def flip(field: SmearField, part: Literal["train", "val"]) -> SmearField:
    """The field mirrored in rows and in columns, under a name of its own with its part."""
    return SmearField(
        name=f"{FLIPPED}/{part}/{field.name}.png",  # beside its old suffix: a.jpg and a.png may both be there
        height=field.height,
        width=field.width,
        cells=tuple(_flip_cell(cell, field.height, field.width) for cell in field.cells),
        pixels=np.ascontiguousarray(field.image()[::-1, ::-1]),
    )


def _flip_cell(cell: Cell, height: int, width: int) -> Cell:
    if cell.box is not None:
        x1, y1, x2, y2 = cell.box
        return Cell(cell.label, box=(width - x2, height - y2, width - x1, height - y1), crowd=cell.crowd)
    mask: Any = np.asfortranarray(cell.mask(height, width)[::-1, ::-1])
    return Cell(cell.label, rle=text_rle(coco_mask.encode(mask)), crowd=cell.crowd)


def _subtype(field: SmearField, classes: Sequence[str]) -> str | None:
    """None for a field without cells of a subtype."""
    cells = [classes[cell.label - 1] for cell in field.cells if not cell.crowd]
    return vote(cells, np.ones(len(cells)))


def _write(field: SmearField, images: Path) -> SmearField:
    """Copy the field's image into a folder, and return the field with that file, in no group."""
    path = images / field.name
    if field.path is not None:
        write_atomically(path, field.path.read_bytes())
    else:
        write_png(path, field.image())
    return SmearField(field.name, field.height, field.width, field.cells, path, max_pixels=field.max_pixels)
