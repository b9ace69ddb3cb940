"""Images whose names changed on the way: in every format they are found by one rule, and what was taken is said."""

import json
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.smear.drawn import coco, labelme, via_1, via_2, via_3, via_csv
from tests.smear.make import CHECK, CLASS_OF, image_folder, problems
from wbcjax.smear.formats.image_names import ELSEWHERE, PREFIXED, SPELT, ImageNames, Taken
from wbcjax.smear.read import read

SQUARE = [(5, 4), (15, 4), (15, 12), (5, 12)]
GOOD = ("L1", SQUARE)
LISTS = {"via 1": via_1, "via 2": via_2, "via csv": via_csv, "via 3": via_3, "coco": coco}
in_every_list = pytest.mark.parametrize("writer", LISTS.values(), ids=LISTS)
NFC, NFD = (unicodedata.normalize(form, "Blüte é.png") for form in ("NFC", "NFD"))

NAMES = {  # what is there, what is named, and how it is found
    "a backslash": ("p1/a.png", r"p1\a.png", SPELT),
    "percent signs": ("a b.png", "a%20b.png", SPELT),
    "percent signs of letters": (NFC, "Bl%C3%BCte%20%C3%A9.png", SPELT),
    "percent signs on the disk": ("a%20b.png", "a b.png", SPELT),
    "accents composed": (NFD, NFC, SPELT),
    "accents apart": (NFC, NFD, SPELT),
    "the suffix's case": ("a.JPG", "a.jpg", SPELT),
    "the suffix's other case": ("a.png", "a.PNG", SPELT),
    "the suffix's kind": ("a.jpg", "a.JPEG", SPELT),
    "the kind of a TIFF": ("a.tif", "a.tiff", SPELT),
    "a path of Windows": ("a.png", r"C:\data\a.png", ELSEWHERE),
    "a path of Unix": ("a.png", "/home/x/a.png", ELSEWHERE),
    "a path up": ("a.png", "../images/a.png", ELSEWHERE),
    "a path up of Windows": ("a.png", r"..\images\a.PNG", ELSEWHERE),
    "an address of a file": ("a b.png", "file:///C:/data/a%20b.png", ELSEWHERE),
    "an address": ("a.png", "https://example.org/p1/a.png?token=1/2.png", ELSEWHERE),
    "a folder less": ("p1/a.png", "a.png", ELSEWHERE),
    "a folder more": ("a.png", "p1/a.png", ELSEWHERE),
    "another folder": ("p1/a.png", "images/a.png", ELSEWHERE),
    "an upload": ("a.png", "/data/upload/1/abcd1234-a.png", PREFIXED),
    "an upload's name": ("a (1) b.png", "0123abcd-a_1_b.png", PREFIXED),
    "a file that is served": ("p1/a.png", "/data/local-files/?d=set/p1/a.png", ELSEWHERE),
}


def put(folder: Path, *names: str) -> Path:
    """An image folder of these names, some of them in folders."""
    image_folder(folder, *[name for name in names if "/" not in name])
    for name in names:
        if "/" in name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / name), np.full((30, 40, 3), 200, np.uint8))
    return folder


@in_every_list
@pytest.mark.parametrize(("there", "named", "way"), NAMES.values(), ids=NAMES)
def test_an_image_is_found_by_a_name_that_changed_on_the_way(tmp_path, writer, there, named, way):
    images = put(tmp_path / "images", there, "other.png")
    annotations = writer(tmp_path, [(named, [GOOD]), ("other.png", [])])
    found = read(annotations, images, CLASS_OF)
    assert [(f.name, f.path, len(f.cells)) for f in found.fields] == [
        (there, images / there, 1),
        ("other.png", images / "other.png", 0),
    ]
    told = f"{annotations.name}, 1 image: {way} (the first: {there!r} for {named!r}); {CHECK}"
    assert [str(suspect) for suspect in found.suspects if suspect.remedy == CHECK] == [told]


@pytest.mark.parametrize("writer", [via_2, coco, labelme])
def test_the_literal_name_comes_before_all_others(tmp_path, writer):
    names = ["a%20b.png", "a b.png", "x.JPG", "x.jpg", "p1/a b.png", "a\\b.png", "b.png"]
    images = put(tmp_path / "images", *names)
    found = read(writer(tmp_path, [(name, [GOOD]) for name in names if "/" not in name]), images, CLASS_OF)
    assert sorted(field.name for field in found.fields) == sorted(name for name in names if "/" not in name)
    assert [suspect for suspect in found.suspects if CHECK in suspect.remedy] == []


def test_each_way_is_told_once_with_its_count(tmp_path):
    images = put(tmp_path / "images", "a.png", "b.png", "c.png", "d e.png", "f.png")
    named = [r"C:\x\a.png", r"C:\x\b.png", "/home/c.png", "d%20e.png", "f.PNG"]
    found = read(coco(tmp_path, [(name, [GOOD]) for name in named]), images, CLASS_OF)
    assert [str(suspect) for suspect in found.suspects if suspect.remedy == CHECK] == [
        f"set.json, 2 images: {SPELT} (the first: 'd e.png' for 'd%20e.png'); {CHECK}",
        f"set.json, 3 images: {ELSEWHERE} (the first: 'a.png' for 'C:\\\\x\\\\a.png'); {CHECK}",
    ]


@in_every_list
def test_two_names_of_one_image_are_refused_as_listed_twice(tmp_path, writer):
    images = put(tmp_path / "images", "a.png", "b.png")
    annotations = writer(tmp_path, [("a.png", [GOOD]), ("/x/a.png", []), ("b.png", [])])
    (line,) = problems(annotations, images)
    assert line == "a.png: the image is listed twice, by 'a.png' and '/x/a.png'; merge its two entries into one"
    found = read(annotations, images, on_error="skip")
    assert [field.name for field in found.fields] == ["b.png"]


def test_a_name_that_several_images_have_is_refused_with_them(tmp_path):
    images = put(tmp_path / "images", "p1/a.png", "p2/a.png")
    (line,) = problems(coco(tmp_path, [("/home/x/a.png", [GOOD])]), images)
    assert line.startswith("/home/x/a.png: there are several images of this name: p1/a.png, p2/a.png; ")


def test_the_longest_end_of_a_path_decides_between_images(tmp_path):
    images = put(tmp_path / "images", "p1/a.png", "p2/a.png")
    found = read(coco(tmp_path, [(r"D:\smears\p2\a.png", [GOOD])]), images, CLASS_OF)
    assert [field.name for field in found.fields] == ["p2/a.png"]


@pytest.mark.parametrize(
    ("there", "named", "hint"),
    [("a.png", "a.jpg", "a.png"), ("A.png", "a.png", "A.png"), ("a.jpg", "x/a.tif", "a.jpg"), ("b.png", "a.png", None)],
)
def test_another_image_is_named_and_not_taken(tmp_path, there, named, hint):
    (line,) = problems(coco(tmp_path, [(named, [GOOD])]), put(tmp_path / "images", there))
    assert line.endswith(
        f"or name it {hint!r}, which is there" if hint else "; add the image or delete its annotations"
    )


def test_problems_of_a_cell_name_the_image_that_was_taken(tmp_path):
    images = put(tmp_path / "images", "a.png")
    (line,) = problems(coco(tmp_path, [(r"C:\x\a.png", [("L1", [(5, 4), (90, 4), (5, 12)])])]), images)
    assert line.startswith("a.png, annotation 1: ")


def test_hidden_images_and_those_behind_links_are_not_looked_for(tmp_path):
    images = put(tmp_path / "images", ".trash/a.png", ".a.png")
    (images / "links").symlink_to(put(tmp_path / "others", "a.png"), target_is_directory=True)
    assert ImageNames(images).by_name("x/a.png") == []
    assert ImageNames(images).by_name("links/a.png") == [Taken("links/a.png")]  # the user's own folder


# ------------------------------------------------------------------------------------- an annotation file for an image


def labelled(folder: Path, *stems: str) -> Path:
    folder.mkdir(parents=True)
    for stem in stems:
        labels = np.zeros((30, 40), np.uint8)
        labels[4:12, 5:15] = 1
        cv2.imwrite(str(folder / f"{stem}.png"), labels)
    return folder


@pytest.mark.parametrize(("number", "name"), [("", "label_images"), ("_1", "mask_folders")])
@pytest.mark.parametrize(
    ("there", "stem", "way"),
    [
        ("a b.jpg", "a%20b", SPELT),
        (NFC, NFD.removesuffix(".png"), SPELT),
        (NFD, NFC.removesuffix(".png"), SPELT),
        ("p1/a.png", "a", ELSEWHERE),
    ],
)
def test_masks_and_label_images_find_their_image_by_the_same_rule(tmp_path, number, name, there, stem, way):
    images, labels = put(tmp_path / "images", there), labelled(tmp_path / "labels", f"{stem}{number}")
    found = read(labels, images)
    assert [(field.name, len(field.cells)) for field in found.fields] == [(there, 1)]
    told = f"labels, 1 image: {way} (the first: {there!r} for {stem!r}); {CHECK}"
    assert list(map(str, found.suspects)) == [told]


def test_label_images_below_the_image_folder_are_not_images_themselves(tmp_path):
    root = put(tmp_path / "set", "images/a.png", "images/b.png")
    labels = labelled(root / "labels", "a", "b")
    assert [field.name for field in read(labels, root).fields] == ["images/a.png", "images/b.png"]


@pytest.mark.parametrize(
    ("there", "stem", "named", "way"),
    [
        ("a.JPG", "first", "a.jpg", SPELT),
        ("p1/a.png", "a", "a.png", ELSEWHERE),
        ("a b.png", "first", "C:\\x\\a%20b.png", ELSEWHERE),
        ("a.JPG", "a", "a.jpg", None),  # the file's own name agrees
        ("a.png", "a", "../images/a.png", None),
    ],
)
@pytest.mark.parametrize("name", ["labelme", "voc"])
def test_files_that_name_their_image_find_it_by_the_same_rule(tmp_path, name, there, stem, named, way):
    images, folder = put(tmp_path / "images", there), tmp_path / "set"
    folder.mkdir()
    if name == "labelme":
        (folder / f"{stem}.json").write_text(json.dumps({"imagePath": named, "shapes": []}))
    else:
        size = "<size><width>40</width><height>30</height></size>"
        (folder / f"{stem}.xml").write_text(f"<annotation><filename>{named}</filename>{size}</annotation>")
    found = read(folder, images)
    assert [field.name for field in found.fields] == [there]
    told = [f"set, 1 image: {way} (the first: {there!r} for {named!r}); {CHECK}"] if way else []
    assert [str(suspect) for suspect in found.suspects if "images" in str(suspect) or CHECK in str(suspect)] == told


@settings(max_examples=300)
@given(st.text(max_size=40) | st.lists(st.sampled_from(["a.png", "..", "p1", "%2e%2e", "", "C:", "\\"])).map("/".join))
def test_any_name_finds_images_of_the_folder_alone(tmp_path_factory, name):
    images = tmp_path_factory.getbasetemp() / "any"
    if not images.exists():
        put(images, "a.png", "p1/a.png")
        cv2.imwrite(str(images.parent / "a.png"), np.zeros((3, 4, 3), np.uint8))
    for taken in ImageNames(images).by_name(name):
        assert (images / taken.name).resolve().is_relative_to(images.resolve())
