"""What is said of annotations that no format recognises: what they are, and the export of their tool that is read."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from wbcjax.smear.formats.checks import Fault, brief
from wbcjax.smear.formats.format import LOOKED_AT, Place
from wbcjax.smear.formats.image_names import IMAGES

EXPORT = "export the annotations from their tool as COCO, which keeps outlines and classes"
UNPACK = "unpack it, and give the file or the folder with the annotations in it"
QUPATH = "in QuPath choose File > Export objects as GeoJSON for each image, and give the folder of these files"
VIA = "in VIA choose Annotation > Export Annotations (as JSON), or Project > Save"
TABLES = "a table has no outlines: " + EXPORT
LABEL_IMAGES = "save an image of the cells' numbers for each field, as PNG or TIFF of 16 bits under the field's name"

SUFFIXES = {  # of files that hold annotations, or seem to: what they are, and what to do
    ".zip": ("a ZIP file", UNPACK),
    ".rar": ("an archive", UNPACK),
    ".7z": ("an archive", UNPACK),
    ".gz": ("a compressed file", UNPACK),
    ".tar": ("an archive", UNPACK),
    ".tgz": ("an archive", UNPACK),
    ".qpproj": ("a QuPath project", QUPATH),
    ".qpdata": ("QuPath's data of an image", QUPATH),
    ".mat": ("a MATLAB file", f"in MATLAB {LABEL_IMAGES}: imwrite(uint16(labels), 'a.png')"),
    ".npz": ("an archive of NumPy", LABEL_IMAGES),
    ".npy": ("an array of NumPy", f"{LABEL_IMAGES}, or the array; give their folder"),
    ".pkl": ("a Python pickle, which is never opened: it may run programs", EXPORT),
    ".pdf": ("a PDF", EXPORT),
    ".xlsx": ("an Excel table", TABLES),
    ".xls": ("an Excel table", TABLES),
    ".ods": ("a table", TABLES),
    ".tfrecord": ("a TFRecord", EXPORT),
    ".vott": ("a VoTT project", "VoTT's other exports have boxes alone: draw the cells anew in CVAT or VIA"),
    ".ndpa": ("annotations of NDP.view", f"open them in QuPath with the image; then {QUPATH}"),
    ".yaml": ("YAML without class names", "give the data.yaml of a YOLO set, or its folder"),
    ".txt": ("text of no known format", "give the folder of a YOLO set, which has data.yaml, images and labels"),
    ".names": ("class names of Darknet", "put them into a data.yaml (names: [...]) beside images and labels"),
    ".data": ("settings of Darknet", "put its class names into a data.yaml (names: [...]) beside images and labels"),
}
ROOTS = {  # of XML files
    "Annotations": ("annotations of ImageScope", f"open them in QuPath with the image; then {QUPATH}"),
    "ASAP_Annotations": ("annotations of ASAP", f"open them in QuPath with the image; then {QUPATH}"),
    "CellCounter_Marker_File": ("points of Fiji's Cell Counter", "outline the cells as ROIs, and save them as a ZIP"),
    "dataset": ("annotations of dlib", EXPORT),
}
HEADERS = {  # words of a CSV's first line
    "shape-type": ("shapes of napari", f"in napari paint them into a Labels layer and {LABEL_IMAGES}"),
    "xmin": ("a table of boxes", EXPORT),
    "EncodedPixels": ("run lengths of Kaggle", LABEL_IMAGES),
    "Mean": ("measurements", TABLES),
    "Area": ("measurements", TABLES),
    "circularity": ("the table of measurements of wbcjax predict", "give its coco.json or via.json"),
}


def unknown(place: Place) -> Fault:
    """The fault of a file or folder that is of no known format."""
    if place.xml_root:
        what, remedy = ROOTS.get(place.xml_root, ("XML of no known format", EXPORT))
        return Fault(f"it is {what} (<{place.xml_root}>)", remedy)
    return _folder(place) if place.is_folder else _file(place)


def _file(place: Place) -> Fault:
    if place.files(IMAGES):
        return _images(place)
    if place.json is not None:
        return _json(place.json)
    suffix = place.path.suffix.lower()
    if suffix == ".csv":
        return _csv(place.start)
    what, remedy = SUFFIXES.get(suffix, ("of no known format", EXPORT))
    return Fault(f"it is {what}", remedy)


def _json(data: Any) -> Fault:
    first = data[0] if isinstance(data, list) and data else data
    keys = first.keys() if isinstance(first, dict) else set[str]()
    if isinstance(data, list) and {"image_id", "category_id"} <= keys:
        remedy = "give a COCO file that lists the images and categories too, such as coco.json of wbcjax predict"
        return Fault("it is a list of COCO results, without images and names of classes", remedy)
    for what, needed, remedy in (
        ("settings or attributes of VIA without annotations", {"region", "file"}, VIA),
        ("settings or attributes of VIA without annotations", {"_via_settings"}, VIA),
        ("settings or attributes of VIA without annotations", {"core", "ui"}, VIA),
        ("a VoTT export", {"assets", "tags"}, SUFFIXES[".vott"][1]),
        ("a VoTT asset", {"asset", "regions"}, SUFFIXES[".vott"][1]),
        ("of Supervisely", {"objects", "size"}, "in Supervisely run the app Export to COCO"),
        ("the description of a Supervisely project", {"classes", "projectType"}, "run the app Export to COCO there"),
        ("of Create ML, which has boxes alone", {"image", "annotations"}, EXPORT),
        ("of Labelbox", {"data_row", "projects"}, EXPORT),
        ("of wbcjax predict, with all detections", {"fields", "classes"}, "give its coco.json or via.json"),
    ):
        if needed <= keys:
            return Fault(f"it is {what}", remedy)
    told = f" (its keys: {brief(list(islice(keys, 5)))})" if keys else ""
    return Fault(f"it is JSON of no known format{told}", EXPORT)


def _csv(start: bytes) -> Fault:
    header = start.decode(errors="replace").lstrip("\ufeff").partition("\n")[0].strip()
    what, remedy = next((told for word, told in HEADERS.items() if word in header), ("a table", TABLES))
    return Fault(f"it is {what}, and not of VIA (its first line: {brief(header)})", remedy)


def _folder(place: Place) -> Fault:
    roboflow = [file.relative_to(place.path).as_posix() for file in _below(place.path) if file.suffix == ".json"]
    if named := [name for name in roboflow if name.endswith("_annotations.coco.json")]:
        found = f"it is a COCO export of Roboflow, one set a folder: {', '.join(named)}"
        return Fault(found, f"give one of them, with its folder for the images: {named[0]}")
    if place.jsons:
        first = place.files({".json"})[0].name
        found = f"the folder holds *.json files, and none is of LabelMe (the first: {first})"
        told = _json(place.jsons[0])
        return Fault(f"{found}; {told.found}", f"name the file itself if it is of VIA or COCO; else {told.remedy}")
    if place.files(IMAGES) and place.path.resolve() != place.images.resolve():
        return _images(place)
    if files := place.files(SUFFIXES.keys() | {".csv"}):
        told = _file(Place(files[0], place.images))
        return Fault(f"of {files[0].name}: {told.found}", told.remedy)
    inner = sorted(path.name for path in place.path.iterdir() if path.is_dir())
    remedy = f"correct its path{f' (it holds the folders {brief(inner)})' if inner else ''}"
    return Fault("the folder holds no annotations (*.xml, *.json, masks or label images)", remedy)


def _below(folder: Path) -> Iterator[Path]:
    """The first files of a folder and of its folders."""
    inner = sorted(path for path in islice(folder.iterdir(), 1000) if path.is_dir())
    for one in (folder, *inner[:LOOKED_AT]):
        yield from sorted(one.glob("_annotations.*"))


def _images(place: Place) -> Fault:
    files = place.files(IMAGES)
    labels, masks = place.named_after_images
    found = f"{labels} of its {len(files)} images are named after one of the image folder, as label images are, "
    found += f"and {masks} with _<number> added, as masks are"
    return Fault(found, f"say which they are, or correct the image folder {place.images}")
