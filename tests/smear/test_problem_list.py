"""Problems by kind: the first ten of each are told, the rest counted, and the table has all."""

import csv
import json

import pytest

from tests.smear.drawn import coco
from tests.smear.make import CLASS_OF, entry, image_folder, region
from wbcjax.smear.field import AnnotationError
from wbcjax.smear.formats.checks import Problem
from wbcjax.smear.problem_list import COLUMNS, first_of_each_kind, kind_of, problem_table
from wbcjax.smear.read import read


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("the polygon has 2 points", "the polygon has 1 points"),
        ("unknown class 'L4'", "unknown class 'it\\'s'"),
        ("there is no such image in /data/a b/images", "there is no such image in /data/a b/images"),
        ("it names the image 'a.png', which is not in x/y", "it names the image 'b c.png', which is not in x/y"),
        ("the outline crosses itself at (12.5, 3)", "the outline crosses itself at (-1e+09, 0)"),
        (
            "the label image has 80 x 60 pixels, the image has 40 x 30",
            "the label image has 8 x 6 pixels, the image has 4 x 3",
        ),
        ("there are several images of this name: a.png, b/c.jpg", "there are several images of this name: d.png"),
        ("found [1, 2 where a polygon belongs", "found {'a': 3} where a polygon belongs"),
        ("the image cannot be read (/x/a.png: no image)", "the image cannot be read (/x/b.png: cut short)"),
    ],
)
def test_names_and_numbers_make_no_kind_of_their_own(one, other):
    a, b = (kind_of(Problem("a.png", "", found, "")) for found in (one, other))
    assert a == b or one.startswith("found")
    assert a


def test_different_faults_are_of_different_kinds():
    found = ["the polygon has 2 points", "the mask is empty", '"label" is missing', '"points" is missing', "it is 5"]
    assert len({kind_of(Problem("a.png", "", text, "")) for text in found}) == len(found)


def test_ten_of_a_kind_are_told_in_their_order_and_the_rest_counted():
    problems = [Problem(f"{n}.png", "", f"the polygon has {n} points", "redraw it") for n in range(226)]
    problems.insert(3, Problem("z.png", "", "the mask is empty", "draw it"))
    lines = first_of_each_kind(problems, ": problems.csv")
    assert [line.partition(":")[0] for line in lines[:-1]] == [
        *("0.png", "1.png", "2.png", "z.png", *(f"{n}.png" for n in range(3, 10)))
    ]
    assert lines[-1] == "... and 216 more of this kind: problems.csv"


def test_an_error_of_hundreds_of_faults_tells_ten_and_where_all_are(tmp_path):
    images = image_folder(tmp_path / "my images", "a.png")
    (tmp_path / "set.json").write_text(json.dumps({"a": entry("a.png", *[region(xs=[5, 15])] * 226, region(cell=""))}))
    with pytest.raises(AnnotationError) as caught:
        read(tmp_path / "set.json", images, CLASS_OF)
    first, *lines = str(caught.value).split("\n  ")
    assert first == f"{tmp_path}/set.json: 227 problems"
    assert len(lines) == 13
    assert lines[10] == "... and 216 more of this kind"
    command = f"wbcjax inspect {tmp_path}/set.json '{images}' --out FOLDER"
    assert lines[-1] == f"all are in problems.csv of: {command}"
    assert len(caught.value.problems) == 227


def test_an_error_of_a_few_faults_tells_them_all_and_no_more(tmp_path):
    images = image_folder(tmp_path / "images", "a.png")
    annotations = coco(tmp_path, [(f"{n}.png", []) for n in range(10)])
    with pytest.raises(AnnotationError) as caught:
        read(annotations, images, CLASS_OF)
    assert len(str(caught.value).split("\n")) == 11
    assert "wbcjax inspect" not in str(caught.value)


def test_the_table_has_all_and_no_cell_is_a_formula_or_a_command():
    rows = [
        (Problem("=1+1.png", "region 1", "found 'a, \"b\"'\n", "@redraw"), "a kind", "problem"),
        (Problem("\x1b[2J", "", "dark", "-"), "dark images", "suspect"),
    ]
    assert list(csv.reader(problem_table(rows).splitlines())) == [
        list(COLUMNS),
        ["'=1+1.png", "region 1", "a kind", "found 'a, \"b\"'\\n", "'@redraw", "problem"],
        ["\\x1b[2J", "", "dark images", "dark", "'-", "suspect"],
    ]
