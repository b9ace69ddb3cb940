"""What the tests of the readers share: image files, VIA records, and the lines of an error."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from wbcjax.smear.field import AnnotationError
from wbcjax.smear.read import read

HEIGHT, WIDTH = 30, 40
SQUARE = ([5, 15, 15, 5], [4, 4, 12, 12])
CHECK = "check that they are the pictures that were annotated"  # what is said of images found by another name
CLASS_OF = {"L1": 1, "L2": 2, "debris": 0}


def image_folder(folder: Path, *names: str) -> Path:
    """A new folder of grey images of HEIGHT x WIDTH."""
    folder.mkdir()
    for name in names:
        cv2.imwrite(str(folder / name), np.full((HEIGHT, WIDTH, 3), 200, np.uint8))
    return folder


def region(xs=SQUARE[0], ys=SQUARE[1], cell: Any = "L1", name="polygon", **attributes) -> dict:
    """A region of VIA; `attributes` are its region attributes beside its class."""
    shape = {"name": name, "all_points_x": list(xs), "all_points_y": list(ys)}
    return {"shape_attributes": shape, "region_attributes": {"cell": cell, **attributes}}


def entry(name: str, *regions: dict, patient="p1", size=-1) -> dict:
    """An image of VIA 2.x."""
    return {"filename": name, "size": size, "regions": list(regions), "file_attributes": {"patient": patient}}


def problems(annotations: Path, images: Path, class_of=CLASS_OF, **options) -> list[str]:
    """The problems of the AnnotationError that reading a set raises, a line for each."""
    with pytest.raises(AnnotationError) as caught:
        read(annotations, images, class_of, **options)
    lines = [str(problem) for problem in caught.value.problems]
    if len(lines) == 1:
        of_all = caught.value.problems[0].file == annotations.name
        place = f"{annotations.parent}/" if of_all else f"{annotations}: "
        assert str(caught.value) == f"{place}{lines[0]}"
    else:
        assert str(caught.value).startswith(f"{annotations}: {len(lines)} problems\n  {lines[0]}")
    return lines
