"""A reader of another annotation format: a table of circles, `image,x,y,radius,class`, in pixels.

config.dataset.name = "reader:read"
config.dataset.annotations = "data/circles.csv"
"""

import csv

from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.formats.checks import Fault, Reading
from wbcjax.smear.formats.shapes import circle


def read(reading: Reading) -> list[SmearField]:
    """The fields of a table, in the order in which it names them."""
    cells: dict[str, list[Cell]] = {}
    with reading.annotations.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            of_image = cells.setdefault(row["image"], [])
            with reading.at(row["image"], f"line {number}"):  # what is wrong in the set is told all at once
                label = reading.label(row["class"])
                outline = circle(*(_number(row[name]) for name in ("x", "y", "radius")))
                if label:  # 0: a class to leave out
                    of_image.append(Cell(label, polygons=(outline,)))
    fields = []
    for name, found in cells.items():
        with reading.at(name):
            path, (height, width) = reading.image(name)
            fields.append(SmearField(name, height, width, tuple(found), path, max_pixels=reading.max_pixels))
    return fields


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise Fault(f"{text!r} is no number", "correct the line") from error
