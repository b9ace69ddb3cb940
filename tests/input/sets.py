"""Annotated sets on disk in each format that is read, small, and the configs that describe them."""

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from roifile import ImagejRoi

from wbcjax.input.field_set import source
from wbcjax.input.settings import CropSetSettings, FieldSetSettings
from wbcjax.input.split import SplitSettings
from wbcjax.smear.field import SmearField

SPLIT = SplitSettings(train_fraction=0.5)
Dataset = TypeVar("Dataset", FieldSetSettings, CropSetSettings)
HEIGHT, WIDTH = 24, 32
SQUARE = ([5, 20, 20, 5], [4, 4, 15, 15])  # x, y: the cell that sets of `write_format` show
POINTS = [[float(x), float(y)] for x, y in zip(*SQUARE, strict=True)]


def describe(
    annotations: Path, images: Path, name: str = "via", classes: tuple[str, ...] = ("cell",)
) -> FieldSetSettings:
    """Settings of annotated fields, half of which train."""
    return FieldSetSettings(
        name=name, annotations=str(annotations), images=str(images), classes=classes, split=SPLIT, max_cells=5
    )


def changed(dataset: Dataset, **changes: Any) -> Dataset:
    """The settings with some of them, or of their split, replaced."""
    of_split = {name: changes.pop(name) for name in list(changes) if hasattr(dataset.split, name)}
    return replace(dataset, split=replace(dataset.split, **of_split), **changes)


def write_via_set(folder: Path, cells: list[int], height: int = HEIGHT, width: int = WIDTH) -> FieldSetSettings:
    """A VIA set of an image, "0.png" and so on, for each number of cells; "blast" and "other" by turns."""
    for i in range(len(cells)):
        write_image(folder / "images" / f"{i}.png", i, height, width)
    write_via(folder, [["blast", "other"][i % 2] for i in range(max(cells))], cells)
    return describe(folder / "via.json", folder / "images", classes=("blast", "other"))


def write_image(path: Path, seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def write_via(folder: Path, classes: list[str], cells: list[int]) -> None:
    """The annotations of a set: cell k, of class k of the list, is SQUARE moved by k pixels."""
    entries = {}
    for i, count in enumerate(cells):
        x, y = SQUARE
        shapes = [{"name": "polygon", "all_points_x": [v + k for v in x], "all_points_y": y} for k in range(count)]
        regions = [
            {"shape_attributes": shape, "region_attributes": {"cell": classes[k]}} for k, shape in enumerate(shapes)
        ]
        size = (folder / f"images/{i}.png").stat().st_size
        entries[f"{i}.png"] = {"filename": f"{i}.png", "size": size, "regions": regions, "file_attributes": {}}
    (folder / "via.json").write_text(json.dumps(entries))


def write_coco(
    folder: Path, images: list[dict], annotations: list[dict], class_names: tuple[str, ...] = ("cell",)
) -> FieldSetSettings:
    """A COCO file of images, numbered from 1 and 24 x 32 pixels, and its config; the images are in `images`."""
    data = {
        "images": [{"id": i, "height": HEIGHT, "width": WIDTH} | image for i, image in enumerate(images, start=1)],
        "annotations": [{"id": i} | annotation for i, annotation in enumerate(annotations, start=1)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(class_names, start=1)],
    }
    (folder / "coco.json").write_text(json.dumps(data))
    return describe(folder / "coco.json", folder / "images", "coco", class_names)


def write_format(folder: Path, name: str) -> FieldSetSettings:
    """A set in one of the formats: a field "a" with one cell, SQUARE, and a field "b" without; class "cell"."""
    if name != "mask_folders":
        write_image(folder / "images/a.png", 1)
        write_image(folder / "images/b.png", 2)
    return WRITERS[name](folder)


def _via(folder: Path) -> FieldSetSettings:
    shape = {"name": "polygon", "all_points_x": SQUARE[0], "all_points_y": SQUARE[1]}
    region = {"shape_attributes": shape, "region_attributes": {"cell": "cell"}}
    entries = {
        name: {
            "filename": name,
            "size": (folder / "images" / name).stat().st_size,
            "regions": regions,
            "file_attributes": {},
        }
        for name, regions in (("a.png", [region]), ("b.png", []))
    }
    (folder / "via.json").write_text(json.dumps(entries))
    return describe(folder / "via.json", folder / "images")


def _coco(folder: Path) -> FieldSetSettings:
    polygon = [value for point in POINTS for value in point]
    annotation = {"image_id": 1, "category_id": 1, "segmentation": [polygon], "iscrowd": 0}
    return write_coco(folder, [{"file_name": "a.png"}, {"file_name": "b.png"}], [annotation])


def _labelme(folder: Path) -> FieldSetSettings:
    shape = {"label": "cell", "points": POINTS, "shape_type": "polygon", "group_id": None}
    size = {"imageHeight": HEIGHT, "imageWidth": WIDTH, "imageData": None}
    (folder / "labelme").mkdir()
    for stem, shapes in (("a", [shape]), ("b", [])):
        data = {"version": "5.0.1", "shapes": shapes, "imagePath": f"{stem}.png", **size}
        (folder / f"labelme/{stem}.json").write_text(json.dumps(data))
    return describe(folder / "labelme", folder / "images", "labelme")


def _label_images(folder: Path) -> FieldSetSettings:
    (folder / "labels").mkdir()
    cv2.imwrite(str(folder / "labels/a.png"), square_mask())
    cv2.imwrite(str(folder / "labels/b.png"), np.zeros((HEIGHT, WIDTH), np.uint8))
    return describe(folder / "labels", folder / "images", "label_images")


def _mask_folders(folder: Path) -> FieldSetSettings:
    root = folder / "stage1"
    for stem in "ab":
        write_image(root / stem / "images" / f"{stem}.png", ord(stem))
        (root / stem / "masks").mkdir()
    cv2.imwrite(str(root / "a/masks/0.png"), 255 * square_mask())
    return describe(root, root, "mask_folders")


def _voc(folder: Path) -> FieldSetSettings:
    (folder / "voc").mkdir()
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    box = "<bndbox><xmin>6</xmin><ymin>5</ymin><xmax>20</xmax><ymax>15</ymax></bndbox>"  # from 1, both ends within
    for stem, objects in (("a", f"<object><name>cell</name>{box}</object>"), ("b", "")):
        text = f"<annotation><filename>{stem}.png</filename>{size}{objects}</annotation>"
        (folder / f"voc/{stem}.xml").write_text(text)
    return describe(folder / "voc", folder / "images", "voc")


def _geojson(folder: Path) -> FieldSetSettings:
    ring = {"type": "Polygon", "coordinates": [[*POINTS, POINTS[0]]]}
    feature = {"type": "Feature", "geometry": ring, "properties": {"classification": {"name": "cell"}}}
    (folder / "geojson").mkdir()
    for name, features in (("a.png", [feature]), ("b", [])):
        collection = {"type": "FeatureCollection", "features": features}
        (folder / f"geojson/{name}.geojson").write_text(json.dumps(collection))
    return describe(folder / "geojson", folder / "images", "geojson")


def _imagej_rois(folder: Path) -> FieldSetSettings:
    (folder / "rois").mkdir()
    with zipfile.ZipFile(folder / "rois/a_RoiSet.zip", "w") as packed:
        packed.writestr("cell-1.roi", ImagejRoi.frompoints(POINTS, name="cell-1").tobytes())
    with zipfile.ZipFile(folder / "rois/b.zip", "w"):
        pass
    return describe(folder / "rois", folder / "images", "imagej_rois")


def _cvat(folder: Path) -> FieldSetSettings:
    points = ";".join(f"{x},{y}" for x, y in POINTS)
    shape = f'<polygon label="cell" occluded="0" points="{points}"/>'
    images = (
        f'<image id="{i}" name="{name}.png" width="{WIDTH}" height="{HEIGHT}">{shapes}</image>'
        for i, (name, shapes) in enumerate((("a", shape), ("b", "")))
    )
    (folder / "annotations.xml").write_text(f"<annotations><version>1.1</version>{''.join(images)}</annotations>")
    return describe(folder / "annotations.xml", folder / "images", "cvat")


def _label_studio(folder: Path) -> FieldSetSettings:
    value = {"points": [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in POINTS], "polygonlabels": ["cell"]}
    region = {"type": "polygonlabels", "original_width": WIDTH, "original_height": HEIGHT, "value": value}
    tasks = [
        {"id": i, "data": {"image": name}, "annotations": [{"result": result}]}
        for i, (name, result) in enumerate((("a.png", [region]), ("b.png", [])))
    ]
    (folder / "export.json").write_text(json.dumps(tasks))
    return describe(folder / "export.json", folder / "images", "label_studio")


def _yolo(folder: Path) -> FieldSetSettings:
    (folder / "yolo/labels").mkdir(parents=True)
    (folder / "yolo/data.yaml").write_text("train: images\nval: images\nnames: [cell]\n")
    points = " ".join(f"{x / WIDTH} {y / HEIGHT}" for x, y in POINTS)
    (folder / "yolo/labels/a.txt").write_text(f"0 {points}\n")
    (folder / "yolo/labels/b.txt").write_text("")
    return describe(folder / "yolo", folder / "images", "yolo")


def _xyc(folder: Path) -> FieldSetSettings:
    (folder / "xyc").mkdir()
    (folder / "xyc/a.xyc").write_text("12\t9\n")
    (folder / "xyc/b.xyc").write_text("")
    return describe(folder / "xyc", folder / "images", "xyc", ("blast",))


def square_mask() -> np.ndarray:
    """The pixels of SQUARE as 0 or 1."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[4:15, 5:20] = 1
    return mask


WRITERS: dict[str, Callable[[Path], FieldSetSettings]] = {
    "via": _via,
    "coco": _coco,
    "labelme": _labelme,
    "cvat": _cvat,
    "label_studio": _label_studio,
    "yolo": _yolo,
    "xyc": _xyc,
    "label_images": _label_images,
    "mask_folders": _mask_folders,
    "voc": _voc,
    "geojson": _geojson,
    "imagej_rois": _imagej_rois,
}


def both_sides(config: FieldSetSettings, cache: Path) -> dict[str, SmearField]:
    """All fields of a built set by name."""
    return {
        s.names[i]: s.field(i)
        for s in (source(config, side, cache) for side in ("train", "val"))
        for i in range(len(s))
    }
