"""The VIA reader: what it reads, every fault it refuses by file and region, and the real set."""

import json
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings

from tests.smear.json_fuzz import with_one_value_replaced
from wbcjax.smear import via
from wbcjax.smear.field import AnnotationError

REAL = (Path(__file__).parents[2] / "../shared/data/segpc2021_train").resolve()
HEIGHT, WIDTH = 30, 40
SQUARE = ([5, 15, 15, 5], [4, 4, 12, 12])
CLASS_OF = {"L1": 1, "L2": 2, "debris": 0}


def region(xs=SQUARE[0], ys=SQUARE[1], cell: Any = "L1", name="polygon"):
    shape = {"name": name, "all_points_x": list(xs), "all_points_y": list(ys)}
    return {"shape_attributes": shape, "region_attributes": {"cell": cell}}


def entry(name, *regions, patient="p1"):
    return {"filename": name, "size": 1, "regions": list(regions), "file_attributes": {"patient": patient}}


@pytest.fixture
def folder(tmp_path):
    """A folder of three images, a.png, b.png and c.png."""
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        cv2.imwrite(str(tmp_path / "images" / name), np.full((HEIGHT, WIDTH, 3), 200, np.uint8))
    return tmp_path


def read(folder, *entries, text=None, **options):
    path = folder / "via.json"
    path.write_text(json.dumps({e["filename"] + str(i): e for i, e in enumerate(entries)}) if text is None else text)
    return via.read(path, folder / "images", "cell", CLASS_OF, **options)


def problems(folder, *entries, **options):
    """The lines of the AnnotationError that reading these entries raises, the first counting the others."""
    with pytest.raises(AnnotationError) as caught:
        read(folder, *entries, **options)
    lines = str(caught.value).split("\n  ")
    assert lines[0] == f"{folder / 'via.json'}: {len(lines) - 1} problem{'s' * (len(lines) > 2)}"
    return lines[1:]


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


def test_a_field_without_cells_is_kept(folder):
    fields = read(folder, entry("a.png"), entry("b.png", region()))
    assert [(f.name, len(f.cells)) for f in fields] == [("a.png", 0), ("b.png", 1)]


def test_a_project_file_reads_as_its_export(folder):
    metadata = {"a.png1": entry("a.png", region())}
    (field,) = read(
        folder, text=json.dumps({"_via_settings": {}, "_via_img_metadata": metadata, "_via_attributes": {}})
    )
    assert [cell.label for cell in field.cells] == [1]


def test_an_image_in_a_subfolder_is_found(folder):
    (folder / "images/p1").mkdir()
    (folder / "images/a.png").rename(folder / "images/p1/a.png")
    assert read(folder, entry("p1/a.png"))[0].name == "p1/a.png"


def test_the_group_is_read_from_the_file_attribute(folder):
    fields = read(folder, entry("a.png"), entry("b.png", patient="p2"), group_attribute="patient")
    assert [field.group for field in fields] == ["p1", "p2"]
    assert read(folder, entry("a.png"))[0].group is None


def test_a_field_without_its_group_is_refused_lest_it_leaks_between_splits(folder):
    (line,) = problems(folder, entry("a.png", patient=""), group_attribute="patient")
    assert line.startswith("a.png: the file attribute 'patient' is missing or empty (there are: 'patient')")


def test_regions_mapped_to_nothing_are_left_out_unchecked_and_counted(folder, caplog):
    with caplog.at_level(logging.INFO, "wbcjax.smear.checks"):
        (field,) = read(folder, entry("a.png", region(cell="debris", name="rect"), region(), region(cell="debris")))
    assert [cell.label for cell in field.cells] == [1]
    assert "left out 2 regions of class 'debris'" in caplog.text


@pytest.mark.parametrize("excess", [0.25, 1.0])
def test_points_up_to_a_pixel_outside_are_moved_to_the_border(folder, excess):
    xs, ys = [-excess, WIDTH + excess, WIDTH + excess, -excess], [-excess, -excess, HEIGHT + excess, HEIGHT + excess]
    (field,) = read(folder, entry("a.png", region(xs, ys)))
    np.testing.assert_array_equal(field.cells[0].polygons[0], [[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]])
    assert field.cells[0].mask(HEIGHT, WIDTH).all()


NAN, INFINITY = float("nan"), float("inf")
BAD_REGIONS = {
    "two points": (region([5, 15], [4, 12]), "the polygon has 2 points; redraw it with at least 3"),
    "no points": (region([], []), "the polygon has 0 points; redraw"),
    "x without y": (region([5, 15, 15, 5], [4, 4, 12]), "the polygon has 4 x but 3 y coordinates; redraw"),
    "NaN": (region([5, NAN, 15], [4, 4, 12]), "the point (nan, 4) is not finite; redraw"),
    "infinity": (region([5, 15, 15], [4, 4, -INFINITY]), "the point (15, -inf) is not finite; redraw"),
    "too large a number": (region([5, 15, 10**400], [4, 4, 12]), "a coordinate is not finite"),
    "text": (region([5, "15", 15], [4, 4, 12]), "the coordinate '15' is not a number; redraw"),
    "null": (region([5, None, 15], [4, 4, 12]), "the coordinate None is not a number; redraw"),
    "just outside": (
        region([5, 41.5, 15], [4, 4, 12]),
        "1 of 3 points lie outside the 40 x 30 image, farthest (41.5, 4); move them inside",
    ),
    "wholly outside": (region([105, 115, 115], [4, 4, 12]), "3 of 3 points lie outside the 40 x 30 image"),
    "all points on a line": (region([5, 10, 15], [5, 10, 15]), "the outline has zero area"),
    "all points in one": (region([5, 5, 5], [5, 5, 5]), "the outline has zero area"),
    "there and back": (region([5, 15, 15, 15], [4, 4, 12, 4]), "the outline has zero area"),
    "between the pixels": (region([5.1, 5.2, 5.2, 5.1], [4.1, 4.1, 4.2, 4.2]), "or covers no pixel (area 0.01)"),
    "unknown class": (region(cell="L4"), "unknown class 'L4'; correct it to one of 'L1', 'L2', 'debris', or add it"),
    "empty class": (region(cell=""), "the region attribute 'cell' is missing or empty (there are: 'cell'); fill it in"),
    "checkbox": (region(cell={"L1": True}), "the region attribute 'cell' is {'L1': True}; make it a text"),
    "rectangle": (region(name="rect"), "its shape is 'rect', and only 'polygon' is read; outline it as a polygon"),
    "circle": (region(name="circle"), "its shape is 'circle', and only 'polygon' is read"),
    "no shape": ({"region_attributes": {"cell": "L1"}}, '"shape_attributes" is missing'),
    "no attributes": ({"shape_attributes": region()["shape_attributes"]}, '"region_attributes" is missing'),
    "other attributes": (
        {**region(), "region_attributes": {"type": "L1"}},
        "the region attribute 'cell' is missing or empty (there are: 'type')",
    ),
}


@pytest.mark.parametrize(("bad", "expected"), BAD_REGIONS.values(), ids=BAD_REGIONS)
def test_a_bad_region_is_refused_by_file_and_number(folder, bad, expected):
    (line,) = problems(folder, entry("a.png", region()), entry("b.png", region(), bad, region()))
    assert line.startswith("b.png, region 2: ")
    assert expected in line


def test_every_problem_of_a_set_is_listed_at_once(folder):
    (folder / "images/b.png").write_bytes(b"no image")
    lines = problems(
        folder,
        entry("a.png", region(cell="L4", xs=[5, 60, 15, 5]), region(), region([5, 15], [4, 12])),
        entry("b.png", region([5, 15], [4, 12])),
        entry("gone.png", region(cell="L5"), patient=""),
        entry("c.png", region(cell="")),
        group_attribute="patient",
    )
    assert [line.split(";")[0].split(" (")[0] for line in lines] == [
        "a.png, region 1: unknown class 'L4'",
        "a.png, region 1: 1 of 4 points lie outside the 40 x 30 image, farthest",
        "a.png, region 3: the polygon has 2 points",
        "b.png: the image cannot be read",
        "b.png, region 1: the polygon has 2 points",
        f"gone.png: there is no such image in {folder / 'images'}",
        "gone.png: the file attribute 'patient' is missing or empty",
        "gone.png, region 1: unknown class 'L5'",
        "c.png, region 1: the region attribute 'cell' is missing or empty",
    ]


def test_a_hundred_problems_are_all_listed(folder):
    assert len(problems(folder, entry("a.png", *[region(cell="L4")] * 100))) == 100


def test_an_image_cut_short_is_refused_by_name(folder):
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", noise)[1].tobytes()
    (folder / "images/cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (line,) = problems(folder, entry("cut.jpg"))
    assert line.startswith("cut.jpg: the image cannot be read")


@pytest.mark.parametrize(
    "name", ["../outside.png", "sub/../../outside.png", "{folder}/outside.png", "link.png", "up/outside.png"]
)
def test_a_file_name_that_leads_out_of_the_image_folder_is_refused(folder, name):
    (folder / "images/a.png").rename(folder / "outside.png")
    (folder / "images/link.png").symlink_to(folder / "outside.png")
    (folder / "images/up").symlink_to(folder)
    name = name.format(folder=folder)
    (line,) = problems(folder, entry(name))
    assert line.startswith(f"{name}: the file")
    assert "out of the image folder" in line


@pytest.mark.parametrize("name", ["", ".", "nul\0.png", "x" * 5000, "loop.png"], ids=repr)
def test_a_file_name_that_is_no_image_is_refused(folder, name):
    (folder / "images/loop.png").symlink_to(folder / "images/loop.png")
    assert len(problems(folder, entry(name))) == 1


def test_a_link_inside_the_image_folder_is_read(folder):
    (folder / "images/same.png").symlink_to("a.png")
    assert read(folder, entry("same.png"))[0].name == "same.png"


@pytest.mark.parametrize("again", ["a.png", "./a.png"])
def test_an_image_listed_twice_is_refused_by_name(folder, again):
    (line,) = problems(folder, entry("a.png"), entry("b.png"), entry(again, region()))
    assert line.startswith(f"{again}: the image is listed twice; merge")


def test_a_key_given_twice_is_refused_before_json_drops_the_first(folder):
    text = f'{{"a.png1": {json.dumps(entry("a.png", region()))}, "a.png1": {json.dumps(entry("a.png"))}}}'
    (line,) = problems(folder, text=text)
    assert "the key 'a.png1' is given twice" in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a.png1": {"filename": "a.png",', "broken JSON (Expecting property name"),
        ("", "broken JSON"),
        ("[1, 2]", "found [1, 2] where VIA keeps an object of images; use VIA's"),
        ('{"_via_img_metadata": 3}', "found 3 where VIA keeps"),
        ("[" * 100_000, "broken JSON"),
    ],
)
def test_a_file_that_is_no_via_export_is_refused(folder, text, expected):
    (line,) = problems(folder, text=text)
    assert line.startswith("via.json: ")
    assert expected in line


def test_the_regions_of_via_1_are_refused_by_file(folder):
    (line,) = problems(folder, {**entry("a.png"), "regions": {"0": region()}})
    assert line.startswith('a.png0: "regions" is {')


def test_missing_annotations_and_a_missing_image_folder_are_told_once(folder):
    with pytest.raises(AnnotationError, match=r"gone\.json: cannot be read \(No such file or directory\)"):
        via.read(folder / "gone.json", folder / "images", "cell", CLASS_OF)
    read(folder, entry("a.png"), entry("b.png"))
    with pytest.raises(AnnotationError, match=r"1 problem\n.*the image folder .*gone is not a folder"):
        via.read(folder / "via.json", folder / "gone", "cell", CLASS_OF)


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("via")
    (folder / "images").mkdir()
    cv2.imwrite(str(folder / "images/a.png"), np.full((HEIGHT, WIDTH, 3), 200, np.uint8))
    return folder


@settings(max_examples=200)
@given(document=with_one_value_replaced({"a.png1": entry("a.png", region(), region(cell="L2"))}))
def test_whatever_is_put_in_the_place_of_a_value_is_read_or_refused_as_an_annotation(module_folder, document):
    try:
        fields = read(module_folder, text=json.dumps(document), group_attribute="patient")
    except AnnotationError:
        return
    assert all(cell.mask(HEIGHT, WIDTH).any() for field in fields for cell in field.cells)


@pytest.mark.skipif(not REAL.is_dir(), reason="the SegPC-2021 fields are not on this machine")
def test_the_real_set_reads_whole_its_outlines_unchanged():
    fields = via.read(REAL / "via.json", REAL / "images", "cell", {"myeloma": 1})
    assert (len(fields), sum(len(field.cells) for field in fields)) == (298, 1643)
    assert {(field.height, field.width) for field in fields} == {(384, 512)}
    raw = {e["filename"]: e["regions"] for e in json.loads((REAL / "via.json").read_text()).values()}
    for field in fields:
        for cell, annotated in zip(field.cells, raw[field.name], strict=True):
            shape = annotated["shape_attributes"]
            expected = np.transpose([shape["all_points_x"], shape["all_points_y"]])
            np.testing.assert_array_equal(cell.polygons[0], expected)
