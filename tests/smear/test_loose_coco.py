"""COCO as tools really write it: ids given twice, missing or as texts, sizes of 0, names left empty, loose outlines."""

from typing import Any

import numpy as np
import pytest

from tests.smear import two_discs
from tests.smear.make import problems
from tests.smear.two_discs import HEIGHT, P1, P2, WIDTH, annotation, flat, save
from wbcjax.smear.read import FieldSet, read


@pytest.fixture
def folder(tmp_path):
    two_discs.images(tmp_path / "images", "a.png", "b.png")
    return tmp_path


def set_of(folder, content: dict[str, Any], **options: Any) -> FieldSet:
    return read(save(folder / "set.json", content), folder / "images", **options)


def refused(folder, content: dict[str, Any]) -> list[str]:
    return problems(save(folder / "set.json", content), folder / "images", None)


def image(image_id: Any, name: str, **changes: Any) -> dict[str, Any]:
    return {"id": image_id, "file_name": name, "width": WIDTH, "height": HEIGHT} | changes


TWO = [image(1, "a.png"), image(2, "b.png")]


def same_cells(found: FieldSet) -> bool:
    """Whether the set is that of the two discs: both on `a.png`, L1 first."""
    (field,) = [field for field in found.fields if field.cells]
    drawn = [np.array(points) for points in (P1, P2)]
    alike = [np.array_equal(cell.polygons[0], points) for cell, points in zip(field.cells, drawn, strict=True)]
    names = [found.classes[cell.label - 1] for cell in field.cells]
    return field.name == "a.png" and all(alike) and names == ["L1", "L2"] and not found.problems


# -------------------------------------------------------------------------------------------------------- given twice

CELLS = [annotation(1, [flat(P1)], image_id=12), annotation(2, [flat(P2)], image_id=12)]
ANEW = "number them anew, and what refers to them"


@pytest.mark.parametrize("ids", [(12, 12), (12, "12"), (12.0, 12)])
def test_an_image_id_given_twice_is_used_for_neither_image(folder, ids):
    images = [image(ids[0], "a.png"), image(ids[1], "b.png"), image(3, "c.png")]
    content = two_discs.coco(images=images, annotations=[*CELLS, annotation(1, [flat(P1)], id=3, image_id=3)])
    (folder / "images/c.png").write_bytes((folder / "images/a.png").read_bytes())
    assert refused(folder, content) == [
        f"a.png: its image id {ids[0]!r} is given 2 times; {ANEW}",
        f"b.png: its image id {ids[1]!r} is given 2 times; {ANEW}",
        f"set.json, annotation 1: its image id 12 is given several times; {ANEW}",
        f"set.json, annotation 2: its image id 12 is given several times; {ANEW}",
    ]
    found = set_of(folder, content, on_error="skip")
    assert [(field.name, len(field.cells)) for field in found.fields] == [("c.png", 1)]
    assert (found.refused_fields, found.refused_cells) == (2, 2)


def test_a_category_id_given_twice_is_used_for_no_cell(folder):
    kinds = [{"id": 1, "name": "L1"}, {"id": 1, "name": "L2"}, {"id": 2, "name": "L3"}]
    content = two_discs.coco(categories=kinds)
    told = f"is given 2 times; {ANEW}"
    assert refused(folder, content) == [
        f"set.json, category at position 1: its category id 1 {told}",
        f"set.json, category at position 2: its category id 1 {told}",
        f"a.png, annotation 1: its category id 1 is given several times; {ANEW}",
    ]
    found = set_of(folder, content, on_error="skip")
    assert [[found.classes[cell.label - 1] for cell in field.cells] for field in found.fields] == [["L3"]]
    assert (found.refused_fields, found.refused_cells) == (0, 1)


def test_an_image_without_a_usable_id_counts_as_a_field(folder):
    content = two_discs.coco(images=[*TWO[:1], {"file_name": "b.png"}, {"id": True, "file_name": ""}])
    assert refused(folder, content) == [
        'b.png: "id" is missing; restore or delete the record',
        'set.json, image at position 3: "id" is True; it must be a whole number or a text',
    ]
    found = set_of(folder, content, on_error="skip")
    assert (found.refused_fields, found.refused_cells) == (2, 0)


# --------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("name", ["", "  ", "\t\n", None])
def test_a_category_without_a_name_is_refused_with_its_cells(folder, name):
    content = two_discs.coco(categories=[{"id": 1, "name": name}, {"id": 2, "name": "L2"}])
    remedy = "give it a name, as every cell has its class from it"
    assert refused(folder, content) == [
        f"set.json, category 1: its name is {name!r}; {remedy}",
        f"a.png, annotation 1: its category 1 has no name; {remedy}",
    ]
    found = set_of(folder, content, on_error="skip")
    assert found.classes == ("L2",)
    assert (found.refused_fields, found.refused_cells) == (0, 1)


def test_nameless_categories_are_refused_as_a_whole(folder):
    lines = refused(folder, two_discs.coco(categories=[{"id": 1, "name": ""}, {"id": 2, "name": ""}]))
    assert len(lines) == 4
    assert all("name" in line for line in lines)


def test_categories_of_one_name_are_one_class_and_told(folder):
    kinds = [{"id": 1, "name": "L1"}, {"id": 2, "name": "L1"}, {"id": 3, "name": "l1"}]
    found = set_of(folder, two_discs.coco(categories=kinds))
    assert found.classes == ("L1",)
    told = "2 categories are named 'L1', and are taken for one class; name them apart unless they are one"
    assert list(map(str, found.suspects)) == [f"set.json: {told}"]


# ----------------------------------------------------------------------------------------------------- sizes and ids

NO_SIZE = "the annotations do not say for which image size they are; look whether the cells lie where they were drawn"
SIZES: dict[str, dict[str, Any]] = {
    "0": {"width": 0, "height": 0},
    "one of them 0": {"width": 0},
    "null": {"width": None, "height": None},
    "below 0": {"width": -1, "height": -1},
    "true": {"width": True},
    "a text": {"width": "160", "height": "120"},
    "a word": {"width": "wide", "height": ""},
    "a list": {"width": [160]},
    "not finite": {"width": float("nan"), "height": float("inf")},
}


@pytest.mark.parametrize("sides", SIZES.values(), ids=SIZES)
def test_a_size_that_is_none_is_read_as_not_known(folder, sides):
    found = set_of(folder, two_discs.coco(images=[TWO[0] | sides]))
    assert same_cells(found)
    assert list(map(str, found.suspects)) == [f"a.png: {NO_SIZE}"]


def test_sizes_that_are_missing_are_told_once_with_their_number(folder):
    images = [{"id": number, "file_name": name} for number, name in ((1, "a.png"), (2, "b.png"))]
    found = set_of(folder, two_discs.coco(images=images))
    assert same_cells(found)
    told = NO_SIZE.replace(";", " (first a.png);")
    assert list(map(str, found.suspects)) == [f"set.json, 2 places: {told}"]


@pytest.mark.parametrize("sides", [{"width": 80}, {"width": 0, "height": 60}, {"width": "80"}, {"height": 120.5}])
def test_a_side_of_another_number_is_refused(folder, sides):
    (line,) = refused(folder, two_discs.coco(images=[TWO[0] | sides]))
    assert line.startswith("a.png: the annotations say ")
    assert "the image has 160 x 120" in line


def test_a_whole_number_with_a_point_is_a_size(folder):
    found = set_of(folder, two_discs.coco(images=[TWO[0] | {"width": 160.0, "height": 120.0}]))
    assert same_cells(found)
    assert found.suspects == []


def test_text_ids_that_equal_number_ids_are_read_and_told(folder):
    images = [image("1", "a.png"), image("x", "b.png")]
    cells = [annotation(1, [flat(P1)]), annotation(2, [flat(P2)], image_id="1", category_id="2")]
    found = set_of(folder, two_discs.coco(images=images, annotations=cells))
    assert same_cells(found)
    assert list(map(str, found.suspects)) == [
        'set.json, annotation 1: its "image_id" and the id that it means are a text and a number; look whether it has '
        "the right image",
        'set.json, annotation 2: its "category_id" and the id that it means are a text and a number; look whether it '
        "has the right category",
    ]


def test_ids_that_are_all_texts_or_all_numbers_are_as_they_should_be(folder):
    kinds = [{"id": "one", "name": "L1"}, {"id": "2", "name": "L2"}]
    cells = [annotation(1, [flat(P1)], category_id="one"), annotation(2, [flat(P2)], category_id="2")]
    content = two_discs.coco(images=[image(1.0, "a.png")], categories=kinds, annotations=cells)
    found = set_of(folder, content)
    assert same_cells(found)
    assert found.suspects == []


@pytest.mark.parametrize("text", ["01", "1.0", " 1", "1" * 40, "+1"])
def test_a_text_that_is_not_written_as_a_number_is_another_id(folder, text):
    content = two_discs.coco(annotations=[annotation(1, [flat(P1)], image_id=text)])
    (line,) = refused(folder, content)
    assert line.startswith(f"set.json, annotation 1: its image {text!r} is not in")


NOTHING = "none, as nothing uses it"
IDS: dict[str, tuple[tuple[Any, Any], list[str]]] = {
    "missing": ((None, None), [f"set.json, 2 places: it has no id (first annotation at position 1); {NOTHING}"]),
    "one missing": ((7, None), [f"set.json, annotation at position 2: it has no id; {NOTHING}"]),
    "repeated": ((7, 7), [f"set.json, 2 places: its id is that of another annotation too (first {{}}); {NOTHING}"]),
    "all 0": ((0, 0), [f"set.json, 2 places: its id is 0, as that of every other is (first {{}}); {NOTHING}"]),
    "no id": (([1], {}), [f"set.json, 2 places: it has no id (first {{}}); {NOTHING}"]),
    "texts": (("u1", "u2"), []),
}


@pytest.mark.parametrize(("ids", "told"), IDS.values(), ids=IDS)
def test_ids_of_annotations_may_be_missing_or_repeated(folder, ids, told):
    cells = [annotation(1, [flat(P1)]), annotation(2, [flat(P2)])]
    for cell, given in zip(cells, ids, strict=True):
        del cell["id"]
        cell |= {} if given is None else {"id": given}
    found = set_of(folder, two_discs.coco(annotations=cells))
    assert same_cells(found)
    first = "set.json, annotation at position 1"
    assert [str(line) for line in found.suspects] == [
        line.replace("(first annotation", "(first set.json, annotation").format(first) for line in told
    ]


def test_problems_of_annotations_without_ids_are_told_by_their_positions(folder):
    bad = [[5, 5, 9, 9]]
    lines = refused(folder, two_discs.coco(annotations=[annotation(1, bad, id=0), annotation(2, bad, id=0)]))
    assert [line.split(":")[0] for line in lines] == [
        "a.png, annotation at position 1",
        "a.png, annotation at position 2",
    ]


BY_IMAGE = (
    '"annotations" is an object of lists by image, where COCO has one list; look whether each cell lies on its image'
)


@pytest.mark.parametrize("key", ["1", "a.png"])
@pytest.mark.parametrize("with_id", [True, False])
def test_annotations_may_be_an_object_of_lists_by_image(folder, key, with_id):
    cells = [annotation(1, [flat(P1)]), annotation(2, [flat(P2)])]
    if not with_id:
        cells = [{k: v for k, v in cell.items() if k != "image_id"} for cell in cells]
    found = set_of(folder, two_discs.coco(images=TWO, annotations={key: cells, "2": []}))
    assert same_cells(found)
    told = BY_IMAGE.replace(";", " (first set.json);")
    assert list(map(str, found.suspects)) == [f"set.json, 2 places: {told}"]


def test_annotations_may_be_an_object_by_their_ids(folder):
    cells = {"7": annotation(1, [flat(P1)]), "8": annotation(2, [flat(P2)])}
    for cell in cells.values():
        del cell["id"]
    found = set_of(folder, two_discs.coco(annotations=cells))
    assert same_cells(found)
    (told,) = found.suspects
    assert str(told).startswith('set.json, 2 places: "annotations" is an object by id, where COCO has a list')


def test_lists_by_image_with_other_images_inside_are_refused(folder):
    cells = {"1": [annotation(1, [flat(P1)], image_id=2)], "gone": [annotation(2, [flat(P2)])], "2": 5}
    del cells["gone"][0]["image_id"]
    assert refused(folder, two_discs.coco(images=TWO, annotations=cells)) == [
        "set.json, annotations of 1: one of them has the image id 2; correct it, or move it to that image",
        "set.json, annotations of 2: found 5 where a list of annotations belongs; restore or delete it",
        "set.json, annotation 2: its image 'gone' is not in \"images\"; list the image or delete the annotation",
    ]


# ------------------------------------------------------------------------------------------------------------ outlines

LOOSE: dict[str, tuple[Any, str]] = {
    "flat": (flat(P1), "its segmentation is one flat list of numbers"),
    "points": (P1, "its segmentation is of points, where COCO has one list of numbers"),
    "points in a list": ([P1], "its segmentation is of points, where COCO has one list of numbers"),
    "points in a plane": ([[*p, 0] for p in P1], "its segmentation is of points, where COCO has one list of numbers"),
}


@pytest.mark.parametrize(("segmentation", "told"), LOOSE.values(), ids=LOOSE)
def test_a_loose_outline_is_read_and_told(folder, segmentation, told):
    found = set_of(folder, two_discs.coco(annotations=[annotation(1, segmentation), annotation(2, [flat(P2)])]))
    assert same_cells(found)
    assert list(map(str, found.suspects)) == [f"a.png, annotation 1: {told}; look whether its outline fits"]


UNCLEAR: dict[str, tuple[Any, str]] = {
    "four numbers": ([22, 22, 58, 58], "the polygon has 2 points"),
    "an odd number": (flat(P1)[:-1], "the polygon has 24 x but 23 y coordinates"),
    "several planes": ([[*p, i] for i, p in enumerate(P1)], "its points lie in several planes"),
    "points of several kinds": ([[[1, 2], [3, 4, 5], [6, 7]]], "found [3, 4, 5] where a point [x, y] belongs"),
    "a number among points": ([[[1, 2], 3, [6, 7]]], "found 3 where a point [x, y] belongs"),
    "words": (["a", "b"], "found 'a' where a polygon [x1, y1, ...] belongs"),
}


@pytest.mark.parametrize(("segmentation", "told"), UNCLEAR.values(), ids=UNCLEAR)
def test_an_outline_that_is_not_clear_is_refused(folder, segmentation, told):
    (line,) = refused(folder, two_discs.coco(annotations=[annotation(1, segmentation)]))
    assert line.startswith(f"a.png, annotation 1: {told}")


# ------------------------------------------------------------------------------------- the same in the other formats


@pytest.mark.parametrize("sides", SIZES.values(), ids=SIZES)
def test_a_size_of_labelme_that_is_none_is_read_as_not_known(folder, sides):
    declared = {f"image{side.capitalize()}": value for side, value in sides.items()}
    place = save(folder / "set/a.json", two_discs.labelme(**declared))
    found = read(place, folder / "images")
    assert same_cells(found)
    assert list(map(str, found.suspects)) == [f"a.png: {NO_SIZE}"]


@pytest.mark.parametrize("size", ["", "<width>0</width><height>0</height>", "<width/><height>-1</height>"])
def test_files_of_voc_that_say_no_size_are_told_once(folder, size):
    for name in ("a", "b"):
        save(folder / f"set/{name}.xml", two_discs.voc(size=size).replace("a.png", f"{name}.png"))
    found = read(folder / "set", folder / "images")
    assert [len(field.cells) for field in found.fields] == [2, 2]
    assert list(map(str, found.suspects)) == [f"set, 2 places: {NO_SIZE.replace(';', ' (first a.png);')}"]
