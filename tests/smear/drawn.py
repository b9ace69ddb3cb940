"""A set of outlines written in every format that a person draws outlines in, for the tests of what is refused."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.smear import make
from tests.smear.make import HEIGHT, WIDTH

Points = Sequence[tuple[float, float]]
Drawn = list[tuple[str, list[tuple[str | None, Points]]]]  # (image name, [(class, points of the outline)]) of a set


def write(folder: Path, name: str, content: Any) -> Path:
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder / name


def via_2_entries(drawn: Drawn) -> list[dict]:
    """Images as VIA 2 keeps them."""
    entries = []
    for name, cells in drawn:
        regions = []
        for label, points in cells:
            regions.append(make.region([x for x, _ in points], [y for _, y in points], label))
            if label is None:
                del regions[-1]["region_attributes"]["cell"]
        entries.append(make.entry(name, *regions))
    return entries


def via_1(folder: Path, drawn: Drawn) -> Path:
    entries = [e | {"regions": {str(i): r for i, r in enumerate(e["regions"])}} for e in via_2_entries(drawn)]
    return write(folder, "set.json", {f"{e['filename']}{i}": e for i, e in enumerate(entries)})


def via_2(folder: Path, drawn: Drawn) -> Path:
    entries = {f"{e['filename']}{i}": e for i, e in enumerate(via_2_entries(drawn))}
    return write(folder, "set.json", {"_via_img_metadata": entries})


def via_csv(folder: Path, drawn: Drawn) -> Path:
    text = io.StringIO()
    text.write("filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n")
    rows = csv.writer(text)
    for size, entry in enumerate(via_2_entries(drawn), start=1000):
        for number, region in enumerate(entry["regions"]):
            of_region = [json.dumps(region["shape_attributes"]), json.dumps(region["region_attributes"])]
            rows.writerow([entry["filename"], size, "{}", len(entry["regions"]), number, *of_region])
        if not entry["regions"]:
            rows.writerow([entry["filename"], size, "{}", 0, 0, "{}", "{}"])
    return write(folder, "set.csv", text.getvalue())


def via_3(folder: Path, drawn: Drawn) -> Path:
    ids = range(1, len(drawn) + 1)
    project = {
        "attribute": {"1": {"aname": "cell", "type": 1}},
        "file": {str(i): {"fname": name} for i, (name, _) in zip(ids, drawn, strict=True)},
        "view": {str(i): {"fid_list": [str(i)]} for i in ids},
        "metadata": {
            f"{i}_{number}": {
                "vid": str(i),
                "z": [],
                "xy": [7, *np.ravel(points).tolist()],
                "av": {"1": label} if label is not None else {},
            }
            for i, (_, cells) in zip(ids, drawn, strict=True)
            for number, (label, points) in enumerate(cells, start=1)
        },
    }
    return write(folder, "set.json", project)


def coco(folder: Path, drawn: Drawn) -> Path:
    names = ["L1", "L2", "debris", "L4", "L5"]
    content = {
        "images": [{"id": i, "file_name": name} for i, (name, _) in enumerate(drawn)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names)],
        "annotations": [],
    }
    for image_id, (_, cells) in enumerate(drawn):
        for label, points in cells:
            annotation = {"id": len(content["annotations"]) + 1, "image_id": image_id}
            annotation |= {"segmentation": [np.ravel(points).tolist()]}
            annotation |= {"category_id": names.index(label)} if label is not None else {}
            content["annotations"].append(annotation)
    return write(folder, "set.json", content)


def labelme(folder: Path, drawn: Drawn) -> Path:
    (folder / "set").mkdir()
    for i, (name, cells) in enumerate(drawn):
        shapes = [
            {"points": [list(point) for point in points], "shape_type": "polygon", "group_id": None}
            | ({"label": label} if label is not None else {})
            for label, points in cells
        ]
        content = {"imagePath": name, "imageHeight": HEIGHT, "imageWidth": WIDTH, "shapes": shapes}
        write(folder / "set", f"{Path(name).stem}_{i}.json", content)
    return folder / "set"
