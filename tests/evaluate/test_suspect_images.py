"""Images made dark, bright, blank, blurred and twice, beside good ones."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from wbcjax.evaluate.suspect_images import look_at, suspects_of_folder, suspects_of_images

ALMOST_WHITE = np.full((64, 64, 3), 255, np.uint8)
ALMOST_WHITE[20:30, 20:30] = 50


def noise(seed: int, low=100, high=200) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (64, 64, 3), np.uint8)


def told(*odd: np.ndarray) -> list[str]:
    """The suspects that are reported for these images beside five good ones."""
    images = [*odd, *(noise(seed) for seed in range(5))]
    names = [f"{'odd' if number < len(odd) else 'good'}{number}.png" for number in range(len(images))]
    suspects = suspects_of_images(names, [look_at(image) for image in images])
    return [f"{suspect.kind}: {suspect.problem.file}: {suspect.problem.found}" for suspect in suspects]


def test_images_alike_are_not_suspected_nor_is_an_empty_set():
    assert told() == []
    assert suspects_of_images([], []) == []


@pytest.mark.parametrize(
    ("image", "line"),
    [
        (noise(9, 20, 80), "dark images: odd0.png: brightness is 49.7; the set's median is 150"),
        (ALMOST_WHITE, "bright images: odd0.png: brightness is 250; the set's median is 150"),
        (np.full((64, 64, 3), 7, np.uint8), "blank images: odd0.png: is of one colour (standard deviation 0.0)"),
        (noise(0), "images there twice: good1.png: is the same image as odd0.png"),
    ],
)
def test_an_odd_image_is_told(image, line):
    assert told(image) == [line]


def test_a_blurred_image_is_told_but_not_one_of_less_contrast():
    (line,) = told(cv2.GaussianBlur(noise(9), (5, 5), 1))
    assert line.startswith("blurred images: odd0.png: sharpness is ")
    assert told(noise(9, 130, 160)) == []


def test_images_differing_in_a_pixel_or_in_shape_are_not_the_same():
    other = noise(0)
    other[3, 3] += 1
    assert told(other) == []
    assert look_at(noise(0)).digest != look_at(noise(0).reshape(32, 128, 3)).digest


def test_images_that_no_annotation_names_are_told_and_other_files_are_not(tmp_path: Path):
    for name in ("a.png", "b.png", "c.PNG", "d/e.png", "d/f.png", "masks/a.png", "broken.png", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    suspects = suspects_of_folder(tmp_path, [tmp_path / "a.png", tmp_path / "d/e.png"], ["broken.png", "gone.png"])
    assert [suspect.problem.file for suspect in suspects] == ["b.png", "c.PNG", "d/f.png"]
    assert {suspect.kind for suspect in suspects} == {"images without annotations"}
