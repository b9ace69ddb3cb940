"""Masks whose values are classes: recognised, refused with a hint that works, and read by connected parts."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.smear.discs import HEIGHT, WIDTH, folder_of, labels
from tests.smear.make import problems
from wbcjax.smear.read import read

BCCD = Path(__file__).parents[3] / "shared/data/bccd"
FIVE = ("a.png", "b.png", "c.png", "d.png", "e.png")


def with_more(values: np.ndarray, *more: int) -> np.ndarray:
    """The discs, and squares of these values apart from them."""
    drawn = values.copy()
    for number, value in enumerate(more):
        drawn[5:15, 80 + 20 * number : 90 + 20 * number] = value
    return drawn


def written(place: Path, *drawn: np.ndarray, suffix: str = ".png") -> tuple[Path, Path]:
    names = FIVE[: len(drawn)]
    images = folder_of(place / "images", names)
    (place / "masks").mkdir()
    for name, values in zip(names, drawn, strict=True):
        cv2.imwrite(str(place / "masks" / Path(name).with_suffix(suffix)), values)
    return place / "masks", images


CLASSES = {
    "two values in every field": [labels(155, 255)] * 3,
    "one value, in parts": [labels(255, 255)] * 2,
    "a field without one of them": [labels(155, 255)] * 3 + [labels(155, 0)],
    "numbers from 1 on, in parts": [with_more(labels(1, 2), 1, 2)] * 3,
    "one image, in parts": [with_more(labels(155, 255), 155)],
    "beside an empty one": [labels(255, 255)] * 3 + [labels(0, 0)],
}


@pytest.mark.parametrize("drawn", CLASSES.values(), ids=CLASSES)
def test_the_same_few_values_in_every_field_are_refused_with_a_hint(tmp_path, drawn):
    masks, images = written(tmp_path, *drawn)
    (line,) = problems(masks, images, None)
    assert line.startswith("masks: the value")
    assert (
        "classes, it seems, not cells; read the parts as cells with --semantic (config.dataset.semantic = True" in line
    )
    read(masks, images, semantic=True)
    assert len(read(masks, images, semantic=False).fields) == len(drawn)


CELLS = {
    "numbered": [labels(1, 2)] * 3,
    "numbered, one in parts": [with_more(labels(1, 2), 1)] + [labels(1, 2)] * 4,
    "numbered on through the set": [labels(1, 2), labels(3, 4), labels(5, 6)],
    "one cell in each": [labels(0, 255)] * 3,
    "of other values in each": [labels(7, 9), labels(20, 30), labels(7, 40)],
    "more values than classes have": [with_more(labels(1, 2), *range(3, 6), 9)] * 1 + [labels(4, 5)] * 2,
}


@pytest.mark.parametrize("drawn", CELLS.values(), ids=CELLS)
def test_numbers_of_cells_are_not_taken_for_classes(tmp_path, drawn):
    masks, images = written(tmp_path, *drawn)
    found = read(masks, images)
    assert [len(field.cells) for field in found.fields] == [len(np.unique(values)) - 1 for values in drawn]


def test_parts_are_cells_of_the_class_that_their_value_names(tmp_path):
    drawn = with_more(labels(155, 255), 155)
    drawn[0, 0] = 255  # a speck
    masks, images = written(tmp_path, drawn)
    found = read(masks, images, semantic=True)
    assert found.classes == ("155", "255")
    (field,) = found.fields
    assert sorted(int(cell.mask(HEIGHT, WIDTH).sum()) for cell in field.cells if cell.label == 1) == sorted(
        [100, int((labels() == 1).sum())]
    )
    (other,) = (cell for cell in field.cells if cell.label == 2)
    np.testing.assert_array_equal(other.mask(HEIGHT, WIDTH), labels() == 2)
    assert [str(suspect) for suspect in found.suspects] == [
        "a.png: 1 specks of fewer than 16 pixels are left out; clean the mask if they are cells"
    ]


def test_a_class_map_names_the_values(tmp_path):
    masks, images = written(tmp_path, labels(155, 255))
    (field,) = read(masks, images, {"155": 0, "255": 3}, semantic=True).fields
    assert [cell.label for cell in field.cells] == [3]
    (line,) = problems(masks, images, {"155": 1}, semantic=True)
    assert "unknown class '255'" in line


def test_colours_are_classes_by_their_numbers(tmp_path):
    colours = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], np.uint8)[labels(1, 2)]
    masks, images = written(tmp_path, colours[..., ::-1])
    assert read(masks, images, semantic=True).classes == ("128,0,0", "0,128,0")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("clean", [False, True])
def test_masks_compressed_with_loss_are_read_as_classes(tmp_path, suffix, clean):
    data = cv2.imencode(".jpg", labels(155, 255), [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    lossy: Any = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    masks, images = written(tmp_path, *([lossy] * 3), suffix=suffix)
    if clean:
        cv2.imwrite(str(masks / "a.png"), labels(155, 255))
        (masks / "a.jpg").unlink(missing_ok=True)
    found = read(masks, images, semantic=True)
    for field in found.fields:
        for cell, value in zip(field.cells, (1, 2), strict=True):
            mask, expected = cell.mask(HEIGHT, WIDTH) > 0, labels() == value
            assert (mask & expected).sum() / (mask | expected).sum() > 0.95
    assert "pixels hold values between those of the classes" in found.suspects[-1].found


def test_a_mask_compressed_with_loss_is_no_label_image(tmp_path):
    noisy: Any = cv2.imdecode(cv2.imencode(".jpg", labels(155, 255))[1], cv2.IMREAD_GRAYSCALE)
    masks, images = written(tmp_path, noisy)
    (line,) = problems(masks, images, None)
    assert "as compression with loss leaves them; export it as PNG or TIFF; --semantic reads masks" in line


@pytest.mark.skipif(not BCCD.is_dir(), reason="needs ../shared/data/bccd")
def test_the_masks_of_bccd_are_refused_with_a_hint_that_works(tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "images").mkdir()
    for mask in sorted((BCCD / "masks").iterdir())[::20]:
        (tmp_path / "masks" / mask.name).symlink_to(mask)
        image = mask.name.replace("_Mask", "").replace(".png", ".jpg")
        (tmp_path / "images" / image).symlink_to(BCCD / "images" / image)
    lines = problems(tmp_path / "masks", tmp_path / "images", None)
    assert any("--semantic" in line and "155, 255" in line for line in lines)
    found = read(tmp_path / "masks", tmp_path / "images", semantic=True)
    assert found.classes == ("155", "255")
    assert all(2 <= len(field.cells) <= 8 for field in found.fields)
