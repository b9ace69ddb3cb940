"""Whatever names annotations and images have, and whatever lies in the output folder, nothing is written outside it."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.fuzz.sandbox import watch
from tests.smear.make import SQUARE, entry, region
from wbcjax import cli
from wbcjax.commands.crop.folder import crop_folder
from wbcjax.commands.crop.pieces import CropSettings
from wbcjax.commands.enhance.folder import enhance_folder
from wbcjax.commands.image_folder import find_images
from wbcjax.commands.inspect.annotated_set import inspect, write_inspection
from wbcjax.enhance import Enhancement
from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.formats.coco import write as write_coco
from wbcjax.smear.formats.via import write_via
from wbcjax.smear.read import read
from wbcjax.system.files import write_atomically

NAMES = ("../a.png", "loop.png", "/tmp/a.png", "sub/../../a.png", "C:\\a.png", "a.png\0", "\x1b[2J\n.png", "x" * 300)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "images/sub").mkdir(parents=True)
    for name in ("a.png", "d.png", "sub/..a.png", "C:\\a.png", "\x1b[2J\n.png"):
        cv2.imwrite(str(tmp_path / "images" / name), np.full((30, 40, 3), 200, np.uint8))
    (tmp_path / "images/loop.png").symlink_to("loop.png")
    return tmp_path


def annotated(place: Path, names: tuple[str, ...], cell: str = "L1") -> Path:
    path = place / "set.json"
    path.write_text(json.dumps({f"{name}1": entry(name, region(*SQUARE, cell=cell)) for name in names}))
    return path


def test_crops_of_strangely_named_fields_lie_in_the_output_folder(place):
    found = read(annotated(place, (*NAMES, "sub/..a.png", "d.png")), place / "images", on_error="skip")
    assert {field.name for field in found.fields} == {"C:\\a.png", "\x1b[2J\n.png", "sub/..a.png", "d.png"}
    with watch(place / "results"):
        crop_folder(found, place / "results/out", CropSettings())
    assert len(list((place / "results/out/L1").iterdir())) == 4


@pytest.mark.parametrize("cell", ["../L1", "/tmp/L1", "..", ".", "a/b", "a\\b", "a\0b", "a\nb", "CROPS.CSV", "C:"])
def test_a_class_that_leads_out_of_the_output_folder_is_refused(place, cell):
    found = read(annotated(place, ("a.png",), cell), place / "images")
    with watch(place / "results"), pytest.raises(ValueError, match="cannot be the name of a folder"):
        crop_folder(found, place / "results/out", CropSettings())
    assert not (place / "results").exists()


def test_a_page_of_strangely_named_fields_lies_in_the_output_folder(place):
    annotations = annotated(place, (*NAMES, "sub/..a.png", "a.png"), cell="<script>\x1b[2J")
    with watch(place / "out"):
        write_inspection(inspect(annotations, place / "images"), place / "out")
    assert {path.name for path in (place / "out").iterdir()} == {"index.html", "contact_sheet.png", "problems.csv"}
    assert "\x1b" not in (place / "out/problems.csv").read_text()
    page = (place / "out/index.html").read_text()
    assert "<script>\x1b" not in page
    assert "\x1b" not in page


def test_annotations_of_strangely_named_fields_are_one_file(place):
    fields = [
        SmearField(name, 30, 40, (Cell(1, box=(1, 1, 9, 9)),), pixels=np.zeros((30, 40, 3), np.uint8)) for name in NAMES
    ]
    with watch(place / "out"):
        write_coco(place / "out/coco.json", fields, ("L1",))
        write_via(place / "out/via.json", fields, ("L1",))
    assert {path.name for path in (place / "out").iterdir()} == {"coco.json", "via.json"}


def test_a_link_in_the_place_of_a_result_is_replaced_and_not_followed(place):
    (place / "out").mkdir()
    (place / "precious").write_text("kept")
    (place / "out/a.png").symlink_to(place / "precious")
    (place / f"out/.a.png.{os.getpid()}.partial").symlink_to(place / "precious")
    with watch(place / "out"):
        write_atomically(place / "out/a.png", b"new")
    assert (place / "precious").read_text() == "kept"
    assert not (place / "out/a.png").is_symlink()


def test_a_file_that_cannot_be_replaced_is_left_as_it_is(place):
    (place / "out/a.txt").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        write_atomically(place / "out/a.txt", b"new")
    assert [path.name for path in (place / "out").iterdir()] == ["a.txt"]


def test_a_link_in_the_folder_of_results_leads_nothing_elsewhere(place):
    (place / "out").mkdir()
    (place / "elsewhere").mkdir()
    (place / "out/compare").symlink_to(place / "elsewhere")
    with pytest.raises(FileExistsError, match=r"out, which is not empty"):
        enhance_folder(place / "images/a.png", Enhancement("he"), place / "out", compare=True)
    assert not list((place / "elsewhere").iterdir())
    (place / "linked").symlink_to(place / "elsewhere")  # the whole of it may be where one likes
    enhance_folder(place / "images/a.png", Enhancement("he"), place / "linked")
    assert [path.name for path in (place / "elsewhere").iterdir()] == ["a.png"]


def test_images_whose_names_are_no_utf_8_are_refused_with_them(place):
    (place / "images/a.png").rename(os.fsdecode(os.fsencode(place / "images") + b"/caf\xe9.png"))
    with pytest.raises(ValueError, match=r"these names are no UTF-8 text: .*rename the files"):
        find_images(place / "images")


@pytest.mark.parametrize("command", ["enhance", "inspect", "crop"])
def test_the_limit_of_pixels_is_an_argument(place, capsys, command):
    annotations = annotated(place, ("a.png",))
    arguments = {
        "enhance": [str(place / "images/a.png"), "--out", str(place / "out")],
        "inspect": [str(annotations), str(place / "images")],
        "crop": [str(annotations), str(place / "images"), "--out", str(place / "out")],
    }[command]
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, *arguments, "--max-pixels", "1199"])
    assert "claims 40 x 30 pixels, and 1199 are allowed" in str(stopped.value)
    cli.main([command, *arguments, "--max-pixels", "1200"])


@pytest.mark.parametrize("text", ["0", "-1", "1e6", "many", "9" * 50])
def test_an_impossible_limit_of_pixels_is_refused(place, capsys, text):
    with pytest.raises(SystemExit):
        cli.main(["enhance", str(place / "images/a.png"), "--out", str(place / "out"), "--max-pixels", text])
    assert "is no number of pixels" in capsys.readouterr().err


def test_a_pipe_among_the_images_is_told_and_the_others_are_done(place):
    os.mkfifo(place / "images/b.png")
    with watch(place / "out"):
        outcome = enhance_folder(place / "images", Enhancement("he"), place / "out")
    assert [line for line in outcome.failed if "b.png" in line and "no regular file" in line]
    assert outcome.enhanced == 4
