"""The writer of YOLO folders: read again the same, laid out as Ultralytics looks for it, and what is lost is told."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.smear.test_write import CLASS_OF, CLASSES, HEIGHT, NAMES, TRIANGLE, WIDTH, cells, disc, field, iou, rle
from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.formats.write_checks import Predicted
from wbcjax.smear.formats.yolo import write
from wbcjax.smear.read import read

REAL = (Path(__file__).parents[2] / "../shared/data/segpc2021_train").resolve()
RING = disc(15, hole=8)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    (folder / "p1").mkdir()
    for name in NAMES:
        cv2.imwrite(str(folder / name), np.full((HEIGHT, WIDTH, 3), 200, np.uint8))
    return folder


@settings(max_examples=60)
@given(listed=st.lists(st.lists(cells(), max_size=4), min_size=1, max_size=len(NAMES)))
def test_what_is_written_is_read_again_the_same(images, tmp_path_factory, listed):
    written = [
        field(images, *[Cell(**cell) for cell in of_field], name=file)
        for file, of_field in zip(NAMES, listed, strict=False)
    ]
    out = tmp_path_factory.mktemp("out") / "set"
    write(out, written, CLASSES)
    again = {f.name: f.cells for f in read(out, images, CLASS_OF, file_format="yolo").fields}
    assert sorted(again) == sorted(f.name for f in written)
    for original in written:
        kept = [cell for cell in original.cells if not cell.crowd]
        for cell, was in zip(again[original.name], kept, strict=True):
            assert (cell.label, cell.outlined) == (was.label, was.outlined)
            if was.box is not None:
                assert cell.box == pytest.approx(was.box, rel=0, abs=1e-6)
            elif len(was.polygons) == 1:
                np.testing.assert_allclose(cell.polygons[0], was.polygons[0], rtol=0, atol=1e-4)
            else:  # a side that moves by a millionth of a pixel may pass over the middles of pixels
                assert iou(cell.mask(HEIGHT, WIDTH), was.mask(HEIGHT, WIDTH)) > 0.9
            if was.rle is not None:
                np.testing.assert_array_equal(cell.mask(HEIGHT, WIDTH), was.mask(HEIGHT, WIDTH))


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the SegPC-2021 fields are not on this machine")
@pytest.mark.parametrize("source", ["via.json", "coco.json"])
def test_real_fields_are_read_again_the_same(tmp_path, source):
    """Outlines (via.json) and masks (coco.json), all of a part of the fields."""
    data = json.loads((REAL / source).read_text())
    if source == "via.json":
        data = dict(list(data.items())[::25])
    else:
        kept = {image["id"] for image in data["images"][::25]}
        data["images"] = data["images"][::25]
        data["annotations"] = [a for a in data["annotations"] if a["image_id"] in kept]
    (tmp_path / "some.json").write_text(json.dumps(data))
    found = read(tmp_path / "some.json", REAL / "images")
    cells_of = {f.name: f for f in found.fields if f.cells}
    assert len(cells_of) > 5
    assert write(tmp_path / "out", list(cells_of.values()), found.classes) == []
    class_of = {name: label for label, name in enumerate(found.classes, start=1)}
    again = read(tmp_path / "out", tmp_path / "out/images", class_of)
    assert sorted(f.name for f in again.fields) == sorted(cells_of)
    for f in again.fields:
        for cell, was in zip(f.cells, cells_of[f.name].cells, strict=True):
            assert cell.label == was.label
            np.testing.assert_array_equal(cell.mask(f.height, f.width), was.mask(f.height, f.width))


def test_the_folder_is_laid_out_as_ultralytics_looks_for_it(images, tmp_path):
    """Its rule: the label file is the image's path with the last /images/ as /labels/ and the suffix .txt."""
    fields = [field(images, Cell(2, (TRIANGLE,))), field(images, name="p1/b.png")]
    write(tmp_path / "out", fields, CLASSES)
    data = yaml.safe_load((tmp_path / "out/data.yaml").read_text())
    assert data == {"train": "images", "val": "images", "names": dict(enumerate(CLASSES))}
    for f in fields:
        image = tmp_path / "out" / data["train"] / f.name
        assert image.read_bytes() == (images / f.name).read_bytes()
        label = Path("/labels/".join(str(image).rsplit("/images/", 1))).with_suffix(".txt")
        assert len(label.read_text().splitlines()) == len(f.cells)
    number, *fractions = (tmp_path / "out/labels/a.txt").read_text().split()
    assert number == "1"
    np.testing.assert_allclose(np.reshape(list(map(float, fractions)), (-1, 2)) * (WIDTH, HEIGHT), TRIANGLE, atol=1e-6)


@pytest.mark.parametrize("mask", [RING, disc(6, x=12) | disc(5, x=70), RING | disc(4, x=70, y=8)])
def test_a_line_is_filled_by_opencv_as_the_mask_with_its_holes_and_parts(images, tmp_path, mask):
    """Ultralytics draws masks with cv2.fillPoly, which also draws the lines that join the parts."""
    write(tmp_path / "out", [field(images, Cell(1, rle=rle(mask)))], CLASSES)
    (line,) = (tmp_path / "out/labels/a.txt").read_text().splitlines()
    points = np.reshape(list(map(float, line.split()[1:])), (-1, 2)) * (WIDTH, HEIGHT)
    scale = 8  # so that a line of one pixel is thin
    canvas = np.zeros((HEIGHT * scale, WIDTH * scale), np.uint8)
    filled = cv2.fillPoly(canvas, [np.round(points * scale).astype(np.int32)], (1,))
    assert iou(filled, np.kron(mask, np.ones((scale, scale), np.uint8))) > 0.93  # the line itself is filled, too
    (found,) = read(tmp_path / "out", images, CLASS_OF).fields
    np.testing.assert_array_equal(found.cells[0].mask(HEIGHT, WIDTH), mask)


def test_parts_that_overlap_are_written_as_the_area_they_cover(images, tmp_path):
    """Joined to one line they would cancel where they overlap."""
    parts = (TRIANGLE, TRIANGLE + np.array([3, 1]))
    write(tmp_path / "out", [field(images, Cell(1, parts))], CLASSES)
    (found,) = read(tmp_path / "out", images, CLASS_OF).fields
    np.testing.assert_array_equal(found.cells[0].mask(HEIGHT, WIDTH), Cell(1, parts).mask(HEIGHT, WIDTH))


def test_what_yolo_cannot_hold_is_told(images, tmp_path):
    shown = (Cell(1, (TRIANGLE,)), Cell(1, (TRIANGLE,), crowd=True), Cell(3, box=(1.5, 2, 30, 40)))
    fields = [field(images, *shown, group="p1")]
    fields.append(field(images, name="c d.png"))
    told = write(tmp_path / "out", fields, CLASSES, Predicted([[1, 1, 1], []]))
    assert told == [
        "1 crowd region(s) were left out, as Ultralytics' own converter leaves them out",
        "1 cell(s) have a box alone: with these Ultralytics drops the outlines of the whole set",
        "1 group(s), such as patients",
        "scores",
    ]
    (found, _) = read(tmp_path / "out", images, CLASS_OF).fields
    assert [cell.box for cell in found.cells] == [None, pytest.approx((1.5, 2, 30, 40))]


def test_two_images_of_one_label_file_are_refused(tmp_path):
    fields = [SmearField(name, 6, 8, (), pixels=np.zeros((6, 8, 3), np.uint8)) for name in ("a.png", "a.jpg")]
    with pytest.raises(ValueError, match=r"a\.jpg: would have the same label file as a\.png: rename one"):
        write(tmp_path / "out", fields, CLASSES)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_nothing(images, tmp_path):
    gone = SmearField("gone.png", HEIGHT, WIDTH, (), images / "gone.png")
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        write(tmp_path / "out", [gone], CLASSES)
    with pytest.raises(ValueError, match="leads out of the folder"):
        write(tmp_path / "out", [SmearField("../a.png", 6, 8, (), pixels=np.zeros((6, 8, 3), np.uint8))], CLASSES)
    assert not list(tmp_path.iterdir())


def test_an_image_that_is_no_file_is_written_as_png(images, tmp_path):
    picture = np.arange(144, dtype=np.uint8).reshape(6, 8, 3)
    write(tmp_path / "out", [SmearField("a.png", 6, 8, (), pixels=picture)], CLASSES)
    (found,) = read(tmp_path / "out", tmp_path / "out/images", CLASS_OF).fields
    np.testing.assert_array_equal(found.image(), picture)
