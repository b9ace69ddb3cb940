"""Reader of ALL-IDB's .xyc files (https://homes.di.unimi.it/scotti/all/): centroids of lymphoblasts, as points.

A file holds x and y, in pixels, of each blast of the image of its name. An image's name ends in _1 for a patient with
acute lymphoblastic leukemia and in _0 for a healthy person, whose images show no blast and need no file.
"""

import math
import re

from wbcjax.smear.field import SmearField
from wbcjax.smear.formats import checks, folders, parts
from wbcjax.smear.formats.checks import Fault, Reading
from wbcjax.smear.formats.format import Format, Place
from wbcjax.smear.formats.load import load_text
from wbcjax.smear.formats.parts import Point, Size

CLASS_NAME = "blast"  # of every point: the files hold no class
HEALTHY, ILL = "_0", "_1"  # at the end of an image's name without suffix
SUFFIX = ".xyc"
REMEDY = "correct or delete the line"


def fields(reading: Reading) -> list[SmearField]:
    """The fields of an .xyc file, or of a folder of them, and the healthy ones without a file, by name.

    Their cells are points, which are counted and train nothing. Noted as suspect: other images without a file, and
    points in an image that is named as healthy.
    """
    names_of = folders.images_by_stem(reading.images)
    files = folders.annotation_files(reading.annotations, {SUFFIX})
    found, annotated = [], set[str]()
    for file in files:
        with reading.at(file.name):
            name = folders.image_of_stem(reading, file, file.stem)
            annotated.add(name)
            found.append(_field(reading, name, load_text(file)))
    stems = {file.stem for file in files}
    for stem, names in names_of.items() if reading.annotations.is_dir() else ():
        if stem.endswith(HEALTHY) and stem not in stems:
            annotated.update(names)
            found += [_field(reading, name, "") for name in names]
    remedy = f"add its {SUFFIX} file, an empty one if it shows no blast"
    folders.suspect_images_without(reading, names_of, annotated, stems, remedy)
    return sorted((field for field in found if field is not None), key=lambda field: field.name)


def _field(reading: Reading, name: str, text: str) -> SmearField | None:
    path, size = None, None
    with reading.at(name):
        path, size = reading.image(name)
    points = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            with reading.at(name, f"line {number}"):
                points += _point(reading, line, size)
    if points and path is not None and path.stem.endswith(HEALTHY):
        found = f"its name ends in {HEALTHY}, as those of healthy persons do, and it has {len(points)} points"
        reading.suspect(name, "", found, "check which of the two is right")
    if path is None or size is None:
        return None
    return SmearField(name, *size, (), path, max_pixels=reading.max_pixels, **parts.of_field(points))


def _point(reading: Reading, line: str, size: Size | None) -> list[Point]:
    """The point of a line; none of a class that is left out."""
    numbers = [_number(text) for text in re.split(r"[\s,;]+", line.strip())]
    if len(numbers) != 2:
        raise Fault(f"found {checks.brief(line)} where x and y belong", REMEDY)
    label, (x, y) = reading.label(CLASS_NAME), numbers
    return [parts.point(label, x, y, size)] if label else []


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _recognises(place: Place) -> bool:
    return bool(place.files({SUFFIX}))


FORMAT = Format(
    name="xyc",
    tools="[ALL-IDB](https://homes.di.unimi.it/scotti/all/)",
    content="centroids of blasts (`.xyc`): points, counted only",
    recognises=_recognises,
    fields=fields,
)
