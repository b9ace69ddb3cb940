"""The crops of a set: the files of class folders, their fields, and their split.

    myeloma/1_001.png ...   a folder of each class
    other/1_002.png ...
    crops.csv               the field, and perhaps group, that each crop is from; as `wbcjax crop` writes it
    crops.json              how they were cut

Without the two files, as of crops from elsewhere, each crop counts as a field of its own.
"""

import csv
import io
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from wbcjax.input.settings import CropSetSettings
from wbcjax.input.split import PARTS, SplitSettings, read_names, split_fields
from wbcjax.smear.crops import SETTINGS, TABLE
from wbcjax.smear.field import read_image
from wbcjax.smear.formats.fault import is_text
from wbcjax.smear.formats.folders import files
from wbcjax.smear.formats.image_names import IMAGES
from wbcjax.smear.image_header import MAX_PIXELS

log = logging.getLogger(__name__)

READ_COLUMNS = ("file", "class", "field", "group")  # of crops.csv
PART = "part"  # a column more, of crops that detectors found: the part that the field was in when they were trained
ALIKE = ("margin", "size", "mask_background")  # in crops.json: settings that change the look of a crop


@dataclass(frozen=True)
class Crop:
    """An image file in a class folder."""

    name: str  # "class/file"
    path: Path
    label: int  # 0..c-1
    field: str  # the crop's own name where none is known
    field_group: str | None  # of the fields that belong together
    part: str = ""  # of the field in the training of a detector; "": in none
    max_pixels: int = MAX_PIXELS  # of its image; a larger one is not decoded

    @property
    def group(self) -> str:
        """The unit of the split: its crops are in one part."""
        return self.field_group or self.field

    def image(self) -> UInt8[np.ndarray, "h w 3"]:
        """The RGB image. Raises OSError when the file cannot be read, ValueError when it is no image or too large."""
        return read_image(self.path, self.max_pixels)


class CropField(NamedTuple):
    """A field that crops are from."""

    name: str
    group: str | None
    part: str = ""


def crop_sides(dataset: CropSetSettings) -> dict[str, list[Crop]]:
    """The crops of {"train", "val", "test"}, by class and name: those of one folder, split, or of several folders.

    Fields are split, by `split_fields` like annotated fields: all crops of a field (and all fields of a group) are in
    one part, and fractions are of fields. `train_names`, `val_names` and `test_names` list fields by the column `field`
    of crops.csv. So the same seed and lists divide fields and crops alike. Where `val_crops` is another folder, there
    is no split: `crops` train. `test_crops`, where there are any, test. With `val_crops` alone, and no `crops`, nothing
    trains, and classes may be missing.

    Where crops.csv has parts, those of the training of a detector, they are the split; lists of names, a fraction of
    fields to test on and folds come first. Fields that the detector had in no part train.

    Raises FileNotFoundError for a folder that is not there. Raises ValueError for classes, folders and tables that do
    not fit each other, with all that is wrong; and as `split_fields` does.
    """
    classes = dataset.classes
    if len(set(classes)) < 2 or len(set(classes)) < len(classes):
        raise ValueError(f"dataset.classes is {classes}; give the names of two class folders or more, each once")
    split, test_crops = dataset.split, dataset.test_crops
    tests = bool(split.test_fraction or split.folds) or bool(read_names(split.test_names))
    if test_crops and tests:
        raise ValueError(
            f"dataset.test_crops is {test_crops!r}, and dataset.split takes crops to test on too: leave out one or the "
            "other"
        )
    if not dataset.val_crops:
        sides = _split(_read(dataset, "crops"), dataset)
    elif tests or read_names(split.train_names) or read_names(split.val_names):
        raise ValueError(
            f"dataset.val_crops is {dataset.val_crops!r}, so that nothing is split, and dataset.split lists names or "
            "takes a part to test on: leave out one or the other, or set dataset.test_crops"
        )
    else:
        sides = {
            "train": _read(dataset, "crops") if dataset.crops else [],
            "val": _read(dataset, "val_crops"),
            "test": [],
        }
    return sides | {"test": _read(dataset, "test_crops")} if test_crops else sides


def cut_settings(dataset: CropSetSettings) -> dict[str, Any] | None:
    """How the crops were cut, as crops.json has it (`wbcjax crop` writes it); None when there is none.

    Differences in how crops to validate or test with were cut are logged. Raises ValueError for a file that is no JSON.
    """
    if not dataset.crops:
        return _read_settings(Path(dataset.val_crops))
    cut = _read_settings(Path(dataset.crops))
    for others in filter(None, (dataset.val_crops, dataset.test_crops)):
        tell_other_cut(others, _read_settings(Path(others)), dataset.crops, cut)
    return cut


def tell_other_cut(
    crops: str, cut: Mapping[str, Any] | None, learnt: str, cut_learnt: Mapping[str, Any] | None
) -> None:
    """Log the settings by which `crops` were cut differently from those of training, `learnt`, if known."""
    for key in ALIKE:
        if cut and cut_learnt and cut.get(key) != cut_learnt.get(key):
            log.warning(
                "%s was cut with %s %s, %s with %s %s", crops, key, cut.get(key), learnt, key, cut_learnt.get(key)
            )


def check_classes(sides: dict[str, list[Crop]], classes: Sequence[str]) -> None:
    """Raise ValueError for a class that val or test has and train lacks."""
    counts = {side: Counter(classes[crop.label] for crop in crops) for side, crops in sides.items()}
    for part in ("val", "test"):
        lacking = [name for name in classes if counts[part][name] and not counts["train"][name]]
        if counts["train"] and lacking:
            listed = ", ".join(f"{name!r} ({_count(counts[part][name])})" for name in lacking)
            raise ValueError(
                f"{part} has classes that train lacks: {listed}; change dataset.split, or add crops of them"
            )


def _split(crops: list[Crop], dataset: CropSetSettings) -> dict[str, list[Crop]]:
    if all(crop.field == crop.name for crop in crops):
        log.warning(
            "%s: the fields of the crops are not known (no %s), so that crops of one field may be both in train and "
            "in val, and scores look better than they are",
            dataset.crops,
            TABLE,
        )
    fields = list(dict.fromkeys(CropField(crop.field, crop.field_group, crop.part) for crop in crops))
    sides = split_fields(fields, _split_of(fields, dataset))
    names = {side: {field.name for field in members} for side, members in sides.items()}
    return {side: [crop for crop in crops if crop.field in names[side]] for side in sides}


def _split_of(fields: list[CropField], dataset: CropSetSettings) -> SplitSettings:
    """The split of a detector's training, where crops.csv has it and the config none of its own."""
    split = dataset.split
    if not any(field.part for field in fields) or split.tests or split.train_names or split.val_names:
        return split
    log.info("%s: the split is that of the detector's training, as %s has it", dataset.crops, TABLE)
    names = {part: tuple(field.name for field in fields if (field.part or PARTS[0]) == part) for part in PARTS}
    return replace(split, **{f"{part}_names": of_part for part, of_part in names.items()})


def _read(dataset: CropSetSettings, key: str) -> list[Crop]:
    """The crops of the folder `key`, by class and name; for training, every class must have some."""
    folder, classes = Path(getattr(dataset, key)), dataset.classes
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; set dataset.{key} to one that holds a folder of each class")
    found = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")}
    problems = [
        f"there is no folder of the class {name!r}; add one, or take it out of dataset.classes"
        for name in classes
        if key == "crops" and name not in found
    ]
    problems += [
        f"the folder {name!r} is no class; add it to dataset.classes, or move it elsewhere"
        for name in found
        if name not in classes
    ]
    paths = {name: files(found[name], IMAGES) for name in classes if name in found}
    problems += [
        f"the folder of the class {name!r} holds no image ({', '.join(sorted(IMAGES))}); add some"
        for name, images in paths.items()
        if not images
    ]
    problems += [
        f"the name of {name}/{path.name!r} is no UTF-8 text; rename the file"
        for name, images in paths.items()
        for path in images
        if not is_text(path.name)
    ]
    known = {f"{name}/{path.name}": path for name, images in paths.items() for path in images}
    table = folder / TABLE
    rows = {}
    if table.is_file() and not problems:
        rows, problems = _read_table(table, known)
    if problems:
        raise ValueError(f"{folder}: these crops cannot be used\n  " + "\n  ".join(problems))
    _tell_others(folder, paths)
    return [
        Crop(name, path, classes.index(path.parent.name), *rows.get(name, CropField(name, None)), dataset.max_pixels)
        for name, path in known.items()
    ]


def _read_table(table: Path, known: dict[str, Path]) -> tuple[dict[str, CropField], list[str]]:
    """The field of each crop, by the crop's name, from crops.csv, and the problems in it."""
    try:
        reader = csv.DictReader(io.StringIO(table.read_text(encoding="utf-8-sig"), newline=""))
        lines, columns = list(reader), reader.fieldnames or ()
    except (UnicodeDecodeError, csv.Error) as error:
        return {}, [f"{TABLE} is no table of comma-separated values in UTF-8 ({error}); write it so"]
    lacking = [column for column in READ_COLUMNS if column not in columns]
    if lacking:
        return {}, [
            f"{TABLE} has no column {', '.join(map(repr, lacking))}; it has {', '.join(map(repr, columns)) or 'none'}"
        ]
    rows = {
        line["file"]: CropField(line["field"] or line["file"], line["group"] or None, line.get(PART) or "")
        for line in lines
    }
    problems = [
        f"{TABLE} lists {name!r}, which is not there; put it back, or delete its line"
        for name in rows
        if name not in known
    ]
    problems += [
        f"{TABLE} does not list {name!r}; add a line with its field, or move it elsewhere"
        for name in known
        if name not in rows
    ]
    times = Counter(line["file"] for line in lines)
    problems += [f"{TABLE} lists {name!r} {count} times; leave one line" for name, count in times.items() if count > 1]
    problems += [
        f"{TABLE} has {line['file']!r} as {line['class']!r}; correct the column, or move the file to that folder"
        for line in lines
        if line["file"] in known and line["class"] != known[line["file"]].parent.name
    ]
    problems += [
        f"{TABLE} has the part {part!r}; give {', '.join(PARTS)} or none"
        for part in sorted({field.part for field in rows.values()} - {*PARTS, ""})
    ]
    groups: dict[str, set[str | None]] = {}
    for field in rows.values():
        groups.setdefault(field.name, set()).add(field.group)
    problems += [
        f"{TABLE} has the field {name!r} in several groups, {', '.join(sorted(map(repr, of_field)))}; give it one"
        for name, of_field in groups.items()
        if len(of_field) > 1
    ]
    return rows, problems


def _read_settings(folder: Path) -> dict[str, Any] | None:
    path = folder / SETTINGS
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: no JSON ({error}); correct it, or delete it") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: holds no settings by name; correct it, or delete it")
    return found


def _tell_others(folder: Path, paths: dict[str, list[Path]]) -> None:
    """Log files in class folders that are no images, and images beside class folders."""
    others = files(folder, IMAGES)
    for name, images in paths.items():
        inside = {path for path in (folder / name).iterdir() if not path.name.startswith(".")}
        others += sorted(inside - set(images))
    if others:
        listed = "\n  ".join(str(path.relative_to(folder)) for path in others)
        log.warning("%s: %d left out, being no images in class folders:\n  %s", folder, len(others), listed)


def _count(crops: int) -> str:
    return "1 crop" if crops == 1 else f"{crops} crops"
