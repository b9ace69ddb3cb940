"""VIA files of every version, hand-written: JSON exports, projects and CSV exports that say the same read alike."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.smear import make
from tests.smear.json_fuzz import with_one_value_replaced
from tests.smear.make import CLASS_OF, HEIGHT, WIDTH, entry, region
from wbcjax.smear.field import AnnotationError
from wbcjax.smear.formats.checks import shoelace_area
from wbcjax.smear.read import FieldSet
from wbcjax.smear.read import read as read_set

# The same two fields in each: a.png of patient p1 has a polygon of L1, a rectangle of L2 and a circle of L1; b.png has
# no regions.
JSON_1 = """{
  "a.png143": {"fileref": "", "size": 143, "filename": "a.png", "base64_img_data": "",
    "file_attributes": {"patient": "p1"},
    "regions": {
      "0": {"shape_attributes": {"name": "polygon", "all_points_x": [3, 13, 13, 3, 3], "all_points_y": [2, 2, 9, 9, 2]},
            "region_attributes": {"cell": "L1"}},
      "1": {"shape_attributes": {"name": "rect", "x": 20, "y": 5, "width": 12, "height": 8},
            "region_attributes": {"cell": "L2"}},
      "2": {"shape_attributes": {"name": "circle", "cx": 12, "cy": 20, "r": 6},
            "region_attributes": {"cell": "L1"}}}},
  "b.png143": {"fileref": "", "size": 143, "filename": "b.png", "base64_img_data": "",
    "file_attributes": {"patient": "p2"},
    "regions": {}}
}"""
JSON_2 = """{
  "a.png143": {"filename": "a.png", "size": 143, "file_attributes": {"patient": "p1"}, "regions": [
      {"shape_attributes": {"name": "polygon", "all_points_x": [3, 13, 13, 3], "all_points_y": [2, 2, 9, 9]},
       "region_attributes": {"cell": {"L1": true}}},
      {"shape_attributes": {"name": "rect", "x": 20, "y": 5, "width": 12, "height": 8},
       "region_attributes": {"cell": {"L1": false, "L2": true}}},
      {"shape_attributes": {"name": "circle", "cx": 12, "cy": 20, "r": 6}, "region_attributes": {"cell": "L1"}}]},
  "b.png143": {"filename": "b.png", "size": 143, "file_attributes": {"patient": "p2"}, "regions": []}
}"""
PROJECT_2 = f"""{{"_via_settings": {{"core": {{"filepath": {{}}}}, "project": {{"name": "smears"}}}},
  "_via_img_metadata": {JSON_2},
  "_via_attributes": {{"region": {{"cell": {{"type": "radio", "options": {{"L1": "", "L2": ""}}}}}},
                       "file": {{"patient": {{"type": "text"}}}}}},
  "_via_data_format_version": "2.0.10", "_via_image_id_list": ["a.png143", "b.png143"]}}"""
CSV_2 = """filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes
a.png,143,"{""patient"":""p1""}",3,0,"{""name"":""polygon"",""all_points_x"":[3,13,13,3],""all_points_y"":[2,2,9,9]}","{""cell"":""L1""}"
a.png,143,"{""patient"":""p1""}",3,1,"{""name"":""rect"",""x"":20,""y"":5,""width"":12,""height"":8}","{""cell"":""L2""}"
a.png,143,"{""patient"":""p1""}",3,2,"{""name"":""circle"",""cx"":12,""cy"":20,""r"":6}","{""cell"":""L1""}"
b.png,143,"{""patient"":""p2""}",0,0,"{}","{}"
"""
ATTRIBUTES_3 = """{"1": {"aname": "cell", "anchor_id": "FILE1_Z0_XY1", "type": 3, "desc": "", "default_option_id": "",
                  "options": {"0": "L1", "1": "L2"}},
            "2": {"aname": "patient", "anchor_id": "FILE1_Z0_XY0", "type": 1, "desc": "", "options": {}}}"""
PROJECT_3 = f"""{{"project": {{"pid": "__VIA_PROJECT_ID__", "data_format_version": "3.1.1", "vid_list": ["1", "2"]}},
  "config": {{"file": {{"loc_prefix": {{"1": "", "2": "", "3": "", "4": ""}}}}}},
  "attribute": {ATTRIBUTES_3},
  "file": {{"1": {{"fid": "1", "fname": "a.png", "type": 2, "loc": 1, "src": ""}},
            "2": {{"fid": "2", "fname": "b.png", "type": 2, "loc": 1, "src": ""}}}},
  "metadata": {{
    "1_qPx7sKa2": {{"vid": "1", "flg": 0, "z": [], "xy": [7, 3, 2, 13, 2, 13, 9, 3, 9], "av": {{"1": "0"}}}},
    "1_Lr0vTn5c": {{"vid": "1", "flg": 0, "z": [], "xy": [2, 20, 5, 12, 8], "av": {{"1": "1"}}}},
    "2_Xb3eWm9d": {{"vid": "2", "flg": 0, "z": [], "xy": [], "av": {{"2": "p2"}}}},
    "1_Gh8uYf1k": {{"vid": "1", "flg": 0, "z": [], "xy": [3, 12, 20, 6], "av": {{"1": "0"}}}},
    "1_Ms4iJo6z": {{"vid": "1", "flg": 0, "z": [], "xy": [], "av": {{"2": "p1"}}}}}},
  "view": {{"1": {{"fid_list": ["1"]}}, "2": {{"fid_list": [2]}}}}}}"""
CSV_3 = f"""# Exported using VGG Image Annotator
# Notes:
# - spatial_coordinates of [2,10,20,50,80] denotes a rectangle
# ATTRIBUTE = {" ".join(ATTRIBUTES_3.split())}
# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata
"1_qPx7sKa2","[""a.png""]",0,"[]","[7,3,2,13,2,13,9,3,9]","{{""1"":""0""}}"
"1_Lr0vTn5c","[""a.png""]",0,"[]","[2,20,5,12,8]","{{""1"":""1""}}"
"1_Gh8uYf1k","[""a.png""]",0,"[]","[3,12,20,6]","{{""1"":""0""}}"
"1_Ms4iJo6z","[""a.png""]",0,"[]","[]","{{""2"":""p1""}}"
"2_Xb3eWm9d","[""b.png""]",0,"[]","[]","{{""2"":""p2""}}"
"""
VERSIONS = {
    "1 json": ("via.json", JSON_1),
    "2 json": ("via.json", JSON_2),
    "2 project": ("via.json", PROJECT_2),
    "1.0 csv": ("via.csv", "#" + CSV_2),
    "2 csv": ("via.csv", CSV_2),
    "2 csv of Windows": ("via.CSV", "\ufeff" + CSV_2.replace("\n", "\r\n")),
    "3 project": ("via.json", PROJECT_3),
    "3 csv": ("via.csv", CSV_3),
}


def write(folder, text, name="via.json"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def read(folder, text, name="via.json", **options) -> FieldSet:
    return read_set(write(folder, text, name), folder / "images", CLASS_OF, **options)


def problems(folder, text, name="via.json"):
    return make.problems(write(folder, text, name), folder / "images")


@pytest.fixture
def folder(tmp_path):
    """A folder of three images, a.png, b.png and c.png."""
    make.image_folder(tmp_path / "images", "a.png", "b.png", "c.png")
    return tmp_path


@pytest.mark.parametrize(("name", "text"), VERSIONS.values(), ids=VERSIONS)
def test_the_files_of_every_version_read_alike(folder, name, text):
    with_cells, without = read(folder, text, name, group_attribute="patient").fields
    assert (with_cells.name, with_cells.path, with_cells.group) == ("a.png", folder / "images/a.png", "p1")
    assert (without.name, without.cells, without.group) == ("b.png", (), "p2")
    polygon, rectangle, circle = with_cells.cells
    assert [cell.label for cell in with_cells.cells] == [1, 2, 1]
    assert polygon.mask(HEIGHT, WIDTH)[2:9, 3:13].all()
    assert polygon.mask(HEIGHT, WIDTH).sum() == 70
    assert rectangle.box == (20, 5, 32, 13)
    assert not rectangle.outlined
    assert shoelace_area(circle.polygons[0]) == pytest.approx(np.pi * 36, rel=0.01)
    assert circle.polygons[0].mean(axis=0) == pytest.approx([12, 20])


def test_rows_lost_from_a_csv_are_suspect(folder):
    fieldset = read(folder, CSV_2.replace("a.png,143", "c.png,-1", 1), "via.csv")
    assert [str(suspect).split(";")[0] for suspect in fieldset.suspects if "region" in suspect.found] == [
        "c.png: region_count is 3, the regions are 1",
        "a.png: region_count is 3, the regions are 2",
    ]


def test_a_via_3_ellipse_keeps_its_axes_order(folder):
    """An ellipse of version 3 has its radii in the order of the axes."""
    text = PROJECT_3.replace("[3, 12, 20, 6]", "[4, 20, 15, 12, 3]")
    (cell,) = read(folder, text).fields[0].cells[2:]
    np.testing.assert_allclose([cell.polygons[0].min(0), cell.polygons[0].max(0)], [[8, 12], [32, 18]], atol=0.02)


def test_an_extreme_rectangle_is_the_box_around_its_points(folder):
    text = PROJECT_3.replace("[2, 20, 5, 12, 8]", "[8, 32, 7, 25, 5, 20, 9, 28, 13]")
    assert read(folder, text).fields[0].cells[1].box == (20, 5, 32, 13)


def test_a_checkbox_of_version_3_holds_its_ticked_options(folder):
    text = PROJECT_3.replace('"type": 3', '"type": 2')
    assert [cell.label for cell in read(folder, text).fields[0].cells] == [1, 2, 1]
    (line,) = problems(folder, text.replace('{"1": "1"}', '{"1": "0,1"}'))
    assert line.startswith("a.png, region 1_Lr0vTn5c: the region attribute 'cell' has 2 options ticked: ['L1', 'L2']")


BAD_CSV = {
    "no header": (CSV_2.partition("\n")[2], "via.csv: its first line is 'a.png,143,"),
    "semicolons": (CSV_2.replace(",", ";"), "via.csv: its first line is 'filename;file_size;"),
    "nothing": ("", "via.csv: its first line is ''; it must be filename,file_size,"),
    "a comma in a name": (CSV_2.replace("b.png", "b,c.png"), "via.csv, line 5: the row has 8 columns; it must have"),
    "cut short": (CSV_2[:-8], "via.csv, line 5: the row has 6 columns"),
    "broken JSON": (CSV_2.replace('""r""', '"r"'), "via.csv, line 4: found "),
    "JSON of another kind": (CSV_2.replace('"{}","{}"', '"[]","{}"'), "via.csv, line 5: found '[]'; it must be a JSON"),
    "a bad region": (CSV_2.replace("[2,2,9,9]", "[2,2,99,9]"), "a.png, region on line 2: 1 of 4 points lie outside"),
    "an endless cell": (CSV_2 + "x" * 200_000, "via.csv: broken CSV (field larger than field limit"),
    "3, bad attributes": (CSV_3.replace("# ATTRIBUTE = {", "# ATTRIBUTE = "), "via.csv: found "),
}


@pytest.mark.parametrize(("text", "expected"), BAD_CSV.values(), ids=BAD_CSV)
def test_a_bad_csv_is_refused_by_its_line(folder, text, expected):
    (line,) = problems(folder, text, "via.csv")
    assert line.startswith(expected)


BAD_PROJECTS = {
    "view of two files": ('"fid_list": ["1"]', '"fid_list": ["1", "2"]', "its view '1' shows 2 files"),
    "view of no file": ('"fid_list": ["1"]', '"fid_list": []', "its view '1' shows 0 files"),
    "unknown view": ('"1": {"fid_list": ["1"]}, ', "", "its view '1' is not in the project; delete it"),
    "unknown file": ('"fid_list": ["1"]', '"fid_list": ["5"]', "its file '5' is not in the project; delete it"),
}


@pytest.mark.parametrize(("old", "new", "expected"), BAD_PROJECTS.values(), ids=BAD_PROJECTS)
def test_regions_of_no_known_image_are_refused_by_their_id(folder, old, new, expected):
    assert old in PROJECT_3
    lines = problems(folder, PROJECT_3.replace(old, new))
    assert [line.split(":")[0] for line in lines] == [
        "via.json, metadata 1_qPx7sKa2",
        "via.json, metadata 1_Lr0vTn5c",
        "via.json, metadata 1_Gh8uYf1k",
        "via.json, metadata 1_Ms4iJo6z",
    ]
    assert all(expected in line for line in lines)


BAD_ITEMS = {
    "unknown option": (
        '"xy": [2, 20, 5, 12, 8], "av": {"1": "1"}',
        '"xy": [2, 20, 5, 12, 8], "av": {"1": "9"}',
        "the attribute 'cell' is option '9', and has the options '0', '1'; choose it anew",
    ),
    "unknown attribute": (
        '"xy": [2, 20, 5, 12, 8], "av": {"1": "1"}',
        '"xy": [2, 20, 5, 12, 8], "av": {"8": "1"}',
        "its attribute '8' is not in the project; delete it or restore the attribute",
    ),
    "no class": (
        '"xy": [2, 20, 5, 12, 8], "av": {"1": "1"}',
        '"xy": [2, 20, 5, 12, 8], "av": {}',
        "the region attribute 'cell' is missing or empty (there are: none)",
    ),
    "a moment of a video": (
        '"z": [], "xy": [2,',
        '"z": [1.5], "xy": [2,',
        "it is of a moment in a video or sound ([1.5])",
    ),
    "a number too few": ("[2, 20, 5, 12, 8]", "[2, 20, 5, 12]", 'its "xy" is [2, 20, 5, 12]; a rect is [2, x, y,'),
    "a point": ("[2, 20, 5, 12, 8]", "[1, 20, 5]", "its shape is 'point', which encloses nothing"),
    "a line": ("[2, 20, 5, 12, 8]", "[5, 20, 5, 12, 8]", "its shape is 'line', which encloses nothing"),
    "three points of a circle": (
        "[2, 20, 5, 12, 8]",
        "[9, 20, 5, 12, 8, 7, 7]",
        "its shape is 'extreme circle', which",
    ),
    "an unknown shape": ("[2, 20, 5, 12, 8]", "[77, 20, 5]", "its shape is 'unknown (77)', which"),
    "a polygon": ("[2, 20, 5, 12, 8]", "[7, 20, 5, 12, 8, 7]", "the polygon has 3 x but 2 y coordinates"),
    "NaN": ("[2, 20, 5, 12, 8]", "[8, 20, 5, NaN, 8, 7, 7, 9, 9]", "is not finite"),
}


@pytest.mark.parametrize(("old", "new", "expected"), BAD_ITEMS.values(), ids=BAD_ITEMS)
def test_a_bad_region_of_version_3_is_refused_by_file_and_id(folder, old, new, expected):
    assert old in PROJECT_3
    (line,) = problems(folder, PROJECT_3.replace(old, new))
    assert line.startswith("a.png, region 1_Lr0vTn5c: ")
    assert expected in line


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("via")
    make.image_folder(folder / "images", "a.png", "b.png")
    return folder


DOCUMENTS = {
    "1": json.loads(JSON_1),
    "2": json.loads(JSON_2),
    "3": json.loads(PROJECT_3),
    "parts": {"a.png1": entry("a.png", region(cell_id="7"), region(cell_id="7", iscrowd="1"))},
}


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_any_value_is_read_or_refused_as_an_annotation(module_folder, document):
    """Whatever is put in the place of a value is read or refused as an annotation."""

    @settings(max_examples=100)
    @given(document=with_one_value_replaced(document))
    def check(document):
        try:
            fields = read(module_folder, json.dumps(document), group_attribute="patient", file_format="via").fields
        except AnnotationError:
            return
        assert all(cell.mask(HEIGHT, WIDTH).any() for field in fields for cell in field.cells)

    check()


@settings(max_examples=100)
@given(data=st.data(), new=st.text(max_size=4))
def test_a_csv_with_anything_in_it_is_read_or_refused_as_an_annotation(module_folder, data, new):
    text = data.draw(st.sampled_from([CSV_2, CSV_3]))
    start = data.draw(st.integers(0, len(text)))
    text = text[:start] + new + text[start + data.draw(st.integers(0, 9)) :]
    try:
        fields = read(module_folder, text, "via.csv").fields
    except AnnotationError:
        return
    assert all(cell.mask(HEIGHT, WIDTH).any() for field in fields for cell in field.cells)


def test_rows_of_one_metadata_id_are_read_and_told(folder):
    text = CSV_3.replace("1_Gh8uYf1k", "1_qPx7sKa2")
    found = read_set(write(folder, text, "via.csv"), folder / "images", CLASS_OF)
    whole = read_set(write(folder, CSV_3, "whole.csv"), folder / "images", CLASS_OF)
    assert [len(field.cells) for field in found.fields] == [len(field.cells) for field in whole.fields]
    told = "its metadata id is that of another row too; none, as nothing uses it"
    assert f"via.csv, line 8: {told}" in list(map(str, found.suspects))


def test_two_attributes_of_one_name_that_differ_are_used_for_none(folder):
    text = PROJECT_3.replace('"aname": "patient"', '"aname": "cell"').replace(
        '"av": {"1": "1"}', '"av": {"1": "1", "2": "L1"}'
    )
    lines = problems(folder, text)
    assert lines == ["a.png, region 1_Lr0vTn5c: two attributes are named 'cell', and it has both; name them apart"]
    assert len(read(folder, text.replace('"2": "L1"', '"2": "L2"')).fields[0].cells) == 3


def test_a_file_attribute_that_is_given_twice_is_refused(folder):
    (line,) = problems(
        folder, PROJECT_3.replace('"vid": "2", "flg": 0, "z": [], "xy": []', '"vid": "1", "z": [], "xy": []')
    )
    assert line == "a.png, region 1_Ms4iJo6z: the file attribute 'patient' is 'p1', and 'p2' before; give it one value"
    (line,) = problems(folder, CSV_2.replace('""p1""}",3,1', '""p3""}",3,1'), "via.csv")
    assert line.startswith(
        "via.csv, line 3: its file attributes are {'patient': 'p3'}, and {'patient': 'p1'} before; give"
    )


def test_images_of_a_csv_whose_names_and_sizes_join_to_the_same_stay_two(folder):
    (folder / "images/a.png1").write_bytes((folder / "images/a.png").read_bytes())
    other = 'a.png1,43,"{}",1,0,"{""name"":""circle"",""cx"":12,""cy"":20,""r"":6}","{""cell"":""L2""}"\n'
    found = read(folder, CSV_2 + other, "via.csv")
    assert [(field.name, len(field.cells)) for field in found.fields] == [("a.png", 3), ("b.png", 0), ("a.png1", 1)]
