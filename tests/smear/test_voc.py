"""The Pascal VOC reader: its coordinates, how images are found, every fault it refuses, and a real set."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.smear.make import CHECK, CLASS_OF, HEIGHT, WIDTH, image_folder, problems
from wbcjax.smear.read import read

REAL = (Path(__file__).parents[2] / "../shared/data/bccd").resolve()


def box(xmin: object = 6, ymin: object = 5, xmax: object = 15, ymax: object = 12):
    return f"<bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox>"


def thing(bounds=None, name="L1", more=""):
    return f"<object><name>{name}</name><difficult>0</difficult>{more}{box() if bounds is None else bounds}</object>"


def document(*objects, image="a.png", size=(WIDTH, HEIGHT)):
    width, height = size
    declared = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>{image}</filename>{declared}{''.join(objects)}</annotation>"


@pytest.fixture
def images(tmp_path):
    return image_folder(tmp_path / "images", "a.png", "b.JPG")


def written(images, **documents):
    """A folder of VOC files by their stems, beside that of the images."""
    folder = images.parent / "voc"
    folder.mkdir(exist_ok=True)
    for stem, content in documents.items():
        (folder / f"{stem}.xml").write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def test_a_folder_gives_a_field_for_each_file_those_without_objects_too(images):
    found = read(written(images, b=document(image="b.JPG"), a=document(thing(), thing(name="L2"))), images, CLASS_OF)
    assert [(f.name, f.height, f.width, f.path) for f in found.fields] == [
        ("a.png", HEIGHT, WIDTH, images / "a.png"),
        ("b.JPG", HEIGHT, WIDTH, images / "b.JPG"),
    ]
    assert [[(cell.label, cell.outlined) for cell in field.cells] for field in found.fields] == [
        [(1, False), (2, False)],
        [],
    ]
    assert found.suspects == []


@given(st.data())
def test_a_box_covers_its_first_and_last_pixel_counted_from_1(tmp_path_factory, data):
    xmin, ymin = data.draw(st.integers(1, WIDTH - 1)), data.draw(st.integers(1, HEIGHT - 1))
    xmax, ymax = data.draw(st.integers(xmin + 1, WIDTH)), data.draw(st.integers(ymin + 1, HEIGHT))
    images = image_folder(tmp_path_factory.mktemp("voc") / "images", "a.png")
    content = document(thing(box(xmin, ymin, xmax, ymax)))
    (field,) = read(written(images, a=content) / "a.xml", images, CLASS_OF).fields
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[ymin - 1 : ymax, xmin - 1 : xmax] = 1
    np.testing.assert_array_equal(field.cells[0].mask(HEIGHT, WIDTH), expected)


def test_a_zero_based_box_is_moved_into_the_image(images):
    """A box of a tool that counts from 0 is moved into the image."""
    content = document(thing(box(0, 0, 10.5, 12)))
    (field,) = read(written(images, a=content) / "a.xml", images, CLASS_OF).fields
    assert field.cells[0].box == (0, 0, 10.5, 12)


def test_difficult_objects_are_kept_and_parts_of_objects_are_not_cells(images):
    part = f"<part><name>nucleus</name>{box(8, 7, 10, 10)}</part>"
    content = document(thing().replace("<difficult>0", "<difficult>1"), thing(more=part))
    (field,) = read(written(images, a=content) / "a.xml", images, CLASS_OF).fields
    assert [cell.box for cell in field.cells] == [(5, 4, 15, 12)] * 2


def test_outlines_that_are_not_read_are_noted(images):
    content = document(thing(), thing(more="<polygon><x1>6</x1><y1>5</y1></polygon>"))
    found = read(written(images, a=content) / "a.xml", images, CLASS_OF)
    assert len(found.fields[0].cells) == 2
    assert [str(suspect) for suspect in found.suspects] == [
        "a.png: 1 of 2 objects have a <polygon>, which is not read: only their boxes are; export the outlines as COCO"
    ]


@pytest.mark.parametrize(
    "size", ["", "<size><width>0</width><height>0</height></size>", "<size><width>w</width></size>"]
)
def test_a_file_that_does_not_say_its_image_size_is_noted(images, size):
    content = re.sub("<size>.*</size>", size, document(thing()))
    found = read(written(images, a=content) / "a.xml", images, CLASS_OF)
    assert len(found.fields[0].cells) == 1
    assert [str(suspect) for suspect in found.suspects] == [
        "a.png: the annotations do not say for which image size they are; look whether the cells lie where they were "
        "drawn"
    ]


@pytest.mark.parametrize("named", ["a", "a.tif", "../JPEGImages/a.png", r"C:\smears\a.png", "  a.png\n"])
def test_an_image_is_found_by_its_base_name_or_that_of_the_file(images, named):
    found = read(written(images, a=document(thing(), image=named)) / "a.xml", images, CLASS_OF)
    assert [field.name for field in found.fields] == ["a.png"]
    assert found.suspects == []


@pytest.mark.parametrize("named", ["000001.jpg", ""])
def test_a_stale_image_name_is_noted(images, named):
    found = read(written(images, a=document(thing(), image=named)) / "a.xml", images, CLASS_OF)
    assert [field.name for field in found.fields] == ["a.png"]
    assert [str(suspect) for suspect in found.suspects] == [
        f"a.xml, 1 image: found by the name of their annotation file (the first: 'a.png' for {named!r}); {CHECK}"
    ]


def test_an_image_that_no_file_is_for_is_named_and_makes_no_field(images):
    found = read(written(images, a=document(thing())), images, CLASS_OF)
    assert [field.name for field in found.fields] == ["a.png"]
    assert [str(suspect) for suspect in found.suspects] == [
        "b.JPG: it has no annotations, and is left out; annotate it, or add a file without objects if it shows no cell"
    ]


def test_cells_to_leave_out_are_counted_and_not_checked(images):
    found = read(written(images, a=document(thing(box(9, 9, 9, 9), "debris"), thing())) / "a.xml", images, CLASS_OF)
    assert found.left_out == {"debris": 1}
    assert len(found.fields[0].cells) == 1


BAD_OBJECTS = {
    "a point": (thing(box(9, 9, 9, 9)), "the box from (9, 9) to (9, 9) is at most one pixel wide or high; redraw"),
    "reversed": (thing(box(15, 5, 6, 12)), "the box from (15, 5) to (6, 12) is at most one pixel wide or high"),
    "outside": (thing(box(6, 5, 60, 12)), "2 of 4 points lie outside the 40 x 30 image, farthest (60, 4)"),
    "before the image": (thing(box(-5, 5, 15, 12)), "2 of 4 points lie outside the 40 x 30 image, farthest (-6, 4)"),
    "no box": (thing(""), "<bndbox> is missing; draw its upright box"),
    "no side": (thing(box().replace("xmax", "xx")), "<xmax> is missing or empty; fill it in"),
    "an empty side": (thing(box(xmin=" ")), "<xmin> is missing or empty"),
    "a word": (thing(box(xmin="left")), "<xmin> is 'left'; it must be a number"),
    "NaN": (thing(box(xmin="nan")), "<xmin> is 'nan'; it must be a number"),
    "infinite": (thing(box(xmax="1e999")), "<xmax> is '1e999'; it must be a number"),
    "no name": (thing(name=" "), "<name> is missing or empty; fill it in"),
    "unknown class": (thing(name="L3"), "unknown class 'L3'; correct it to one of 'L1', 'L2', 'debris'"),
}


@pytest.mark.parametrize(("bad", "expected"), BAD_OBJECTS.values(), ids=BAD_OBJECTS)
def test_a_bad_object_is_refused_by_image_and_number(images, bad, expected):
    (line,) = problems(written(images, a=document(thing(), bad)) / "a.xml", images)
    assert line.startswith("a.png, object 2: ")
    assert expected in line


BOMB = '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;&x;">]><annotation>&y;</annotation>'
BAD_FILES = {
    "broken": ("<annotation><object>", "a.xml: broken XML (no element found: line 1, column 20); export the"),
    "empty": ("", "a.xml: broken XML (no element found"),
    "no XML": (b"\xff\xd8\xff\xe0", "a.xml: broken XML (not well-formed"),
    "unknown encoding": (
        '<?xml version="1.0" encoding="klingon"?><a/>',
        "a.xml: broken XML (unknown encoding: klingon)",
    ),
    "entities": (BOMB, "a.xml: it has a DOCTYPE (a); delete that declaration"),
    "entities in UTF-16": (BOMB.encode("utf-16"), "a.xml: it has a DOCTYPE (a); delete that declaration"),
    "another root": ("<html/>", "a.xml: it holds <html> where VOC has <annotation>; name its format"),
    "another size": (
        document(thing(), size=(80, 60)),
        "a.png: the annotations say 80 x 60 pixels, the image has 40 x 30; use the image that was annotated",
    ),
    "half a size": (document(size=("wide", 60)), "a.png: the annotations say 40 x 60 pixels, the image has 40 x 30"),
    "the image of another file": (
        document(thing(), image="b.JPG"),
        "a.xml: it names the image 'b.JPG', and there is an image 'a.png' of its own name; correct the name in it",
    ),
}


@pytest.mark.parametrize(("content", "expected"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_refused_by_its_name(images, content, expected):
    (line,) = problems(written(images, a=content), images, file_format="voc")
    assert line.startswith(expected)


def test_every_problem_of_a_folder_is_listed_at_once(images):
    (images / "c.png").write_bytes((images / "a.png").read_bytes())
    folder = written(
        images,
        a=document(thing(box(xmin="left")), thing(name="L3"), size=(7, 7)),
        b=document(thing(""), image="b.JPG"),
        broken="<annotation>",
        copy=document(image="b.JPG"),
        c=document(image="c.png"),
        lost=document(image="gone.png"),
    )
    assert [line.split(": ")[0] for line in problems(folder, images)] == [
        "a.png",
        "a.png, object 1",
        "b.JPG, object 1",
        "broken.xml",
        "b.JPG",
        "lost.xml",
        "a.png, object 2",
    ]
    found = read(folder, images, CLASS_OF, on_error="skip")
    assert [(field.name, len(field.cells)) for field in found.fields] == [("c.png", 0)]
    assert (found.refused_fields, found.refused_cells) == (4, 3)


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the BCCD fields are not on this machine")
def test_the_real_set_has_a_cell_per_box():
    """The real set has a cell for each box but those of a single point."""
    texts = [path.read_text() for path in sorted((REAL / "annotations").glob("*.xml"))]
    names = Counter(re.findall(r"<name>\s*(\w+)\s*</name>", "".join(texts)))
    sides = [re.findall(rf"<{side}>(\d+)</{side}>", "".join(texts)) for side in ("xmin", "ymin", "xmax", "ymax")]
    points = [(x1, y1) for x1, y1, x2, y2 in zip(*sides, strict=True) if x1 == x2 and y1 == y2]
    found = read(REAL / "annotations", REAL / "images", on_error="skip")
    assert len(found.fields) == len(texts)
    assert found.suspects == []
    assert [problem.found for problem in found.problems] == [
        f"the box from ({x}, {y}) to ({x}, {y}) is at most one pixel wide or high" for x, y in points
    ]
    read_names = Counter(found.classes[cell.label - 1] for field in found.fields for cell in field.cells)
    assert set(read_names) == set(names)
    assert names - read_names == {"RBC": len(points)}
