"""What lies in image folders: images turned by EXIF, files that cellpose wrote, and images that are not read."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.smear.discs import HEIGHT, WIDTH, folder_of, image, labels
from tests.smear.make import problems
from wbcjax.evaluate.suspect_images import suspects_of_folder
from wbcjax.smear.decode import exif_orientation
from wbcjax.smear.formats.image_files import image_files, unread_images

REMEDY = "save the image as its pixels lie in the file, without the orientation, or annotate it upright"


def turned_image(folder: Path, orientation: int, name: str = "a.jpg") -> Path:
    """A folder with the image stored so that this orientation turns it upright: 160 x 120."""
    folder.mkdir()
    exif = Image.Exif()
    exif[274] = orientation
    stored = np.rot90(image()) if orientation in (6, 8) else image()
    Image.fromarray(stored).save(folder / name, exif=exif)
    return folder


def write_labels(folder: Path) -> Path:
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.rot90(labels()))
    return folder


def write_masks(folder: Path) -> Path:
    folder.mkdir()
    cv2.imwrite(str(folder / "a_1.png"), np.rot90(labels()))
    return folder


def write_labelme(folder: Path) -> Path:
    folder.mkdir()
    content = {"imagePath": "a.jpg", "imageHeight": WIDTH, "imageWidth": HEIGHT, "shapes": []}
    (folder / "a.json").write_text(json.dumps(content))
    return folder


def write_voc(folder: Path) -> Path:
    folder.mkdir()
    size = f"<size><width>{HEIGHT}</width><height>{WIDTH}</height></size>"
    (folder / "a.xml").write_text(f"<annotation><filename>a.jpg</filename>{size}</annotation>")
    return folder


def write_cvat(folder: Path) -> Path:
    image = f'<image id="0" name="a.jpg" width="{HEIGHT}" height="{WIDTH}"/>'
    folder.with_suffix(".xml").write_text(f"<annotations><version>1.1</version>{image}</annotations>")
    return folder.with_suffix(".xml")


def write_label_studio(folder: Path) -> Path:
    value = {"points": [[10, 10], [50, 10], [50, 50]], "polygonlabels": ["L1"]}
    region = {"type": "polygonlabels", "original_width": HEIGHT, "original_height": WIDTH, "value": value}
    task = {"data": {"image": "/data/upload/1/a.jpg"}, "annotations": [{"result": [region]}]}
    folder.with_suffix(".json").write_text(json.dumps([task]))
    return folder.with_suffix(".json")


def write_coco(folder: Path) -> Path:
    images = [{"id": 1, "file_name": "a.jpg", "width": HEIGHT, "height": WIDTH}]
    content = {"images": images, "categories": [{"id": 1, "name": "L1"}], "annotations": []}
    folder.with_suffix(".json").write_text(json.dumps(content))
    return folder.with_suffix(".json")


WRITERS = [write_coco, write_labels, write_masks, write_labelme, write_voc, write_cvat, write_label_studio]


@pytest.mark.parametrize("orientation", [6, 8])
@pytest.mark.parametrize("write", WRITERS)
def test_a_size_that_an_orientation_explains_names_it(tmp_path, write, orientation):
    images = turned_image(tmp_path / "images", orientation)
    (line,) = problems(write(tmp_path / "set"), images, None)
    told = (
        f"120 x 160 pixels, the image has 160 x 120 once its EXIF orientation ({orientation}) has turned it upright; "
    )
    assert told + REMEDY in line


@pytest.mark.parametrize("orientation", [1, 3])
def test_a_size_that_no_orientation_explains_is_told_as_ever(tmp_path, orientation):
    images = turned_image(tmp_path / "images", orientation)
    (line,) = problems(write_labels(tmp_path / "set"), images, None)
    assert line.endswith("the image has 160 x 120; use the image that was annotated, upright and at the same size")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_the_orientation_is_read_of_each_kind_of_image(tmp_path, name):
    assert exif_orientation(turned_image(tmp_path / "images", 6, name) / name) == 6
    (tmp_path / "none.jpg").write_bytes(b"no image")
    assert exif_orientation(tmp_path / "none.jpg") == 1


UNREAD = ["a.svs", "b.heic", "c.CZI", "d.nd2", "e.gif", "f.ndpi", "g.jxl", "h.avif", "i.dcm", "j.lif", "k.ppm", "l.dng"]


def test_what_looks_like_an_image_and_is_not_read_is_found(tmp_path):
    folder = folder_of(tmp_path / "images")
    for name in UNREAD:
        (folder / name).write_bytes(b"?")
    for name in ("png_without_suffix", "jpeg.bak"):
        (folder / name).write_bytes(cv2.imencode(".png" if "png" in name else ".jpg", image())[1].tobytes())
    for name in (".hidden.svs", "notes.txt", "set.json", "empty"):
        (folder / name).write_bytes(b"")
    (folder / "folder.svs").mkdir()
    assert [path.name for path in unread_images(folder)] == sorted([*UNREAD, "png_without_suffix", "jpeg.bak"])


def test_images_that_are_not_read_are_worth_a_look(tmp_path):
    folder = folder_of(tmp_path / "images")
    (folder / "b.svs").write_bytes(b"?")
    (suspect,) = suspects_of_folder(folder, [folder / "a.png"], [])
    assert str(suspect.problem) == (
        "b.svs: .svs files are not read; export the image, or a region of the slide, as TIFF or PNG, or search it by "
        "itself: wbcjax predict RUN SLIDE"
    )


def test_what_cellpose_wrote_beside_an_image_is_no_image(tmp_path):
    outputs = ("a_cp_masks.png", "a_masks.tif", "a_flows.tif", "a_cp_outlines.png", "a_cp_output.png")
    folder = folder_of(tmp_path / "images", ("a.png", "b_masks.png", *outputs))
    images, beside = image_files(folder)
    assert [path.name for path in images] == ["a.png", "b_masks.png"]  # there is no image b
    assert [path.name for path in beside] == sorted(outputs)
