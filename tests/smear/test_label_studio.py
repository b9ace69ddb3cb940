"""Label Studio's JSON and JSON-MIN: every shape by value, several annotators, and what is refused."""

import json

import numpy as np
import pytest

from tests.smear import disc_arrays as discs
from tests.smear.brush_encoder import of_mask
from tests.smear.disc_arrays import HEIGHT, P1, P2, WIDTH
from tests.smear.make import problems
from wbcjax.smear.read import read, recognise

SIZE = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}


def percent(points):
    return (np.asarray(points) * 100 / (WIDTH, HEIGHT)).tolist()


def region(kind="polygonlabels", label="L1", **value):
    entry = {"type": kind, "from_name": "label", "to_name": "image", **SIZE, "origin": "manual"}
    labels = {kind: [label]} if kind.endswith("labels") else {}
    return entry | {"value": value | labels}


POLYGON = region(points=percent(P1), closed=True)


def task(*result, image="a.png", **more):
    annotation = {"id": 7, "completed_by": 1, "was_cancelled": False, "ground_truth": False, "result": list(result)}
    return {"id": 1, "data": {"image": image}, "annotations": [annotation], "predictions": [], "project": 1} | more


def minimal(*regions, image="a.png", **more):
    values = [entry["value"] | SIZE for entry in regions]
    return {"image": image, "id": 1, "label": values, "annotator": 1, "annotation_id": 7, "lead_time": 4.2} | more


@pytest.fixture
def images(tmp_path):
    return discs.image_folder(tmp_path / "images")


@pytest.fixture
def make(tmp_path):
    def write(*tasks):
        (tmp_path / "export.json").write_text(json.dumps(tasks))
        return tmp_path / "export.json"

    return write


def only_cell(found):
    (field,) = found.fields
    (cell,) = field.cells
    return cell


@pytest.mark.parametrize("written", [task, minimal])
def test_polygons_of_either_export_are_recognised_and_read(make, images, written):
    path = make(written(POLYGON, region(label="L2", points=percent(P2))))
    assert recognise(path, images) == "label_studio"
    found = read(path, images)
    (field,) = found.fields
    assert (field.name, field.height, field.width) == ("a.png", HEIGHT, WIDTH)
    assert found.classes == ("L1", "L2")
    assert [cell.label for cell in field.cells] == [1, 2]
    for cell, points in zip(field.cells, (P1, P2), strict=True):
        np.testing.assert_allclose(cell.polygons[0], points, rtol=0, atol=1e-9)
    assert not found.suspects


@pytest.mark.parametrize("written", [task, minimal])
def test_a_brush_mask_is_read_pixel_for_pixel(make, images, written):
    mask = discs.pixels(*discs.L1)
    brushed = region("brushlabels", format="rle", rle=of_mask(255 * mask))
    np.testing.assert_array_equal(only_cell(read(make(written(brushed)), images)).mask(HEIGHT, WIDTH), mask)


def test_a_rectangle_is_known_as_a_box_alone(make, images):
    drawn = region("rectanglelabels", x=12.5, y=20, width=25, height=50, rotation=0)
    cell = only_cell(read(make(task(drawn)), images))
    assert cell.box == (20, 24, 60, 84)
    assert not cell.outlined


def test_a_turned_rectangle_turns_around_its_corner_in_pixels(make, images):
    """The image is not square: turned in percent, the box would be another one."""
    drawn = region("rectanglelabels", x=50, y=50, width=25, height=10, rotation=90)
    found = read(make(task(drawn)), images)
    assert only_cell(found).box == pytest.approx((80 - 12, 60, 80, 60 + 40))
    told = [suspect.found for suspect in found.suspects]
    assert told == ["1 rectangles are turned: the upright boxes around them are read"]


def test_an_ellipse_lies_around_its_centre(make, images):
    drawn = region("ellipselabels", x=50, y=50, radiusX=12.5, radiusY=10, rotation=0)
    (outline,) = only_cell(read(make(task(drawn)), images)).polygons
    np.testing.assert_allclose(outline.min(axis=0), (60, 48), atol=0.05)
    np.testing.assert_allclose(outline.max(axis=0), (100, 72), atol=0.05)
    turned = region("ellipselabels", x=50, y=50, radiusX=12.5, radiusY=5, rotation=45)
    mask = only_cell(read(make(task(turned)), images)).mask(HEIGHT, WIDTH)
    assert (mask[70, 90], mask[50, 90]) == (1, 0)  # clockwise


def test_key_points_are_counted_and_are_no_cells(make, images):
    found = read(make(task(POLYGON, region("keypointlabels", "L2", x=25, y=50, width=0.5))), images)
    (field,) = found.fields
    assert [cell.label for cell in field.cells] == [1]
    assert (field.points.tolist(), list(field.point_labels)) == ([[40, 60]], [2])


def test_a_label_apart_from_its_shape_is_joined_to_it(make, images):
    shape = region("polygon", points=percent(P1)) | {"id": "r1"}
    label = region("labels", "L2", points=percent(P1)) | {"id": "r1"}
    choice = {"id": "r1", "type": "choices", "value": {"choices": ["sharp"]}}
    found = read(make(task(shape, label, choice, POLYGON)), images)
    assert found.classes == ("L2", "L1")
    assert [cell.label for cell in found.fields[0].cells] == [1, 2]


def test_the_first_annotation_that_was_not_cancelled_is_taken(make, images):
    one = task(POLYGON)
    cancelled = {"was_cancelled": True, "result": [region(label="wrong", points=percent(P2))]}
    later = {"was_cancelled": False, "result": [region(label="other", points=percent(P2))]}
    one["annotations"] = [cancelled, *one["annotations"], later]
    found = read(make(one), images)
    assert found.classes == ("L1",)
    assert [suspect.found for suspect in found.suspects] == ["it was annotated 2 times: the first is read"]


def test_records_of_one_task_in_json_min_are_several_annotations(make, images):
    found = read(make(minimal(POLYGON), minimal(region(label="other", points=percent(P2)), annotator=2)), images)
    assert only_cell(found).label == 1
    assert found.classes == ("L1",)
    assert [suspect.found for suspect in found.suspects] == ["it was annotated 2 times: the first is read"]


def test_predictions_are_told_and_not_read(make, images):
    predicted = [{"model_version": "m1", "result": [region(label="other", points=percent(P2))]}]
    found = read(make(task(POLYGON, predictions=predicted)), images)
    assert only_cell(found).label == 1
    assert [suspect.found for suspect in found.suspects] == ["1 tasks have predictions of a model, which are not read"]


def test_an_image_without_annotations_is_told_and_one_without_regions_is_a_field(make, images):
    discs.image_folder(images, "b.png", "c.png")
    empty, cancelled = task(image="b.png"), task(image="c.png")
    cancelled["annotations"][0]["was_cancelled"] = True
    found = read(make(task(image="a.png", annotations=[]), empty, cancelled), images)
    assert [(field.name, field.cells) for field in found.fields] == [("b.png", ())]
    assert [(suspect.file, suspect.found) for suspect in found.suspects[:2]] == [
        ("a.png", "it has no annotations, and is left out"),
        ("c.png", "its annotation was cancelled, and it is left out"),
    ]


def test_a_single_task_is_read_as_label_studio_stores_it(images, tmp_path):
    (tmp_path / "1.json").write_text(json.dumps(task(POLYGON)))
    assert recognise(tmp_path / "1.json", images) == "label_studio"
    assert only_cell(read(tmp_path / "1.json", images)).label == 1


def test_completions_of_old_versions_are_read(make, images):
    old = task(POLYGON)
    old["completions"] = old.pop("annotations")
    assert only_cell(read(make(old), images)).label == 1


REFUSED = {
    "two labels": (
        POLYGON | {"value": {"points": percent(P1), "polygonlabels": ["L1", "L2"]}},
        "the region has the labels ['L1', 'L2']; give it one label",
    ),
    "no label": (region("polygon", points=percent(P1)), "the region has no label; give it one label"),
    "an open polygon": (region(points=percent(P1), closed=False), "the polygon is not closed"),
    "a bitmask": (region("bitmasklabels", imageDataURL="data:"), "it is a bitmask, which is not read; draw a polygon"),
    "a turned image": (POLYGON | {"image_rotation": 90}, "the image was turned by 90 degrees when it was annotated"),
    "a point of three": (region(points=[[1, 2, 3]] * 3), "found [1, 2, 3] where a point [x, y] belongs"),
    "outside": (region(points=percent(P1 + np.array([120, 0]))), "11 of 24 points lie outside the 160 x 120 image"),
    "text": (region("rectanglelabels", x="1", y=2, width=3, height=4), "\"x\" is '1'; it must be a int or float"),
    "another format": (
        region("brushlabels", format="png", rle=[]),
        'the mask\'s "format" is \'png\'; it must be "rle"',
    ),
    "an empty brush": (
        region("brushlabels", format="rle", rle=of_mask(np.zeros((HEIGHT, WIDTH), int))),
        "the mask is empty",
    ),
    "a bomb": (
        region("brushlabels", format="rle", rle=[255, 255, 255, 255, 57, 27, 255, 255]),
        "the mask has 4294967295 values, and 76800 belong to the pixels of its image in RGBA",
    ),
    "a point outside": (region("keypointlabels", x=150, y=2), "the point (240, 2.4) lies outside the 160 x 120 image"),
    "no object": (5, "found 5 where a JSON object belongs"),
}


@pytest.mark.parametrize(("entry", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_cell_is_refused_by_its_place(make, images, entry, expected):
    (line,) = problems(make(task(POLYGON, entry)), images, None)
    assert line.startswith(f"a.png, region 2: {expected}")


def test_another_size_than_the_images_is_refused(make, images):
    (line,) = problems(make(task(POLYGON | {"original_width": 120, "original_height": 160})), images, None)
    assert line.startswith("a.png: the annotations say 120 x 160 pixels, the image has 160 x 120")


def test_a_task_without_an_image_is_refused(make, images):
    without = {"data": {"text": "a note"}, "annotations": []}
    (line,) = problems(make(task(POLYGON), without), images, None)
    assert line.startswith("export.json, task 2: its data names 0 images ({'text': 'a note'}); name the image")


def test_an_image_under_another_key_is_found_by_its_suffix(make, images):
    found = read(make(task(POLYGON) | {"data": {"img": "a.png", "text": "a note"}}), images)
    assert only_cell(found).label == 1


@pytest.mark.parametrize(
    "named", ["/data/upload/1/0123abcd-a.png", "/data/local-files/?d=smears/a.png", "s3://bucket/smears/a.png"]
)
def test_images_are_found_by_the_names_that_label_studio_gives_them(make, images, named):
    found = read(make(task(POLYGON, image=named)), images)
    assert [field.name for field in found.fields] == ["a.png"]
    assert len(found.suspects) == 1


def test_another_list_is_none_of_label_studios(make, images):
    (line,) = problems(make({"image_id": 1, "category_id": 1, "score": 0.5}), images, None)
    assert line.startswith("export.json: it is a list of COCO results")
