"""The VIA reader: files of every version read alike, what each shape and attribute means, every fault by its place."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from tests.smear import make
from tests.smear.make import CLASS_OF, HEIGHT, SQUARE, WIDTH, entry, region
from wbcjax.smear.read import read as read_set

REAL = (Path(__file__).parents[2] / "../shared/data/segpc2021_train").resolve()


@pytest.fixture
def folder(tmp_path):
    """A folder of three images, a.png, b.png and c.png."""
    make.image_folder(tmp_path / "images", "a.png", "b.png", "c.png")
    return tmp_path


def export(*entries):
    """A JSON export of VIA 2.x."""
    return json.dumps({e["filename"] + str(i): e for i, e in enumerate(entries)})


def write(folder, *entries, text=None, name="via.json"):
    path = folder / name
    path.write_text(export(*entries) if text is None else text, encoding="utf-8")
    return path


def read(folder, *entries, text=None, name="via.json", class_of=CLASS_OF, **options):
    return read_set(write(folder, *entries, text=text, name=name), folder / "images", class_of, **options).fields


def problems(folder, *entries, text=None, name="via.json", **options):
    return make.problems(write(folder, *entries, text=text, name=name), folder / "images", **options)


def test_fields_and_regions_keep_their_order_outlines_and_classes(folder):
    other = ([20, 30.5, 25], [10, 11, 20.25])
    fields = read(folder, entry("b.png", region(), region(*other, cell="L2")), entry("a.png", region(cell="L2")))
    assert [(f.name, f.height, f.width, f.path) for f in fields] == [
        ("b.png", HEIGHT, WIDTH, folder / "images/b.png"),
        ("a.png", HEIGHT, WIDTH, folder / "images/a.png"),
    ]
    assert [[cell.label for cell in field.cells] for field in fields] == [[1, 2], [2]]
    np.testing.assert_array_equal(fields[0].cells[1].polygons[0], np.transpose(other))
    assert not fields[0].cells[0].crowd
    assert fields[0].cells[0].mask(HEIGHT, WIDTH).sum() == 10 * 8
    assert (fields[0].image() == 200).all()


def test_an_image_in_a_subfolder_is_found(folder):
    (folder / "images/p1").mkdir()
    (folder / "images/a.png").rename(folder / "images/p1/a.png")
    assert read(folder, entry("p1/a.png"))[0].name == "p1/a.png"


def test_a_field_without_its_group_is_refused_lest_it_leaks_between_splits(folder):
    (line,) = problems(folder, entry("a.png", patient=""), group_attribute="patient")
    assert line.startswith("a.png: the file attribute 'patient' is missing or empty (there are: 'patient')")
    fields = read(folder, entry("a.png", patient=""), entry("b.png"), group_attribute="patient", on_error="skip")
    assert [(field.name, field.group) for field in fields] == [("b.png", "p1")]


@pytest.mark.parametrize("attributes", [None, 1.5, [], "group"])
def test_file_attributes_that_are_none_are_passed_over_without_a_group(folder, attributes):
    (field,) = read(folder, entry("a.png", region()) | {"file_attributes": attributes})
    assert (field.group, len(field.cells)) == (None, 1)


def test_an_image_file_of_other_bytes_is_suspect_and_read(folder):
    size = (folder / "images/a.png").stat().st_size
    annotations = write(
        folder, entry("a.png", region(), size=size + 7), entry("b.png", size=size), entry("c.png", size=-1)
    )
    fieldset = read_set(annotations, folder / "images", CLASS_OF)
    assert [field.name for field in fieldset.fields] == ["a.png", "b.png", "c.png"]
    (suspect,) = fieldset.suspects
    assert str(suspect).startswith(
        f"a.png: the image file has other bytes than the annotated one ({size}, not {size + 7}); check that it is"
    )


# ---------------------------------------------------------------------------------------------- shapes and attributes


def shaped(cell="L1", **shape):
    return {"shape_attributes": shape, "region_attributes": {"cell": cell}}


def test_a_polyline_is_closed(folder):
    (field,) = read(folder, entry("a.png", region(name="polyline")))
    assert field.cells[0].mask(HEIGHT, WIDTH).sum() == 10 * 8


def test_an_ellipse_is_turned_by_its_angle_in_radians(folder):
    level = shaped(name="ellipse", cx=20, cy=15, rx=12, ry=3)
    upright = shaped(name="ellipse", cx=20, cy=15, rx=12, ry=3, theta=math.pi / 2)
    (field,) = read(folder, entry("a.png", level, upright))
    (low, high), (left, right) = ((cell.polygons[0].min(0), cell.polygons[0].max(0)) for cell in field.cells)
    np.testing.assert_allclose([low, high], [[8, 12], [32, 18]], atol=0.02)
    np.testing.assert_allclose([left, right], [[17, 3], [23, 27]], atol=0.02)


def test_a_circle_over_the_border_is_cut_there(folder):
    (field,) = read(folder, entry("a.png", shaped(name="circle", cx=3, cy=15, r=8)))
    assert field.cells[0].polygons[0].min(axis=0) == pytest.approx([0, 7], abs=0.1)


def test_a_rectangle_drawn_backwards_is_the_same_box(folder):
    (field,) = read(folder, entry("a.png", shaped(name="rect", x=32, y=13, width=-12, height=-8)))
    assert field.cells[0].box == (20, 5, 32, 13)


@pytest.mark.parametrize("cell_id", ["7", 7])
def test_regions_of_one_cell_id_are_one_cell(folder, cell_id):
    """Regions of one cell id are one cell in the place of the first."""
    far = ([25, 35, 35, 25], SQUARE[1])
    regions = [region(cell_id="7"), region(cell="L2", cell_id="8"), region(cell=""), region(*far, cell_id=cell_id)]
    regions[2] = region(cell="L2", cell_id="")
    (field,) = read(folder, entry("a.png", *regions))
    assert [(cell.label, len(cell.polygons)) for cell in field.cells] == [(1, 2), (2, 1), (2, 1)]
    assert field.cells[0].mask(HEIGHT, WIDTH).sum() == 2 * 10 * 8


def test_a_cell_id_holds_within_its_field(folder):
    fields = read(folder, entry("a.png", region(cell_id="7")), entry("b.png", region(cell_id="7")))
    assert [len(field.cells) for field in fields] == [1, 1]


def test_a_faulty_part_leaves_out_its_whole_cell(folder):
    """A fault in one part of a cell names all its regions and leaves out the whole cell."""
    parts = region(cell_id="7"), region(), region([5, 60, 15], [4, 4, 12], cell_id="7")
    (line,) = problems(folder, entry("a.png", *parts))
    assert line.startswith("a.png, region 1 + region 3: 1 of 3 points lie outside")
    (field,) = read(folder, entry("a.png", *parts), on_error="skip")
    assert [len(cell.polygons) for cell in field.cells] == [1]


def test_a_cell_in_parts_that_is_left_out_counts_once(folder):
    parts = region(cell="debris", cell_id="7"), region(cell="debris", cell_id="7")
    fieldset = read_set(write(folder, entry("a.png", *parts)), folder / "images", CLASS_OF)
    assert fieldset.left_out == {"debris": 1}


@pytest.mark.parametrize(
    ("value", "crowd"), [("1", True), (1, True), ({"1": True}, True), ("0", False), ("", False), ({}, False)]
)
def test_regions_of_uncounted_cells_are_marked(folder, value, crowd):
    (field,) = read(folder, entry("a.png", region(iscrowd=value)))
    assert field.cells[0].crowd == crowd


def test_regions_mapped_to_nothing_are_left_out_unchecked_and_counted(folder):
    regions = region(cell="debris", name="point"), region(), region(cell="debris")
    fieldset = read_set(write(folder, entry("a.png", *regions)), folder / "images", CLASS_OF)
    assert [cell.label for cell in fieldset.fields[0].cells] == [1]
    assert fieldset.left_out == {"debris": 2}
    assert fieldset.omissions() == ["left out 2 cells of class 'debris', as the class map says"]


@pytest.mark.parametrize("excess", [0.25, 1.0])
def test_points_up_to_a_pixel_outside_are_moved_to_the_border(folder, excess):
    xs, ys = [-excess, WIDTH + excess, WIDTH + excess, -excess], [-excess, -excess, HEIGHT + excess, HEIGHT + excess]
    (field,) = read(folder, entry("a.png", region(xs, ys)))
    np.testing.assert_array_equal(field.cells[0].polygons[0], [[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]])
    assert field.cells[0].mask(HEIGHT, WIDTH).all()


# ------------------------------------------------------------------------------------------------------------ faults

BAD_REGIONS = {
    "x without y": (region([5, 15, 15, 5], [4, 4, 12]), "the polygon has 4 x but 3 y coordinates; redraw"),
    "too large a number": (region([5, 15, 10**400], [4, 4, 12]), "a coordinate is not finite"),
    "text": (region([5, "15", 15], [4, 4, 12]), "the coordinate '15' is not a number; redraw"),
    "null": (region([5, None, 15], [4, 4, 12]), "the coordinate None is not a number; redraw"),
    "several ticked": (
        region(cell={"L1": True, "L2": True}),
        "the region attribute 'cell' has 2 options ticked: ['L1', 'L2']; tick only one",
    ),
    "none ticked": (region(cell={"L1": False}), "the region attribute 'cell' is missing or empty (there are: 'cell')"),
    "number": (region(cell=3), "the region attribute 'cell' is 3; make it a text"),
    "point": (shaped(name="point", cx=5, cy=5), "its shape is 'point', which encloses nothing; outline it"),
    "line": (shaped(name="line"), "its shape is 'line', which encloses nothing; outline it as a polygon or delete it"),
    "circle without radius": (shaped(name="circle", cx=5, cy=5), '"r" is missing'),
    "circle of nothing": (shaped(name="circle", cx=5, cy=5, r=0), "the radius is 0: zero area; redraw"),
    "circle outside": (shaped(name="circle", cx=50, cy=5, r=3), "points lie outside the 40 x 30 image, farthest (53"),
    "circle of text": (shaped(name="circle", cx=5, cy=5, r="3"), "the coordinate '3' is not a number"),
    "rectangle outside": (
        shaped(name="rect", x=35, y=5, width=20, height=9),
        "2 of 4 points lie outside the 40 x 30 image",
    ),
    "rectangle of nothing": (
        shaped(name="rect", x=5, y=6, width=0, height=9),
        "the box from (5, 6) to (5, 15) has zero area; redraw",
    ),
    "crowd": (region(iscrowd="yes"), "the region attribute 'iscrowd' is 'yes'; make it 1, or 0 or empty"),
    "no name of a shape": (shaped(cx=5), '"name" is missing'),
    "no shape": ({"region_attributes": {"cell": "L1"}}, '"shape_attributes" is missing'),
    "no attributes": ({"shape_attributes": region()["shape_attributes"]}, '"region_attributes" is missing'),
}


@pytest.mark.parametrize(("bad", "expected"), BAD_REGIONS.values(), ids=BAD_REGIONS)
def test_a_bad_region_is_refused_by_file_and_number(folder, bad, expected):
    (line,) = problems(folder, entry("a.png", region()), entry("b.png", region(), bad, region()))
    assert line.startswith("b.png, region 2: ")
    assert expected in line


def test_the_regions_of_one_cell_must_be_of_one_class(folder):
    (line,) = problems(folder, entry("a.png", region(cell_id="7"), region(cell="L2", cell_id="7")))
    assert line.startswith("a.png, region 1 + region 2: the regions of one cell_id are of several classes ('L1', 'L2')")


def test_a_rectangle_is_no_part_of_a_cell_in_parts(folder):
    box = shaped(name="rect", x=20, y=5, width=12, height=8)
    box["region_attributes"]["cell_id"] = "7"
    (line,) = problems(folder, entry("a.png", region(cell_id="7"), box))
    assert line.startswith("a.png, region 1 + region 2: one of several regions of a cell_id is a rectangle; outline")


def test_a_hundred_problems_are_all_listed(folder):
    assert len(problems(folder, entry("a.png", *[region([5], [4])] * 100))) == 100


def test_a_key_given_twice_is_refused_before_json_drops_the_first(folder):
    text = f'{{"a.png1": {json.dumps(entry("a.png", region()))}, "a.png1": {json.dumps(entry("a.png"))}}}'
    (line,) = problems(folder, text=text)
    assert "the key 'a.png1' is given twice" in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[1, 2]", "it is JSON of no known format; export the annotations from their tool as COCO"),
        ('{"_via_img_metadata": 3}', "found 3 where VIA keeps"),
        ('{"attribute": {}, "file": [], "view": {}, "metadata": {}}', '"file" is []; it must be a dict'),
    ],
)
def test_a_file_that_is_no_via_export_is_refused(folder, text, expected):
    (line,) = problems(folder, text=text)
    assert line.startswith("via.json: ")
    assert expected in line


BAD_ENTRIES = {
    "no name": ({"regions": []}, '"filename" is missing'),
    "no regions": ({"filename": "b.png"}, '"regions" is missing'),
    "regions of text": ({"filename": "b.png", "regions": "none"}, "\"regions\" is 'none'; it must be a list or dict"),
    "no record": (None, "found None where a JSON object belongs"),
}


@pytest.mark.parametrize(("bad", "expected"), BAD_ENTRIES.values(), ids=BAD_ENTRIES)
def test_a_bad_entry_is_refused_by_its_key(folder, bad, expected):
    (line,) = problems(folder, text=json.dumps({"a.png1": entry("a.png"), "b.png2": bad}))
    assert line.startswith(f"b.png2: {expected}")


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the SegPC-2021 fields are not on this machine")
def test_the_real_set_reads_whole_its_outlines_unchanged():
    fieldset = read_set(REAL / "via.json", REAL / "images", {"myeloma": 1})
    fields = fieldset.fields
    assert (len(fields), sum(len(field.cells) for field in fields)) == (298, 1643)
    assert {(field.height, field.width) for field in fields} == {(384, 512)}
    assert not fieldset.suspects
    raw = {e["filename"]: e["regions"] for e in json.loads((REAL / "via.json").read_text()).values()}
    for field in fields:
        for cell, annotated in zip(field.cells, raw[field.name], strict=True):
            shape = annotated["shape_attributes"]
            expected = np.transpose([shape["all_points_x"], shape["all_points_y"]])
            np.testing.assert_array_equal(cell.polygons[0], expected)
