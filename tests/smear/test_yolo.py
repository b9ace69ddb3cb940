"""YOLO folders, read and written: outlines and boxes by value, the layouts of splits, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.smear import disc_arrays as discs
from tests.smear.disc_arrays import HEIGHT, P1, P2, WIDTH
from tests.smear.make import problems
from wbcjax.smear.formats.bridge import bridge, take_apart
from wbcjax.smear.read import read, recognise

NAMES = "train: images\nval: images\nnames:\n  0: L1\n  1: L2\n"


def line(label, points):
    return f"{label} " + " ".join(f"{x / WIDTH:.8f} {y / HEIGHT:.8f}" for x, y in points) + "\n"


@pytest.fixture
def make(tmp_path):
    """A set with images and labels beside each other; gives its folder and that of its images."""

    def write(labels: dict[str, str], names: str | None = NAMES, images=("images/a.png",)):
        root = tmp_path / "set"
        if images:
            discs.image_folder(root, *images)
        for name, text in labels.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        if names is not None:
            (root / "data.yaml").write_text(names)
        return root

    return write


def cells_of(found):
    (field,) = found.fields
    return field.cells


def test_outlines_and_boxes_are_recognised_and_read(make):
    root = make({"labels/a.txt": line(0, P1) + "\n" + "1 0.5 0.5 0.25 0.5\n"})
    assert recognise(root, root / "images") == "yolo"
    found = read(root, root / "images")
    outlined, boxed = cells_of(found)
    assert found.classes == ("L1", "L2")
    assert (outlined.label, boxed.label) == (1, 2)
    np.testing.assert_allclose(outlined.polygons[0], P1, rtol=0, atol=1e-5)
    assert boxed.box == (60, 30, 100, 90)
    assert not found.suspects


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("names: [early, no]\n", ("early", "no")),
        ("names: {0: early, 1: 'yes'}\n", ("early", "yes")),
        ("nc: 2\nnames:\n- 155\n- 1.0\n", ("155", "1.0")),
    ],
)
def test_class_names_are_texts_however_yaml_would_take_them(make, names, expected):
    root = make({"labels/a.txt": line(0, P1) + line(1, P2)}, names)
    assert read(root, root / "images").classes == expected


@pytest.mark.parametrize("name", ["classes.txt", "obj.names"])
def test_lists_of_other_tools_name_the_classes(make, name):
    root = make({"labels/a.txt": line(1, P1), name: "early\nlate\n"}, None)
    assert read(root, root / "images").classes == ("late",)


def test_a_set_without_names_takes_the_numbers_and_says_so(make):
    root = make({"labels/a.txt": line(1, P1)})
    found = read(root / "labels", root / "images")
    assert found.classes == ("1",)
    (suspect,) = found.suspects
    assert suspect.found == "no data.yaml names its classes: their numbers are taken"
    assert suspect.remedy == f"give the folder with data.yaml, {root}"


LAYOUTS = {
    "of Roboflow": ("train/images/a.png", "train/labels/a.txt", "valid/images/a.png", "valid/labels/a.txt"),
    "of Ultralytics": ("images/train/a.png", "labels/train/a.txt", "images/val/a.png", "labels/val/a.txt"),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_all_splits_are_read_and_same_names_are_told_apart(make, layout):
    first, of_first, second, of_second = layout
    root = make({of_first: line(0, P1), of_second: line(1, P2)}, images=(first, second))
    found = read(root, root)
    assert [field.name for field in found.fields] == [first, second]
    for field, points in zip(found.fields, (P1, P2), strict=True):
        np.testing.assert_array_equal(field.cells[0].mask(HEIGHT, WIDTH), discs.mask(points))
    assert not found.suspects


def test_an_export_of_darknet_lies_beside_its_images(make):
    """As CVAT exports YOLO 1.1; a file of an image without cells comes first."""
    labels = {"obj_train_data/b.txt": line(1, P1), "obj_train_data/a.txt": "", "obj.names": "early\nlate\n"}
    root = make(labels | {"train.txt": "data/obj_train_data/a.png"}, None, [f"obj_train_data/{n}.png" for n in "ab"])
    assert recognise(root, root) == "yolo"
    found = read(root, root)
    assert [(field.name, len(field.cells)) for field in found.fields] == [
        ("obj_train_data/a.png", 0),
        ("obj_train_data/b.png", 1),
    ]
    assert found.classes == ("late",)


def test_images_kept_apart_from_their_labels_are_found(make, tmp_path):
    root = make({"labels/train/a.txt": line(0, P1)}, images=())
    elsewhere = discs.image_folder(tmp_path / "elsewhere", "train/a.png")
    assert [field.name for field in read(root, elsewhere).fields] == ["train/a.png"]


def test_an_empty_file_is_a_field_without_cells_and_a_missing_one_is_told(make):
    root = make({"labels/a.txt": ""}, images=("images/a.png", "images/b.png"))
    found = read(root, root / "images")
    assert [(field.name, field.cells) for field in found.fields] == [("a.png", ())]
    assert ("b.png", "it has no label file, and is left out") in [(s.file, s.found) for s in found.suspects]


def test_parts_that_are_joined_by_a_line_are_taken_apart(make):
    """As Ultralytics' converter of COCO joins them: there and back between the nearest points."""
    joined = [*P1[:5], P2[12], *P2[13:], *P2[:13], *P1[4:]]
    root = make({"labels/a.txt": line(0, joined)})
    (cell,) = cells_of(read(root, root / "images"))
    assert len(cell.polygons) == 2
    np.testing.assert_array_equal(cell.mask(HEIGHT, WIDTH), discs.mask(P1, P2))


def test_a_hole_that_is_joined_to_its_rim_stays_a_hole(make):
    """As converters write masks with holes: the inner line runs the other way."""
    inner = (40, 40) + 0.5 * (P1 - np.array([40, 40]))
    keyhole = [*P1, P1[0], *inner[:1], *inner[:0:-1], inner[0]]
    root = make({"labels/a.txt": line(0, keyhole)})
    (cell,) = cells_of(read(root, root / "images"))
    expected = discs.mask(P1) & ~discs.mask(inner)
    mask = cell.mask(HEIGHT, WIDTH)
    assert mask[40, 40] == 0
    assert (mask != expected).sum() <= 9  # along the line from rim to rim


REFUSED = {
    "a class without a name": (
        line(2, P1),
        "its class '2' has no name (there are: 0 'L1', 1 'L2'); name it in data.yaml",
    ),
    "a class that is none": (line("x", P1), "found 'x' where a number belongs"),
    "a fraction of a class": (line(0.5, P1), "it begins with '0.5', and the number of its class belongs there"),
    "a confidence": ("0 0.5 0.5 0.1 0.1 0.9", "it has 5 numbers behind its class: neither a box nor points; give x, y"),
    "too few": ("0 0.5 0.5", "it has 2 numbers behind its class"),
    "pixels": ("0 80 60 20 20", "80 is no fraction of an image's side; divide x by its width, and y by its height"),
    "no area": ("0 0.5 0.5 0 0.1", "the box from (80, 54) to (80, 66) has zero area"),
    "text": ("0 0.5 0.5 a 0.1", "found 'a' where a number belongs"),
    "not finite": ("0 0.5 0.5 nan 0.1", "found 'nan' where a number belongs"),
    "outside": ("0 0.9 0.5 0.4 0.1", "2 of 4 points lie outside the 160 x 120 image, farthest (176, 54)"),
}


@pytest.mark.parametrize(("text", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_cell_is_refused_by_its_line(make, text, expected):
    root = make({"labels/a.txt": line(0, P1) + text})
    (told,) = problems(root, root / "images", None)
    assert told.startswith(f"a.png, line 2: {expected}")


BROKEN = {
    "no names": ("train: images\n", "data.yaml has no list of class names (found None)"),
    "key points": ("names: [a]\nkpt_shape: [17, 3]\n", "data.yaml is of key points (kpt_shape), not of outlines"),
    "an alias": ("a: &a [x]\nnames: *a\n", "data.yaml is broken YAML ('it has an alias')"),
    "a name twice": ("names: {0: a, 0: b}\n", "data.yaml is broken YAML (\"the key '0' is given twice\")"),
    "a number twice": ("names: {0: a, 00: b}\n", "data.yaml names a class twice"),
    "a code": ("names: !!python/object/apply:os.getcwd []\n", "data.yaml has no list of class names (found {})"),
    "no YAML": ("names: [", "data.yaml is broken YAML ("),
    "a name for a number": ("names: {a: 0}\n", "data.yaml numbers a class otherwise"),
}


@pytest.mark.parametrize(("names", "expected"), BROKEN.values(), ids=BROKEN)
def test_names_that_are_broken_are_refused(make, names, expected):
    root = make({"labels/a.txt": line(0, P1)}, names)
    (told,) = problems(root, root / "images", None)
    assert told.startswith(f"set: {expected}")


def test_the_yaml_file_alone_is_refused_with_the_folder_to_give(make):
    root = make({"labels/a.txt": line(0, P1)})
    assert recognise(root / "data.yaml", root / "images") == "yolo"
    expected = f"data.yaml: it is one file of a YOLO set; give the folder, {root}"
    assert problems(root / "data.yaml", root / "images", None) == [expected]


def test_a_label_file_without_its_image_is_refused(make):
    root = make({"labels/a.txt": "", "labels/c.txt": line(0, P1)})
    (told,) = problems(root, root / "images", None)
    assert told.startswith("labels/c.txt: there is no image c.*")


@st.composite
def rings(draw):
    """Rings that lie apart, each a star around a centre of its own, in either direction."""
    found = []
    for column in range(draw(st.integers(1, 4))):
        count = draw(st.integers(3, 9))
        radii = np.array(draw(st.lists(st.floats(3, 9), min_size=count, max_size=count)))
        angles = np.arange(count) * 2 * np.pi / count + draw(st.floats(0, 1))
        centre = 20 * column + 10, draw(st.floats(10, 90))
        ring = np.array(centre) + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        found.append(ring[:: draw(st.sampled_from([1, -1]))])
    return found


def as_set(ring):
    return {tuple(point) for point in ring.tolist()}


@settings(max_examples=200)
@given(parts=rings())
def test_parts_that_are_joined_are_the_same_when_taken_apart(parts):
    again = take_apart(bridge(parts))
    assert sorted(map(sorted, map(as_set, again))) == sorted(map(sorted, map(as_set, parts)))
