"""Mistakes that people make, in every format they can make them in: each is refused with its place and a remedy.

Each mistake stands in a set of two fields, a.png with one cell and b.png with two, of which the second is bad.
"""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.smear.drawn import Drawn, coco, labelme, via_1, via_2, via_3, via_csv, write
from tests.smear.make import CLASS_OF, HEIGHT, WIDTH, image_folder, problems
from wbcjax.smear.read import read

SQUARE = [(5, 4), (15, 4), (15, 12), (5, 12)]
GOOD = ("L1", SQUARE)


@pytest.fixture
def folder(tmp_path):
    image_folder(tmp_path / "images", "a.png", "b.png", "c.png")
    return tmp_path


FORMATS: dict[str, tuple[Callable[[Path, Drawn], Path], str]] = {  # the writer, and the place of b.png's second cell
    "via 1": (via_1, "b.png, region 1"),
    "via 2": (via_2, "b.png, region 2"),
    "via csv": (via_csv, "b.png, region on line 4"),
    "via 3": (via_3, "b.png, region 2_2"),
    "coco": (coco, "b.png, annotation 3"),
    "labelme": (labelme, "b.png, shape 2"),
}
in_every_format = pytest.mark.parametrize("name", FORMATS)
LISTS = {name: place for name, place in FORMATS.items() if name != "labelme"}  # one file lists all images
in_every_list = pytest.mark.parametrize("name", LISTS)


# -------------------------------------------------------------------------------------------------------------- cells

NAN = float("nan")
BAD_OUTLINES = {
    "fewer than 3 points": (
        [(5, 4), (15, 12)],
        "the polygon has 2 points; redraw it with at least 3 or delete the region",
    ),
    "no points": ([], "the polygon has 0 points; redraw it with at least 3"),
    "outside the image": (
        [(5, 4), (41.5, 4), (15, 12)],
        "1 of 3 points lie outside the 40 x 30 image, farthest (41.5, 4); move them inside, or check that the outline "
        "was drawn on this image at this size",
    ),
    "wholly outside": ([(105, 4), (115, 4), (115, 12)], "3 of 3 points lie outside the 40 x 30 image"),
    "self-crossing": (
        [(5, 4), (25, 20), (25, 4), (5, 20)],
        "the outline crosses itself at (15, 12); redraw it without loops",
    ),
    "a loop": (
        [(5, 4), (25, 4), (25, 20), (10, 20), (10, 2), (5, 2)],
        "the outline crosses itself at (10, 4); redraw it without loops",
    ),
    "points on a line": (
        [(5, 5), (10, 10), (15, 15)],
        "the outline has zero area, or covers no pixel (area 0); redraw or delete the region",
    ),
    "points in one place": ([(5, 5), (5, 5), (5, 5)], "the outline has zero area, or covers no pixel (area 0)"),
    "there and back": ([(5, 4), (15, 4), (15, 12), (15, 4)], "the outline has zero area, or covers no pixel (area 0)"),
    "between the pixels": (
        [(5.1, 4.1), (5.2, 4.1), (5.2, 4.2), (5.1, 4.2)],
        "the outline has zero area, or covers no pixel (area 0.01)",
    ),
    "NaN": ([(5, 4), (NAN, 4), (15, 12)], "the point (nan, 4) is not finite; redraw or delete the region"),
    "infinity": ([(5, 4), (15, 4), (15, float("-inf"))], "the point (15, -inf) is not finite; redraw"),
}


@in_every_format
@pytest.mark.parametrize(("points", "expected"), BAD_OUTLINES.values(), ids=BAD_OUTLINES)
def test_a_bad_outline_is_refused_by_image_and_region(folder, name, points, expected):
    writer, place = FORMATS[name]
    (line,) = problems(writer(folder, [("a.png", [GOOD]), ("b.png", [GOOD, ("L2", points)])]), folder / "images")
    assert line.startswith(f"{place}: {expected}")


@in_every_format
def test_an_unknown_class_of_one_cell_is_refused_by_its_region(folder, name):
    writer, place = FORMATS[name]
    (line,) = problems(writer(folder, [("a.png", [GOOD]), ("b.png", [GOOD, ("L4", SQUARE)])]), folder / "images")
    remedy = "correct it to one of 'L1', 'L2', 'debris', or add it to the class map"
    assert line == f"{place}: unknown class 'L4'; {remedy}"


@in_every_format
def test_an_unknown_class_of_many_cells_is_one_problem_with_their_number(folder, name):
    writer, place = FORMATS[name]
    bad = [("L4", SQUARE)] * 3
    drawn: Drawn = [("a.png", [GOOD]), ("b.png", [GOOD, *bad]), ("c.png", [*bad, ("L5", SQUARE)])]
    annotations = writer(folder, drawn)
    lines = problems(annotations, folder / "images")
    assert len(lines) == 2
    assert lines[0].startswith(f"{annotations.name}, 6 cells: unknown class 'L4' (first {place}); correct it to one of")
    assert lines[1].startswith("c.png, ")
    assert "unknown class 'L5'" in lines[1]


MISSING_CLASS = {
    "coco": '"category_id" is missing; restore or delete the record',
    "labelme": '"label" is missing; restore or delete the record',
}


@in_every_format
def test_a_missing_class_is_refused_by_its_region(folder, name):
    writer, place = FORMATS[name]
    (line,) = problems(writer(folder, [("a.png", [GOOD]), ("b.png", [GOOD, (None, SQUARE)])]), folder / "images")
    of_via = "the region attribute 'cell' is missing or empty (there are: none); fill it in, or correct its name"
    assert line == f"{place}: {MISSING_CLASS.get(name, of_via)}"


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "coco"])
@pytest.mark.parametrize("blank", ["", "  ", "\t"])
def test_a_class_of_blanks_is_refused_by_its_region(folder, name, blank):
    writer, place = FORMATS[name]
    annotations = writer(folder, [("a.png", [GOOD]), ("b.png", [GOOD, (blank, SQUARE)])])
    (line,) = problems(annotations, folder / "images", None)
    assert line.startswith(f"{place}: {'its label is empty' if name == 'labelme' else 'the region attribute'}")
    assert read(annotations, folder / "images", on_error="skip").classes == ("L1",)


def test_another_attribute_than_the_named_one_is_refused_with_those_there_are(folder):
    annotations = via_2(folder, [("a.png", [GOOD])])
    (line,) = problems(annotations, folder / "images", class_attribute="type")
    assert line.startswith("a.png, region 1: the region attribute 'type' is missing or empty (there are: 'cell'); fill")


# ------------------------------------------------------------------------------------------------------------- images


@in_every_list
def test_a_missing_image_is_refused_by_name(folder, name):
    annotations = FORMATS[name][0](folder, [("a.png", [GOOD]), ("gone.png", [GOOD])])
    (line,) = problems(annotations, folder / "images")
    found = f"gone.png: there is no such image in {folder / 'images'}"
    assert line == f"{found}; add the image or delete its annotations"


def test_a_missing_image_of_labelme_is_refused_by_its_file(folder):
    (line,) = problems(labelme(folder, [("a.png", [GOOD]), ("gone.png", [GOOD])]), folder / "images")
    found = f"gone_1.json: it names the image 'gone.png', which is not in {folder / 'images'}"
    assert line == f"{found}; add it or delete the file"


@in_every_list
def test_an_image_on_the_web_is_refused_by_its_address(folder, name):
    address = "https://example.org/smears/gone.png"
    (line,) = problems(FORMATS[name][0](folder, [("a.png", [GOOD]), (address, [GOOD])]), folder / "images")
    assert line.startswith(f"{address}: the file name '{address}' is a web address; download the image and name a file")


@in_every_format
@pytest.mark.parametrize("content", [b"", b"no image", None], ids=["empty", "text", "cut short"])
def test_an_unreadable_image_is_refused_by_name(folder, name, content):
    if content is None:
        noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        jpeg = cv2.imencode(".jpg", noise)[1].tobytes()
        content = jpeg[: len(jpeg) // 2]
    (folder / "images/b.png").write_bytes(content)
    annotations = FORMATS[name][0](folder, [("a.png", [GOOD]), ("b.png", [GOOD, ("L2", SQUARE)])])
    (line,) = problems(annotations, folder / "images")
    assert line.startswith(f"b.png: the image cannot be read ({folder / 'images/b.png'}: not an image that OpenCV can")
    assert line.endswith("; replace the image or delete its annotations")


@in_every_format
def test_an_image_listed_twice_is_refused_by_name(folder, name):
    drawn: Drawn = [("a.png", [GOOD]), ("b.png", [GOOD]), ("a.png", [])]
    annotations = FORMATS[name][0](folder, drawn)
    (line,) = problems(annotations, folder / "images")
    by = ", by a_0.json and a_2.json" if name == "labelme" else ""
    assert line == f"a.png: the image is listed twice{by}; merge its two entries into one"
    found = read(annotations, folder / "images", CLASS_OF, on_error="skip")
    assert [field.name for field in found.fields] == ["b.png"]
    assert (found.refused_fields, found.refused_cells) == (1, 0)


@in_every_list
def test_an_image_listed_twice_under_two_spellings_is_refused(folder, name):
    (line,) = problems(FORMATS[name][0](folder, [("a.png", [GOOD]), ("./a.png", [])]), folder / "images")
    assert line.startswith("./a.png: the image is listed twice")


@in_every_list
@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("../outside.png", "the file name '../outside.png' leads out of the image folder"),
        ("sub/../../outside.png", "the file name 'sub/../../outside.png' leads out of the image folder"),
        ("{folder}/outside.png", "the file name '{folder}/outside.png' leads out of the image folder"),
    ],
)
def test_a_file_name_that_leads_out_of_the_image_folder_is_refused(folder, name, path, found):
    (folder / "images/c.png").rename(folder / "outside.png")
    path, found = path.format(folder=folder), found.format(folder=folder)
    (line,) = problems(FORMATS[name][0](folder, [("a.png", [GOOD]), (path, [GOOD])]), folder / "images")
    assert line.startswith(f"{path}: {found}; ")


@pytest.mark.parametrize("name", ["", ".", "nul\0.png", "x" * 5000, "loop.png"], ids=repr)
def test_a_file_name_that_is_no_image_is_refused(folder, name):
    (folder / "images/loop.png").symlink_to(folder / "images/loop.png")
    assert len(problems(via_2(folder, [(name, [])]), folder / "images")) == 1


def test_an_image_folder_of_links_is_read(folder):
    (folder / "store").mkdir()
    (folder / "images/c.png").rename(folder / "store/1f3a")
    (folder / "images/c.png").symlink_to(folder / "store/1f3a")  # as git-annex and DVC keep large files
    (field,) = read(via_2(folder, [("c.png", [GOOD])]), folder / "images", CLASS_OF).fields
    assert (field.name, len(field.cells)) == ("c.png", 1)


def test_a_link_inside_the_image_folder_is_read(folder):
    (folder / "images/same.png").symlink_to("a.png")
    fieldset = read(via_2(folder, [("same.png", [GOOD])]), folder / "images", CLASS_OF)
    assert [field.name for field in fieldset.fields] == ["same.png"]


# ----------------------------------------------------------------------------------------- images of another size

BOX = "<bndbox><xmin>6</xmin><ymin>5</ymin><xmax>15</xmax><ymax>12</ymax></bndbox>"
VOC = f"""<annotation><filename>a.png</filename><size><width>80</width><height>60</height><depth>3</depth></size>
<object><name>L1</name>{BOX}</object></annotation>"""


def coco_80_x_60(folder: Path) -> Path:
    annotations = coco(folder, [("a.png", [GOOD])])
    content = json.loads(annotations.read_text())
    content["images"][0] |= {"width": 80, "height": 60}
    return write(folder, "set.json", content)


def labelme_80_x_60(folder: Path) -> Path:
    annotations = labelme(folder, [("a.png", [GOOD])])
    content = json.loads((annotations / "a_0.json").read_text())
    write(annotations, "a_0.json", content | {"imageWidth": 80, "imageHeight": 60})
    return annotations


def voc_80_x_60(folder: Path) -> Path:
    (folder / "set").mkdir()
    write(folder / "set", "a.xml", VOC)
    return folder / "set"


def masks_80_x_60(name: str) -> Callable[[Path], Path]:
    def written(folder: Path) -> Path:
        (folder / "set").mkdir()
        cv2.imwrite(str(folder / "set" / name), np.ones((60, 80), np.uint8))
        return folder / "set"

    return written


OTHER_SIZES = {
    "coco": (coco_80_x_60, CLASS_OF, "a.png: the annotations say 80 x 60 pixels, the image has 40 x 30"),
    "labelme": (labelme_80_x_60, CLASS_OF, "a.png: the annotations say 80 x 60 pixels, the image has 40 x 30"),
    "voc": (voc_80_x_60, CLASS_OF, "a.png: the annotations say 80 x 60 pixels, the image has 40 x 30"),
    "label images": (masks_80_x_60("a.png"), None, "a.png: the label image has 80 x 60 pixels, the image has 40 x 30"),
    "masks": (
        masks_80_x_60("a_1.png"),
        None,
        "a.png, mask a_1.png: the mask has 80 x 60 pixels, the image has 40 x 30",
    ),
}


@pytest.mark.parametrize(("writer", "class_of", "expected"), OTHER_SIZES.values(), ids=OTHER_SIZES)
def test_an_image_of_another_size_than_the_annotated_one_is_refused(folder, writer, class_of, expected):
    (line,) = problems(writer(folder), folder / "images", class_of)
    assert line == f"{expected}; use the image that was annotated, upright and at the same size"


# ---------------------------------------------------------------------------------------------------------- whole sets


@pytest.mark.parametrize("name", ["via 1", "via 2", "via 3", "coco", "labelme"])
@pytest.mark.parametrize("broken", ["cut short", "empty", "not UTF-8", "endless"])
def test_broken_json_is_refused_by_its_file(folder, name, broken):
    annotations = FORMATS[name][0](folder, [("a.png", [GOOD])])
    file = annotations / "a_0.json" if annotations.is_dir() else annotations
    text = file.read_text()
    contents = {"cut short": text[:-9].encode(), "empty": b"", "not UTF-8": b"\xff\xfe{}", "endless": b"[" * 100_000}
    file.write_bytes(contents[broken])
    (line,) = problems(annotations, folder / "images")
    found = "broken text (" if broken == "not UTF-8" else "broken JSON ("
    assert line.startswith(f"{file.name}: {found}")
    assert line.partition("; ")[2].startswith("export the annotations again or ")


def bad_set(folder: Path) -> Drawn:
    """A set with problems of all kinds: four images of five are refused, one for its two entries, and five cells."""
    (folder / "images/b.png").write_bytes(b"no image")
    return [
        ("a.png", [("L4", [(5, 4), (60, 4), (15, 12)]), GOOD, ("L1", [(5, 4), (15, 12)])]),
        ("b.png", [("L1", [(5, 4), (15, 12)])]),
        ("gone.png", [("L5", SQUARE)]),
        ("c.png", [(None, SQUARE)]),
        ("../d.png", [GOOD]),
        ("c.png", [GOOD]),
    ]


@pytest.mark.parametrize("name", ["via 2", "via csv", "via 3"])
def test_every_problem_of_a_set_is_listed_at_once(folder, name):
    lines = problems(FORMATS[name][0](folder, bad_set(folder)), folder / "images")
    founds = [line.partition(": ")[2].split(";")[0].split(" (")[0] for line in lines]
    assert founds == [
        "1 of 3 points lie outside the 40 x 30 image, farthest",
        "the polygon has 2 points",
        "the image cannot be read",
        "the polygon has 2 points",
        f"there is no such image in {folder / 'images'}",
        "the region attribute 'cell' is missing or empty",
        "the file name '../d.png' leads out of the image folder",
        "the image is listed twice",
        "unknown class 'L4'",
        "unknown class 'L5'",
    ]
    assert [line.split(":")[0].split(",")[0] for line in lines] == [
        *("a.png", "a.png", "b.png", "b.png", "gone.png", "c.png", "../d.png", "c.png", "a.png", "gone.png")
    ]


@pytest.mark.parametrize("name", ["via 2", "via csv", "via 3"])
def test_skipping_leaves_out_what_has_problems_and_says_how_many(folder, name):
    fieldset = read(FORMATS[name][0](folder, bad_set(folder)), folder / "images", CLASS_OF, on_error="skip")
    assert [(field.name, len(field.cells)) for field in fieldset.fields] == [("a.png", 1)]
    assert fieldset.omissions() == ["left out 4 fields and 5 cells that have problems"]
    assert len(fieldset.problems) == 10
