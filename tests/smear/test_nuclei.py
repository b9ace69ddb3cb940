"""The finder of nuclei: on drawn fields of known content, and on real fields whose white cells are known."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from wbcjax.smear.field import read_image
from wbcjax.smear.nuclei import boxes_of, find_nuclei, nuclear_dye

BCCD = (Path(__file__).parents[2] / "../shared/data/bccd").resolve()
GROUND, NUCLEUS, RED_CELL, CYTOPLASM, DIRT = (
    (220, 215, 225),
    (85, 40, 130),
    (200, 150, 140),
    (150, 155, 190),
    (40, 40, 40),
)


def field(*discs: tuple[tuple[int, int], int, tuple[int, int, int]], height=200, width=260) -> np.ndarray:
    """An image of filled discs, ((x, y), radius, colour), on bare ground."""
    image = np.full((height, width, 3), GROUND, np.uint8)
    for centre, radius, colour in discs:
        cv2.circle(image, centre, radius, colour, cv2.FILLED)
    return image


def test_nuclei_are_found_where_they_are_and_nothing_else_is():
    discs = [((60, 60), 40, CYTOPLASM), ((60, 60), 20, NUCLEUS), ((150, 60), 25, RED_CELL), ((200, 150), 18, NUCLEUS)]
    labels = find_nuclei(field(*discs, ((60, 150), 22, DIRT)), 64)
    boxes = boxes_of(labels)
    boxes = boxes[np.argsort(boxes[:, 0])]
    np.testing.assert_allclose(boxes, [[40, 40, 81, 81], [182, 132, 219, 169]], atol=2)


def test_nuclei_that_touch_are_told_apart():
    labels = find_nuclei(field(((80, 100), 20, NUCLEUS), ((118, 100), 20, NUCLEUS)), 64)
    assert labels.max() == 2
    assert labels[100, 80] != labels[100, 118]
    areas = np.bincount(labels.ravel())[1:]
    assert areas.min() / areas.max() > 0.9, "and parted half way"


def test_lobes_of_one_nucleus_stay_together():
    labels = find_nuclei(field(((90, 100), 12, NUCLEUS), ((102, 106), 10, NUCLEUS)), 64)
    assert labels.max() == 1


def test_a_nucleus_cut_by_the_border_reaches_it():
    boxes = boxes_of(find_nuclei(field(((0, 100), 20, NUCLEUS), ((259, 199), 22, NUCLEUS)), 64))
    boxes = boxes[np.argsort(boxes[:, 0])]
    assert boxes[0, 0] == 0
    assert boxes[1, 2:].tolist() == [260, 200]


@pytest.mark.parametrize("scale", [0.5, 1.7, 3.0])
def test_magnification_does_not_matter_where_the_cells_size_tells_it(scale: float):
    image = field(((60, 60), 20, NUCLEUS), ((200, 150), 18, NUCLEUS), ((130, 60), 6, NUCLEUS))
    shown = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    boxes = boxes_of(find_nuclei(shown, 64 * scale))
    boxes = boxes[np.argsort(boxes[:, 0])]
    np.testing.assert_allclose(boxes / scale, [[40, 40, 81, 81], [182, 132, 219, 169]], atol=3)


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), GROUND, RED_CELL])
def test_a_field_of_one_colour_has_no_nucleus(colour: tuple[int, int, int]):
    assert not find_nuclei(np.full((50, 70, 3), colour, np.uint8), 30).any()


def test_a_grey_field_has_no_nucleus():
    grey = np.repeat(field(((60, 60), 20, NUCLEUS))[..., 1:2], 3, axis=2)
    assert not find_nuclei(grey, 64).any()


def test_noise_alone_is_no_nucleus():
    noise = np.random.default_rng(0).normal(GROUND, 12, (200, 260, 3)).clip(0, 255).astype(np.uint8)
    assert not find_nuclei(noise, 64).any()


@pytest.mark.parametrize("size", [1.0, 5000.0])
def test_absurd_cell_sizes_find_nothing_and_cost_no_memory(size: float):
    assert not find_nuclei(field(height=40, width=50), size).any()


@pytest.mark.parametrize("size", [0.0, -3.0, float("nan")])
def test_a_cell_size_that_is_none_is_refused(size: float):
    with pytest.raises(ValueError, match="give the length of a cell in pixels, above 0"):
        find_nuclei(field(), size)


def test_dye_is_the_share_of_green_that_blue_does_not_lose():
    image = np.full((10, 10, 3), 199, np.uint8)
    image[0, 0] = (0, 49, 99)  # a quarter of the ground's green, half of its blue
    image[0, 1] = (0, 99, 49)
    dye = nuclear_dye(image)
    assert dye[0, 0] == pytest.approx(0.5)
    assert np.count_nonzero(dye) == 1


def test_boxes_hold_each_numbers_pixels():
    labels = np.zeros((6, 9), np.int32)
    labels[1:3, 2:7], labels[5, 8] = 2, 1
    assert boxes_of(labels).tolist() == [[8, 5, 9, 6], [2, 1, 7, 3]]
    assert boxes_of(np.zeros((6, 9), np.int32)).shape == (0, 4)


@pytest.mark.skipif(not BCCD.is_dir(), reason=f"no real fields at {BCCD}")
def test_most_white_cells_of_real_fields_have_one_nucleus_found_in_them():
    cells = hit = found = inside = 0
    for path in sorted((BCCD / "images").iterdir())[::12]:
        image = read_image(path)
        mask = read_image(BCCD / "masks" / f"{path.stem.replace('Image_', 'Image_Mask_')}.png")[..., 0] > 127
        _, white = cv2.connectedComponents(mask.astype(np.uint8))
        labels = find_nuclei(image, 190)
        cells += white.max()
        hit += len(set(white[labels > 0].tolist()) - {0})
        found += labels.max()
        inside += sum((mask[labels == number]).mean() > 0.5 for number in range(1, labels.max() + 1))
    assert hit >= 0.95 * cells, "cells with a nucleus"
    assert inside >= 0.9 * found, "nuclei that lie in a cell"
