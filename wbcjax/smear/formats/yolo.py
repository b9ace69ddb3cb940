"""YOLO segmentation and detection, as Ultralytics has them, read and written (https://docs.ultralytics.com/datasets/).

A folder with data.yaml, whose `names` are the classes 0, 1, ..., and folders `images` and `labels` side by side, in
splits such as train/images and train/labels or images/train and labels/train. An image's label file has its name with
the suffix .txt, and a line for each cell: the class and the points of its outline, or the centre and size of its box,
all in fractions of the image's width and height.
"""

import math
import os
from collections.abc import Iterator, Sequence
from functools import cache, partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import shapely
import yaml
from jaxtyping import Float

from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.formats import checks, folders, image_names
from wbcjax.smear.formats.bridge import bridge, take_apart
from wbcjax.smear.formats.checks import Fault, Reading, brief
from wbcjax.smear.formats.class_names import DATA, file_of_names, load_names
from wbcjax.smear.formats.format import LOOKED_AT, Format, Place
from wbcjax.smear.formats.image_names import Taken
from wbcjax.smear.formats.load import load_start, load_text
from wbcjax.smear.formats.outline import outline_mask
from wbcjax.smear.formats.write_checks import Predicted, check_fields
from wbcjax.system.files import write_folder

IMAGES, LABELS = "images", "labels"  # folders
NO_LABELS = {
    "classes.txt",
    "train.txt",
    "val.txt",
    "valid.txt",
    "test.txt",
    "requirements.txt",
}  # lists of other things
REDRAW = "correct or delete the line"
SAVE_EMPTY = "annotate it, or add an empty label file if it shows no cell"
DIGITS = 10  # of a fraction, behind the point, and
PIXEL_DIGITS = 6  # of what it is in pixels: rounded so, most outlines are to the last bit what they were

Size = tuple[int, int]  # height, width


def fields(reading: Reading) -> list[SmearField]:
    """The fields of all splits of a folder, by the paths of their label files; those with an empty file too.

    A cell of which only a box is given has no outline. Parts that are joined by a line are taken apart. Noted as
    suspect: images without a label file, and a set that does not name its classes, which are then their numbers.
    """
    if not reading.annotations.is_dir():
        raise Fault("it is one file of a YOLO set", f"give the folder, {reading.annotations.parent}")
    checks.image_folder(reading.images)
    names = _names(reading)
    found, taken = [], set[str]()
    image_of = _Images(reading)
    for folder, file in _label_files(reading.annotations):
        with reading.at(file.relative_to(reading.annotations).as_posix()):
            name = image_of(folder, file)
            taken.add(name)
            found.append(_field(reading, name, file, names))
    if not found and not reading.problems:
        raise Fault(f"it holds no label files (*.txt in a folder named {LABELS})", "correct its path")
    for path in sorted(reading.images.rglob("*")):
        name = path.relative_to(reading.images).as_posix()
        is_image = path.suffix.lower() in image_names.IMAGES and not path.name.startswith(".")
        if is_image and name not in taken and path.is_file():
            reading.suspect(name, "", "it has no label file, and is left out", SAVE_EMPTY)
    return [field for field in found if field is not None]


def _names(reading: Reading) -> dict[int, str] | None:
    """The classes by number, None where no file names them, which is noted."""
    file = file_of_names(reading.annotations)
    if file is not None:
        names = load_names(file)
        reading.class_order += (names[number] for number in sorted(names))
        return names
    above = (folder for folder in reading.annotations.absolute().parents[:2] if (folder / DATA).is_file())
    folder = next(above, None)
    remedy = f"add a {DATA} with their names" if folder is None else f"give the folder with {DATA}, {folder}"
    reading.suspect(reading.annotations.name, "", f"no {DATA} names its classes: their numbers are taken", remedy)
    return None


def _label_files(root: Path) -> Iterator[tuple[Path, Path]]:
    """The label files below a folder, each with the folder `labels` that it lies in; in the folder itself without one.

    Links to folders are not followed.
    """
    listed = [Path(parent) for parent, _, _ in os.walk(root)]
    inner = [folder for folder in listed if folder.name == LABELS and LABELS not in folder.relative_to(root).parts[:-1]]
    for folder in sorted(inner) or [root]:
        for file in sorted(folder.rglob("*.txt")):
            if not file.name.startswith((".", "README")) and file.name not in NO_LABELS and not file.is_dir():
                yield folder, file


class _Images:
    """The image of a label file."""

    def __init__(self, reading: Reading) -> None:
        self._reading, self._images = reading, reading.images.absolute()
        self._names_of = cache(lambda folder: folders.images_by_stem(folder) if folder.is_dir() else {})

    def __call__(self, labels: Path, file: Path) -> str:
        """The image of the same name: in the folder `images` beside `labels`, or below the image folder likewise.

        Faults: there is none, or there are several.
        """
        below = file.relative_to(labels).parent
        for folder in (labels.parent / IMAGES / below, self._images / below, self._images):
            inside = folder.absolute()
            named = self._names_of(inside).get(file.stem) if inside.is_relative_to(self._images) else None
            if named:
                found = [Taken((inside.relative_to(self._images) / name).as_posix()) for name in named]
                return self._reading.names.one_of(found, file.name, file.stem)
        return folders.image_of_stem(self._reading, file, file.stem)


def _field(reading: Reading, name: str, file: Path, names: dict[int, str] | None) -> SmearField | None:
    text = load_text(file)
    path, size = None, None
    with reading.at(name):
        path, size = reading.image(name, file.relative_to(reading.annotations).as_posix())
    cells = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            cell = _cell(reading, partial(reading.at, name, f"line {number}"), line.split(), names, size)
            if cell is not None:
                cells.append(cell)
    if path is None or size is None:
        return None
    return SmearField(name, *size, tuple(cells), path, max_pixels=reading.max_pixels)


def _cell(reading: Reading, at: Any, line: list[str], names: dict[int, str] | None, size: Size | None) -> Cell | None:
    label, shape = None, None
    with at():
        label = reading.label(_class_name(line[0], names))
        if label == 0:
            return None
    with at():
        shape = _shape([_number(text) for text in line[1:]], size)
    if label is None or shape is None or size is None:
        return None
    return Cell(label, **shape)


def _class_name(text: str, names: dict[int, str] | None) -> str:
    number = _number(text)
    if number != int(number) or number < 0:
        raise Fault(f"it begins with {brief(text)}, and the number of its class belongs there", REDRAW)
    if names is None:
        return f"{number:.0f}"
    if not names.get(int(number)):
        listed = ", ".join(f"{number} {name!r}" for number, name in list(names.items())[:LOOKED_AT])
        raise Fault(f"its class {brief(text)} has no name (there are: {listed or 'none'})", f"name it in {DATA}")
    return names[int(number)]


def _shape(numbers: Sequence[float], size: Size | None) -> dict[str, Any]:
    """What a Cell takes: {"box": ...} of four numbers, {"polygons": ...} of more."""
    if len(numbers) < 4 or len(numbers) % 2:
        found = f"it has {len(numbers)} numbers behind its class: neither a box nor points"
        remedy = "give x, y, width and height, or x and y of each point, and no confidence (save_conf=False)"
        raise Fault(found, remedy)
    if max(numbers) > 2 or min(numbers) < -1:
        worst = max(numbers, key=abs)
        raise Fault(f"{worst:g} is no fraction of an image's side", "divide x by its width, and y by its height")
    height, width = size or (100, 100)
    if len(numbers) == 4:
        x, y, w, h = numbers
        box = (x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height
        x1, y1, x2, y2 = (round(side, PIXEL_DIGITS) for side in box)
        return {"box": checks.box(x1, y1, x2, y2, size)}
    points = np.round(np.array(numbers).reshape(-1, 2) * (width, height), PIXEL_DIGITS)
    return {"polygons": checks.outline(take_apart(points), size)}


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Fault(f"found {brief(text)} where a number belongs", REDRAW)
    return value


def write(
    out: Path, fields: Sequence[SmearField], classes: Sequence[str], predicted: Predicted | None = None
) -> list[str]:
    """Write a folder that Ultralytics trains on, whole or not at all: data.yaml, images and labels.

    The images are copied: Ultralytics finds the labels by the images' own paths. A mask is outlined along its pixels;
    a cell's parts, and those that its holes cut it into, are joined by a line that runs there and back, as by
    Ultralytics' own converter. Returns a sentence for each kind of thing that is lost.
    Raises ValueError as `check_fields` does and where two images would have one label file, OSError when an image
    cannot be read or a file not be written.
    """
    check_fields(fields, classes, predicted)
    labels = _label_names(fields)
    data = {"train": IMAGES, "val": IMAGES, "names": dict(enumerate(classes))}
    head = (
        "# Classes and images for Ultralytics YOLO. Divide the images into two folders, one to train and one for val.\n"
    )
    files: list[tuple[str, bytes]] = [
        (DATA, (head + yaml.safe_dump(data, allow_unicode=True, sort_keys=False)).encode())
    ]
    for field, name in zip(fields, labels, strict=True):
        lines = [_line(cell, field.height, field.width) for cell in field.cells if not cell.crowd]
        files.append((f"{LABELS}/{name}", "".join(f"{line}\n" for line in lines).encode()))
    write_folder(out, _with_images(files, fields))
    return _losses(fields, predicted)


def _with_images(files: Sequence[tuple[str, bytes]], fields: Sequence[SmearField]) -> Iterator[tuple[str, bytes]]:
    yield from files
    for field in fields:
        yield f"{IMAGES}/{field.name}", _png(field) if field.path is None else field.path.read_bytes()


def _png(field: SmearField) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(field.image(), cv2.COLOR_RGB2BGR))[1].tobytes()


def _label_names(fields: Sequence[SmearField]) -> list[str]:
    """The label file of each field, below the folder of labels. ValueError: two fields have one."""
    image_of: dict[str, str] = {}
    for field in fields:
        name = str(PurePosixPath(field.name).with_suffix(".txt"))
        if name in image_of:
            raise ValueError(f"{field.name}: would have the same label file as {image_of[name]}: rename one of the two")
        image_of[name] = field.name
    return list(image_of)


def _line(cell: Cell, height: int, width: int) -> str:
    if cell.box is not None:
        x1, y1, x2, y2 = cell.box
        numbers = np.array([(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height])
    else:
        numbers = (bridge(_rings(cell, height, width)) / (width, height)).ravel()
    return " ".join([str(cell.label - 1), *(f"{number:.{DIGITS}f}".rstrip("0").rstrip(".") for number in numbers)])


def _rings(cell: Cell, height: int, width: int) -> Sequence[Float[np.ndarray, "_ 2"]]:
    """The outlines of a cell, of which no two overlap: joined to one line, they would cancel there."""
    polygons = [shapely.Polygon(points) for points in cell.polygons]
    if len(polygons) == 1 or (polygons and shapely.MultiPolygon(polygons).is_valid):
        return cell.polygons
    return outline_mask(cell.mask(height, width), tolerance=0)


def _losses(fields: Sequence[SmearField], predicted: Predicted | None) -> list[str]:
    cells = [cell for field in fields for cell in field.cells]
    crowds = sum(cell.crowd for cell in cells)
    boxes = sum(not cell.outlined and not cell.crowd for cell in cells)
    groups = sum(field.group is not None for field in fields)
    told = {
        f"{crowds} crowd region(s) were left out, as Ultralytics' own converter leaves them out": crowds,
        f"{boxes} cell(s) have a box alone: with these Ultralytics drops the outlines of the whole set": boxes
        and any(cell.outlined for cell in cells),
        f"{groups} group(s), such as patients": groups,
        "scores": predicted is not None and predicted.scores is not None,
    }
    return [sentence for sentence, is_so in told.items() if is_so]


def _recognises(place: Place) -> bool:
    """Whether a folder names classes and holds label files, or is one of label files; or a file is its data.yaml."""
    if not place.is_folder:
        return place.path.suffix.lower() in (".yaml", ".yml") and b"names" in place.start
    first = islice(_label_files(place.path), LOOKED_AT)
    return any(folder.name == LABELS or _is_label_file(file) for folder, file in first)


def _is_label_file(file: Path) -> bool:
    """Whether the first line of a file is a class and four numbers or more."""
    line = load_start(file).split(b"\n")[0].split()
    try:
        return len(line) > 4 and len([float(number) for number in line]) > 4
    except ValueError:
        return False


FORMAT = Format(
    name="yolo",
    tools="[YOLO](https://docs.ultralytics.com/datasets/segment/) of Ultralytics, Roboflow",
    content="a folder with `data.yaml`, `images` and `labels`, all splits; outlines; lines of five numbers as boxes",
    recognises=_recognises,
    fields=fields,
    write=write,
)
