"""The writers of QuPath's GeoJSON and of ImageJ's ROIs: read again the same, whole or not at all, losses told."""

import io
import json
import uuid
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from roifile import ROI_TYPE, ImagejRoi
from shapely.geometry import shape

from tests.smear.test_write import CLASS_OF, CLASSES, HEIGHT, NAMES, TRIANGLE, WIDTH, cells, disc, field, iou, rle
from wbcjax.smear.colours import colour_of
from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.formats.geojson import write as write_geojson
from wbcjax.smear.formats.imagej_rois import write as write_rois
from wbcjax.smear.formats.write_checks import Predicted
from wbcjax.smear.read import read

REAL = (Path(__file__).parents[2] / "../shared/data/segpc2021_train").resolve()
WRITERS = {"geojson": write_geojson, "imagej_rois": write_rois}
of_both = pytest.mark.parametrize(("name", "write"), WRITERS.items(), ids=WRITERS)
RING = disc(15, hole=8)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    (folder / "p1").mkdir()
    for name in NAMES:
        cv2.imwrite(str(folder / name), np.full((HEIGHT, WIDTH, 3), 200, np.uint8))
    return folder


def features_of(out, name="a.png"):
    return json.loads((out / f"{name}.geojson").read_text())["features"]


def rois_of(out, name="a.png") -> list[ImagejRoi]:
    with zipfile.ZipFile(out / f"{name}.zip") as packed:
        return [ImagejRoi.frombytes(packed.read(entry)) for entry in packed.namelist()]


@of_both
@settings(max_examples=60)
@given(listed=st.lists(st.lists(cells(), max_size=4), min_size=1, max_size=len(NAMES)), scored=st.booleans())
def test_what_is_written_is_read_again_the_same(images, tmp_path_factory, name, write, listed, scored):
    written = [
        field(images, *[Cell(**cell) for cell in of_field], name=file)
        for file, of_field in zip(NAMES, listed, strict=False)
    ]
    out = tmp_path_factory.mktemp("out") / "set"
    told = write(out, written, CLASSES, Predicted([[0.5] * len(f.cells) for f in written]) if scored else None)
    found = read(out, images, CLASS_OF, file_format=name)
    assert sorted((f.name, len(f.cells)) for f in found.fields) == sorted((f.name, len(f.cells)) for f in written)
    again = {f.name: f.cells for f in found.fields}
    for original in written:
        for cell, was in zip(again[original.name], original.cells, strict=True):
            assert (cell.label, cell.crowd, cell.outlined) == (was.label, was.crowd, was.outlined)
            # A ROI holds numbers of 32 bits: a side of a polygon may move over the middles of pixels by that.
            kind = np.float32 if name == "imagej_rois" else np.float64
            polygons = tuple(points.astype(kind).astype(str).astype(np.float64) for points in was.polygons)
            expected = Cell(1, polygons) if polygons else was
            masks = cell.mask(HEIGHT, WIDTH), expected.mask(HEIGHT, WIDTH)
            if told and polygons:  # that some are joined
                assert iou(*masks) > 0.9
            elif was.box is None:
                np.testing.assert_array_equal(*masks)
            if was.box is not None:
                assert cell.box == pytest.approx(was.box, rel=0, abs=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the SegPC-2021 fields are not on this machine")
@of_both
@pytest.mark.parametrize("source", ["via.json", "coco.json"])
def test_real_fields_are_read_again_the_same(tmp_path, name, write, source):
    """Outlines (via.json) and masks (coco.json), all of a part of the fields."""
    data = json.loads((REAL / source).read_text())
    if source == "via.json":
        data = dict(list(data.items())[::25])
    else:
        kept = {image["id"] for image in data["images"][::25]}
        data["images"] = data["images"][::25]
        data["annotations"] = [a for a in data["annotations"] if a["image_id"] in kept]
    (tmp_path / "some.json").write_text(json.dumps(data))
    found = read(tmp_path / "some.json", REAL / "images")
    cells_of = {f.name: f for f in found.fields if f.cells}
    assert len(cells_of) > 5
    write(tmp_path / "out", list(cells_of.values()), found.classes)
    class_of = {name: label for label, name in enumerate(found.classes, start=1)}
    for f in read(tmp_path / "out", REAL / "images", class_of, file_format=name).fields:
        for cell, was in zip(f.cells, cells_of[f.name].cells, strict=True):
            assert cell.label == was.label
            assert iou(cell.mask(f.height, f.width), was.mask(f.height, f.width)) > 0.99


def test_geojson_follows_rfc_7946_and_what_qupath_reads(images, tmp_path):
    """The members, geometries and rings that RFC 7946 asks for; ids, classes and metadata as QuPath's gson has them."""
    shown = (Cell(1, rle=rle(RING | disc(4, x=70, y=8))), Cell(2, (TRIANGLE,)), Cell(3, box=(1.5, 2, 30, 40)))
    write_geojson(tmp_path / "out", [field(images, *shown)], CLASSES, Predicted([[0.75, 0.5, 1]]))
    collection = json.loads((tmp_path / "out/a.png.geojson").read_text())
    assert set(collection) == {"type", "features"}
    assert collection["type"] == "FeatureCollection"
    for number, one in enumerate(collection["features"], start=1):
        assert list(one) == ["type", "id", "geometry", "properties"]
        assert one["type"] == "Feature"
        assert uuid.UUID(one["id"]) == uuid.uuid5(uuid.NAMESPACE_URL, f"a.png#{number}")
        geometry = shape(one["geometry"])
        assert geometry.is_valid
        assert set(one["geometry"]) == {"type", "coordinates"}
        for polygon in shapely.get_parts(geometry):
            assert polygon.exterior.is_ccw
            assert not any(hole.is_ccw for hole in polygon.interiors)
            assert all(ring.is_closed and len(ring.coords) >= 4 for ring in (polygon.exterior, *polygon.interiors))
        assert one["properties"]["objectType"] == "annotation"
        label = shown[number - 1].label
        assert one["properties"]["classification"] == {"name": CLASSES[label - 1], "color": list(colour_of(label))}
        assert one["properties"]["measurements"]["score"] in (0.75, 0.5, 1)
    types = [(one["geometry"]["type"], one["properties"].get("metadata")) for one in collection["features"]]
    assert types == [("MultiPolygon", None), ("Polygon", None), ("Polygon", {"box": "1"})]


def test_what_qupath_corrects_comes_back_corrected(images, tmp_path):
    """As QuPath writes an export: two decimals, members of its own, another class, a box that was redrawn."""
    shown = (Cell(1, rle=rle(RING)), Cell(1, (TRIANGLE,)), Cell(2, box=(1, 2, 30, 40)))
    write_geojson(tmp_path / "out", [field(images, *shown)], CLASSES, Predicted([[0.75, 0.5, 1]]))
    ring, triangle, box = features_of(tmp_path / "out")
    triangle["properties"] |= {"classification": {"name": "L3é", "color": [255, 255, 255]}, "isLocked": True}
    box["geometry"] = {"type": "Polygon", "coordinates": [[[1, 2], [30.25, 2], [30, 40], [1, 2]]]}
    (tmp_path / "out/a.png.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [triangle, box]}))
    (again,) = read(tmp_path / "out", images, CLASS_OF).fields
    assert [cell.label for cell in again.cells] == [3, 2]
    assert [cell.box for cell in again.cells] == [None, None]
    assert ring["properties"]["measurements"] == {"score": 0.75}


def test_runners_up_and_crowds_are_kept_beside_a_cell(images, tmp_path):
    one = field(images, Cell(1, (TRIANGLE,), crowd=True))
    predicted = Predicted([[0.75]], [[("L3é", 0.25)]])
    write_geojson(tmp_path / "geojson", [one], CLASSES, predicted)
    (feature,) = features_of(tmp_path / "geojson")
    assert feature["properties"]["measurements"] == {"score": 0.75, "runner_up_score": 0.25}
    assert feature["properties"]["metadata"] == {"runner_up": "L3é", "iscrowd": "1"}
    write_rois(tmp_path / "rois", [one], CLASSES, predicted)
    (roi,) = rois_of(tmp_path / "rois")
    assert roi.properties == {"iscrowd": 1, "runner_up": "L3é", "runner_up_score": 0.25, "score": 0.75}


def test_rois_are_of_the_kinds_that_imagej_draws(images, tmp_path):
    shown = (Cell(1, rle=rle(disc(9))), Cell(2, rle=rle(RING)), Cell(3, (TRIANGLE,)), Cell(1, box=(1.5, 2, 30, 40)))
    write_rois(tmp_path / "out", [field(images, *shown)], CLASSES)
    rois = rois_of(tmp_path / "out")
    kinds = [ROI_TYPE.TRACED, ROI_TYPE.RECT, ROI_TYPE.POLYGON, ROI_TYPE.RECT]
    assert [roi.roitype for roi in rois] == kinds
    assert [roi.composite for roi in rois] == [False, True, False, False]
    assert [roi.name for roi in rois] == ["L1-1", f"{CLASSES[1]}-2", "L3é-3", "L1-4"]
    assert [roi.stroke_color for roi in rois] == [bytes([255, *colour_of(label)]) for label in (1, 2, 3, 1)]
    assert (rois[2].left, rois[2].top, rois[2].right, rois[2].bottom) == (5, 4, 17, 13)


@of_both
def test_tenths_of_pixels_come_back_to_the_last_bit(images, tmp_path, name, write):
    """Outlines have such numbers; drawn from numbers of 32 bits, nearly every cell would differ by some pixels."""
    tenths = np.array([[5.1, 4.3], [15.3, 4.1], [9.7, 12.9]])
    shown = Cell(1, (tenths,)), Cell(2, (tenths, (tenths + 20.2).round(1))), Cell(3, box=(1.1, 2.3, 30.7, 40.9))
    write(tmp_path / "out", [field(images, *shown)], CLASSES)
    one, two, box = read(tmp_path / "out", images, CLASS_OF).fields[0].cells
    assert box.box == pytest.approx(shown[2].box, rel=0, abs=1e-12)
    for cell, was in zip((one, two), shown, strict=False):
        for points, expected in zip(cell.polygons, was.polygons, strict=True):
            np.testing.assert_array_equal(np.sort(points, axis=0), np.sort(expected, axis=0))
        np.testing.assert_array_equal(cell.mask(HEIGHT, WIDTH), was.mask(HEIGHT, WIDTH))


@of_both
def test_files_of_the_same_cells_are_the_same(images, tmp_path, name, write):
    for out in ("one", "two"):
        write(tmp_path / out, [field(images, Cell(1, (TRIANGLE,)))], CLASSES)
    one, two = (sorted((tmp_path / out).iterdir()) for out in ("one", "two"))
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in two]


@of_both
def test_what_the_format_cannot_hold_is_told(images, tmp_path, name, write):
    crossing = (TRIANGLE, TRIANGLE + 2)
    told = write(tmp_path / "out", [field(images, Cell(1, crossing), group="p7")], CLASSES)
    assert told == [
        "1 cell(s) whose parts overlap or cross were written as the area that they cover",
        "the groups of 1 field(s), such as their patients, are left out",
    ]
    assert write(tmp_path / "again", [field(images, Cell(1, (TRIANGLE,)))], CLASSES) == []


@of_both
def test_a_folder_is_written_whole_or_not_at_all(images, tmp_path, name, write):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"every field needs a name of its own"):
        write(out, [field(images), field(images)], CLASSES)
    outside = SmearField("../a.png", HEIGHT, WIDTH, (), pixels=np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    with pytest.raises(ValueError, match=r"'\.\./a\.png.*' leads out of the folder"):
        write(out, [field(images), outside], CLASSES)
    assert list(tmp_path.iterdir()) == []
    out.mkdir()
    write(out, [], CLASSES)
    (out / "mine.txt").write_text("a")
    with pytest.raises(OSError, match="out"):
        write(out, [field(images)], CLASSES)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine.txt"]


def test_a_class_name_that_no_roi_can_hold_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"class '🩸': a ROI cannot have this name"):
        write_rois(tmp_path / "out", [], ["🩸"])


def test_an_entry_of_a_zip_file_never_names_a_folder(images, tmp_path):
    write_rois(tmp_path / "out", [field(images, Cell(1, (TRIANGLE,)))], ["../a\\b"])
    with zipfile.ZipFile(io.BytesIO((tmp_path / "out/a.png.zip").read_bytes())) as packed:
        assert packed.namelist() == ["_._a_b-1.roi"]
    assert read(tmp_path / "out", images).classes == ("../a\\b",)
