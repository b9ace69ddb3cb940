"""Annotation files made to harm: their size, depth, numbers, names and encodings cost little and are told by place."""

import json
import os
import sys
import tracemalloc
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest

from tests.fuzz.sandbox import watch
from tests.smear.make import HEIGHT, WIDTH, entry, image_folder, problems, region
from wbcjax.smear.field import AnnotationError
from wbcjax.smear.formats import checks, image_names, load
from wbcjax.smear.formats.image_names import ImageNames, Taken
from wbcjax.smear.read import read
from wbcjax.smear.rle import run_lengths

CSV_HEAD = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"


@pytest.fixture
def folder(tmp_path):
    image_folder(tmp_path / "images", "a.png", "b.png")
    return tmp_path


def written(folder: Path, content: object, name: str = "set.json") -> Path:
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


def lines(folder: Path, content: object, **options) -> list[str]:
    with watch(folder):  # within its time and memory
        return problems(written(folder, content), folder / "images", **options)


def coco(segmentation: object, name: str = "a.png") -> dict:
    return {
        "images": [{"id": 1, "file_name": name}],
        "categories": [{"id": 1, "name": "L1"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": segmentation}],
    }


def with_x(value: str) -> str:
    """A VIA set whose first x coordinate is a text that JSON may not know."""
    return json.dumps({"a": entry("a.png", region(["@", 15, 15, 5]))}).replace('"@"', value)


# -------------------------------------------------------------------------------------------------------- text and JSON


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000],
    ids=["endless", "lists", "objects"],
)
def test_json_nested_100_000_deep_is_refused(folder, text):
    (line,) = lines(folder, text)
    assert line.startswith("set.json: broken JSON (maximum recursion depth exceeded")


def test_a_deeply_nested_value_is_refused_by_place(folder):
    """A value nested as deep as json may be is refused by its place."""
    depth = sys.getrecursionlimit() * 9 // 10
    for place in ("all_points_x", "name"):
        for nested in range(depth, depth - 200, -10):
            deep = "[" * nested + "]" * nested
            content = json.dumps({"a": entry("a.png", region())})
            key = f'"{place}": '
            start = content.index(key) + len(key)
            end = content.index("]" if place == "all_points_x" else ",", start)
            end += place == "all_points_x"
            assert len(lines(folder, content[:start] + deep + content[end:])) >= 1


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_a_number_that_is_none_is_refused_by_its_region(folder, value):
    (line,) = lines(folder, with_x(value))
    assert line.startswith("a.png, region 1: the point (")
    assert line.endswith(" is not finite; redraw or delete the region")


@pytest.mark.parametrize("value", ["true", "null", '"12"', "[1]", "{}"])
def test_what_is_no_number_is_not_taken_for_one(folder, value):
    (line,) = lines(folder, with_x(value))
    assert line.startswith("a.png, region 1: the coordinate ")
    assert " is not a number; " in line


def test_a_number_of_thousands_of_digits_is_refused(folder):
    (line,) = lines(folder, with_x("9" * 5000))
    assert line.startswith("set.json: broken JSON (Exceeds the limit")
    (line,) = lines(folder, with_x("9" * 4000))
    assert line.startswith("a.png, region 1: a coordinate is not finite")


def test_a_size_of_thousands_of_digits_in_a_csv_is_taken_for_unknown(folder):
    row = f'a.png,{"9" * 5000},"{{}}",0,0,"{{}}","{{}}"'
    found = read(written(folder, f"{CSV_HEAD}\n{row}\n", "set.csv"), folder / "images")
    assert [len(field.cells) for field in found.fields] == [0]


@pytest.mark.parametrize(
    "data",
    ["{}".encode("utf-16"), "{}".encode("utf-32"), b'{"a": "\xe9"}', b'{"a": "\xed\xa0\x80"}'],
    ids=["UTF-16", "UTF-32", "Latin-1", "half a character"],
)
def test_text_in_another_encoding_is_refused(folder, data):
    for name in ("set.json", "set.csv"):
        (line,) = problems(written(folder, data, name), folder / "images", file_format="via")
        assert line.startswith(f"{name}: broken text (")


def test_a_byte_order_mark_is_no_fault(folder):
    content = b"\xef\xbb\xbf" + json.dumps({"a": entry("a.png", region())}).encode()
    assert len(read(written(folder, content), folder / "images").fields) == 1


def test_a_lone_surrogate_is_refused_a_pair_is_not(folder):
    """Half a character is refused and a whole one in two halves is not."""
    content = json.dumps({"a": entry("a.png", region(cell="@"))})
    (line,) = lines(folder, content.replace("@", "\\ud83d"))
    assert line.startswith(r"set.json: broken JSON (it holds half a character, '\ud83d')")
    found = read(written(folder, content.replace("@", "\\ud83d\\ude00")), folder / "images")
    assert found.classes == ("\U0001f600",)


def test_a_repeated_key_among_a_hundred_thousand_is_found_in_time(folder):
    keys = ",".join(f'"k{i}":1' for i in range(100_000))
    (line,) = lines(folder, f'{{{keys},"k99999":2}}')
    assert line.startswith("set.json: broken JSON (the key 'k99999' is given twice in one object)")


def test_a_repeated_csv_key_is_refused_by_line(folder):
    """A repeated key in the json of a csv is refused by its line."""
    row = 'a.png,1,"{}",1,0,"{}","{""cell"": ""L1"", ""cell"": ""L2""}"'
    (line,) = problems(written(folder, f"{CSV_HEAD}\n{row}\n", "set.csv"), folder / "images")
    assert line.startswith("set.csv, line 2: found ")
    assert "the key 'cell' is given twice" in line


def test_a_file_beyond_the_limit_of_bytes_is_refused_unread(folder, monkeypatch):
    monkeypatch.setattr(load, "MAX_BYTES", 1000)
    path = folder / "set.json"
    with path.open("wb") as file:
        file.truncate(2**33)  # no such bytes are on the disk
    (line,) = problems(path, folder / "images", file_format="via")
    assert line == "set.json: cannot be read (it has more than 1000 bytes); divide it"


# ------------------------------------------------------------------------------------------------------------- outlines


def scribble(count: int, spread: float = 1.0) -> tuple[list[float], list[float]]:
    """The x and y of a random line."""
    rng = np.random.default_rng(0)
    x, y = ((side / 2 + (rng.random(count) - 0.5) * side * spread).tolist() for side in (WIDTH, HEIGHT))
    return x, y


@pytest.mark.parametrize("count", [2_000, 20_000])
def test_an_outline_that_crosses_itself_all_over_is_refused_in_time(folder, count):
    (line,) = lines(folder, {"a": entry("a.png", region(*scribble(count, 0.5)))})
    told = f"the outline crosses itself more than {checks.CROSSINGS} times; redraw it without loops"
    assert line == f"a.png, region 1: {told}"


def test_an_outline_too_long_to_draw_is_refused_in_time(folder):
    (line,) = lines(folder, {"a": entry("a.png", region(*scribble(500_000)))})
    assert line.startswith("a.png, region 1: the outline is ")
    assert line.endswith(" pixels long; redraw it along the cell's border")


def test_an_outline_of_a_hundred_thousand_points_is_read(folder):
    angle = np.linspace(0, 2 * np.pi, 100_000, endpoint=False)
    x, y = (20 + 9 * np.cos(angle)).tolist(), (15 + 9 * np.sin(angle)).tolist()
    (field,) = read(written(folder, {"a": entry("a.png", region(x, y))}), folder / "images").fields
    assert abs(field.cells[0].mask(HEIGHT, WIDTH).sum() - np.pi * 81) < 8


def test_a_few_crossings_of_a_large_outline_are_still_judged_by_area(folder):
    angle = np.linspace(0, 2 * np.pi, 5_000, endpoint=False)
    x, y = 20 + 9 * np.cos(angle), 15 + 9 * np.sin(angle)
    x[[10, 11]] = x[[11, 10]]  # a slip of the hand
    found = read(written(folder, {"a": entry("a.png", region(x.tolist(), y.tolist()))}), folder / "images")
    assert len(found.fields[0].cells) == 1


def test_a_cell_in_thousands_of_parts_is_refused(folder):
    (line,) = lines(folder, coco([[5, 4, 15, 4, 15, 12]] * (checks.PARTS + 1)))
    assert line.startswith("a.png, annotation 1: the cell is in 1001 parts, and 1000 are read at most")


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ("o" * 200_000, "the mask's counts hold a number beyond 64 bits"),
        ("l1" + "o" * 14 + "0", "the mask's counts hold a number beyond 64 bits"),
        ("o" * 12, "the mask's counts are cut short"),
        ([2**40], "the mask's runs do not add up to its 30 x 40 pixels"),
        ([-1, 1201], "the mask's runs do not add up to its 30 x 40 pixels"),
    ],
)
def test_a_bomb_of_run_lengths_is_refused(folder, counts, told):
    (line,) = lines(folder, coco({"size": [HEIGHT, WIDTH], "counts": counts}))
    assert line == f"a.png, annotation 1: {told}; export the mask again or delete the annotation"


def test_run_lengths_of_64_bits_are_still_unpacked():
    assert run_lengths("o" * 12 + "0") == [2**60 - 1]


@pytest.mark.parametrize("name", ["a.png", "gone.png"])
@pytest.mark.parametrize("size", [[2**16, 2**16 - 1], [2**40, 2**40], [10**400, 1], [-1, -1], [1.5, 2]])
def test_a_mask_that_claims_another_size_takes_no_room(folder, name, size):
    tracemalloc.start()
    try:
        assert lines(folder, coco({"size": size, "counts": [1, 2**32 - 2**16 - 1]}, name))
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("xy", [[8], [8, 5], [9], [7], [7, 1]])
def test_shapes_of_via_3_without_points_are_refused_by_their_place(folder, xy):
    project = {
        "attribute": {"1": {"aname": "cell", "type": 1}},
        "file": {"1": {"fname": "a.png"}},
        "view": {"1": {"fid_list": ["1"]}},
        "metadata": {"m": {"vid": "1", "z": [], "xy": xy, "av": {"1": "L1"}}},
    }
    (line,) = lines(folder, project)
    assert line.startswith("a.png, region m: ")


@pytest.mark.filterwarnings("error")
def test_a_circle_beyond_all_measure_is_refused_without_a_warning(folder):
    shape = {"name": "circle", "cx": 1e308, "cy": 1e308, "r": 1e308}
    record = {"shape_attributes": shape, "region_attributes": {"cell": "L1"}}
    assert len(lines(folder, {"a": entry("a.png", record), "b": entry("gone.png", record)})) == 3


# ---------------------------------------------------------------------------------------------------------------- names


def test_a_name_of_megabytes_is_told_by_its_beginning(folder):
    name = "n" * 2_000_000
    content = {"a": entry(name, *[region(xs=[5, 15]) for _ in range(300)])}
    found = lines(folder, content)
    assert len(found) == 301
    assert max(map(len, found)) < 5000


def test_the_options_of_an_attribute_are_listed_to_the_twentieth(folder):
    project = {
        "attribute": {"1": {"aname": "x" * 5000, "type": 4, "options": {str(i): "L1" for i in range(5000)}}},
        "file": {"1": {"fname": "a.png"}},
        "view": {"1": {"fid_list": ["1"]}},
        "metadata": {"m": {"vid": "1", "z": [], "xy": [2, 5, 5, 5, 5], "av": {"1": "none"}}},
    }
    (line,) = lines(folder, project)
    assert "has the options '0', '1', " in line
    assert "'19'" in line
    assert "'20'" not in line
    assert len(line) < 1000


@pytest.mark.parametrize("name", ["C:\\a.png", "..\\a.png", "\\a.png", "sub\\..\\..\\a.png", "C:/a.png"])
def test_a_path_of_windows_leads_out_of_no_folder_there(folder, monkeypatch, name):
    monkeypatch.setattr(image_names, "PurePath", PureWindowsPath)
    assert ImageNames(folder / "images").by_name(name) == [Taken("a.png", image_names.ELSEWHERE)]
    with watch(folder):
        (line,) = problems(written(folder, {"a": entry(name.replace("a.", "z."), region())}), folder / "images")
    assert "leads out of the image folder" in line


@pytest.mark.parametrize("name", ["../out.png", "{folder}/out.png", "file://{folder}/out.png", "images/../../out.png"])
def test_a_name_that_leads_out_is_never_followed_there(folder, name):
    (folder / "images/a.png").rename(folder / "out.png")
    (folder / "images/links").symlink_to(folder, target_is_directory=True)  # nothing is looked for behind it
    content = {"a": entry(name.format(folder=folder), region())}
    with watch(folder):
        assert len(lines(folder, content)) == 1


@pytest.mark.parametrize("name", ["/" * 5000 + "a.png", "../" * 1300 + "z", "%" * 4000, "a/" * 2000, "?d=" * 1000])
def test_a_name_made_to_be_looked_for_long_is_refused_at_once(folder, name):
    (line,) = lines(folder, {"a": entry(name, region())})
    assert len(line) < 6000


@pytest.mark.parametrize("name", ["a.png\0", "a\nb.png", "\x1b[2J.png", "é" * 200, "x" * 300, "a.png/b"])
def test_a_strange_name_is_refused_as_any_that_is_not_there(folder, name):
    assert len(lines(folder, {"a": entry(name, region())})) == 1


def test_an_image_name_outside_utf_8_is_refused(folder):
    """An image whose name is no utf 8 is refused and can be renamed."""
    (folder / "images/a.png").rename(os.fsdecode(os.fsencode(folder / "images") + b"/caf\xe9.png"))
    (folder / "set").mkdir()
    content = b"<annotation><filename/></annotation>"
    Path(os.fsdecode(os.fsencode(folder / "set") + b"/caf\xe9.xml")).write_bytes(content)
    (line,) = problems(folder / "set", folder / "images", file_format="voc")
    assert line.endswith("is no UTF-8 text; rename the file")


# ------------------------------------------------------------------------------------------------------------------ XML

ENTITIES = "".join(f"<!ENTITY l{i} '{f'&l{i - 1};' * 10}'>" for i in range(1, 12))
LAUGHS = f"<!DOCTYPE a [<!ENTITY l0 'ha'>{ENTITIES}]>"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            f"{LAUGHS}<annotation><filename>&l11;</filename></annotation>",
            "it has a DOCTYPE (a); delete that declaration",
        ),
        ("<!DOCTYPE a SYSTEM 'file:///etc/passwd'><annotation/>", "it has a DOCTYPE (a); delete that declaration"),
        ("<annotation>&nbsp;</annotation>", "broken XML (undefined entity"),
        ("<annotation>" + "<a>" * 200_000, "broken XML ("),
        ("<?xml version='1.0' encoding='rot13'?><annotation/>", "broken XML ("),
        ("<annotation>&#xd800;</annotation>", "broken XML (reference to invalid character number"),
    ],
    ids=["billion laughs", "a file outside", "an entity", "deep", "an encoding that is none", "half a character"],
)
def test_xml_made_to_harm_is_refused_by_its_file(folder, text, told):
    (folder / "set").mkdir()
    with watch(folder):
        (line,) = problems(written(folder, text, "set/a.xml").parent, folder / "images")
    assert line.startswith(f"a.xml: {told}")


def test_xml_nested_deep_and_closed_is_read_for_what_it_says(folder):
    (folder / "set").mkdir()
    deep = "<a>" * 100_000 + "</a>" * 100_000
    written(folder, f"<annotation><filename>a.png</filename>{deep}</annotation>", "set/a.xml")
    with watch(folder):
        assert len(read(folder / "set", folder / "images").fields) == 1


# ----------------------------------------------------------------------------- files that are cut short, or hold many


def test_every_beginning_of_a_file_is_refused_or_read_whole(folder):
    for content in (json.dumps({"a": entry("a.png", region())}), json.dumps(coco([[5, 4, 15, 4, 15, 12]]))):
        for end in range(0, len(content), 7):
            with pytest.raises(AnnotationError):
                read(written(folder, content[:end]), folder / "images")


def test_a_thousand_classes_are_numbered_as_they_appear(folder):
    content = {"a": entry("a.png", *[region(cell=f"c{i}") for i in range(1000)])}
    found = read(written(folder, content), folder / "images")
    assert found.classes == tuple(f"c{i}" for i in range(1000))
    assert [cell.label for cell in found.fields[0].cells] == list(range(1, 1001))
