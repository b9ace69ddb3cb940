"""The LabelMe reader: every shape, groups, how images are found, and every fault it refuses."""

import base64
import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.smear.json_fuzz import with_one_value_replaced
from tests.smear.make import CHECK, CLASS_OF, HEIGHT, WIDTH, image_folder, problems
from wbcjax.smear.field import AnnotationError
from wbcjax.smear.formats.checks import shoelace_area
from wbcjax.smear.read import read

SQUARE = [[5, 4], [15, 4], [15, 12], [5, 12]]
OTHER = [[20, 4], [24, 4], [24, 8], [22, 8], [20, 8]]
BLOB = cv2.circle(np.zeros((11, 13), np.uint8), (6, 5), 5, 1, -1)


def shape(points=SQUARE, label="L1", shape_type="polygon", group_id=None, **others):
    return {"label": label, "points": points, "shape_type": shape_type, "group_id": group_id, "flags": {}, **others}


def base64_png(mask):
    return base64.b64encode(cv2.imencode(".png", mask * 255)[1].tobytes()).decode()


def mask(left, top, pixels=BLOB, **others):
    height, width = pixels.shape
    corners = [[left, top], [left + width - 1, top + height - 1]]
    return shape(corners, shape_type="mask", mask=base64_png(pixels), **others)


def document(*shapes, image="a.png", height: object = HEIGHT, width: object = WIDTH):
    size = {"imageHeight": height, "imageWidth": width}
    return {"version": "5.5.0", "flags": {}, "shapes": list(shapes), "imagePath": image, "imageData": None, **size}


@pytest.fixture
def images(tmp_path):
    return image_folder(tmp_path / "images", "a.png", "b.JPG")


def written(images, **documents):
    """A folder of LabelMe files by their stems, beside that of the images."""
    folder = images.parent / "labelme"
    folder.mkdir(exist_ok=True)
    for stem, content in documents.items():
        (folder / f"{stem}.json").write_text(json.dumps(content))
    return folder


def cells(images, *shapes):
    (field,) = read(written(images, a=document(*shapes)) / "a.json", images, CLASS_OF).fields
    return field.cells


def test_a_folder_gives_a_field_for_each_file_those_without_shapes_too(images):
    folder = written(images, b=document(image="b.JPG"), a=document(shape(), shape(OTHER, "L2")))
    found = read(folder, images, CLASS_OF)
    assert [(f.name, f.height, f.width, f.path) for f in found.fields] == [
        ("a.png", HEIGHT, WIDTH, images / "a.png"),
        ("b.JPG", HEIGHT, WIDTH, images / "b.JPG"),
    ]
    assert [[cell.label for cell in field.cells] for field in found.fields] == [[1, 2], []]
    np.testing.assert_array_equal(found.fields[0].cells[0].polygons[0], SQUARE)
    assert found.suspects == []


def test_hidden_twin_files_are_not_read(images):
    """Files beside their images are read without the hidden twins of a memory stick."""
    (images / "a.json").write_text(json.dumps(document(shape())))
    (images / "._a.json").write_bytes(b"\0\5\26\7")
    (images / "._b.JPG").write_bytes(b"\0\5\26\7")
    found = read(images, images, CLASS_OF)
    assert [field.name for field in found.fields] == ["a.png"]
    assert [problem.file for problem in found.suspects] == ["b.JPG"]


def test_an_image_that_no_file_is_for_is_named_and_makes_no_field(images):
    found = read(written(images, a=document(shape())), images, CLASS_OF)
    assert [field.name for field in found.fields] == ["a.png"]
    assert list(map(str, found.suspects)) == [
        "b.JPG: it has no annotations, and is left out; "
        "annotate it, or save it in LabelMe without shapes if it shows no cell"
    ]


@pytest.mark.parametrize("path", ["../elsewhere/a.png", r"..\imgs\a.png", r"C:\smears\a.png", "/home/x/a.png"])
def test_an_image_is_found_by_its_base_name_wherever_it_was_annotated(images, path):
    (field,) = read(written(images, first=document(shape(), image=path)) / "first.json", images, CLASS_OF).fields
    assert field.path == images / "a.png"


def test_an_image_renamed_with_its_file_is_found_and_noted(images):
    found = read(written(images, a=document(shape(), image="IMG_0001.png")) / "a.json", images, CLASS_OF)
    assert [field.name for field in found.fields] == ["a.png"]
    assert list(map(str, found.suspects)) == [
        f"a.json, 1 image: found by the name of their annotation file (the first: 'a.png' for 'IMG_0001.png'); {CHECK}"
    ]


def test_an_image_converted_to_another_format_is_found(images):
    found = read(written(images, a=document(shape(), image="a.tiff")) / "a.json", images, CLASS_OF)
    assert [field.name for field in found.fields] == ["a.png"]
    assert found.suspects == []


def test_early_labelme_files_are_read(images):
    """Files of early versions without a shape type or an image size are read."""
    early = {"shapes": [{"label": "L1", "points": SQUARE}], "imagePath": "a.png", "imageData": None}
    (field,) = read(written(images, a=early) / "a.json", images, CLASS_OF).fields
    np.testing.assert_array_equal(field.cells[0].polygons[0], SQUARE)


@pytest.mark.parametrize(
    "points", [[[15, 4], [5, 12]], [[5, 4], [15, 12]], SQUARE, [SQUARE[2], SQUARE[3], SQUARE[0], SQUARE[1]]]
)
def test_a_rectangle_is_a_box_by_any_two_corners(images, points):
    """A rectangle is a cell of which the box is known whichever corners are given."""
    (cell,) = cells(images, shape(points, shape_type="rectangle"))
    assert cell.box == (5, 4, 15, 12)
    assert not cell.outlined


def test_a_circle_is_given_by_its_centre_and_a_point_of_its_rim(images):
    (cell,) = cells(images, shape([[20, 15], [23, 19]], shape_type="circle"))
    np.testing.assert_allclose(np.linalg.norm(cell.polygons[0] - (20, 15), axis=1), 5)
    assert shoelace_area(cell.polygons[0]) == pytest.approx(np.pi * 25, rel=0.02)


@given(left=st.integers(0, WIDTH - 13), top=st.integers(0, HEIGHT - 11))
def test_a_mask_lies_where_its_box_begins(tmp_path_factory, left, top):
    images = image_folder(tmp_path_factory.mktemp("mask") / "images", "a.png")
    (cell,) = cells(images, mask(left, top))
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[top : top + 11, left : left + 13] = BLOB
    np.testing.assert_array_equal(cell.mask(HEIGHT, WIDTH), expected)


def test_a_mask_with_bounds_that_are_fractions_keeps_its_own_extent(images):
    fractions = mask(7, 8) | {"points": [[6.6, 8.4], [19.4, 18.6]]}
    whole = mask(7, 8)
    first, second = (cells(images, drawn)[0].mask(HEIGHT, WIDTH) for drawn in (fractions, whole))
    np.testing.assert_array_equal(first, second)


def test_a_mask_a_pixel_over_the_border_is_cut_off_there(images):
    (cell,) = cells(images, mask(-1, HEIGHT - 3, np.ones((4, 6), np.uint8)))
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[-3:, :5] = 1
    np.testing.assert_array_equal(cell.mask(HEIGHT, WIDTH), expected)


def test_shapes_of_one_group_and_label_are_one_cell(images):
    one, other, third = cells(
        images, shape(group_id=1), shape(OTHER, group_id=2), shape(OTHER, group_id=1), shape(OTHER, "L2", group_id=1)
    )
    assert [len(cell.polygons) for cell in (one, other, third)] == [2, 1, 1]
    assert one.mask(HEIGHT, WIDTH).sum() == 10 * 8 + 4 * 4
    assert third.label == 2


def test_a_group_of_a_polygon_a_circle_and_masks_is_their_union(images):
    parts = [shape(), shape([[30, 20], [30, 25]], shape_type="circle"), mask(0, 15), mask(6, 15)]
    separate = [cell.mask(HEIGHT, WIDTH) for cell in cells(images, *parts)]
    (joined,) = cells(images, *[part | {"group_id": 3} for part in parts])
    np.testing.assert_array_equal(joined.mask(HEIGHT, WIDTH), np.maximum.reduce(separate))


def test_cells_to_leave_out_are_counted_once_for_a_group_and_not_checked(images):
    shapes = [shape(label="debris", group_id=1), shape([[0, 0]], "debris", group_id=1), shape([], "debris"), shape()]
    found = read(written(images, a=document(*shapes)) / "a.json", images, CLASS_OF)
    assert found.left_out == {"debris": 2}
    assert len(found.fields[0].cells) == 1


BAD_SHAPES = {
    "two points": (shape([[5, 4], [15, 12]]), "the polygon has 2 points; redraw"),
    "a point of three": (shape([*SQUARE, [5, 4, 1]]), "found [5, 4, 1] where a point [x, y] belongs"),
    "a word": (shape([[5, "4"], *SQUARE]), "the coordinate '4' is not a number"),
    "NaN": (shape([[5, float("nan")], *SQUARE]), "the point (5, nan) is not finite"),
    "outside": (shape([[5, 4], [15, -3], [15, 12]]), "1 of 3 points lie outside the 40 x 30 image, farthest (15, -3)"),
    "crossing": (shape([[5, 4], [15, 12], [15, 4], [5, 12]]), "the outline crosses itself at (10, 8)"),
    "no points": ({"label": "L1"}, '"points" is missing'),
    "no label": ({"points": SQUARE}, '"label" is missing'),
    "an empty label": (shape(label=""), "its label is empty; give it one"),
    "unknown class": (shape(label="L3"), "unknown class 'L3'; correct it to one of 'L1', 'L2', 'debris'"),
    "a group in words": (shape(group_id=[1]), '"group_id" is [1]; make it a whole number'),
    "not a shape": (5, "found 5 where a JSON object belongs"),
    "a line": (shape([[5, 4], [15, 12]], shape_type="line"), "its shape_type is 'line', which encloses nothing; draw"),
    "a linestrip": (shape(shape_type="linestrip"), "its shape_type is 'linestrip', which encloses nothing"),
    "a point": (shape([[5, 4]], shape_type="point"), "its shape_type is 'point', which encloses nothing"),
    "a turned rectangle": (shape(shape_type="oriented_rectangle"), "its shape_type is 'oriented_rectangle', which"),
    "a rectangle of one point": (shape([[5, 4]], shape_type="rectangle"), "it has the points [[5.0, 4.0]], and two"),
    "a rectangle without area": (shape([[5, 4], [5, 9]], shape_type="rectangle"), "the box from (5, 4) to (5, 9) has"),
    "a rectangle on end": (
        shape([[10, 4], [16, 10], [10, 16], [4, 10]], shape_type="rectangle"),
        "the four points [[10.0, 4.0], [16.0, 10.0], [10.0, 16.0], [4.0, 10.0]] are no upright rectangle",
    ),
    "a rectangle outside": (shape([[5, 4], [50, 9]], shape_type="rectangle"), "2 of 4 points lie outside the 40 x 30"),
    "a circle of three points": (shape(SQUARE[:3], shape_type="circle"), "and two are needed"),
    "a circle without a radius": (shape([[5, 4], [5, 4]], shape_type="circle"), "the radius is 0: zero area"),
    "a circle of NaN": (shape([[5, 4], [5, float("nan")]], shape_type="circle"), "it has the points [[5.0, 4.0], [5.0"),
    "no mask": (shape([[5, 4], [17, 14]], shape_type="mask"), '"mask" is missing'),
    "a mask of null": (mask(5, 4) | {"mask": None}, '"mask" is None; it must be a str'),
    "a mask that is no PNG": (mask(5, 4) | {"mask": "aGVsbG8="}, '"mask" is no PNG in base64'),
    "a mask that is no base64": (mask(5, 4) | {"mask": "é"}, '"mask" is no PNG in base64'),
    "a mask of nothing": (mask(5, 4) | {"mask": ""}, '"mask" is no PNG in base64'),
    "an empty mask": (mask(5, 4, BLOB * 0), "the mask is empty; delete the shape"),
    "a mask of another size": (
        mask(5, 4) | {"points": [[5, 4], [30, 14]]},
        "the mask has 13 x 11 pixels, its box 26 x 11; redraw",
    ),
    "a mask outside": (mask(-3, 4), "1 of 81 pixels of the mask lie outside the 40 x 30 image"),
    "a mask of one point": (mask(5, 4) | {"points": [[5, 4]]}, "it has the points [[5.0, 4.0]], and two are needed"),
}


@pytest.mark.parametrize(("bad", "expected"), BAD_SHAPES.values(), ids=BAD_SHAPES)
def test_a_bad_shape_is_refused_by_image_and_number(images, bad, expected):
    (line,) = problems(written(images, a=document(shape(), bad)) / "a.json", images)
    assert line.startswith("a.png, shape 2: ")
    assert expected in line


def test_a_rectangle_in_a_group_is_refused(images):
    parts = shape(group_id=1), shape([[5, 4], [15, 12]], shape_type="rectangle", group_id=1)
    (line,) = problems(written(images, a=document(*parts)) / "a.json", images)
    assert line == (
        "a.png, shape 1 + shape 2: one of several shapes of a group is a rectangle; "
        "outline it, or take it out of the group"
    )


BAD_FILES = {
    "no shapes": ({"imagePath": "a.png", "imageData": None}, 'a.json: "shapes" is missing'),
    "no image": ({"shapes": []}, 'a.json: "imagePath" is missing'),
    "a list": ([], "a.json: found [] where a JSON object belongs"),
    "another size": (
        document(shape(), width=80, height=60),
        "a.png: the annotations say 80 x 60 pixels, the image has 40 x 30; use the image that was annotated",
    ),
    "a size in words": (document(height="60"), "a.png: the annotations say 40 x 60 pixels, the image has 40 x 30"),
    "the image of another file": (
        document(shape(), image="b.JPG"),
        "a.json: it names the image 'b.JPG', and there is an image 'a.png' of its own name; correct the name in it",
    ),
}


@pytest.mark.parametrize(("content", "expected"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_refused_by_its_name(images, content, expected):
    (line,) = problems(written(images, a=content), images, file_format="labelme")
    assert line.startswith(expected)


def test_a_file_without_an_image_of_either_name_is_refused(images):
    (line,) = problems(written(images, lost=document(shape(), image="gone.png")), images)
    assert line == f"lost.json: it names the image 'gone.png', which is not in {images}; add it or delete the file"


def test_a_file_whose_name_two_images_have_is_refused_unless_it_names_one(images):
    (images / "a.tif").write_bytes((images / "a.png").read_bytes())
    (line,) = problems(written(images, a=document(shape(), image="old.png")), images)
    assert line.startswith("a.json: there are several images of this name: a.png, a.tif; keep the one that was")
    (field,) = read(written(images, a=document(shape(), image="a.tif")), images, CLASS_OF).fields
    assert field.name == "a.tif"


def test_every_problem_of_a_folder_is_listed_at_once(images):
    (images / "c.png").write_bytes((images / "a.png").read_bytes())
    folder = written(
        images,
        a=document(shape([[5, 4]]), shape(label="L3"), width=7),
        b=document(shape(shape_type="line"), image="b.JPG"),
        copy=document(shape(), image="b.JPG"),
        c=document(image="c.png"),
    )
    (folder / "broken.json").write_text('{"shapes": [')
    assert [line.split(": ")[0] for line in problems(folder, images)] == [
        "a.png",
        "a.png, shape 1",
        "b.JPG, shape 1",
        "broken.json",
        "b.JPG",
        "a.png, shape 2",
    ]
    found = read(folder, images, CLASS_OF, on_error="skip")
    assert [(field.name, len(field.cells)) for field in found.fields] == [("c.png", 0)]
    assert (found.refused_fields, found.refused_cells) == (3, 3)


def test_a_folder_without_files_is_refused(images):
    (line,) = problems(written(images), images, file_format="labelme")
    assert line == "labelme: the folder holds no *.json; correct its path"


FUZZED = document(shape(), mask(3, 4, group_id=1), shape([[20, 15], [23, 19]], shape_type="circle", group_id=1))


@settings(max_examples=150)
@given(content=with_one_value_replaced(FUZZED))
def test_any_value_is_read_or_refused_as_an_annotation(tmp_path_factory, content):
    """Whatever is put in the place of a value is read or refused as an annotation."""
    images = image_folder(tmp_path_factory.mktemp("fuzz") / "images", "a.png")
    folder = written(images, a=content)
    try:
        found = read(folder, images, file_format="labelme")
    except AnnotationError:
        return
    assert all(cell.mask(HEIGHT, WIDTH).any() for field in found.fields for cell in field.cells)
