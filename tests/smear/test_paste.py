from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from scipy.ndimage import gaussian_filter as gaussian
from skimage.transform import resize

from wbcjax.smear.field import text_rle
from wbcjax.smear.paste import Library, paste, patch_rle

REFERENCE = Path(__file__).parent / "reference/torchvision_paste.npz"


def pasted(probabilities, boxes, height, width, library: Library = "torchvision", threshold=0.5):
    """The masks at image size, (d, height, width)."""
    rles: Any = paste(probabilities, boxes, height, width, library, threshold)
    return np.stack([coco_mask.decode(rle) for rle in rles])


@pytest.mark.parametrize("size", [28, 14])
def test_pasted_masks_equal_torchvisions(size: int):
    with np.load(REFERENCE) as reference:
        height, width = int(reference["height"]), int(reference["width"])
        probabilities = reference[f"probabilities_{size}"].astype(np.float32) / np.float32(255)
        boxes = reference[f"boxes_{size}"]
        shape = (len(boxes), height, width)
        expected = np.unpackbits(reference[f"pasted_{size}"])[: np.prod(shape)].reshape(shape)
    assert expected.any(axis=(1, 2)).sum() >= len(boxes) - 3  # only boxes of about no size may be empty

    masks = pasted(probabilities, boxes, height, width)

    np.testing.assert_array_equal(masks, expected)


def test_a_certain_mask_fills_its_box_and_at_most_one_pixel_beyond():
    # torchvision rounds the padded box outwards to whole pixels, one of them too many: the mask may overshoot by one.
    mask = pasted(np.ones((1, 28, 28), np.float32), np.array([[20.0, 10.0, 48.0, 38.0]], np.float32), 60, 80)[0]
    outside = mask.copy()
    outside[10:39, 20:49] = 0
    assert outside.sum() == 0
    assert mask[10:38, 20:48].all()


def test_a_probability_of_exactly_the_threshold_is_outside_the_cell():
    box = np.array([[0.0, 0.0, 28.0, 28.0]], np.float32)
    assert pasted(np.full((1, 28, 28), 0.5, np.float32), box, 28, 28).sum() == 0
    assert pasted(np.full((1, 28, 28), 0.75, np.float32), box, 28, 28, threshold=0.75).sum() == 0
    # All but the pixel at the image's corner, which the zeros around the mask dilute: 0.75 * 0.94 * 0.94 there.
    assert pasted(np.full((1, 28, 28), 0.75, np.float32), box, 28, 28, threshold=0.7).sum() == 28 * 28 - 1


@pytest.mark.parametrize("library", ["torchvision", "detectron2", "matterport"])
def test_boxes_wholly_outside_the_image_paste_nothing(library):
    boxes = np.array([[100, 5, 120, 20], [5, -50, 20, -20], [-30, -30, -10, -10]], np.float32)
    assert pasted(np.ones((3, 28, 28), np.float32), boxes, 40, 50, library).sum() == 0


@pytest.mark.parametrize("library", ["torchvision", "detectron2", "matterport"])
def test_no_detections_paste_to_no_masks(library):
    assert paste(np.zeros((0, 28, 28), np.float32), np.zeros((0, 4), np.float32), 5, 7, library) == []


@pytest.mark.usefixtures("unchecked_types")
def test_boxes_that_are_not_finite_or_do_not_fit_the_masks_are_refused():
    with pytest.raises(ValueError, match="nan"):
        pasted(np.ones((1, 28, 28), np.float32), np.array([[0, 0, np.nan, 5]], np.float32), 10, 10)
    with pytest.raises(ValueError, match=r"2 masks need boxes of \(2, 4\), found \(1, 4\)"):
        pasted(np.ones((2, 28, 28), np.float32), np.zeros((1, 4), np.float32), 10, 10)
    with pytest.raises(ValueError, match="28, 27"):
        pasted(np.ones((1, 28, 27), np.float32), np.zeros((1, 4), np.float32), 10, 10)


def test_an_aligned_certain_mask_covers_exactly_the_pixels_whose_centres_its_box_holds():
    # Along the box's middle lines: at its corners the zeros around the map are mixed in twice.
    for x1, y1, x2, y2 in [(20.0, 10.0, 48.0, 38.0), (20.4, 10.7, 48.6, 38.2), (-3.0, -2.0, 9.0, 11.0)]:
        box = np.array([[x1, y1, x2, y2]], np.float32)
        mask = pasted(np.ones((1, 28, 28), np.float32), box, 60, 80, library="detectron2")[0]
        x, y = np.arange(80) + 0.5, np.arange(60) + 0.5
        np.testing.assert_array_equal(mask[int(y1 + y2) // 2], (x > x1) & (x < x2))
        np.testing.assert_array_equal(mask[:, int(x1 + x2) // 2], (y > y1) & (y < y2))


def test_an_aligned_mask_has_the_area_and_centre_of_what_it_depicts():
    grid = (np.arange(28) + 0.5) / 28 - 0.5
    disc = 1 / (1 + np.exp(80 * (np.hypot(grid[:, None], grid[None]) - 0.4)))  # a soft disc, 0.8 of the box across
    box = np.array([[12.3, 7.8, 72.3, 67.8]], np.float32)
    mask = pasted(disc[None].astype(np.float32), box, 80, 90, library="detectron2")[0]
    rows, columns = np.nonzero(mask)
    assert mask.sum() == pytest.approx(np.pi * 24**2, rel=0.01)
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((42.3, 37.8), abs=0.1)


def unmoulded(probabilities, box, height, width):
    """mrcnn/utils.py of Matterport's: `denorm_boxes`, then `unmold_mask` with its wrapper of scikit-image's resize."""
    x1, y1, x2, y2 = np.around(box.astype(np.float64)).astype(np.int32)
    mask = np.zeros((height, width), bool)
    if x1 < x2 and y1 < y2:  # it leaves out the others
        size = y2 - y1, x2 - x1
        mask[y1:y2, x1:x2] = resize(probabilities, size, order=1, mode="constant", anti_aliasing=False) >= 0.5
    return mask


@pytest.mark.parametrize("size", [28, 14])
def test_unmoulded_masks_equal_matterports(size):
    rng = np.random.default_rng(size)
    height, width, count = 90, 120, 60
    probabilities = gaussian(rng.random((count, size, size)), (0, 2, 2)).astype(np.float32)
    probabilities = (probabilities - probabilities.mean()) * 4 + 0.5
    probabilities[0] = 0.55  # its resize lets no value leave the map's range
    probabilities[1] = 0.45
    low = rng.uniform(0, (width - 1, height - 1), (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(0, 1, (count, 2)) ** 2 * ((width, height) - low)], axis=1)
    boxes[2:4] = [[10.5, 11.5, 40.5, 42.5], [20.2, 20.2, 20.4, 50.0]]  # halves go to even; without area
    boxes = boxes.astype(np.float32)
    expected = np.stack([unmoulded(p, box, height, width) for p, box in zip(probabilities, boxes, strict=True)])
    assert expected.any((1, 2)).mean() > 0.2
    assert expected[0].sum() > 0 == expected[1].sum() == expected[3].sum()
    np.testing.assert_array_equal(pasted(probabilities, boxes, height, width, "matterport"), expected)


def test_an_unmoulded_mask_is_cut_off_where_the_image_ends():
    probabilities = gaussian(np.random.default_rng(0).random((1, 28, 28)), (0, 2, 2)).astype(np.float32)
    inside = pasted(probabilities, np.array([[20.0, 30.0, 70.0, 65.0]], np.float32), 100, 90, "matterport")
    cut = pasted(probabilities, np.array([[-5.0, -10.0, 45.0, 25.0]], np.float32), 20, 30, "matterport")
    assert cut.any()
    np.testing.assert_array_equal(cut[0], inside[0, 40:60, 25:55])


def test_an_unmoulded_probability_of_exactly_the_threshold_is_inside_the_cell():
    box = np.array([[3.0, 4.0, 31.0, 32.0]], np.float32)
    assert pasted(np.full((1, 28, 28), 0.5, np.float32), box, 40, 40, "matterport").sum() == 28 * 28


def encoded(mask: np.ndarray) -> dict:
    return text_rle(coco_mask.encode(np.asfortranarray(mask)))


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 0.5, 0.9, 1.0]))
def test_a_patchs_rle_is_that_of_the_mask_at_image_size(seed, filled):
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 9, 2))
    (top, bottom), (left, right) = (sorted(rng.integers(0, side + 1, 2).tolist()) for side in (height, width))
    mask = np.zeros((height, width), np.uint8)
    mask[top:bottom, left:right] = rng.random((bottom - top, right - left)) < filled
    assert patch_rle(mask[top:bottom, left:right], left, top, height, width) == encoded(mask)
