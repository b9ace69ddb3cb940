"""The settings of a set: every format, its classes and groups, and the report of what is left out."""

import json
import logging
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.input.sets import (
    HEIGHT,
    WIDTH,
    WRITERS,
    both_sides,
    changed,
    square_mask,
    write_coco,
    write_format,
    write_image,
    write_via,
    write_via_set,
)
from wbcjax.input.field_set import source
from wbcjax.input.settings import FieldSetSettings
from wbcjax.settings.checked import checked
from wbcjax.smear.field import AnnotationError, read_image
from wbcjax.smear.formats.known import FORMATS
from wbcjax.smear.read import read

POINTS_ONLY = {"xyc"}  # formats whose cells train nothing


@pytest.mark.parametrize("name", sorted(set(FORMATS) - POINTS_ONLY))
def test_every_format_is_built_as_it_is_annotated(tmp_path, name):
    assert set(WRITERS) == set(FORMATS)
    config = write_format(tmp_path, name)
    found = both_sides(config, tmp_path / "cache")
    a, b = ("a/images/a.png", "b/images/b.png") if name == "mask_folders" else ("a.png", "b.png")
    assert sorted(found) == [a, b]
    assert found[b].cells == ()
    (cell,) = found[a].cells
    assert (cell.label, cell.crowd, cell.outlined) == (1, False, name != "voc")
    np.testing.assert_array_equal(cell.mask(HEIGHT, WIDTH), square_mask())
    np.testing.assert_array_equal(found[a].image(), read_image(Path(config.images) / a))


@pytest.mark.parametrize("name", sorted(set(FORMATS) - POINTS_ONLY))
def test_a_built_set_is_kept_until_annotations_change(tmp_path, name, no_building):
    """A set of every format is kept until one of its annotation files changes."""
    config = write_format(tmp_path, name)
    before = both_sides(config, tmp_path / "cache")
    no_building()
    assert both_sides(config, tmp_path / "cache").keys() == before.keys()
    annotations = Path(config.annotations)
    files = [path for path in annotations.rglob("*") if path.is_file()] if annotations.is_dir() else [annotations]
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content + b" ")
        with pytest.raises(AssertionError, match="built again"):
            source(config, "train", tmp_path / "cache")
        file.write_bytes(content)
    source(config, "train", tmp_path / "cache")


def test_a_field_that_an_empty_folder_of_masks_adds_is_seen(tmp_path):
    config = write_format(tmp_path, "mask_folders")
    write_image(tmp_path / "stage1/c/images/c.png")
    assert set(both_sides(config, tmp_path / "cache")) == {"a/images/a.png", "b/images/b.png"}
    (tmp_path / "stage1/c/masks").mkdir()
    assert "c/images/c.png" in both_sides(config, tmp_path / "cache")


def test_images_of_every_kind_keep_the_pixels_that_were_annotated(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    colours = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    images = {
        "deep.tif": rng.integers(0, 4096, (HEIGHT, WIDTH, 3), np.uint16),
        "grey.png": colours[..., 0],
        "alpha.png": rng.integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8),
        "plain.bmp": colours,
        "plain.tiff": colours,
        "plain.jpg": colours,
    }
    for name, image in images.items():
        assert cv2.imwrite(str(tmp_path / "images" / name), image)
    found = both_sides(write_coco(tmp_path, [{"file_name": name} for name in images], []), tmp_path / "cache")
    assert set(found) == set(images)
    for name in images:
        np.testing.assert_array_equal(found[name].image(), read_image(tmp_path / "images" / name))
    np.testing.assert_array_equal(found["plain.bmp"].image(), colours[..., ::-1])


def test_a_boxed_cell_keeps_its_fractional_box(tmp_path):
    """A cell known by its box keeps the box between pixels and stays without outline."""
    for i in range(2):
        write_image(tmp_path / f"images/{i}.png", i)
    annotations = [
        {"image_id": 1, "category_id": 1, "bbox": [3.25, 4.5, 10.5, 7.125], "segmentation": [], "iscrowd": 0},
        {"image_id": 1, "category_id": 1, "bbox": [20, 5, 8, 8], "segmentation": [], "iscrowd": 1},
    ]
    config = write_coco(tmp_path, [{"file_name": "0.png"}, {"file_name": "1.png"}], annotations)
    boxed, crowd = both_sides(config, tmp_path / "cache")["0.png"].cells
    assert (boxed.box, boxed.outlined, boxed.crowd) == ((3.25, 4.5, 13.75, 11.625), False, False)
    assert (crowd.box, crowd.outlined, crowd.crowd) == ((20, 5, 28, 13), False, True)


def test_a_split_knows_its_sizes_and_whether_there_are_outlines(tmp_path):
    for name, outlined in (("coco", True), ("voc", False)):
        config = write_format(tmp_path / name, name)
        sides = [source(config, side, tmp_path / "cache") for side in ("train", "val")]
        assert [side.size(0) for side in sides] == [(HEIGHT, WIDTH)] * 2
        assert {side.names[0]: side.outlined() for side in sides} == {"a.png": outlined, "b.png": False}


def told(caplog, level: int) -> str:
    return "\n".join(record.getMessage() for record in caplog.records if record.levelno == level)


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, logger="wbcjax")
    return caplog


def with_problems(folder: Path) -> FieldSetSettings:
    """Four fields of which one has no image, and a region of another no area; "other" cells are to be left out."""
    config = write_via_set(folder, [2, 1, 1, 2])
    entries = json.loads((folder / "via.json").read_text())
    entries["1.png"]["filename"] = "nowhere.png"
    entries["2.png"]["regions"][0]["shape_attributes"]["all_points_y"] = [4, 4, 4, 4]
    (folder / "via.json").write_text(json.dumps(entries))
    config = changed(config, class_of=(("blast", "blast"), ("other", "")))
    return config


def test_annotations_with_problems_are_refused_unless_they_are_to_be_skipped(tmp_path):
    config = with_problems(tmp_path)
    with pytest.raises(AnnotationError, match=r"2 problems\n.*nowhere\.png.*\n.*2\.png, region 1"):
        source(config, "train", tmp_path / "cache")
    config = changed(config, on_error="skip")
    found = both_sides(config, tmp_path / "cache")
    assert {name: len(field.cells) for name, field in found.items()} == {"0.png": 1, "2.png": 0, "3.png": 1}
    config = changed(config, on_error="raise")
    with pytest.raises(AnnotationError, match="2 problems"):  # though a set of the same files has been built
        source(config, "train", tmp_path / "cache")


def test_a_skipped_field_whose_image_is_mended_is_in_the_set_again(tmp_path):
    config = with_problems(tmp_path)
    config = changed(config, on_error="skip")
    assert "nowhere.png" not in both_sides(config, tmp_path / "cache")
    write_image(tmp_path / "images/nowhere.png")
    assert len(both_sides(config, tmp_path / "cache")["nowhere.png"].cells) == 1


def test_skipped_cells_are_told_in_full_at_the_build(tmp_path, log, no_building):
    """Skipped annotations are listed when a set is built and counted whenever it is opened."""
    config = with_problems(tmp_path)
    config = changed(config, on_error="skip")
    source(config, "train", tmp_path / "cache")
    warned = told(log, logging.WARNING)
    assert "via.json: 2 left out because of problems" in warned
    assert "2.png, region 1: the outline has zero area" in warned
    assert "nowhere.png" in warned
    short = ["left out 1 field and 1 cell that have problems", "left out 2 cells of class 'other'"]
    assert all(sentence in warned for sentence in short)

    log.clear()
    no_building()
    source(config, "train", tmp_path / "cache")
    assert all(f"{config.annotations}: {sentence}" in told(log, logging.WARNING) for sentence in short)
    assert "region 1" not in told(log, logging.WARNING)


def test_a_set_without_omissions_warns_of_nothing(tmp_path, log):
    source(write_via_set(tmp_path, [1, 1]), "train", tmp_path / "cache")
    assert told(log, logging.WARNING) == ""


def test_suspects_are_told_at_the_build_and_counted_later(tmp_path, log, no_building):
    """Suspects are listed with their places when a set is built and counted when it is opened."""
    config = write_format(tmp_path, "label_images")
    write_image(tmp_path / "images/forgotten.png")
    source(config, "train", tmp_path / "cache")
    assert "1 worth a look\n  forgotten.png" in told(log, logging.INFO)
    log.clear()
    no_building()
    source(config, "train", tmp_path / "cache")
    assert f"{config.annotations}: 1 place worth a look" in told(log, logging.INFO)


def test_nameless_cells_get_the_class_maps_class(tmp_path):
    """Cells of a format without class names get the class that the map says."""
    config = write_format(tmp_path, "label_images")
    config = changed(config, classes=("L1", "L2"))
    for class_of in ((), (("L1", "L2"),)):
        config = changed(config, class_of=class_of)
        with pytest.raises(ValueError, match=r"every cell is a 'cell'\. Say in .* \(\('cell', 'L1'\),\)"):
            source(config, "train", tmp_path / "cache")
    config = changed(config, class_of=(("cell", "L2"),))
    assert [cell.label for cell in both_sides(config, tmp_path / "cache")["a.png"].cells] == [2]


def test_nameless_cells_get_the_only_class(tmp_path):
    """The only class is that of all cells of a format without class names."""
    config = write_format(tmp_path, "label_images")
    config = changed(config, classes=("myeloma",))
    assert [cell.label for cell in both_sides(config, tmp_path / "cache")["a.png"].cells] == [1]


def test_the_classes_of_masks_go_by_their_values(tmp_path):
    config = changed(write_format(tmp_path, "label_images"), semantic=True, classes=("L1",))
    (value,) = read(Path(config.annotations), Path(config.images), semantic=True).classes
    with pytest.raises(AnnotationError, match=f"unknown class {value!r}"):
        source(config, "train", tmp_path / "cache")
    config = changed(config, class_of=((value, "L1"),))
    assert [cell.label for cell in both_sides(config, tmp_path / "cache")["a.png"].cells] == [1]


def test_annotated_values_may_hold_dots_and_survive_the_runs_json(tmp_path):
    config = write_via_set(tmp_path, [1, 1])
    write_via(tmp_path, ["L. 1 (Dr. X)"], [1, 1])
    config = changed(config, class_of=(("L. 1 (Dr. X)", "other"),))
    for described in (config, checked(FieldSetSettings, json.loads(json.dumps(asdict(config))), "config.dataset")):
        assert {field.cells[0].label for field in both_sides(described, tmp_path / "cache").values()} == {2}


def test_a_class_map_that_says_twice_what_a_value_is_is_refused(tmp_path):
    config = changed(write_via_set(tmp_path, [1]), class_of=(("blast", "other"), ("blast", "")))
    with pytest.raises(ValueError, match=r"dataset.class_of is .*; give a pair \(annotated value, class\) for each"):
        source(config, "train", tmp_path / "cache")


def test_groups_of_coco_images_stay_on_one_side(tmp_path):
    images = [{"file_name": f"{i}.png", "group": "first" if i < 4 else "second"} for i in range(6)]
    for i in range(6):
        write_image(tmp_path / f"images/{i}.png", i)
    config = write_coco(tmp_path, images, [])
    config = changed(config, group_attribute="group")
    sides = {side: source(config, side, tmp_path / "cache").names for side in ("train", "val")}
    assert sorted(map(sorted, sides.values())) == [[f"{i}.png" for i in range(4)], ["4.png", "5.png"]]


@pytest.mark.parametrize("name", ["labelme", "label_images", "mask_folders", "voc"])
def test_groups_in_a_format_that_has_none_are_refused(tmp_path, name):
    config = write_format(tmp_path, name)
    config = changed(config, group_attribute="patient")
    with pytest.raises(ValueError, match=f"group_attribute is for via and coco files, and dataset.name is '{name}'"):
        source(config, "train", tmp_path / "cache")


def test_a_class_map_to_an_unknown_class_is_refused(tmp_path):
    config = write_via_set(tmp_path, cells=[1])
    config = changed(config, class_of=(("blast", "blasst"), ("other", "")))
    with pytest.raises(ValueError, match=r"class_of maps to \['blasst'\], not in dataset.classes"):
        source(config, "train", tmp_path / "cache")
