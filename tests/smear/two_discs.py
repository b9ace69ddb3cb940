"""A set of two cells, L1 and L2, discs on `a.png` of 160 x 120 pixels, in each format that names classes."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

HEIGHT, WIDTH = 120, 160
DISCS = {"L1": (40, 40, 18), "L2": (110, 70, 24)}  # x, y and radius in pixels


def circle(x: float, y: float, r: float, points: int = 24) -> list[list[float]]:
    """The points of a polygon in a circle."""
    angles = np.arange(points) * 2 * np.pi / points
    return np.round(np.stack([x + r * np.cos(angles), y + r * np.sin(angles)], axis=1), 2).tolist()


P1, P2 = (circle(*disc) for disc in DISCS.values())


def flat(points: list[list[float]]) -> list[float]:
    return [value for point in points for value in point]


def corners(points: list[list[float]]) -> list[list[float]]:
    """The four corners of the box around some points."""
    (x1, y1), (x2, y2) = np.min(points, axis=0).tolist(), np.max(points, axis=0).tolist()
    return [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]


def images(folder: Path, *names: str) -> Path:
    """A new folder of images of the two discs, by default `a.png`."""
    picture = np.full((HEIGHT, WIDTH, 3), 220, np.uint8)
    for x, y, r in DISCS.values():
        cv2.circle(picture, (x, y), r, (150, 60, 120), -1)
    folder.mkdir()
    for number, name in enumerate(names or ("a.png",)):
        picture[0, 0] = number  # no two are alike
        (folder / name).write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    return folder


def coco(**changes: Any) -> dict[str, Any]:
    """The set as COCO; `changes` replace its keys."""
    whole = {
        "images": [{"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 1, "name": "L1"}, {"id": 2, "name": "L2"}],
        "annotations": [annotation(1, [flat(P1)]), annotation(2, [flat(P2)])],
    }
    return whole | changes


def annotation(number: int, segmentation: Any, **changes: Any) -> dict[str, Any]:
    """An annotation of COCO: its id and its category are `number`."""
    whole = {"id": number, "image_id": 1, "category_id": number, "segmentation": segmentation, "iscrowd": 0}
    return whole | changes


def via(*points: list[list[float]], **attributes: Any) -> dict[str, Any]:
    """The set as VIA 2; with other outlines where they are given, and more region attributes."""
    regions = [
        {
            "shape_attributes": {
                "name": "polygon",
                "all_points_x": [point[0] for point in outline],
                "all_points_y": [point[1] for point in outline],
            },
            "region_attributes": {"cell": label, **attributes},
        }
        for label, outline in zip(DISCS, points or (P1, P2), strict=True)
    ]
    return {"a.png-1": {"filename": "a.png", "size": -1, "regions": regions, "file_attributes": {}}}


def labelme(*points: Any, **changes: Any) -> dict[str, Any]:
    """The set as a file of LabelMe; with other outlines where they are given."""
    shapes = [
        {"label": label, "points": outline, "group_id": None, "shape_type": "polygon"}
        for label, outline in zip(DISCS, points or (P1, P2), strict=True)
    ]
    return {"imagePath": "a.png", "imageHeight": HEIGHT, "imageWidth": WIDTH, "shapes": shapes} | changes


def voc(objects: str | None = None, size: str = f"<width>{WIDTH}</width><height>{HEIGHT}</height>") -> str:
    """The set as a file of Pascal VOC."""
    boxes = {label: np.ravel(corners(p)[::2]).astype(int).tolist() for label, p in zip(DISCS, (P1, P2), strict=True)}
    found = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        "</bndbox></object>"
        for label, (x1, y1, x2, y2) in boxes.items()
    )
    return (
        f"<annotation><filename>a.png</filename><size>{size}</size>{found if objects is None else objects}</annotation>"
    )


def save(path: Path, content: Any) -> Path:
    """The content in a file, as JSON unless it is text; its folder is made where it is missing."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path
