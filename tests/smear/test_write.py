"""The writers: what they write is read again the same, by us and as VIA and COCO's own API do; masks as polygons."""

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from wbcjax.smear.field import Cell, SmearField, text_rle
from wbcjax.smear.formats.coco import write as write_coco
from wbcjax.smear.formats.outline import MIN_IOU, SPECKS, TOLERANCE, outline_mask
from wbcjax.smear.formats.via import write_via
from wbcjax.smear.formats.write_checks import Predicted
from wbcjax.smear.read import read
from wbcjax.smear.whole_set import suspects_of_set

REAL = (Path(__file__).parents[2] / "../shared/data/segpc2021_train").resolve()
HEIGHT, WIDTH = 60, 80
CLASSES = ("L1", 'L2 "late"', "L3é")
CLASS_OF = {name: label for label, name in enumerate(CLASSES, start=1)}
TRIANGLE = np.array([[5.25, 4], [15.5, 4.125], [9, 12]])
NAMES = ("a.png", "p1/b.png", "c d.png")

masks = arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 1))


def rle(mask):
    return text_rle(coco_mask.encode(np.asfortranarray(mask)))


def drawn(polygons, height=HEIGHT, width=WIDTH):
    return Cell(1, tuple(polygons)).mask(height, width)


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def disc(radius, hole=0.0, x=40, y=30):
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    distance = np.hypot(columns + 0.5 - x, rows + 0.5 - y)
    return ((distance < radius) & (distance >= hole)).astype(np.uint8)


@st.composite
def stars(draw):
    """A polygon around a point in the image that does not cross itself and covers some pixels."""
    count = draw(st.integers(3, 12))
    radii = np.array(draw(st.lists(st.floats(4, 9), min_size=count, max_size=count)))
    angles = np.arange(count) * 2 * np.pi / count + draw(st.floats(0, 1))
    centre = draw(st.floats(9, WIDTH - 9)), draw(st.floats(9, HEIGHT - 9))
    return np.array(centre) + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


@st.composite
def cells(draw):
    """What a Cell takes; built in the test, as the run-time check of its types draws random numbers of its own."""
    label, crowd = draw(st.integers(1, len(CLASSES))), draw(st.booleans())
    kind = draw(st.sampled_from(["polygons", "mask", "box"]))
    if kind == "polygons":
        polygons = tuple(draw(st.lists(stars(), min_size=1, max_size=3)))
        return {"label": label, "polygons": polygons, "crowd": crowd}
    if kind == "mask":
        mask, patch = np.zeros((HEIGHT, WIDTH), np.uint8), draw(masks)
        top, left = draw(st.integers(0, HEIGHT - patch.shape[0])), draw(st.integers(0, WIDTH - patch.shape[1]))
        mask[top : top + patch.shape[0], left : left + patch.shape[1]] = patch
        mask[top, left] = 1  # an empty mask is refused
        return {"label": label, "rle": rle(mask), "crowd": crowd}
    x, y = draw(st.floats(0, WIDTH - 12)), draw(st.floats(0, HEIGHT - 12))
    box = (x, y, x + draw(st.floats(2, 12)), y + draw(st.floats(2, 12)))
    return {"label": label, "box": box, "crowd": crowd}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    (folder / "p1").mkdir()
    for name in NAMES:
        cv2.imwrite(str(folder / name), np.full((HEIGHT, WIDTH, 3), 200, np.uint8))
    return folder


def field(images, *cells, name="a.png", group=None):
    return SmearField(name, HEIGHT, WIDTH, cells, images / name, group=group)


def assert_same(found, written):
    assert [(f.name, f.height, f.width, f.path, f.group) for f in found] == [
        (f.name, f.height, f.width, f.path, f.group) for f in written
    ]
    for again, field in zip(found, written, strict=True):
        assert [(c.label, c.crowd, c.outlined) for c in again.cells] == [
            (c.label, c.crowd, c.outlined) for c in field.cells
        ]
        for cell, original in zip(again.cells, field.cells, strict=True):
            np.testing.assert_array_equal(cell.mask(HEIGHT, WIDTH), original.mask(HEIGHT, WIDTH))
            for points, expected in zip(cell.polygons, original.polygons, strict=bool(original.polygons)):
                np.testing.assert_allclose(points, expected, rtol=0, atol=1e-9)
            if original.box is not None:
                assert cell.box == pytest.approx(original.box, rel=0, abs=1e-9)


@settings(max_examples=60)
@given(
    listed=st.lists(st.lists(cells(), max_size=4), min_size=1, max_size=len(NAMES)),
    grouped=st.booleans(),
    data=st.data(),
)
def test_what_is_written_is_read_again_the_same(images, tmp_path_factory, listed, grouped, data):
    written = [
        field(images, *[Cell(**cell) for cell in of_field], name=name, group=f"patient {name}" if grouped else None)
        for name, of_field in zip(NAMES, listed, strict=False)
    ]
    scores = data.draw(st.none() | st.just([[0.5] * len(f.cells) for f in written]))
    folder = tmp_path_factory.getbasetemp()
    group_attribute = "group" if grouped else None

    write_via(folder / "via.json", written, CLASSES, predicted=Predicted(scores), tolerance=0)
    found = read(folder / "via.json", images, CLASS_OF, file_format="via", group_attribute=group_attribute)
    assert_same(found.fields, written)
    assert found.suspects == list(suspects_of_set("via.json", written))  # and of no single region

    write_coco(folder / "coco.json", written, CLASSES, Predicted(scores))
    found = read(folder / "coco.json", images, CLASS_OF, file_format="coco", group_attribute=group_attribute)
    assert_same(found.fields, written)
    masks = [[cell.rle for cell in f.cells] for f in found.fields]
    assert masks == [[cell.rle for cell in f.cells] for f in written]


def via_of(path):
    return json.loads(path.read_text())


def test_a_mask_becomes_one_close_via_region(images, tmp_path):
    """A mask written to via is close as drawn and one region for one cell."""
    written = field(images, Cell(1, rle=rle(disc(15))), Cell(2, rle=rle(disc(6, x=12, y=12) | disc(5, x=70))))
    write_via(tmp_path / "via.json", [written], CLASSES)
    (found,) = read(tmp_path / "via.json", images, CLASS_OF).fields
    assert [len(cell.polygons) for cell in found.cells] == [1, 2]
    for cell, original in zip(found.cells, written.cells, strict=True):
        assert iou(cell.mask(HEIGHT, WIDTH), original.mask(HEIGHT, WIDTH)) >= MIN_IOU - SPECKS
    assert len(found.cells[0].polygons[0]) < 40  # of 120 corners of its pixels


def test_a_via_project_has_what_via_looks_for_when_it_opens_one(images, tmp_path):
    """What `project_open_parse_json_file` and `project_import_settings` of VIA's via.js read, and in what order."""
    fields = [field(images, Cell(1, (TRIANGLE,))), field(images, name="p1/b.png")]
    write_via(tmp_path / "first look.json", fields, CLASSES, "type")
    project = via_of(tmp_path / "first look.json")
    assert all(project[key] for key in ("_via_settings", "_via_img_metadata", "_via_attributes"))
    assert project["_via_data_format_version"] == "2.0.10"
    sizes = [(images / f.name).stat().st_size for f in fields]
    assert project["_via_image_id_list"] == [f"a.png{sizes[0]}", f"p1/b.png{sizes[1]}"]
    for key, f, size in zip(project["_via_image_id_list"], fields, sizes, strict=True):
        entry = project["_via_img_metadata"][key]
        assert (entry["filename"], entry["size"], entry["file_attributes"]) == (f.name, size, {})
        assert isinstance(entry["regions"], list)
    # VIA copies settings into its own down to the third level, where the groups must be ones that it has.
    settings = project["_via_settings"]
    assert set(settings) == {"ui", "core", "project"}
    assert set(settings["ui"]) == {"image"}
    assert settings["project"]["name"] == "first look"
    assert settings["core"]["default_filepath"] == images.as_uri() + "/"
    # It opens the attribute panel on the first one, and draws a list of its options.
    name, attribute = next(iter(project["_via_attributes"]["region"].items()))
    assert name == settings["ui"]["image"]["region_label"] == settings["ui"]["image"]["region_color"] == "type"
    assert (attribute["type"], list(attribute["options"])) == ("dropdown", list(CLASSES))
    # A default value would put each region that a person draws into one cell, or make it a crowd.
    assert all("default_value" not in text for text in project["_via_attributes"]["region"].values())


def test_via_regions_say_their_cell_class_crowd_and_score(images, tmp_path):
    shifted = TRIANGLE + 20
    cells = (Cell(1, (TRIANGLE,)), Cell(2, (TRIANGLE, shifted), crowd=True), Cell(3, box=(1, 2.5, 30, 40)))
    write_via(tmp_path / "via.json", [field(images, *cells)], CLASSES, predicted=Predicted([[0.98765, 1, 0.5]]))
    (entry,) = via_of(tmp_path / "via.json")["_via_img_metadata"].values()
    shapes = [region["shape_attributes"] for region in entry["regions"]]
    assert [region["region_attributes"] for region in entry["regions"]] == [
        {"cell": "L1", "score": "0.9877"},
        {"cell": CLASSES[1], "cell_id": "2", "iscrowd": "1", "score": "1.0000"},
        {"cell": CLASSES[1], "cell_id": "2", "iscrowd": "1", "score": "1.0000"},
        {"cell": CLASSES[2], "score": "0.5000"},
    ]
    assert shapes[2] == {
        "name": "polygon",
        "all_points_x": shifted[:, 0].tolist(),
        "all_points_y": shifted[:, 1].tolist(),
    }
    assert shapes[3] == {"name": "rect", "x": 1, "y": 2.5, "width": 29, "height": 37.5}


def test_via_gets_no_size_for_images_without_files(tmp_path):
    """VIA gets no size and no folder for images that are no files."""
    blank = SmearField("a.png", 6, 8, (), pixels=np.zeros((6, 8, 3), np.uint8))
    write_via(tmp_path / "via.json", [blank], CLASSES)
    project = via_of(tmp_path / "via.json")
    assert project["_via_image_id_list"] == ["a.png-1"]
    assert project["_via_settings"]["core"]["default_filepath"] == ""


def test_cocos_own_api_reads_the_masks_areas_and_boxes(images, tmp_path, capsys):
    cells = (Cell(1, (TRIANGLE, TRIANGLE + 20)), Cell(2, rle=rle(disc(9))), Cell(1, box=(1.5, 2, 30, 40.25)))
    fields = [field(images, name="p1/b.png"), field(images, *cells, group="p7")]
    write_coco(tmp_path / "coco.json", fields, CLASSES, Predicted([[], [0.5, 0.25, 1]]))
    coco: Any = COCO(tmp_path / "coco.json")
    capsys.readouterr()
    assert {category["id"]: category["name"] for category in coco.dataset["categories"]} == dict(enumerate(CLASSES, 1))
    assert coco.imgs[1] == {"id": 1, "file_name": "p1/b.png", "height": HEIGHT, "width": WIDTH}
    assert coco.imgs[2]["group"] == "p7"
    found = [coco.anns[number] for number in (1, 2, 3)]
    assert [(a["image_id"], a["category_id"], a["iscrowd"], a["score"]) for a in found] == [
        (2, 1, 0, 0.5),
        (2, 2, 0, 0.25),
        (2, 1, 0, 1),
    ]
    for annotation, cell in zip(found[:2], cells, strict=False):
        mask = coco.annToMask(annotation)
        rows, columns = np.nonzero(mask)
        np.testing.assert_array_equal(mask, cell.mask(HEIGHT, WIDTH))
        assert annotation["area"] == mask.sum()
        left, top = columns.min(), rows.min()
        assert annotation["bbox"] == [left, top, columns.max() + 1 - left, rows.max() + 1 - top]
    assert (found[2]["segmentation"], found[2]["bbox"], found[2]["area"]) == ([], [1.5, 2, 28.5, 38.25], 28.5 * 38.25)


def test_a_set_without_fields_is_written(tmp_path, images):
    write_via(tmp_path / "via.json", [], CLASSES)
    write_coco(tmp_path / "coco.json", [], CLASSES)
    assert via_of(tmp_path / "via.json")["_via_img_metadata"] == {}
    assert json.loads((tmp_path / "coco.json").read_text())["images"] == []


NAN = float("nan")
FAULTS = {
    "scores for too few fields": ({"scores": [[1.0]]}, "2 fields need 2 lists of scores, found 1"),
    "a score too few": ({"scores": [[1.0], []]}, "p1/b.png: 1 cells need a score each, found 0 scores"),
    "a score that is no number": ({"scores": [[NAN], [1.0]]}, "a.png: a score is not finite, found [nan]"),
    "too few classes": ({"classes": ["L1"]}, "p1/b.png, cell 1: its class is 2, and there are names for 1 to 1"),
    "a class twice": ({"classes": ["L1", "L1"]}, "class 2 is named 'L1'; every class needs a name of its own"),
    "a class without a name": ({"classes": ["L1", ""]}, "class 2 is named ''; every class"),
    "class 0": ({"cell": {"label": 0}}, "p1/b.png, cell 1: its class is 0, and there are names for 1 to 3"),
    "a field twice": ({"name": "a.png"}, "field 2 is named 'a.png'; every field needs a name of its own"),
    "NaN": ({"cell": {"polygons": (TRIANGLE * NAN,)}}, "p1/b.png, cell 1: a coordinate is not finite"),
    "an endless box": (
        {"cell": {"polygons": (), "box": (1.0, 2.0, float("inf"), 4.0)}},
        "p1/b.png, cell 1: a coordinate is not finite",
    ),
    "an empty mask": (
        {"cell": {"polygons": (), "rle": rle(np.zeros((HEIGHT, WIDTH), np.uint8))}},
        "p1/b.png, cell 1: it covers no pixel; leave it out",
    ),
    "a mask of another size": (
        {"cell": {"polygons": (), "rle": rle(np.ones((6, 8), np.uint8))}},
        "p1/b.png, cell 1: its mask is for an image of [6, 8], the field is [60, 80]",
    ),
}


@pytest.mark.parametrize(("change", "expected"), FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("write", [write_via, write_coco])
def test_what_does_not_fit_is_refused_by_field_and_nothing_is_written(images, tmp_path, write, change, expected):
    cell = Cell(**{"label": 2, "polygons": (TRIANGLE,)} | change.get("cell", {}))
    fields = [field(images, Cell(1, (TRIANGLE,))), field(images, cell, name=change.get("name", "p1/b.png"))]
    predicted = Predicted(change["scores"]) if "scores" in change else None
    with pytest.raises(ValueError, match="^" + re.escape(expected)):
        write(tmp_path / "new.json", fields, change.get("classes", CLASSES), predicted=predicted)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "cell_id", "iscrowd", "score", "group", "cell__type"])
def test_a_class_attribute_that_means_something_else_is_refused(images, tmp_path, name):
    with pytest.raises(ValueError, match=f"the class attribute cannot be '{name}'"):
        write_via(tmp_path / "via.json", [field(images)], CLASSES, name)


def test_two_images_that_via_would_take_for_one_are_refused(tmp_path):
    (tmp_path / "cell").write_bytes(b"x" * 11)
    (tmp_path / "cell1").write_bytes(b"x")
    fields = [SmearField(name, 6, 8, (), tmp_path / name) for name in ("cell", "cell1")]
    with pytest.raises(ValueError, match="cell1: VIA takes it for another image"):
        write_via(tmp_path / "via.json", fields, CLASSES)


def test_a_failed_write_leaves_the_file_that_was_there(images, tmp_path):
    (tmp_path / "via.json").write_text("corrected by hand")
    gone = SmearField("gone.png", HEIGHT, WIDTH, (), images / "gone.png")
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        write_via(tmp_path / "via.json", [gone], CLASSES)
    assert (tmp_path / "via.json").read_text() == "corrected by hand"


@settings(max_examples=300)
@given(mask=masks)
def test_a_mask_outlined_along_its_pixels_is_drawn_pixel_for_pixel(mask):
    outlines = outline_mask(mask, tolerance=0)
    polygons = [shapely.Polygon(points) for points in outlines]
    assert all(polygon.is_valid for polygon in polygons)  # none crosses or touches itself
    # By the centres of pixels, and as pycocotools draws it.
    rows, columns = np.indices(mask.shape) + 0.5
    inside = shapely.contains_xy(shapely.union_all(polygons), columns, rows)
    np.testing.assert_array_equal(inside, mask)
    if outlines:
        np.testing.assert_array_equal(drawn(outlines, *mask.shape), mask)
        assert all((points == points.round()).all() for points in outlines)


@settings(max_examples=300)
@given(mask=masks)
def test_a_simplified_outline_of_any_mask_keeps_the_iou_that_is_promised(mask):
    outlines = outline_mask(mask)
    assert all(shapely.Polygon(points).is_valid for points in outlines)
    assert bool(outlines) == mask.any()
    if outlines:
        assert iou(drawn(outlines, *mask.shape), mask) >= MIN_IOU - SPECKS
        height, width = mask.shape
        points = np.concatenate(outlines)
        assert (points >= 0).all()
        assert (points <= (width, height)).all()


@given(polygon=stars(), tolerance=st.sampled_from([0.25, TOLERANCE, 1.0]))
def test_a_simplified_outline_strays_no_farther_than_allowed(polygon, tolerance):
    mask = drawn([polygon])
    exact, simple = outline_mask(mask, 0), outline_mask(mask, tolerance)
    lines = [shapely.MultiLineString([shapely.LinearRing(points) for points in line]) for line in (exact, simple)]
    # A line through the middles of the sides passes the pixel's corner at a quarter of its diagonal.
    assert lines[0].hausdorff_distance(lines[1]) <= 2 * tolerance + np.sqrt(2) / 4 + 1e-9


@pytest.mark.parametrize("radius", [8, 12, 20, 29])
def test_few_points_outline_a_cell_at_iou_97(radius):
    """A cell of 200 pixels or more is outlined by few points at an iou above 97 hundredths."""
    mask = disc(radius)
    assert mask.sum() >= 200
    (outline,) = outline_mask(mask)
    assert iou(drawn([outline]), mask) > 0.97
    assert len(outline) <= 2 * np.pi * radius / 3  # a point for every 3 pixels of its way


def test_a_hole_is_cut_through_or_when_small_filled():
    ring, pierced = disc(15, hole=8), disc(15, hole=1.5)
    assert len(outline_mask(ring)) == 2
    assert iou(drawn(outline_mask(ring)), ring) >= MIN_IOU - SPECKS
    assert len(outline_mask(pierced)) == 1
    assert drawn(outline_mask(pierced))[30, 40] == 1
    for mask in (ring, pierced):
        outlines = outline_mask(mask, 0)
        assert len(outlines) == 2
        np.testing.assert_array_equal(drawn(outlines), mask)


@pytest.mark.parametrize("tolerance", [0, TOLERANCE])
def test_masks_at_their_limits_are_outlined(tolerance):
    assert outline_mask(np.zeros((4, 5), np.uint8), tolerance) == []
    full, dot = np.ones((40, 50), np.uint8), np.zeros((4, 5), np.uint8)
    dot[2, 3] = 1
    assert iou(drawn(outline_mask(full, tolerance), 40, 50), full) >= MIN_IOU - SPECKS
    np.testing.assert_array_equal(drawn(outline_mask(dot, tolerance), 4, 5), dot)


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the SegPC-2021 fields are not on this machine")
@pytest.mark.parametrize("write", [write_via, write_coco])
def test_real_fields_are_read_again_the_same(tmp_path, write):
    data = json.loads((REAL / "via.json").read_text())
    (tmp_path / "some.json").write_text(json.dumps(dict(list(data.items())[::15])))
    fields = read(tmp_path / "some.json", REAL / "images", {"myeloma": 1}).fields
    assert sum(len(field.cells) for field in fields) > 80
    write(tmp_path / "again.json", fields, ["myeloma"])
    found = read(tmp_path / "again.json", REAL / "images", {"myeloma": 1}).fields
    assert [field.name for field in found] == [field.name for field in fields]
    for again, field in zip(found, fields, strict=True):
        for cell, original in zip(again.cells, field.cells, strict=True):
            for points, expected in zip(cell.polygons, original.polygons, strict=True):
                np.testing.assert_array_equal(points, expected)
