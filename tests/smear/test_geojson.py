"""QuPath's GeoJSON as it is read: every kind of file, geometry, object and class, and what is wrong with them."""

import gzip
import json
import zipfile

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from tests.smear.make import HEIGHT, WIDTH, image_folder, problems
from tests.smear.qupath_files import HOLE, OF_0_5, SQUARE, collection, feature, polygon, put
from wbcjax.smear.read import read, recognise


def drawn(*rings):
    """The pixels of polygons as pycocotools draws them."""
    flat = [np.ravel(ring[:-1]).tolist() for ring in rings]
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(flat, HEIGHT, WIDTH)))


@pytest.fixture
def images(tmp_path):
    return image_folder(tmp_path / "images", "a.png")


@pytest.fixture
def cell_of(tmp_path, images):
    """The only cell of a file of one Feature."""

    def of(one):
        (field,) = read(put(tmp_path / "a.geojson", one), images, {"L1": 1}, file_format="geojson").fields
        (cell,) = field.cells
        return cell

    return of


def test_a_file_of_qupath_0_5_is_read_by_value(tmp_path, images):
    """Cells, holes, parts, an ellipse, derived classes; the annotation that cells were detected in is none."""
    (tmp_path / "a.geojson").write_text(OF_0_5)
    found = read(tmp_path / "a.geojson", images)
    assert found.classes == ("Tumor: Positive", "L1")
    positive, parts, ellipse = found.fields[0].cells
    assert [cell.label for cell in found.fields[0].cells] == [1, 2, 2]
    np.testing.assert_array_equal(positive.polygons[0], SQUARE[:-1])
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[4:10, 20:26] = 1
    expected[6:8, 22:24] = 0
    expected[20:24, 30:34] = 1
    np.testing.assert_array_equal(parts.mask(HEIGHT, WIDTH), expected)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    np.testing.assert_array_equal(ellipse.mask(HEIGHT, WIDTH), ((x - 28) / 2) ** 2 + ((y - 10) / 2) ** 2 < 1)
    told = {suspect.found for suspect in found.suspects}
    assert told == {
        "an annotation without a class, beside cells that QuPath detected, is left out",
        "the outline of a cell's nucleus is not read",
    }


@pytest.mark.parametrize("name", ["a.geojson", "a.png.geojson", "a.json", "a.png.json"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_file_is_for_the_image_it_is_named_after(tmp_path, images, name, whole):
    folder = tmp_path / "annotations"
    put(folder / name, collection(feature()))
    found = read(folder if whole else folder / name, images)
    assert [(field.name, len(field.cells)) for field in found.fields] == [("a.png", 1)]
    assert not found.suspects


def test_a_collection_a_list_a_feature_and_a_geometry_alike(tmp_path, images):
    """QuPath's menu writes a collection, its scripts a list or one Feature, or the ROIs alone."""
    for document in (collection(feature()), [feature()], feature()):
        found = read(put(tmp_path / "a.geojson", document), images)
        assert (found.classes, found.fields[0].cells[0].polygons[0].tolist()) == (("L1",), SQUARE[:-1])
    for document in (polygon(), [polygon()]):
        found = read(put(tmp_path / "a.geojson", document), images)
        assert (found.classes, len(found.fields[0].cells)) == (("cell",), 1)


def test_gzipped_and_zipped_files_are_read(tmp_path, images):
    """QuPath's export packs a file on request; scripts gzip it."""
    text = json.dumps(collection(feature())).encode()
    for suffix in (".geojson.gz", ".json.gz"):
        (tmp_path / f"a{suffix}").write_bytes(gzip.compress(text))
        assert len(read(tmp_path / f"a{suffix}", images).fields[0].cells) == 1
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("a.geojson", text)
    assert recognise(tmp_path / "a.zip", images) == "geojson"
    assert len(read(tmp_path / "a.zip", images).fields[0].cells) == 1


def test_files_and_images_in_folders_keep_their_names(tmp_path):
    images = image_folder(tmp_path / "images", "a.png")
    for inner, suffix in (("p1", "png"), ("p2", "ome.tif")):
        (images / inner).mkdir()
        cv2.imwrite(str(images / inner / f"a.{suffix}"), np.full((HEIGHT, WIDTH, 3), 200, np.uint8))
        put(tmp_path / "annotations" / inner / "a.geojson", collection(feature()))
    put(tmp_path / "annotations/a.png.geojson", collection())
    found = read(tmp_path / "annotations", images).fields
    assert [(field.name, len(field.cells)) for field in found] == [("a.png", 0), ("p1/a.png", 1), ("p2/a.ome.tif", 1)]


def test_the_only_image_is_taken_for_the_only_file(tmp_path, images):
    found = read(put(tmp_path / "export.geojson", collection(feature())), images)
    assert found.fields[0].name == "a.png"
    assert [s.found for s in found.suspects] == ["it is not named after an image, and the only one, 'a.png', is taken"]
    put(tmp_path / "folder/export.geojson", collection(feature()))
    assert read(tmp_path / "folder", images).fields[0].name == "a.png"
    put(tmp_path / "folder/other.geojson", collection(feature()))
    lines = problems(tmp_path / "folder", images)
    assert lines == [
        f"{name}.geojson: there is no image {name}.* in the image folder; add the image or delete its annotations"
        for name in ("export", "other")
    ]


CLASSES = {
    "named": ({"name": "L1", "color": [1, 2, 3]}, "L1"),
    "without a colour": ({"name": " L1 "}, "L1"),
    "a text": ("L1", "L1"),
    "derived": ({"names": ["L1", "Positive"], "color": [1, 2, 3]}, "L1: Positive"),
    "of 0.3": ({"name": "L1", "colorRGB": -16711165}, "L1"),
    "derived in 0.3": (
        {"parentClass": {"name": "L1", "colorRGB": -1}, "name": "Positive", "colorRGB": -1},
        "L1: Positive",
    ),
}


@pytest.mark.parametrize(("classification", "name"), CLASSES.values(), ids=CLASSES)
def test_a_class_is_named_as_qupath_shows_it(tmp_path, images, classification, name):
    document = collection(feature(name=None, classification=classification))
    assert read(put(tmp_path / "a.geojson", document), images).classes == (name,)


TYPES = [
    {"objectType": "annotation"},
    {"objectType": "detection", "measurements": [{"name": "Area", "value": 3}], "color": -65536},
    {"objectType": "cell"},
    {"object_type": "annotation"},
    {"objectType": "of another extension"},
    {},
]


@pytest.mark.parametrize("properties", TYPES)
def test_objects_of_every_version_are_cells(tmp_path, images, properties):
    one = feature(name="L1") | {"id": "PathAnnotationObject"}
    one["properties"] = {"classification": {"name": "L1"}} | properties
    found = read(put(tmp_path / "a.geojson", [one]), images)
    assert len(found.fields[0].cells) == 1
    assert not found.suspects


def test_tiles_and_cores_are_told_and_left_out(tmp_path, images):
    tile, core = feature(objectType="tile"), feature()
    core["properties"].pop("objectType")
    document = [feature(), tile, tile, core | {"id": "TMACoreObject"}]
    found = read(put(tmp_path / "a.geojson", document), images)
    assert len(found.fields[0].cells) == 1
    assert [(s.where, s.found) for s in found.suspects] == [
        ("2 places", "an object of type 'tile' is no cell, and left out (first a.png, object 2)"),
        ("object 4", "an object of type 'tmaCore' is no cell, and left out"),
    ]


def test_objects_within_others_are_read_to_any_depth(tmp_path, images):
    one = feature()
    for _ in range(200):
        one = feature(childObjects=[one])
    root = {"type": "Feature", "geometry": None, "properties": {"objectType": "root", "childObjects": [one]}}
    assert len(read(put(tmp_path / "a.geojson", [root]), images).fields[0].cells) == 201


def test_a_set_without_any_class_is_of_cells(tmp_path, images):
    document = collection(feature(name=None), feature(name=None, classification={}))
    found = read(put(tmp_path / "a.geojson", document), images)
    assert (found.classes, len(found.fields[0].cells)) == (("cell",), 2)
    assert found.suspects[0].found == "no object has a class: all 2 are of class 'cell'"


def test_an_object_without_a_class_beside_others_is_refused(tmp_path, images):
    lines = problems(put(tmp_path / "a.geojson", collection(feature(), feature(name=None))), images, None)
    assert lines == ["a.png, object 2: it has no class; give it a class in QuPath"]


def test_a_hole_is_no_part_of_its_cell(cell_of):
    """The area is that of pycocotools' outer ring without its hole, whichever way the rings run."""
    for hole in (HOLE, HOLE[::-1]):
        expected = drawn(SQUARE) & ~drawn(hole) & 1
        np.testing.assert_array_equal(cell_of(feature(polygon(SQUARE, hole))).mask(HEIGHT, WIDTH), expected)


def test_an_island_in_a_hole_is_a_part(cell_of):
    island = [[9, 7], [11, 7], [11, 8], [9, 8], [9, 7]]
    found = cell_of(feature({"type": "MultiPolygon", "coordinates": [[SQUARE, HOLE], [island]]}))
    np.testing.assert_array_equal(found.mask(HEIGHT, WIDTH), (drawn(SQUARE) & ~drawn(HOLE) & 1) | drawn(island))


def test_open_rings_heights_and_slips_of_the_mouse_are_read(cell_of):
    """A ring that is open, points with a height, and a part or a hole without area."""
    slip = [[20, 20], [22, 20], [20, 20]]
    assert cell_of(feature(polygon(SQUARE[:-1]))).polygons[0].tolist() == SQUARE[:-1]
    assert cell_of(feature(polygon([[*point, 0] for point in SQUARE]))).polygons[0].tolist() == SQUARE[:-1]
    assert len(cell_of(feature({"type": "MultiPolygon", "coordinates": [[SQUARE], [slip]]})).polygons) == 1
    assert len(cell_of(feature(polygon(SQUARE, slip))).polygons) == 1
    assert len(cell_of(feature({"type": "GeometryCollection", "geometries": [polygon(), polygon(HOLE)]})).polygons) == 2


def test_a_part_that_is_dropped_is_told(tmp_path, images):
    geometry = {"type": "MultiPolygon", "coordinates": [[SQUARE], [[[20, 20], [22, 20], [20, 20]]]]}
    found = read(put(tmp_path / "a.geojson", feature(geometry)), images)
    assert [(s.file, s.where) for s in found.suspects if "fewer than 3 points" in s.found] == [("a.png", "object 1")]


def test_points_are_counted_and_no_cells(tmp_path, images):
    """QuPath's counting tool makes MultiPoints, one for a class."""
    counted = {"type": "MultiPoint", "coordinates": [[5, 6], [7.5, 8]]}
    document = collection(feature(), feature(counted, "L2"), feature({"type": "Point", "coordinates": [1, 2]}))
    (field,) = read(put(tmp_path / "a.geojson", document), images).fields
    assert (len(field.cells), field.points.tolist()) == (1, [[5, 6], [7.5, 8], [1, 2]])
    assert list(field.point_labels) == [2, 2, 1]


def test_an_outline_on_the_border_is_moved_to_it(cell_of):
    found = cell_of(feature(polygon([[-0.5, 4], [WIDTH + 0.9, 4], [15, 12], [-0.5, 4]])))
    assert found.polygons[0].tolist() == [[0, 4], [WIDTH, 4], [15, 12]]


GEOMETRIES = {
    "a point outside": ({"type": "Point", "coordinates": [5, 50]}, "the point (5, 50) lies outside the 40 x 30 image"),
    "no point": ({"type": "MultiPoint", "coordinates": [5, 5]}, "found 5 where a point [x, y] belongs"),
    "a line": ({"type": "LineString", "coordinates": SQUARE}, "it is a 'LineString', which encloses nothing"),
    "outside": (polygon([[5, 5], [90, 5], [9, 9]]), "1 of 3 points lie outside the 40 x 30 image, farthest (90, 5)"),
    "no area": (polygon([[5, 5], [9, 9], [5, 5]]), "points"),
    "no rings": (polygon() | {"coordinates": []}, "found [] where the rings of a polygon belong"),
    "no polygons": ({"type": "MultiPolygon", "coordinates": []}, "it has no polygon"),
    "a text": (polygon([["5", 5], [9, 9], [5, 9]]), "the coordinate '5' is not a number"),
    "a number": (polygon([5, 9]), "found 5 where a point [x, y] belongs"),
    "not finite": (polygon([[5, float("nan")], [9, 9], [5, 9]]), "not finite"),
    "all hole": (polygon(SQUARE, SQUARE), "its holes leave no pixel of it"),
    "another plane": (polygon() | {"plane": {"c": -1, "z": 3, "t": 0}}, "it lies on another plane of a stack"),
    "no size": ({"type": "Polygon", "coordinates": [SQUARE], "isEllipse": True} | polygon([[5, 5]] * 3), "zero area"),
    "none": ({}, "it is a None, which encloses nothing"),
}


@pytest.mark.parametrize(("geometry", "expected"), GEOMETRIES.values(), ids=GEOMETRIES)
def test_a_geometry_that_cannot_be_used_is_named(tmp_path, images, geometry, expected):
    (line,) = problems(put(tmp_path / "a.geojson", collection(feature(), feature(geometry))), images)
    assert line.startswith("a.png, object 2: ")
    assert expected in line


DOCUMENTS = {
    "another JSON": ({"a": 1}, "it is no GeoJSON: found {'a': 1}"),
    "no features": ({"type": "FeatureCollection"}, '"features" is missing'),
    "a number among them": (collection(3), "object 1: found 3 where a Feature belongs"),
    "an odd class": (collection(feature(name=None, classification=3)), '"classification" is 3'),
    "an odd name": (collection(feature(name=None, classification={"name": 3})), '"classification" is'),
}


@pytest.mark.parametrize(("document", "expected"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_document_that_cannot_be_used_is_named(tmp_path, images, document, expected):
    (line,) = problems(put(tmp_path / "a.geojson", document), images, file_format="geojson")
    assert expected in line


def test_broken_and_huge_packed_files_are_refused(tmp_path, images, monkeypatch):
    (tmp_path / "a.geojson").write_text("{")
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b"{}")[:-9])
    (tmp_path / "a.zip").write_bytes(b"PK\3\4")
    for name, expected in (("a.geojson", "broken JSON"), ("a.json.gz", "broken gzip"), ("a.zip", "broken ZIP")):
        assert expected in problems(tmp_path / name, images)[0]
    monkeypatch.setattr("wbcjax.smear.formats.qupath_objects.MAX_BYTES", 1000)
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b" " * 2000))
    assert "it unpacks to more than 1000 bytes" in problems(tmp_path / "a.json.gz", images)[0]


def test_hidden_files_and_folders_are_passed_over(tmp_path, images):
    folder = tmp_path / "annotations"
    for name in ("._a.geojson", ".trash/a.geojson", "a.geojson"):
        put(folder / name, collection(feature()))
    assert [field.name for field in read(folder, images).fields] == ["a.png"]
    (folder / "a.geojson").unlink()
    assert "the folder holds no annotations" in problems(folder, images)[0]


def test_two_files_for_one_image_are_used_for_none(tmp_path, images):
    for name in ("a.geojson", "a.png.geojson"):
        put(tmp_path / "annotations" / name, collection(feature()))
    (line,) = problems(tmp_path / "annotations", images)
    assert "the image is listed twice, by a.geojson and a.png.geojson" in line


def test_an_image_without_a_file_is_suspect(tmp_path):
    images = image_folder(tmp_path / "images", "a.png", "b.png")
    put(tmp_path / "annotations/a.geojson", collection(feature()))
    (suspect,) = read(tmp_path / "annotations", images).suspects
    assert (suspect.file, suspect.found) == ("b.png", "it has no annotations, and is left out")
