"""Reader of Pascal VOC annotations: boxes, one XML file for each image.

Format: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc. A box is of whole pixels, counted from 1 and both ends
within it, so the box from 1 to 3 covers three pixels: from 0 to 3 in coordinates of pixel borders. LabelImg, which most
files come from, writes pixel borders instead (with 1 for 0): read as VOC, its boxes begin at most a pixel early.
"""

import math
import xml.etree.ElementTree as ET
from functools import partial
from pathlib import Path

from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.formats import checks, folders
from wbcjax.smear.formats.checks import Fault, Reading
from wbcjax.smear.formats.format import Format, Place
from wbcjax.smear.formats.load import load_xml

REDRAW = "redraw or delete the object"
SAVE_EMPTY = "annotate it, or add a file without objects if it shows no cell"


def fields(reading: Reading) -> list[SmearField]:
    """The fields of a VOC file, or of a folder of them by name; those without objects too. Only boxes are known.

    Objects marked as difficult or truncated are cells like others. Noted as suspect: images without a file, outlines
    that other tools add and that are not read, and a file that does not say its image's size.
    """
    names_of = folders.images_by_stem(reading.images)
    files = folders.annotation_files(reading.annotations, {".xml"})
    found, annotated = [], set()
    for file in files:
        with reading.at(file.name):
            root = _root(file)
            name = folders.image_of_file(reading, file, root.findtext("filename", "").strip())
            annotated.add(name)
            found.append(_field(reading, name, root, file.name))
    folders.suspect_images_without(reading, names_of, annotated, {file.stem for file in files}, SAVE_EMPTY)
    return [field for field in found if field is not None]


def _root(file: Path) -> ET.Element:
    """The <annotation> of a file. Faults: unreadable, broken XML, a DOCTYPE, or something else."""
    root = load_xml(file)
    if root.tag != "annotation":
        raise Fault(
            f"it holds <{root.tag}> where VOC has <annotation>", "name its format, or give a folder of VOC files alone"
        )
    return root


def _field(reading: Reading, name: str, root: ET.Element, file_name: str) -> SmearField | None:
    path, size = None, None
    with reading.at(name):
        path, decoded = reading.image(name, file_name)
        height, width = (_side(root.findtext(f"size/{side}", "")) for side in ("height", "width"))
        folders.check_declared(reading, name, (height, width), decoded, path)
        size = decoded
    objects = root.findall("object")
    cells = []
    for number, element in enumerate(objects, start=1):
        cell = _cell(reading, name, number, element, size)
        if cell is not None:
            cells.append(cell)
    outlined = sum(element.find("polygon") is not None for element in objects)
    if outlined:
        found = f"{outlined} of {len(objects)} objects have a <polygon>, which is not read: only their boxes are"
        reading.suspect(name, "", found, "export the outlines as COCO")
    if path is None or size is None:
        return None
    return SmearField(name, *size, tuple(cells), path, max_pixels=reading.max_pixels)


def _side(text: str) -> float | None:
    try:
        return float(text)  # 0 as some converters write: not known
    except ValueError:
        return None


def _cell(reading: Reading, name: str, number: int, element: ET.Element, size: tuple[int, int] | None) -> Cell | None:
    label, box = None, None
    at = partial(reading.at, name, f"object {number}")
    with at():
        class_name = _text(element, "name")
        label = reading.label(class_name)
        if label == 0:
            return None
    with at():
        box = _box(element, size)
    if label is None or box is None:
        return None
    return Cell(label, box=box)


def _box(element: ET.Element, size: tuple[int, int] | None) -> tuple[float, float, float, float]:
    bounds = element.find("bndbox")
    if bounds is None:
        raise Fault("<bndbox> is missing", "draw its upright box, or delete the object")
    x1, y1, x2, y2 = (_number(bounds, key) for key in ("xmin", "ymin", "xmax", "ymax"))
    if x1 >= x2 or y1 >= y2:  # of LabelImg, a box of no area: a slip of the mouse
        raise Fault(f"the box from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) is at most one pixel wide or high", REDRAW)
    return checks.box(x1 - 1, y1 - 1, x2, y2, size)


def _text(element: ET.Element, key: str) -> str:
    text = (element.findtext(key) or "").strip()
    if not text:
        raise Fault(f"<{key}> is missing or empty", "fill it in")
    return text


def _number(element: ET.Element, key: str) -> float:
    text = _text(element, key)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Fault(f"<{key}> is {checks.brief(text)}", "it must be a number")
    return value


def _recognises(place: Place) -> bool:
    """Whether an XML file is of VOC; a broken one may be, and the reader reports it."""
    return place.xml_root in ("annotation", "")


FORMAT = Format(
    name="voc",
    tools="Pascal VOC",
    content="boxes",
    recognises=_recognises,
    fields=fields,
)
