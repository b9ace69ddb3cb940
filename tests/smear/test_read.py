"""Reading a set of any format: which format it is, what its classes are, and what is left out instead of refused."""

import json
from collections import Counter

import cv2
import numpy as np
import pytest

from tests.smear.make import CLASS_OF, HEIGHT, WIDTH, entry, image_folder, problems, region
from wbcjax.smear.field import AnnotationError
from wbcjax.smear.formats.known import FORMATS
from wbcjax.smear.formats.via_csv import COLUMNS
from wbcjax.smear.read import read, recognise


@pytest.fixture
def folder(tmp_path):
    image_folder(tmp_path / "images", "a.png", "b.png", "c.png")
    return tmp_path


def via(folder, *entries):
    path = folder / "via.json"
    path.write_text(json.dumps({f"{e['filename']}{i}": e for i, e in enumerate(entries)}))
    return path


COCO = {"images": [], "annotations": [], "categories": []}
VIA_3 = {"project": {}, "config": {}, "attribute": {}, "file": {}, "metadata": {}, "view": {}}
FILES = {
    "via 1 and 2": ("a.json", json.dumps({"a.png1": entry("a.png")}), "via"),
    "via of no image": ("a.json", "{}", "via"),
    "via 2 project": ("a.json", json.dumps({"_via_img_metadata": {}, "_via_attributes": {}}), "via"),
    "via 3": ("a.json", json.dumps(VIA_3), "via"),
    "via csv": ("a.csv", ",".join(COLUMNS), "via"),
    "coco": ("a.json", json.dumps(COCO), "coco"),
    "coco by another name": ("a.txt", "\ufeff" + json.dumps(COCO), "coco"),
    "coco without annotations": ("a.json", json.dumps({"images": [], "categories": []}), "coco"),
    "labelme": ("a.json", json.dumps({"version": "5.0", "shapes": [], "imagePath": "a.png"}), "labelme"),
    "voc": ("a.xml", "<annotation/>", "voc"),
}


@pytest.mark.parametrize(("name", "text", "expected"), FILES.values(), ids=FILES)
def test_the_format_of_a_file_is_recognised_by_its_content(folder, name, text, expected):
    (folder / name).write_text(text, encoding="utf-8")
    assert recognise(folder / name, folder / "images") == expected
    assert expected in FORMATS


def test_the_format_of_a_folder_is_recognised_by_its_files(folder):
    for suffix, content, expected in ((".json", '{"shapes": []}', "labelme"), (".xml", "<annotation/>", "voc")):
        inner = folder / expected
        inner.mkdir()
        (inner / f"a{suffix}").write_text(content)
        assert recognise(inner, folder / "images") == expected


def test_a_format_that_is_named_is_not_recognised_anew(folder):
    (folder / "a.json").write_text("{}")
    (line,) = problems(folder / "a.json", folder / "images", file_format="via")
    assert line == "a.json: no field is listed in it; export the annotations again, or correct the path"
    (line,) = problems(folder / "a.json", folder / "images", file_format="coco")
    assert line.startswith('a.json: it is no COCO file: it has none of "images", "annotations" and "categories"; ')


def test_a_format_that_there_is_not_is_refused_with_those_there_are(folder):
    with pytest.raises(ValueError, match=r"file_format is 'pascal'; give one of 'via', 'coco', .*'voc'"):
        read(folder / "a.json", folder / "images", file_format="pascal")


def test_a_folder_without_annotations_is_refused(folder):
    (folder / "empty").mkdir()
    (line,) = problems(folder / "empty", folder / "images")
    assert line.startswith("empty: the folder holds no annotations")


def test_missing_annotations_and_a_missing_image_folder_are_told_once(folder):
    (line,) = problems(folder / "gone.json", folder / "images")
    assert line.startswith("gone.json: cannot be read (No such file or directory); correct the path")
    (line,) = problems(via(folder, entry("a.png"), entry("b.png")), folder / "gone")
    assert line.startswith(f"via.json: the image folder {folder / 'gone'} is not a folder; correct its path")


# ------------------------------------------------------------------------------------------------------------ classes


def test_without_a_class_map_every_name_is_a_class_in_order_of_appearance(folder):
    regions = (region(cell="blast"), region(cell="L1"), region(cell="blast"))
    fieldset = read(via(folder, entry("a.png", *regions), entry("b.png", region(cell="L1"))), folder / "images")
    assert fieldset.classes == ("blast", "L1")
    assert [[cell.label for cell in field.cells] for field in fieldset.fields] == [[1, 2, 1], [2]]


def test_with_a_class_map_its_numbers_are_the_classes(folder):
    annotations = via(folder, entry("a.png", region(cell="L2"), region(cell="L1"), region(cell="debris")))
    fieldset = read(annotations, folder / "images", CLASS_OF)
    assert fieldset.classes == ()
    assert [cell.label for cell in fieldset.fields[0].cells] == [2, 1]
    assert fieldset.left_out == Counter({"debris": 1})


# --------------------------------------------------------------------------------------- what is left out, and told


def skipped(folder, *entries, **options):
    return read(via(folder, *entries), folder / "images", CLASS_OF, on_error="skip", **options)


def test_a_set_without_problems_reads_alike_whatever_is_done_with_them(folder):
    entries = entry("a.png", region(), region(cell="L2")), entry("b.png")
    sets = [read(via(folder, *entries), folder / "images", CLASS_OF), skipped(folder, *entries)]
    for fieldset in sets:
        assert [(field.name, len(field.cells)) for field in fieldset.fields] == [("a.png", 2), ("b.png", 0)]
        assert (fieldset.problems, fieldset.refused_fields, fieldset.refused_cells) == ([], 0, 0)
        assert fieldset.omissions() == []


def test_cells_with_problems_are_left_out_of_their_field_and_counted(folder):
    bad = region([5, 15], [4, 12]), region(cell="L4"), region([5, 60, 15], [4, 4, 12], cell="L4")
    fieldset = skipped(folder, entry("a.png", region(), *bad), entry("b.png", bad[0]))
    assert [(field.name, len(field.cells)) for field in fieldset.fields] == [("a.png", 1), ("b.png", 0)]
    assert (fieldset.refused_fields, fieldset.refused_cells) == (0, 4)  # a cell with two problems is one
    assert fieldset.omissions() == ["left out 0 fields and 4 cells that have problems"]


def test_fields_with_problems_are_left_out_with_their_cells_and_counted(folder):
    (folder / "images/b.png").write_bytes(b"no image")
    entries = entry("gone.png", region()), entry("b.png", region(), region([5], [4])), entry("a.png", region())
    fieldset = skipped(folder, *entries)
    assert [field.name for field in fieldset.fields] == ["a.png"]
    assert (fieldset.refused_fields, fieldset.refused_cells) == (2, 1)
    assert [problem.file for problem in fieldset.problems] == ["gone.png", "b.png", "b.png"]


def test_cells_left_out_by_the_class_map_and_by_problems_are_told_apart(folder):
    fieldset = skipped(folder, entry("a.png", region(cell="debris"), region(cell="L4"), region()))
    assert fieldset.omissions() == [
        "left out 1 cell of class 'debris', as the class map says",
        "left out 0 fields and 1 cell that have problems",
    ]


def test_the_problems_of_skipped_cells_stay_to_be_read(folder):
    fieldset = skipped(folder, entry("a.png", region(), region(cell="L4"), region(cell="L4")))
    assert [str(problem) for problem in fieldset.problems] == [
        "via.json, 2 cells: unknown class 'L4' (first a.png, region 2); "
        "correct it to one of 'L1', 'L2', 'debris', or add it to the class map"
    ]


def test_a_set_of_which_no_field_is_left_is_refused_also_when_skipping(folder):
    lines = problems(via(folder, entry("gone.png"), entry("lost.png")), folder / "images", on_error="skip")
    assert [line.split(":")[0] for line in lines] == ["gone.png", "lost.png"]


def test_a_broken_file_is_refused_also_when_skipping(folder):
    (folder / "via.json").write_text('{"a.png1": ')
    (line,) = problems(folder / "via.json", folder / "images", on_error="skip")
    assert line.startswith("via.json: broken JSON")


def test_what_is_suspect_is_in_the_set_and_no_problem(folder):
    fieldset = skipped(folder, entry("a.png", region(), size=7))
    assert len(fieldset.fields[0].cells) == 1
    assert not fieldset.problems
    assert [(suspect.file, suspect.where) for suspect in fieldset.suspects] == [("a.png", "")]


# ------------------------------------------------------------------------------------------------------------- images


@pytest.mark.parametrize("name", ["deep.tif", "grey.png", "clear.png"])
def test_cells_are_read_on_images_of_any_depth_and_channels(folder, name):
    pixels = {
        "deep.tif": np.full((HEIGHT, WIDTH, 3), 3000, np.uint16),
        "grey.png": np.full((HEIGHT, WIDTH), 200, np.uint8),
        "clear.png": np.full((HEIGHT, WIDTH, 4), 200, np.uint8),
    }
    assert cv2.imwrite(str(folder / "images" / name), pixels[name])
    (field,) = read(via(folder, entry(name, region())), folder / "images", CLASS_OF).fields
    assert (field.height, field.width, len(field.cells)) == (HEIGHT, WIDTH, 1)
    assert field.image().shape == (HEIGHT, WIDTH, 3)
    assert field.image().min() == field.image().max() == round(3000 * 255 / 4095 if name == "deep.tif" else 200)


def test_the_error_is_a_value_error_that_counts_its_problems(folder):
    with pytest.raises(AnnotationError, match=r"via\.json: 2 problems\n  gone\.png: .*\n  lost\.png: "):
        read(via(folder, entry("gone.png"), entry("lost.png")), folder / "images")
    assert issubclass(AnnotationError, ValueError)
