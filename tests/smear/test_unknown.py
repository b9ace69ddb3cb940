"""Files of formats that are not read are named by their content, with the export to choose; none is VOC."""

import inspect
import json
from pathlib import Path

import pytest

from tests.smear.make import image_folder, problems
from wbcjax.smear import formats
from wbcjax.smear.formats import unknown

RESULTS = [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]
SUPERVISELY = {"description": "", "tags": [], "size": {"height": 30, "width": 40}, "objects": []}
ATTRIBUTES = {"region": {"cell": {"type": "dropdown"}}, "file": {}}
FILES = {  # a file's name, its content, what is found, and a part of the remedy
    "COCO results": ("set.json", RESULTS, "it is a list of COCO results", "lists the images and categories too"),
    "attributes of VIA": (
        "set.json",
        ATTRIBUTES,
        "it is settings or attributes of VIA",
        "Export Annotations (as JSON)",
    ),
    "settings of VIA": ("set.json", {"_via_settings": {}}, "it is settings or attributes of VIA", "Project > Save"),
    "VoTT": ("set.json", {"name": "x", "assets": {}, "tags": []}, "it is a VoTT export", "draw the cells anew"),
    "Supervisely": ("set.json", SUPERVISELY, "it is of Supervisely", "Export to COCO"),
    "other JSON": ("set.json", {"a": 1}, "it is JSON of no known format (its keys: ['a'])", "as COCO"),
    "other lists": ("set.json", [1], "it is JSON of no known format", "as COCO"),
    "a project of QuPath": ("a.qpproj", b"\x1f\x8b", "it is a QuPath project", "Export objects as GeoJSON"),
    "data of QuPath": ("data.qpdata", b"\xac\xed", "it is QuPath's data", "Export objects as GeoJSON"),
    "MATLAB": ("a.mat", b"MATLAB 5.0", "it is a MATLAB file", "imwrite(uint16(labels), 'a.png')"),
    "a PDF": ("a.pdf", b"%PDF-1.4", "it is a PDF", "as COCO"),
    "Excel": ("a.xlsx", b"PK\3\4", "it is an Excel table", "a table has no outlines"),
    "a pickle": ("a.pkl", b"\x80\4", "it is a Python pickle, which is never opened", "as COCO"),
    "napari": ("a.csv", "index,shape-type,vertex-index,axis-0,axis-1\n0,polygon,0,1,2\n", "shapes of napari", "Labels"),
    "boxes": ("a.csv", "image,xmin,ymin,xmax,ymax,label\n", "it is a table of boxes, and not of VIA", "as COCO"),
    "measurements": (
        "Results.csv",
        " ,Area,Mean,X,Y\n1,2,3,4,5\n",
        "(its first line: ',Area,Mean,X,Y')",
        "no outlines",
    ),
    "ImageScope": ("a.xml", "<Annotations/>", "it is annotations of ImageScope (<Annotations>)", "QuPath"),
    "other XML": ("a.xml", "<html/>", "it is XML of no known format (<html>)", "as COCO"),
}


@pytest.mark.parametrize(("name", "content", "found", "remedy"), FILES.values(), ids=FILES)
def test_a_file_of_another_format_is_named_with_what_to_export(tmp_path, name, content, found, remedy):
    images = image_folder(tmp_path / "images", "a.png")
    data = content if isinstance(content, bytes) else content if isinstance(content, str) else json.dumps(content)
    (tmp_path / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    (line,) = problems(tmp_path / name, images)
    told, _, how = line.removeprefix(f"{name}: ").partition("; ")
    assert found in told
    assert remedy in how


@pytest.mark.parametrize("name", ["a.qpdata", "a.mat", "a.xlsx", "a.pdf", "Results.csv"])
def test_a_folder_of_such_files_is_told_by_the_first_of_them(tmp_path, name):
    images = image_folder(tmp_path / "images", "a.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / name).write_text(" ,Area,Mean")
    (line,) = problems(tmp_path / "set", images)
    assert line.startswith(f"set: of {name}: it is ")


def test_folders_of_roboflow_are_named_with_the_files_to_give(tmp_path):
    for part in ("train", "valid"):
        image_folder(tmp_path / part, "a.png")
        (tmp_path / part / "_annotations.coco.json").write_text("{}")
    (line,) = problems(tmp_path, tmp_path)
    assert "train/_annotations.coco.json, valid/_annotations.coco.json; give one of them, with its folder" in line


def test_a_labelme_file_with_its_picture_inside_is_told_so(tmp_path):
    images = image_folder(tmp_path / "images", "b.png")
    data = {"imagePath": "a.png", "imageData": "iVBORw0KGgo=", "shapes": []}
    (tmp_path / "a.json").write_text(json.dumps(data))
    (line,) = problems(tmp_path / "a.json", images)
    assert "; its picture is inside it (imageData): save that as a.png in the image folder" in line


def test_no_message_advises_an_export_that_loses_outlines():
    folder = Path(inspect.getfile(formats)).parent
    assert [path.name for path in folder.glob("*.py") if "as Pascal VOC" in path.read_text()] == []
    remedies = [remedy for told in (unknown.SUFFIXES, unknown.ROOTS, unknown.HEADERS) for _, remedy in told.values()]
    assert all("VOC" not in remedy for remedy in remedies)
