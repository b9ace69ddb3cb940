"""ROIs of ImageJ and Fiji, read and written: a ZIP file of the ROI Manager, or *.roi files, for each image.

The format is what ij/io/RoiDecoder.java and ij/gui/ShapeRoi.java of ImageJ read (https://github.com/imagej/ImageJ);
`roifile` decodes it. Coordinates of areas are pixels, of the pixels' corners. A composite ROI is a path of rings, of
which one within another is a hole.

A ROI's class is its group, if it is in one ("group 2": the names of groups stay in ImageJ's preferences), or else its
name up to a number at its end, which the ROI Manager adds to names given twice ("L1", "L1-1"). Names of digits alone,
as ImageJ gives them, and random ones (UUIDs) say no class.
"""

import io
import logging
import re
import struct
import zipfile
from collections.abc import Sequence
from functools import partial
from math import ceil, floor
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped
from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi

from wbcjax.smear.colours import colour_of
from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.formats import checks, folders, holes, parts, shapes
from wbcjax.smear.formats.checks import Fault, Reading
from wbcjax.smear.formats.format import Format, Place
from wbcjax.smear.formats.holes import Drawn, Ring, Size, Tell
from wbcjax.smear.formats.load import load_bytes
from wbcjax.smear.formats.named_after import base_of, below, files_below, image_of
from wbcjax.smear.formats.parts import Point
from wbcjax.smear.formats.write_checks import (
    RUNNER_UP,
    RUNNER_UP_SCORE,
    SCORE,
    Predicted,
    ScoredCell,
    check_fields,
    told_groups,
)
from wbcjax.smear.formats.zipped import Zipped, suffixes_in
from wbcjax.system.files import write_folder

SUFFIXES = (".zip", ".roi")
OF_SET = re.compile(r"(?P<image>.+?)?[-_ ]*(?:RoiSet|rois)", re.IGNORECASE)  # a_RoiSet.zip; a_rois.zip of cellpose
NUMBER = re.compile(r"(?P<class>.+?)[\s_.#(-]+[0-9]+\)?")
NO_CLASS = re.compile(r"[\d\s_.-]*|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
CLASS_NAME = "cell"  # of every ROI where none says a class
CROWD = "iscrowd"  # property of a ROI that is written
CURVE_POINTS = 16  # of a curve of a composite ROI
MOVE, LINE, QUADRATIC, CUBIC, CLOSE = range(5)  # steps of such a path, as of java.awt.geom.PathIterator
TAKES: dict[float, int] = {MOVE: 2, LINE: 2, QUADRATIC: 4, CUBIC: 6, CLOSE: 0}  # coordinates
LONGEST_NAME = 1000  # characters, and
LARGEST_ROI = 2**24  # bytes, of a ROI that is read
REDRAW = "redraw or delete it in ImageJ"
SPLINE = (
    "an outline was drawn as a spline, and its points are joined by straight lines",
    "look whether it fits, or interpolate it in ImageJ (Edit > Selection)",
)
EMPTY = "save its ROIs from the ROI Manager, or an empty ZIP file if it shows no cell"

logging.getLogger("roifile").setLevel(logging.ERROR)  # it warns of what is refused here


class _Roi(NamedTuple):
    """A ROI and where it stands."""

    place: str  # "ROI 'L1-2.roi'"
    names: tuple[str, ...]  # its own, and that of its file; none that is the image's
    roi: ImagejRoi


def fields(reading: Reading) -> list[SmearField]:
    """The fields of a ZIP or a *.roi file, or of those in a folder and below it; those with an empty ZIP file too.

    A file is named after its image, as "a.zip", "a_RoiSet.zip" or "a.roi", or lies in a folder that is named after it.
    A rectangle is a cell of which only the box is known; points are counted only. Where no ROI says a class, all is
    "cell".
    Noted as suspect: that, names of which each is another class, outlines that were drawn as splines, and images
    without a file.
    """
    names_of = folders.images_by_stem(reading.images)
    files_of: dict[str, list[Path]] = {}
    files = files_below(reading.annotations, SUFFIXES)
    for file in files:
        with reading.at(file.name):
            name = image_of(reading, file, _bases(reading.annotations, file), alone=len(files) == 1)
            files_of.setdefault(name, []).append(file)
    rois_of = {}
    for name, files in files_of.items():
        with reading.at(name):
            rois_of[name] = _rois(reading, name, files)
    listed = [roi for rois in rois_of.values() for roi in rois]
    named = [name for name in map(_class_name, listed) if name is not None]
    found = [_field(reading, name, rois, None if named else CLASS_NAME) for name, rois in rois_of.items()]
    folders.suspect_images_without(reading, names_of, set(files_of), set(), EMPTY)
    if listed and not named:
        told = f"no ROI says a class: all {len(listed)} are of class {CLASS_NAME!r}"
        reading.suspect(reading.annotations.name, "", told, "name them <class>-<number>, or give them groups")
    if len(set(named)) == len(listed) > 2:
        told = f"each of {len(listed)} ROIs has a name of its own, and is another class: {checks.brief(named)}"
        reading.suspect(reading.annotations.name, "", told, "name them <class>-<number>")
    return [field for field in found if field is not None]


def _bases(annotations: Path, file: Path) -> list[str]:
    """What may be named after the image: a file, or the folder in which it lies."""
    base = PurePosixPath(base_of(annotations, file, SUFFIXES))
    of_set = OF_SET.fullmatch(base.name)
    named = [base.parent / of_set["image"]] if of_set and of_set["image"] else []
    folder = base.parent if base.parent.name else PurePosixPath(file.absolute().parent.name)
    return [str(one) for one in (base, *named, folder) if one.name]


def _rois(reading: Reading, name: str, files: Sequence[Path]) -> list[_Roi]:
    """The ROIs of an image; one that is broken is noted as a problem. Faults: several ZIP files, or a broken one."""
    if len(files) > 1 and any(file.suffix.lower() == ".zip" for file in files):
        listed = ", ".join(file.name for file in files)
        raise Fault(f"it has several files of ROIs: {listed}", "keep the one that holds all of them")
    found = []
    for file in files:
        packed = Zipped(file) if file.suffix.lower() == ".zip" else None
        for number, entry in enumerate(packed.names if packed else [file.name]):
            place = f"ROI {checks.brief(entry)}"
            with reading.at(name, place):
                roi = _decoded(entry, packed.read(number) if packed else load_bytes(file))
                names = (roi.name, PurePosixPath(entry).stem)
                found.append(_Roi(place, tuple(one for one in names if one not in (name, Path(name).stem)), roi))
    return found


def _decoded(entry: str, data: bytes) -> ImagejRoi:
    """Faults: it is another file, broken, or huge."""
    if not entry.lower().endswith(".roi"):
        raise Fault("it is no *.roi file", "save the ROIs again from the ROI Manager of ImageJ")
    if len(data) > LARGEST_ROI:
        raise Fault(f"it has {len(data)} bytes, and {LARGEST_ROI} are read at most", REDRAW)
    try:
        roi = ImagejRoi.frombytes(data)
    except (ValueError, TypeError, AssertionError, struct.error) as error:
        raise Fault(f"it is no ROI that can be read ({error})", "save it again from the ROI Manager") from error
    if len(roi.name) > LONGEST_NAME:
        raise Fault(f"its name has {len(roi.name)} characters", "give it a shorter one")
    return roi


def _class_name(one: _Roi) -> str | None:
    if one.roi.group:
        return f"group {one.roi.group}"
    for name in one.names:
        if not NO_CLASS.fullmatch(name):
            numbered = NUMBER.fullmatch(name)
            return (numbered["class"] if numbered else name).strip() or None
    return None


def _field(reading: Reading, name: str, rois: Sequence[_Roi], default: str | None) -> SmearField | None:
    path, size = None, None
    with reading.at(name):
        path, size = reading.image(name)
    cells: list[Cell] = []
    points: list[Point] = []
    for one in rois:
        label = _label(reading, name, one, default)
        if label is not None:
            with reading.at(name, one.place):
                _check_slice(one.roi)
                if one.roi.roitype == ROI_TYPE.POINT:
                    places = np.asarray(one.roi.coordinates(), np.float64).tolist()
                    points += [parts.point(label, x, y, size) for x, y in places]
                    continue
                outline = _outline(one.roi, size, partial(reading.often, name, one.place))
                if size is not None:
                    cells.append(Cell(label, **outline, crowd=one.roi.properties.get(CROWD) == 1))
    if path is None or size is None:
        return None
    return SmearField(name, *size, tuple(cells), path, max_pixels=reading.max_pixels, **parts.of_field(points))


def _label(reading: Reading, name: str, one: _Roi, default: str | None) -> int | None:
    """The class of a ROI, None for one to leave out; `default` is the name of one that has none."""
    with reading.at(name, one.place):
        class_name = _class_name(one) or default
        if class_name is None:
            raise Fault("neither a group nor its name says its class", "name it <class>-<number>, or give it a group")
        return reading.label(class_name) or None
    return None


def _check_slice(roi: ImagejRoi) -> None:
    """Fault: it lies on a slice of a stack that is not the first."""
    page = max(roi.position, roi.z_position, roi.t_position)
    if page > 1:
        raise Fault(f"it lies on slice {page} of a stack", "save the slice as an image of its own, and its ROIs alone")


def _outline(roi: ImagejRoi, size: Size | None, tell: Tell) -> dict[str, Any]:
    """What a Cell takes: {"polygons": ...}, {"box": ...} of a rectangle, or {"rle": ...} of a path with holes."""
    if roi.options & ROI_OPTIONS.SPLINE_FIT:
        tell(*SPLINE)
    if roi.subtype in (ROI_SUBTYPE.TEXT, ROI_SUBTYPE.IMAGE, ROI_SUBTYPE.ARROW):
        raise Fault(f"a ROI of the kind {roi.subtype.name.lower()!r} encloses nothing", REDRAW)
    if roi.multi_coordinates is not None:
        return holes.cell_of_nested(_rings(_decimals(roi.multi_coordinates).tolist()), size, tell)
    if roi.roitype in (ROI_TYPE.RECT, ROI_TYPE.OVAL):
        bounds: tuple[float, ...] = (roi.left, roi.top, roi.right, roi.bottom)
        if roi.subpixelrect:
            x, y, width, height = _decimals(np.array([roi.xd, roi.yd, roi.widthd, roi.heightd], np.float32)).tolist()
            bounds = (x, y, x + width, y + height)
        x1, y1, x2, y2 = map(float, bounds)
        if roi.roitype == ROI_TYPE.RECT:
            return {"box": checks.box(x1, y1, x2, y2, size)}
        oval = shapes.ellipse((x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / 2, (y2 - y1) / 2)
        return {"polygons": checks.outline([shapes.cut(oval, size)], size)}
    if roi.roitype not in (ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED):
        kind = roi.roitype.name.lower()
        raise Fault(f"a ROI of the kind {kind!r} encloses nothing", "outline the cell in ImageJ, or delete it")
    points = _decimals(np.asarray(roi.coordinates()))
    return holes.cell_of_parts([holes.Part(holes.opened(points))], size, tell)


def _decimals(numbers: Shaped[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Numbers of 32 bits as the shortest decimals that they stand for: 0.3, and not 0.30000001.

    Outlines have such numbers, and pycocotools' drawing turns at some of them, such as 0.1 and 0.3.
    """
    return (numbers.astype(str) if numbers.dtype.kind == "f" else numbers).astype(np.float64)


def _rings(path: list[float]) -> list[Ring]:
    """The rings of a composite ROI's path; curves as CURVE_POINTS lines. Fault: it is no such path."""
    found: list[list[tuple[float, float]]] = []
    at = 0
    while at < len(path):
        step = path[at]
        values = path[at + 1 : at + 1 + TAKES.get(step, 0)]
        if step not in TAKES or len(values) < TAKES[step] or (step != MOVE and not found):
            raise Fault(f"its path is broken at number {at + 1} ({step:g})", REDRAW)
        points = list(zip(values[::2], values[1::2], strict=True))
        if step == MOVE:
            found.append(points)
        elif step != CLOSE:
            found[-1] += points if step == LINE else _curve([found[-1][-1], *points])
        at += 1 + TAKES[step]
    return [holes.opened(np.array(ring, np.float64)) for ring in found if len(ring) > 1]


def _curve(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points of a Bezier curve from its 3 or 4 control points, without the first."""
    line = np.linspace(0, 1, CURVE_POINTS + 1)[1:, None, None]  # (n, 1, 1)
    control = np.array(points)[None]  # (1, 3 or 4, 2)
    while control.shape[1] > 1:
        control = (1 - line) * control[:, :-1] + line * control[:, 1:]
    return [(x, y) for x, y in control[:, 0].tolist()]


def write(
    out: Path, fields: Sequence[SmearField], classes: Sequence[str], predicted: Predicted | None = None
) -> list[str]:
    """Write a folder with a file <name of the image>.zip for each field, whole or not at all, for the ROI Manager.

    A mask is traced along the edges of its pixels; one in parts or with holes is a composite ROI. A box is a rectangle.
    A ROI is named <class>-<number> and has the colour of our drawings. Scores and runners-up of `predicted` are
    properties of the ROI, and so is that a region is of a crowd.
    Raises ValueError as `check_fields` does, for a class name that a ROI cannot hold, or a field name that leads out of
    the folder; OSError when the folder cannot be written or is not empty.
    """
    scored = check_fields(fields, classes, predicted)
    for name in classes:
        if max(map(ord, name)) > 0xFFFF or len(name) > LONGEST_NAME - 20:
            raise ValueError(f"class {name!r}: a ROI cannot have this name; give the class another")
    joined, files = 0, []
    for field, cells in zip(fields, scored, strict=True):
        drawn = [holes.drawn_polygons(cell.cell, field.height, field.width) for cell in cells]
        joined += sum(one.joined for one in drawn)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
            for number, (cell, one) in enumerate(zip(cells, drawn, strict=True), start=1):
                roi = _written(cell, one, f"{classes[cell.cell.label - 1]}-{number}")
                # With a time that is always the same, so that files of the same cells are the same.
                file.writestr(
                    zipfile.ZipInfo(re.sub(r"^\.|[/\\\0]", "_", roi.name) + ".roi"), roi.tobytes(), zipfile.ZIP_DEFLATED
                )
        files.append((f"{field.name}.zip", packed.getvalue()))
    write_folder(out, files)
    return [*holes.told_joined(joined), *told_groups(fields)]


def _written(scored: ScoredCell, drawn: Drawn, name: str) -> ImagejRoi:
    roi = _shape(scored.cell, drawn)
    roi.name = name
    roi.stroke_color = bytes([255, *colour_of(scored.cell.label)])  # opaque
    noted: dict[str, Any] = {CROWD: 1} if scored.cell.crowd else {}
    if scored.score is not None:
        noted[SCORE] = scored.score
    if scored.runner_up is not None:
        noted[RUNNER_UP], noted[RUNNER_UP_SCORE] = scored.runner_up
    roi.properties = noted
    return roi


def _shape(cell: Cell, drawn: Drawn) -> ImagejRoi:
    """A ROI of a cell: a rectangle, a polygon, a traced one, or a path of several rings."""
    found = [holes.points_of(ring) for polygon in drawn.polygons for ring in (polygon.exterior, *polygon.interiors)]
    (x1, y1), (x2, y2) = (extreme(np.concatenate(found), axis=0).tolist() for extreme in (np.min, np.max))
    bounds: Any = dict(zip(("left", "top", "right", "bottom"), (floor(x1), floor(y1), ceil(x2), ceil(y2)), strict=True))
    if cell.box is not None:
        exact = {"xd": x1, "yd": y1, "widthd": x2 - x1, "heightd": y2 - y1}
        return ImagejRoi(roitype=ROI_TYPE.RECT, options=ROI_OPTIONS.SUB_PIXEL_RESOLUTION, **bounds, **exact)
    if len(found) > 1:
        steps = [_steps(ring) for ring in found]
        path = np.concatenate(steps).astype(np.float32)
        return ImagejRoi(roitype=ROI_TYPE.RECT, **bounds, shape_roi_size=len(path), multi_coordinates=path)
    roi = ImagejRoi.frompoints(found[0].astype(np.int32) if cell.rle is not None else found[0], name="")
    roi.roitype = ROI_TYPE.POLYGON if cell.rle is None else ROI_TYPE.TRACED
    return roi


def _steps(ring: Ring) -> Float[np.ndarray, " numbers"]:
    """A ring as the path of a composite ROI."""
    steps = np.column_stack([np.full(len(ring), float(LINE)), ring])
    steps[0, 0] = MOVE
    return np.append(steps.ravel(), float(CLOSE))


def _recognises(place: Place) -> bool:
    """Whether a file is a ROI or a ZIP of them, or one in a folder or below it is. Fault: a broken ZIP file."""
    if place.is_folder:
        return any(map(_holds_rois, below(place.path, SUFFIXES)))
    if place.path.suffix.lower() == ".zip":
        Zipped(place.path)
    return place.path.suffix.lower() in SUFFIXES and _holds_rois(place.path)


def _holds_rois(file: Path) -> bool:
    inner = suffixes_in(file) if file.suffix.lower() == ".zip" else set[str]()
    return inner is not None and inner <= {".roi"}


FORMAT = Format(
    name="imagej_rois",
    tools="[ImageJ, Fiji](https://fiji.sc), cellpose",
    content="ZIP files of the ROI Manager and `.roi` files, named after their images; polygon, freehand, traced, oval, "
    "composite; `rectangle` as a box; points, counted only",
    recognises=_recognises,
    fields=fields,
    write=write,
)
