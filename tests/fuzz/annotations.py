"""Attacks on the readers of annotations: whatever a file holds, `read` returns fields or raises AnnotationError.

    python -m tests.fuzz.annotations --runs 100000 --seed 1 [--reader coco]
    python -m tests.fuzz.annotations --runs 100000 --seed 1 --atheris coco  # guided by coverage; extra `fuzz`

An input that does anything else is written to --findings, as the files that were read, and told at the end.
"""

import argparse
import base64
import functools
import gzip
import importlib
import io
import os
import random
import shutil
import sys
import time
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from roifile import ROI_TYPE, ImagejRoi

from tests.fuzz import tool_samples
from tests.fuzz.image_samples import HEIGHT, IMAGES, NPY_PIECES, NPYS, STRANGE_IMAGES, WIDTH, encoded
from tests.fuzz.mutate import Choose, mutated, mutated_bytes
from tests.fuzz.sandbox import Escape, folder, watch

SQUARE = [[2, 2], [8, 2], [8, 7], [2, 7]]
XS, YS = [x for x, _ in SQUARE], [y for _, y in SQUARE]
RING = [value for point in SQUARE for value in point]
PNG = base64.b64encode(cv2.imencode(".png", np.ones((6, 7), np.uint8))[1].tobytes()).decode()
SHAPES = [
    {"name": "polygon", "all_points_x": XS, "all_points_y": YS},
    {"name": "rect", "x": 2, "y": 2, "width": 5, "height": 4},
    {"name": "circle", "cx": 5, "cy": 5, "r": 3},
    {"name": "ellipse", "cx": 5, "cy": 5, "rx": 3, "ry": 2, "theta": 0.5},
]
REGIONS = [{"shape_attributes": s, "region_attributes": {"cell": "L1", "cell_id": "", "iscrowd": "0"}} for s in SHAPES]
ENTRIES = [
    {"filename": "a.png", "size": 1, "regions": regions, "file_attributes": {"patient": "p"}}
    for regions in ([REGIONS[0]], {"0": REGIONS[1]}, REGIONS[2:], REGIONS[:1] * 2)
]
VIA = (
    *({"a.png1": entry} for entry in ENTRIES),
    {"_via_img_metadata": {"1": ENTRIES[0], "2": ENTRIES[1] | {"filename": "b.png"}}},
)
VIA_3 = {
    "attribute": {
        "1": {"aname": "cell", "type": 4, "options": {"0": "L1", "1": "L2"}},
        "2": {"aname": "patient", "type": 1, "options": {}},
    },
    "file": {"1": {"fname": "a.png"}, "2": {"fname": "b.png"}},
    "view": {"1": {"fid_list": ["1"]}, "2": {"fid_list": ["2"]}},
    "metadata": {
        "a": {"vid": "1", "z": [], "xy": [7, *RING], "av": {"1": "0"}},
        "b": {"vid": "1", "z": [], "xy": [2, 2, 2, 5, 4], "av": {"1": "1"}},
        "c": {"vid": "2", "z": [], "xy": [8, *RING], "av": {"1": "1"}},
        "d": {"vid": "2", "z": [], "xy": [], "av": {"2": "p"}},
    },
}
OUTLINES = (
    {"segmentation": [RING], "iscrowd": 0},
    {"segmentation": {"size": [10, 12], "counts": [60, 20, 40]}},
    {"segmentation": {"size": [10, 12], "counts": "l1d0X1"}, "iscrowd": 1},
    {"bbox": [2, 2, 5, 4]},
    {"segmentation": RING},
    {"segmentation": [*SQUARE, [2, 2]]},
    {"segmentation": [[[*point, 0] for point in SQUARE]]},
    {"segmentation": [[*RING, 2, 2, 4, 4, 4, 5, 6, 5, 6, 4, 4, 4], [3, 3]]},  # a keyhole and a fragment
)
COCO = [
    {
        "images": [{"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH, "patient": "p"}],
        "categories": [{"id": 1, "name": "L1"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, **outline}],
    }
    for outline in OUTLINES
]
COCO += [
    COCO[0] | {"annotations": {"1": [OUTLINES[0] | {"category_id": "1"}], "a.png": [OUTLINES[4] | {"category_id": 1}]}},
    COCO[0] | {"annotations": {"7": COCO[1]["annotations"][0]}, "images": [COCO[0]["images"][0] | {"width": None}]},
]
DRAWN = [
    {"label": "L1", "points": SQUARE, "group_id": None, "shape_type": "polygon"},
    {"label": "L1", "points": [[2, 2], [8, 7]], "group_id": None, "shape_type": "rectangle"},
    {"label": "L2", "points": [[5, 5], [7, 5]], "group_id": 1, "shape_type": "circle"},
    {"label": "L2", "points": [[1, 1], [7, 6]], "group_id": 1, "shape_type": "mask", "mask": PNG},
]
LABELME = [
    {"imagePath": "a.png", "imageHeight": HEIGHT, "imageWidth": WIDTH, "imageData": None, "shapes": shapes}
    for shapes in (DRAWN[:1], DRAWN[1:2], DRAWN[2:])
]
VOC = b"""<?xml version="1.0" encoding="utf-8"?><annotation><filename>a.png</filename><size><width>12</width>
<height>10</height><depth>3</depth></size><object><name>L1</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>8</xmax>
<ymax>7</ymax></bndbox></object><object><name>L2</name><difficult>1</difficult><bndbox><xmin>1</xmin><ymin>1</ymin>
<xmax>4</xmax><ymax>4</ymax></bndbox><polygon/></object></annotation>"""
VOC_PIECES = (
    *(
        b"<!DOCTYPE a [<!ENTITY b 'bbbbbbbb'><!ENTITY c '&b;&b;&b;'>]>",
        b"&c;",
        b"<!DOCTYPE a SYSTEM 'file:///etc/hosts'>",
    ),
    *(
        b"<object>",
        b"</object>",
        b"<bndbox>",
        b"<a>" * 3000,
        b"nan",
        b"1e400",
        b"-1",
        b"9" * 5000,
        b"<![CDATA[",
        b"<!--",
    ),
    *(b"utf-16", b"utf-7", b"idna", b"rot13", b"&#xd800;", b"&#0;", b"../a.png", b"b.png", b"<polygon>", b"<size>"),
)
CSV_HEAD = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
CSV_3_HEAD = '# Exported\n# ATTRIBUTE = {"1":{"aname":"cell","type":1}}\n# CSV_HEADER = metadata_id,file_list\n'
CSV_PIECES = (
    *(b'"', b'""', b",", b"\n", b"\r", b"\0", b"{", b"}", b"[]", b"9" * 5000, b"\xd9\xa3", b'{""a"": 1, ""a"": 2}'),
    *(b"# ATTRIBUTE = ", b"# ATTRIBUTE = {}", b"x" * 200_000, b"1e400", b'"[""a.png""]"', b"\xff", b"\xef\xbb\xbf"),
)


def csv_of(rows: list[list[str]]) -> bytes:
    return "\n".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows).encode()


CSV = f"{CSV_HEAD}\n".encode() + csv_of(
    [["a.png", "1", '{"patient":"p"}', "1", "0", str(shape).replace("'", '"'), '{"cell":"L1"}'] for shape in SHAPES]
)
CSV_3 = CSV_3_HEAD.encode() + csv_of([["1_a", '["a.png"]', "0", "[]", str([7, *RING]), '{"1":"L1"}']])

POLYGON = {"type": "Polygon", "coordinates": [[*SQUARE, SQUARE[0]], [[4, 3], [5, 3], [5, 5], [4, 3]]]}
PARTS = {"type": "MultiPolygon", "coordinates": [[SQUARE], [[[9, 8], [11, 8], [11, 9]]]], "plane": {"c": -1, "z": 0}}
CLASSES = ({"name": "L1", "color": [1, 2, 3]}, {"names": ["L1", "L2"]}, {"parentClass": {"name": "L1"}, "name": "L2"})
OBJECTS = [
    {"type": "Feature", "id": "a", "geometry": shape, "properties": {"objectType": kind, "classification": of_class}}
    for shape, kind, of_class in zip(
        (POLYGON, PARTS, POLYGON | {"isEllipse": True}), ("cell", "tile", ""), CLASSES, strict=True
    )
]
OBJECTS[0] |= {"nucleusGeometry": PARTS}
OBJECTS[2]["properties"] |= {"childObjects": OBJECTS[:1], "metadata": {"box": "1"}, "measurements": {"a": 1}}
OBJECTS.append(OBJECTS[0] | {"geometry": {"type": "MultiPoint", "coordinates": [[1, 2], [3.5, 4]]}})
GEOJSON: list[Any] = [{"type": "FeatureCollection", "features": OBJECTS}, OBJECTS, OBJECTS[2], POLYGON]
PATH = np.array([0, 2, 2, 1, 8, 2, 3, 8, 4, 6, 7, 2, 7, 4, 0, 4, 3, 1, 5, 3, 2, 5, 5, 4, 5, 4], np.float32)
ROIS = [
    ImagejRoi.frompoints(SQUARE, name="L1-1"),
    ImagejRoi.frompoints(np.array(SQUARE) + 0.25, name="L1"),
    ImagejRoi(roitype=ROI_TYPE.POINT, n_coordinates=4, integer_coordinates=np.array(SQUARE), name="L1-4"),
    ImagejRoi(roitype=ROI_TYPE.RECT, left=2, top=2, right=8, bottom=7, name="L1-2"),
    ImagejRoi(roitype=ROI_TYPE.OVAL, left=2, top=2, right=8, bottom=7, group=1),
    ImagejRoi(roitype=ROI_TYPE.RECT, name="L1-3", shape_roi_size=len(PATH), multi_coordinates=PATH, props="a: 1"),
]

Files = dict[str, bytes]  # by path below the folder of annotations; "" is that itself


def _spliced(data: bytes, pieces: tuple[bytes, ...], choose: Choose) -> bytes:
    for _ in range(choose(3)):
        start = choose(len(data) + 1)
        data = data[:start] + pieces[choose(len(pieces))] + data[start + (0, 1, 5, 20)[choose(4)] :]
    return mutated_bytes(data, choose) if choose(2) else data


def _json(*documents: Any) -> Callable[[Choose], Files]:
    return lambda choose: {"": mutated(documents[choose(len(documents))], choose)}


def _csv(choose: Choose) -> Files:
    return {"": _spliced((CSV, CSV_3)[choose(2)], CSV_PIECES, choose)}


def _labelme(choose: Choose) -> Files:
    return {("a.json", "b.json")[choose(2)]: mutated(LABELME[choose(len(LABELME))], choose)}


def _voc(choose: Choose) -> Files:
    return {"a.xml": _spliced(VOC, VOC_PIECES, choose)}


def _cvat(choose: Choose) -> Files:
    return {"": _spliced(tool_samples.CVAT, tool_samples.CVAT_PIECES, choose)}


def _yolo(choose: Choose) -> Files:
    label_file = ("labels/a.txt", "train/labels/a.txt", "labels/train/b.txt", "a.txt")[choose(4)]
    names = ("data.yaml", "data.yaml", "set.yml", "classes.txt")[choose(4)]
    return {
        names: _spliced(tool_samples.YAML, tool_samples.YAML_PIECES, choose),
        label_file: _spliced(tool_samples.LABEL_LINES, tool_samples.LABEL_PIECES, choose),
    }


def _xyc(choose: Choose) -> Files:
    return {("a.xyc", "b.xyc", "a_0.xyc")[choose(3)]: _spliced(tool_samples.XYC, tool_samples.LABEL_PIECES, choose)}


def _image(choose: Choose) -> bytes:
    kinds = (IMAGES, STRANGE_IMAGES)[choose(2)]
    return mutated_bytes(kinds[choose(len(kinds))], choose)


def _label_images(choose: Choose) -> Files:
    return {("a.png", "a.tif", "b.bmp", "a_cp_masks.png")[choose(4)]: _image(choose)}


def _npy(choose: Choose) -> Files:
    return {("a_seg.npy", "a.npy")[choose(2)]: _spliced(NPYS[choose(len(NPYS))], NPY_PIECES, choose)}


def _mask_folders(choose: Choose) -> Files:
    return {
        f"a_{choose(3)}.png": _image(choose),
        ("b_1.tif", "a_1_2.bmp", "a_.png", "_1.png")[choose(4)]: _image(choose),
    }


def _geojson(choose: Choose) -> Files:
    data = mutated(GEOJSON[choose(len(GEOJSON))], choose)
    match choose(4):
        case 0:
            return {
                "a.geojson.gz": mutated_bytes(gzip.compress(data, 1), choose) if choose(2) else gzip.compress(data, 1)
            }
        case 1:
            return {"a.zip": _zipped({"a.geojson": data}, choose)}
    return {("a.geojson", "a.png.geojson", "b.json", "c.geojson")[choose(4)]: data}


def _rois(choose: Choose) -> Files:
    members = {
        ("L1-1.roi", "0001-0002.roi", "../a.roi", "a/L1.roi", "b.zip", "")[choose(6)]: mutated_bytes(
            roi.tobytes(), choose
        )
        for roi in ROIS[choose(len(ROIS)) :]
    }
    if choose(3) == 0:
        return {"a.roi": next(iter(members.values()))}
    return {("a.zip", "a_RoiSet.zip", "RoiSet.zip", "b.zip")[choose(4)]: _zipped(members, choose)}


def _zipped(members: Files, choose: Choose) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[choose(2)]) as file:
        for name, data in members.items():
            file.writestr(zipfile.ZipInfo(name), data)
    return mutated_bytes(packed.getvalue(), choose) if choose(4) == 0 else packed.getvalue()


READERS: dict[str, tuple[str, str, Callable[[Choose], Files]]] = {  # the format, the file's name, and what makes inputs
    "via": ("via", "set.json", _json(*VIA)),
    "via_3": ("via", "set.json", _json(VIA_3)),
    "via_csv": ("via", "set.csv", _csv),
    "coco": ("coco", "set.json", _json(*COCO)),
    "labelme": ("labelme", "set", _labelme),
    "voc": ("voc", "set", _voc),
    "cvat": ("cvat", "set.xml", _cvat),
    "label_studio": ("label_studio", "set.json", _json(*tool_samples.LABEL_STUDIO)),
    "yolo": ("yolo", "set", _yolo),
    "xyc": ("xyc", "set", _xyc),
    "label_images": ("label_images", "set", _label_images),
    "npy": ("label_images", "set", _npy),
    "mask_folders": ("mask_folders", "set", _mask_folders),
    "geojson": ("geojson", "set", _geojson),
    "imagej_rois": ("imagej_rois", "set", _rois),
}


def prepare(place: Path) -> Path:
    """The folder of images, with what else a folder may hold."""
    images = place / "images"
    images.mkdir()
    for name in ("a.png", "b.png"):
        (images / name).write_bytes(encoded(np.full((HEIGHT, WIDTH, 3), 200, np.uint8), ".png"))
    os.mkfifo(images / "fifo.png")
    (images / "folder.png").mkdir()
    (images / "loop.png").symlink_to(images / "loop.png")
    (images / "out.png").symlink_to("/dev/zero")
    return images


def put(place: Path, reader: str, files: Files) -> Path:
    """The files of a set of a reader, in a prepared folder, in the place of those before."""
    annotations = place / READERS[reader][1]
    if annotations.is_dir():
        shutil.rmtree(annotations)
    for below, content in files.items():
        path = annotations / below if below else annotations
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return annotations


def attempt(place: Path, reader: str, files: Files, choose: Choose, alarm: bool = True) -> None:
    """Read files as a set of a reader in a prepared folder. Raises what no reader may raise, and Escape."""
    from wbcjax.smear.field import AnnotationError
    from wbcjax.smear.read import read

    file_format, _, _ = READERS[reader]
    annotations = put(place, reader, files)
    options: dict[str, Any] = {"on_error": ("raise", "skip")[choose(2)]}
    options["class_of"] = (None, {"L1": 1, "L2": 0}, {"cell": 1})[choose(3)]
    options["group_attribute"] = (None, "patient")[choose(8) == 0 and file_format in ("via", "coco")]
    options["file_format"] = (file_format, None)[choose(4) == 0]
    options["semantic"] = (None, True, False)[choose(3)] if file_format == "label_images" else None
    options["crowd_as_cells"], options["rectangles_as_boxes"] = choose(4) == 0, choose(4) == 0
    options["max_pixels"] = 2**14  # so that no time goes into images that are large but allowed
    with watch(place, alarm):
        try:
            found = read(annotations, place / "images", **options)
        except AnnotationError as error:
            if str(annotations) not in str(error):
                raise AssertionError(f"the error does not name the file: {error}") from error
            return
        for field in found.fields:
            for cell in field.cells:
                if int(cell.mask(field.height, field.width).sum()) == 0 or cell.label < 1:
                    raise AssertionError(f"a cell without pixels in {field.name}")


def without_decoding_twice() -> None:
    """Let images be decoded once: they stay the same, and that they are read safely is another matter."""
    from wbcjax.smear.formats import checks

    checks.image_size = functools.cache(checks.image_size)
    cv2.setNumThreads(1)


def run(reader: str, runs: int, seed: int, findings: Path) -> list[str]:
    """Attack a reader with inputs of a seeded generator. Returns a line for each kind of finding."""
    told: dict[str, str] = {}
    without_decoding_twice()
    with folder() as place:
        prepare(place)
        for number in range(seed, seed + runs):
            choose = random.Random(number).randrange
            files = READERS[reader][2](choose)
            try:
                attempt(place, reader, files, choose)
            except (Exception, Escape) as error:
                kind = f"{type(error).__name__} at {traceback.extract_tb(error.__traceback__)[-1][:3]}"
                if kind not in told:
                    told[kind] = f"{reader} {number}: {error!r:.300} {kind}"
                    for below, content in files.items():
                        kept = findings / f"{reader}_{number}_{below or READERS[reader][1]}"
                        kept.parent.mkdir(parents=True, exist_ok=True)
                        kept.write_bytes(content)
    return list(told.values())


def guided(reader: str, runs: int, seed: int, findings: Path) -> None:
    """Attack a reader with inputs that atheris chooses by the lines they reach. Ends the process."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["wbcjax.smear"]):
        import wbcjax.smear.read  # noqa: F401
    findings.mkdir(parents=True, exist_ok=True)
    without_decoding_twice()
    with folder() as place:
        prepare(place)

        def one(data: bytes) -> None:
            provider = atheris.FuzzedDataProvider(data)

            def choose(count: int) -> int:
                return provider.ConsumeIntInRange(0, count - 1)

            attempt(place, reader, READERS[reader][2](choose), choose, alarm=False)

        libfuzzer = [f"-atheris_runs={runs}", f"-seed={seed}", "-timeout=20", "-max_len=300", "-len_control=0"]
        atheris.Setup([sys.argv[0], *libfuzzer, f"-artifact_prefix={findings}/{reader}_", "-verbosity=0"], one)
        atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000, help="of each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", choices=READERS, help="(default: all)")
    parser.add_argument("--atheris", choices=READERS, help="attack this one guided by coverage")
    parser.add_argument("--findings", type=Path, default=Path("findings"), help="folder for inputs that break a reader")
    options = parser.parse_args()
    if options.atheris:
        guided(options.atheris, options.runs, options.seed, options.findings)
    for reader in [options.reader] if options.reader else READERS:
        begun = time.monotonic()
        told = run(reader, options.runs, options.seed, options.findings)
        speed = options.runs / (time.monotonic() - begun)
        sys.stdout.write(f"{reader}: {options.runs} inputs, {speed:.0f} a second, {len(told)} findings\n")
        sys.stdout.write("".join(f"  {line}\n" for line in told))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
