"""ROIs of ImageJ and Fiji as they are read: every kind, its class, the files and folders, and what is refused."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi

from tests.smear.make import HEIGHT, WIDTH, image_folder, problems
from wbcjax.smear.read import read, recognise

SQUARE = np.array([[5, 4], [15, 4], [15, 12], [5, 12]])
FAR = np.add(SQUARE, (18, 10))
HOLE = np.array([[8, 6], [8, 9], [12, 9], [12, 6]])
ENCRYPTED = 1


def polygon(points=SQUARE, name="L1-1", kind=ROI_TYPE.POLYGON, **fields) -> ImagejRoi:
    roi = ImagejRoi.frompoints(points, name=name)
    roi.roitype = kind
    for key, value in fields.items():
        setattr(roi, key, value)
    return roi


def bounded(kind, left, top, right, bottom, name="L1-1", **fields) -> ImagejRoi:
    return ImagejRoi(roitype=kind, name=name, left=left, top=top, right=right, bottom=bottom, **fields)


def composite(*path: float, name="L1-1") -> ImagejRoi:
    steps = np.array(path, np.float32)
    return bounded(ROI_TYPE.RECT, 0, 0, 1, 1, name, shape_roi_size=len(steps), multi_coordinates=steps)


def ring(points) -> list[float]:
    """The path of a ring: 0 moves, 1 draws a line, 4 closes."""
    (x, y), *others = points
    return [0, x, y, *(value for x, y in others for value in (1, x, y)), 4]


def zipped(path: Path, *rois: ImagejRoi, **named: bytes) -> Path:
    """A ZIP file as the ROI Manager saves it: each ROI under its name, which it has itself, too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for number, roi in enumerate(rois):
            packed.writestr(f"{roi.name or number}.roi", roi.tobytes())
        for name, data in named.items():
            packed.writestr(name, data)
    return path


@pytest.fixture
def images(tmp_path):
    return image_folder(tmp_path / "images", "a.png")


@pytest.fixture
def cell_of(tmp_path, images):
    """The only cell of a file of one ROI."""

    def of(roi):
        (field,) = read(zipped(tmp_path / "a_RoiSet.zip", roi), images).fields
        (cell,) = field.cells
        return cell

    return of


def square(*bounds: tuple[int, int, int, int]):
    """The pixels of boxes (left, top, right, bottom)."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for left, top, right, bottom in bounds:
        mask[top:bottom, left:right] = 1
    return mask


@pytest.mark.parametrize("kind", [ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED])
def test_outlines_of_every_kind_are_read_by_value(cell_of, kind):
    np.testing.assert_array_equal(cell_of(polygon(kind=kind)).polygons[0], SQUARE)
    closed = polygon(np.append(SQUARE, SQUARE[:1], axis=0), kind=kind)
    np.testing.assert_array_equal(cell_of(closed).polygons[0], SQUARE)
    fractions = SQUARE + np.float32(0.125)
    np.testing.assert_array_equal(cell_of(polygon(fractions, kind=kind)).polygons[0], fractions)


def test_a_rectangle_is_a_box_also_between_pixels(cell_of):
    assert cell_of(bounded(ROI_TYPE.RECT, 5, 4, 15, 12)).box == (5, 4, 15, 12)
    exact: Any = {"xd": 5.25, "yd": 4.5, "widthd": 10.5, "heightd": 8.125}
    roi = bounded(ROI_TYPE.RECT, 5, 4, 16, 13, options=ROI_OPTIONS.SUB_PIXEL_RESOLUTION, **exact)
    assert cell_of(roi).box == (5.25, 4.5, 15.75, 12.625)


def test_an_oval_is_the_ellipse_in_its_bounds(cell_of):
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    expected = ((x - 12) / 8) ** 2 + ((y - 10) / 5) ** 2 < 1
    found = cell_of(bounded(ROI_TYPE.OVAL, 4, 5, 20, 15)).mask(HEIGHT, WIDTH)
    assert (found != expected).sum() <= 4  # pixels on the very line


def test_rings_within_rings_are_holes_and_islands(cell_of):
    island = [[9, 7], [11, 7], [11, 8], [9, 8]]
    found = cell_of(composite(*ring(SQUARE), *ring(HOLE), *ring(island), *ring(FAR)))
    expected = square((5, 4, 15, 12), (23, 14, 33, 22)) & ~square((8, 6, 12, 9)) | square((9, 7, 11, 8))
    np.testing.assert_array_equal(found.mask(HEIGHT, WIDTH), expected)


def test_rings_apart_stay_polygons_of_one_cell(cell_of):
    found = cell_of(composite(*ring(SQUARE), *ring(FAR)))
    assert sorted(points.tolist() for points in found.polygons) == [SQUARE.tolist(), FAR.tolist()]


def test_curves_of_a_path_are_followed(cell_of):
    """A circle of four cubic curves, as ImageJ makes of an oval, with a hole; and a quadratic curve."""
    k = 10 * 0.5523
    circle = [0, 30, 15, 3, 30, 15 + k, 20 + k, 25, 20, 25, 3, 20 - k, 25, 10, 15 + k, 10, 15]
    circle += [3, 10, 15 - k, 20 - k, 5, 20, 5, 3, 20 + k, 5, 30, 15 - k, 30, 15, 4]
    found = cell_of(composite(*circle, *ring([[18, 13], [22, 13], [22, 17], [18, 17]]))).mask(HEIGHT, WIDTH)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    expected = (np.hypot(x - 20, y - 15) < 10) & ~square((18, 13, 22, 17)).astype(bool)
    assert (found != expected).sum() <= 8
    lens = cell_of(composite(0, 5, 5, 2, 10, 15, 15, 5, 4)).polygons[0]
    assert [10, 10] in lens.tolist()  # the curve's middle


CLASSES = {
    "a name and a number": ({"name": "L1-12"}, "L1"),
    "another mark between": ({"name": "early blast_003"}, "early blast"),
    "in brackets": ({"name": "L1 (2)"}, "L1"),
    "a name alone": ({"name": "L1"}, "L1"),
    "two numbers": ({"name": "L1-1-2"}, "L1-1"),
    "a group": ({"name": "0123-0456", "group": 2}, "group 2"),
    "a group beside a name": ({"name": "L1-2", "group": 300}, "group 300"),
    "a name of digits": ({"name": "0001-0123-0456"}, "cell"),
    "a random name": ({"name": "9fe79dec-ccfd-40ed-ae46-4dfedd7a5c13"}, "cell"),
    "the image's name": ({"name": "a"}, "cell"),
    "no name": ({"name": ""}, "cell"),
}


@pytest.mark.parametrize(("fields", "expected"), CLASSES.values(), ids=CLASSES)
def test_the_class_is_the_group_or_the_name(tmp_path, images, fields, expected):
    found = read(zipped(tmp_path / "a.zip", polygon(**fields)), images)
    assert found.classes == (expected,)
    told = [suspect.found for suspect in found.suspects]
    assert told == ([] if expected != "cell" else ["no ROI says a class: all 1 are of class 'cell'"])


def test_a_roi_of_no_class_beside_others_is_refused(tmp_path, images):
    (line,) = problems(zipped(tmp_path / "a.zip", polygon(), polygon(name="0001-0002")), images, None)
    assert line.startswith("a.png, ROI '0001-0002.roi': neither a group nor its name says its class; name it <class>-")


def test_names_that_are_nowhere_repeated_are_suspect(tmp_path, images):
    found = read(zipped(tmp_path / "a.zip", *(polygon(name=f"blast{number}") for number in range(3))), images)
    assert len(found.classes) == 3
    assert "each of 3 ROIs has a name of its own, and is another class" in found.suspects[0].found


PLACES = ["a.zip", "a_RoiSet.zip", "a.png.zip", "a-RoiSet.zip", "a_rois.zip", "a RoiSet.zip", "a/RoiSet.zip"]


@pytest.mark.parametrize("place", PLACES)
def test_a_file_is_for_the_image_it_or_its_folder_is_named_after(tmp_path, images, place):
    zipped(tmp_path / "annotations" / place, polygon())
    found = read(tmp_path / "annotations", images)
    assert [(field.name, len(field.cells)) for field in found.fields] == [("a.png", 1)]
    assert not found.suspects


def test_single_rois_are_read_alone_and_from_a_folder(tmp_path, images):
    (tmp_path / "a.roi").write_bytes(polygon(name="").tobytes())
    assert len(read(tmp_path / "a.roi", images).fields[0].cells) == 1
    folder = tmp_path / "annotations/a"
    folder.mkdir(parents=True)
    for name in ("L1-1", "L1-2"):
        (folder / f"{name}.roi").write_bytes(polygon(name="").tobytes())
    found = read(tmp_path / "annotations", images)
    assert (found.classes, [len(field.cells) for field in found.fields]) == (("L1",), [2])


def test_the_folder_that_is_given_names_the_image_too(tmp_path):
    images = image_folder(tmp_path / "images", "a.png", "b.png")
    path = zipped(tmp_path / "b/RoiSet.zip", polygon())
    for annotations in (path, path.parent):
        assert [field.name for field in read(annotations, images).fields] == ["b.png"]


def test_an_empty_file_is_a_field_without_cells(tmp_path, images):
    found = read(zipped(tmp_path / "a.zip"), images)
    assert [field.cells for field in found.fields] == [()]


ROIS = {
    "a point outside": (polygon(SQUARE * 4, kind=ROI_TYPE.POINT), "the point (60, 16) lies outside the 40 x 30 image"),
    "a line": (bounded(ROI_TYPE.LINE, 1, 1, 5, 5), "a ROI of the kind 'line' encloses nothing"),
    "a polyline": (polygon(kind=ROI_TYPE.POLYLINE), "a ROI of the kind 'polyline' encloses nothing"),
    "an angle": (polygon(kind=ROI_TYPE.ANGLE), "a ROI of the kind 'angle' encloses nothing"),
    "a text": (
        bounded(ROI_TYPE.RECT, 5, 4, 15, 12, subtype=ROI_SUBTYPE.TEXT),
        "a ROI of the kind 'text' encloses nothing",
    ),
    "on a slice": (polygon(position=3), "it lies on slice 3 of a stack"),
    "on a z slice": (polygon(z_position=2), "it lies on slice 2 of a stack"),
    "outside": (polygon(SQUARE * 4), "3 of 4 points lie outside the 40 x 30 image"),
    "no area": (polygon(np.array([[5, 5], [9, 9]])), "the polygon has 2 points"),
    "no width": (bounded(ROI_TYPE.RECT, 5, 4, 5, 12), "the box from (5, 4) to (5, 12) has zero area"),
    "a broken path": (composite(0, 5, 5, 7), "its path is broken at number 4 (7)"),
    "a cut path": (composite(0, 5), "its path is broken at number 1 (0)"),
    "a long name": (polygon(name="x" * 2000), "its name has 2000 characters"),
}


@pytest.mark.parametrize(("roi", "expected"), ROIS.values(), ids=ROIS)
def test_a_roi_that_cannot_be_used_is_named(tmp_path, images, roi, expected):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("L1-1.roi", roi.tobytes())
    (line,) = problems(path, images)
    assert line.startswith("a.png, ROI 'L1-1.roi': ")
    assert expected in line


def test_points_are_counted_and_no_cells(tmp_path, images):
    (field,) = read(zipped(tmp_path / "a.zip", polygon(), polygon(name="L2-1", kind=ROI_TYPE.POINT)), images).fields
    assert (len(field.cells), field.points.tolist()) == (1, SQUARE.tolist())
    assert list(field.point_labels) == [2] * 4


def test_a_spline_is_told_and_read_by_its_points(tmp_path, images):
    found = read(zipped(tmp_path / "a.zip", polygon(options=ROI_OPTIONS.SPLINE_FIT)), images)
    np.testing.assert_array_equal(found.fields[0].cells[0].polygons[0], SQUARE)
    assert "an outline was drawn as a spline" in found.suspects[0].found


MEMBERS = {
    "another file": ("notes.txt", b"a", "ROI 'notes.txt': it is no *.roi file"),
    "a ZIP": ("inner.zip", b"PK", "ROI 'inner.zip': it is no *.roi file"),
    "a broken ROI": ("L1-1.roi", polygon().tobytes()[:70], "ROI 'L1-1.roi': it is no ROI that can be read"),
    "no ROI": ("L1-1.roi", b"x" * 100, "ROI 'L1-1.roi': it is no ROI that can be read"),
    "a way out": ("../L1-1.roi", polygon().tobytes(), "its name '../L1-1.roi' leads out of the ZIP file"),
    "a root": ("/L1-1.roi", polygon().tobytes(), "its name '/L1-1.roi' leads out of the ZIP file"),
    "a drive": ("C:\\L1-1.roi", polygon().tobytes(), "leads out of the ZIP file"),
}


@pytest.mark.parametrize(("name", "data", "expected"), MEMBERS.values(), ids=MEMBERS)
def test_what_a_zip_file_may_not_hold_is_refused(tmp_path, images, name, data, expected):
    (line,) = problems(zipped(tmp_path / "a.zip", **{name: data}), images, file_format="imagej_rois")
    assert expected in line


def test_what_macos_adds_to_a_zip_file_is_passed_over(tmp_path, images):
    added = {"__MACOSX/._L1-1.roi": b"", ".DS_Store": b"", "RoiSet/": b""}
    assert len(read(zipped(tmp_path / "a.zip", polygon(), **added), images).fields[0].cells) == 1


def test_encrypted_and_broken_zip_files_are_refused(tmp_path, images):
    path = zipped(tmp_path / "a.zip", polygon())
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + flags] |= ENCRYPTED
    path.write_bytes(data)
    assert "it is encrypted; export the annotations without a password" in problems(path, images)[0]
    path.write_bytes(data[:-30])
    assert "broken ZIP" in problems(path, images)[0]


def test_what_a_zip_file_unpacks_to_is_bounded(tmp_path, images, monkeypatch):
    """Its sizes are checked before any of it is unpacked; a size that is a lie is never exceeded."""
    path = zipped(tmp_path / "a.zip", **{"L1-1.roi": bytes(5000)})
    assert path.stat().st_size < 300
    monkeypatch.setattr("wbcjax.smear.formats.zipped.MOST_BYTES", 4000)
    assert "it holds 1 files of 5000 bytes" in problems(path, images, file_format="imagej_rois")[0]
    data = path.read_bytes()
    path.write_bytes(data.replace((5000).to_bytes(4, "little"), (70).to_bytes(4, "little")))
    assert "it cannot be unpacked (Bad CRC-32" in problems(path, images, file_format="imagej_rois")[0]


def test_two_files_for_one_image_are_used_for_none(tmp_path, images):
    for name in ("a.zip", "a_RoiSet.zip"):
        zipped(tmp_path / "annotations" / name, polygon())
    (line,) = problems(tmp_path / "annotations", images)
    assert line == "a.png: it has several files of ROIs: a.zip, a_RoiSet.zip; keep the one that holds all of them"


def test_zip_files_are_told_apart_by_what_they_hold(tmp_path, images):
    assert recognise(zipped(tmp_path / "a.zip", polygon()), images) == "imagej_rois"
    (line,) = problems(zipped(tmp_path / "b.zip", **{"notes.txt": b"a"}), images)
    assert "it is a ZIP file; unpack it" in line
