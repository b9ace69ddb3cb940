"""The COCO reader: polygons and both RLE forms, every fault it refuses, and the real set against its VIA twin."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from tests.smear import make
from tests.smear.json_fuzz import with_one_value_replaced
from tests.smear.make import HEIGHT, WIDTH
from wbcjax.smear.field import AnnotationError, text_rle
from wbcjax.smear.read import read as read_set

REAL = (Path(__file__).parents[2] / "../shared/data/segpc2021_train").resolve()
SQUARE = [5, 4, 15, 4, 15, 12, 5, 12]
CLASS_OF = {"L1": 1, "L2": 2, "nucleus": 0}
BLOB = cv2.circle(np.zeros((HEIGHT, WIDTH), np.uint8), (20, 15), 9, 1, -1)


def image(name="a.png", image_id=1, width=WIDTH, height=HEIGHT):
    return {"id": image_id, "file_name": name, "width": width, "height": height}


def annotation(segmentation=(SQUARE,), annotation_id=1, image_id=1, category_id=1, **others):
    segmentation = list(segmentation) if isinstance(segmentation, tuple) else segmentation
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": segmentation,
        **others,
    }


def document(*annotations, images=None):
    names = {1: "L1", 2: "L2", 3: "nucleus"}
    categories = [{"id": category_id, "name": name} for category_id, name in names.items()]
    return {"images": images or [image()], "annotations": list(annotations), "categories": categories}


def runs(mask):
    """Uncompressed RLE by plain counting: runs of 0 and 1 in turn down the columns."""
    counts, value = [0], 0
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            counts, value = [*counts, 0], pixel
        counts[-1] += 1
    return {"size": list(mask.shape), "counts": counts}


def packed(mask):
    return text_rle(coco_mask.encode(np.asfortranarray(mask)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coco")
    make.image_folder(folder / "images", "a.png", "b.png")
    return folder


def write(folder, content):
    path = folder / "coco.json"
    path.write_text(json.dumps(content))
    return path


def read(folder, content, class_of=CLASS_OF, **options):
    return read_set(write(folder, content), folder / "images", class_of, **options).fields


def problems(folder, content, class_of=CLASS_OF, **options):
    return make.problems(write(folder, content), folder / "images", class_of, file_format="coco", **options)


def test_fields_keep_their_order_cells_and_classes_whatever_the_order_of_annotations(folder):
    content = document(
        annotation(annotation_id=7, image_id=9, category_id=2),
        annotation(annotation_id=3),
        annotation(annotation_id=5, image_id=9),
        images=[image("b.png", 9), image("a.png", 1)],
    )
    fields = read(folder, content)
    assert [(f.name, f.height, f.width, f.path) for f in fields] == [
        ("b.png", HEIGHT, WIDTH, folder / "images/b.png"),
        ("a.png", HEIGHT, WIDTH, folder / "images/a.png"),
    ]
    assert [[cell.label for cell in field.cells] for field in fields] == [[2, 1], [1]]
    np.testing.assert_array_equal(fields[1].cells[0].polygons[0], np.reshape(SQUARE, (4, 2)))


def test_an_image_without_annotations_is_a_field_without_cells(folder):
    assert [len(field.cells) for field in read(folder, document())] == [0]


@pytest.mark.parametrize("segmentation", [runs(BLOB), packed(BLOB)], ids=["uncompressed", "compressed"])
def test_a_mask_is_read_pixel_for_pixel(folder, segmentation):
    (field,) = read(folder, document(annotation(segmentation)))
    np.testing.assert_array_equal(field.cells[0].mask(HEIGHT, WIDTH), BLOB)
    assert field.cells[0].to_rle(HEIGHT, WIDTH) == packed(BLOB)


@given(mask=arrays(np.uint8, (HEIGHT, WIDTH), elements=st.integers(0, 1), fill=st.just(0)))
def test_both_forms_of_a_mask_read_alike(folder, mask):
    mask[0, 0] = 1  # an empty mask is refused
    (field,) = read(folder, document(annotation(runs(mask), 1), annotation(packed(mask), 2)))
    for cell in field.cells:
        np.testing.assert_array_equal(cell.mask(HEIGHT, WIDTH), mask)


def test_a_cell_in_several_parts_is_one_cell(folder):
    (field,) = read(folder, document(annotation((SQUARE, [20, 4, 24, 4, 24, 8, 20, 8], [30, 4, 30.01, 4, 30, 4.01]))))
    assert len(field.cells) == 1
    assert field.cells[0].mask(HEIGHT, WIDTH).sum() == 10 * 8 + 4 * 4


def test_crowd_regions_are_marked(folder):
    (field,) = read(folder, document(annotation(runs(BLOB), 1, iscrowd=1), annotation(annotation_id=2, iscrowd=0)))
    assert [cell.crowd for cell in field.cells] == [True, False]


def test_a_category_mapped_to_nothing_is_left_out_unchecked_and_counted(folder):
    content = document(annotation(), annotation([], 2, category_id=3), annotation([], 3, category_id=3))
    fieldset = read_set(write(folder, content), folder / "images", CLASS_OF)
    assert len(fieldset.fields[0].cells) == 1
    assert fieldset.left_out == {"nucleus": 2}


def test_a_category_without_cells_needs_no_place_in_the_class_map(folder):
    assert len(read(folder, document(annotation()), class_of={"L1": 1})[0].cells) == 1


@pytest.mark.parametrize("none", [[], None])
def test_a_cell_with_a_box_and_no_outline_is_known_by_its_box(folder, none):
    (field,) = read(folder, document(annotation(none, bbox=[5, 4, 10.5, 8])))
    assert field.cells[0].box == (5, 4, 15.5, 12)
    assert not field.cells[0].outlined


def test_an_outline_is_taken_rather_than_the_box(folder):
    (field,) = read(folder, document(annotation(bbox=[0, 0, 40, 30])))
    np.testing.assert_array_equal(field.cells[0].polygons[0], np.reshape(SQUARE, (4, 2)))


def test_the_group_of_a_field_is_a_key_of_its_image(folder):
    images = [image() | {"patient": "p1"}, image("b.png", 2) | {"patient": "p2"}]
    fields = read(folder, document(images=images), group_attribute="patient")
    assert [field.group for field in fields] == ["p1", "p2"]
    assert read(folder, document(images=images))[0].group is None


def test_a_field_without_its_group_is_refused_lest_it_leaks_between_splits(folder):
    images = [image(), image("b.png", 2) | {"patient": "p2"}]
    (line,) = problems(folder, document(images=images), group_attribute="patient")
    assert line.startswith("a.png: the image key 'patient' is missing or empty (there are: 'id', ")
    fields = read(folder, document(images=images), group_attribute="patient", on_error="skip")
    assert [field.name for field in fields] == ["b.png"]


BAD_ANNOTATIONS = {
    "two points": ([[5, 4, 15, 12]], "the polygon has 2 points; redraw"),
    "odd number of coordinates": ([SQUARE[:-1]], "the polygon has 4 x but 3 y coordinates"),
    "NaN": ([[*SQUARE[:-1], float("nan")]], "the point (5, nan) is not finite"),
    "outside": ([[5, 4, 15, -3, 15, 12]], "1 of 3 points lie outside the 40 x 30 image, farthest (15, -3)"),
    "zero area": ([[5, 5, 10, 10, 15, 15]], "the outline has zero area"),
    "no polygon": ([], "it has no outline; outline the cell"),
    "numbers beside a list": ([5, 4, SQUARE], "found 5 where a polygon [x1, y1, ...] belongs"),
    "nothing": (None, '"segmentation" is None; it must be a list'),
    "another size": (runs(BLOB.T), "the mask is for [height, width] [40, 30], the image has [30, 40]"),
    "too few runs": ({"size": [30, 40], "counts": [3, 5]}, "the mask's runs do not add up to its 30 x 40 pixels"),
    "too many runs": ({"size": [30, 40], "counts": [1200, 5]}, "do not add up"),
    "negative runs": ({"size": [30, 40], "counts": [-5, 1205]}, "do not add up"),
    "runs of fractions": ({"size": [30, 40], "counts": [0.5, 1199.5]}, "do not add up"),
    "an empty mask": ({"size": [30, 40], "counts": [1200]}, "the mask is empty; delete"),
    "no counts": ({"size": [30, 40]}, '"counts" is missing'),
    "a string cut short": ({**packed(BLOB), "counts": packed(BLOB)["counts"][:-4]}, "do not add up"),
    "a number cut short": ({"size": [30, 40], "counts": "5P"}, "the mask's counts are cut short; export"),
    "a foreign character": ({"size": [30, 40], "counts": "5é"}, "the mask's counts hold the character 'é'; export"),
}


BAD_BOXES = {
    "three numbers": ([5, 4, 10], '"bbox" is [5, 4, 10]; make it [x, y, width, height]'),
    "text": ([5, 4, 10, "8"], "the coordinate '8' is not a number"),
    "nothing": ([5, 4, 0, 8], "the box from (5, 4) to (5, 12) has zero area"),
    "backwards": ([5, 4, -3, 8], "the box from (5, 4) to (2, 12) has zero area"),
    "outside": ([35, 4, 10, 8], "2 of 4 points lie outside the 40 x 30 image, farthest (45, 4)"),
    "NaN": ([5, 4, float("nan"), 8], "is not finite"),
}


@pytest.mark.parametrize(("bbox", "expected"), BAD_BOXES.values(), ids=BAD_BOXES)
def test_a_bad_box_is_refused_by_file_and_annotation(folder, bbox, expected):
    (line,) = problems(folder, document(annotation([], 17, bbox=bbox)))
    assert line.startswith("a.png, annotation 17: ")
    assert expected in line


@pytest.mark.parametrize(("segmentation", "expected"), BAD_ANNOTATIONS.values(), ids=BAD_ANNOTATIONS)
def test_a_bad_outline_is_refused_by_file_and_annotation(folder, segmentation, expected):
    (line,) = problems(folder, document(annotation(), annotation(segmentation, annotation_id=17)))
    assert line.startswith("a.png, annotation 17: ")
    assert expected in line


BAD_RECORDS = {
    "unknown category": (
        document(annotation(category_id=8)),
        'a.png, annotation 1: its category 8 is not in "categories"; correct it',
    ),
    "unknown image": (
        document(annotation(image_id=8)),
        'coco.json, annotation 1: its image 8 is not in "images"; list the image',
    ),
    "unknown crowd flag": (document(annotation(iscrowd=2)), 'a.png, annotation 1: "iscrowd" is 2; make it 0 or 1'),
    "image name twice": (document(images=[image(), image(image_id=2)]), "a.png: the image is listed twice"),
    "another image size": (
        document(images=[image(width=80, height=60)]),
        "a.png: the annotations say 80 x 60 pixels, the image has 40 x 30; use the image that was annotated",
    ),
    "no such image": (document(images=[image("gone.png")]), "gone.png: there is no such image in "),
    "a name that leads out": (document(images=[image("../z.png")]), "../z.png: the file name '../z.png' leads out"),
    "no name": (document(images=[{"id": 4}]), 'coco.json, image 4: "file_name" is missing'),
    "no id": (document(images=[{"file_name": "a.png"}]), 'a.png: "id" is missing'),
    "no annotations": ({"images": [image()], "categories": []}, 'coco.json: "annotations" is missing'),
    "a list": ([], "coco.json: found [] where a JSON object belongs"),
}


@pytest.mark.parametrize(("content", "expected"), BAD_RECORDS.values(), ids=BAD_RECORDS)
def test_a_bad_record_is_refused_by_its_place(folder, content, expected):
    (line,) = problems(folder, content)
    assert line.startswith(expected)


def test_a_resized_image_is_one_problem_not_one_for_each_cell(folder):
    far = [50, 50, 70, 50, 70, 58]
    assert len(problems(folder, document(annotation((far,)), images=[image(width=80, height=60)]))) == 1


def test_a_mask_of_a_missing_image_is_checked_by_its_own_size(folder):
    huge = {"size": [10**9, 10**9], "counts": [0, 10**18]}
    content = document(annotation(packed(BLOB)), annotation(huge, 2), images=[image("gone.png")])
    lines = problems(folder, content)
    assert len(lines) == 2
    assert lines[1].startswith('gone.png, annotation 2: the mask\'s "size" is [1000000000, 1000000000]')


def test_every_problem_of_a_set_is_listed_at_once(folder):
    content = document(
        annotation(([5, 4],), 1),
        annotation(annotation_id=2, image_id=9),
        annotation(([5, 5, 6, 6, 7, 7],), 3, image_id=2),
        annotation(([5, 4],), 4, category_id=8, iscrowd="no"),
        images=[image(), image("gone.png", 2)],
    )
    assert [line.split(":")[0] for line in problems(folder, content)] == [
        "coco.json, annotation 2",
        "a.png, annotation 1",
        "a.png, annotation 4",
        "a.png, annotation 4",
        "a.png, annotation 4",
        "gone.png",
        "gone.png, annotation 3",
    ]


WITH_MASKS = document(annotation(), annotation(runs(BLOB), 2, iscrowd=1), annotation(packed(BLOB), 3, category_id=2))


@settings(max_examples=200)
@given(content=with_one_value_replaced(WITH_MASKS))
def test_any_value_is_read_or_refused_as_an_annotation(folder, content):
    """Whatever is put in the place of a value is read or refused as an annotation."""
    try:
        fields = read(folder, content, file_format="coco")
    except AnnotationError:
        return
    assert all(cell.mask(HEIGHT, WIDTH).any() for field in fields for cell in field.cells)


@given(counts=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12))
def test_rle_counts_are_never_read_past_their_end(folder, counts):
    """Any string of counts is read or refused and never read past its end."""
    try:
        (field,) = read(folder, document(annotation({"size": [HEIGHT, WIDTH], "counts": counts})))
    except AnnotationError:
        return
    assert field.cells[0].mask(HEIGHT, WIDTH).any()


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the SegPC-2021 fields are not on this machine")
def test_the_real_set_reads_as_its_via_twin():
    fieldset = read_set(REAL / "coco.json", REAL / "images", {"myeloma_cell": 1, "nucleus": 0})
    assert not fieldset.suspects
    from_coco, from_via = fieldset.fields, read_set(REAL / "via.json", REAL / "images", {"myeloma": 1}).fields
    assert [field.name for field in from_coco] == [field.name for field in from_via]
    assert sum(len(field.cells) for field in from_coco) == 1643
    in_parts = 0
    for one, other in zip(from_coco, from_via, strict=True):
        for cell, twin in zip(one.cells, other.cells, strict=True):
            rles: Any = [a_cell.to_rle(one.height, one.width) for a_cell in (cell, twin)]
            assert np.asarray(coco_mask.iou(rles[:1], rles[1:], [0])).item() > 0.99
            assert cell.label == twin.label == 1
            # Of a cell in several parts the VIA file holds the largest only.
            np.testing.assert_array_equal(max(cell.polygons, key=len), twin.polygons[0])
            in_parts += len(cell.polygons) > 1
    assert in_parts == 26
