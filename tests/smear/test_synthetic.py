"""The synthetic renderer: its masks are exact, its subtypes differ as FAB says, and a seed fixes every byte."""

import json
from dataclasses import replace
from functools import cache

import cv2
import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.smear.smears import CLEAN, masks
from wbcjax.smear.synthetic import CLASSES, SyntheticSmear, fields, render
from wbcjax.smear.synthetic_paint import HAEMOGLOBIN, PURPLE, STAINS

SMEAR = SyntheticSmear()
LONE = replace(CLEAN, cells=(1, 1), min_visible=1.0)


def only(label: int, smear: SyntheticSmear) -> SyntheticSmear:
    return replace(smear, class_weights=tuple(float(i == label) for i in range(1, len(CLASSES) + 1)))


@cache
def cells(label: int, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Clean, wholly visible cells of one subtype: (pixels (H, W, 3), mask (H, W)) of each."""
    return [(field.image(), masks(field)[0]) for field in fields(only(label, LONE), count, seed=500)]


def nuclear(pixels: np.ndarray) -> np.ndarray:
    """Where the purple stain of chromatin is, by linear unmixing of the optical densities."""
    density = -np.log(np.maximum(pixels, 1) / 225.0)  # (H, W, RGB)
    return (density @ np.linalg.inv(STAINS[:HAEMOGLOBIN]))[..., PURPLE] > 0.3


def test_the_same_seed_gives_the_same_bytes():
    first, again = render(SMEAR, 7), render(SMEAR, 7)
    assert first.image().tobytes() == again.image().tobytes()
    assert [(c.label, c.rle) for c in first.cells] == [(c.label, c.rle) for c in again.cells]


def test_another_seed_gives_another_field():
    a, b = render(SMEAR, 7), render(SMEAR, 8)
    assert a.name == "synthetic_00007.png"
    assert b.name == "synthetic_00008.png"
    assert not np.array_equal(a.image(), b.image())
    assert [c.rle for c in a.cells] != [c.rle for c in b.cells]


def test_fields_render_consecutive_seeds():
    a, b = fields(SMEAR, 2, seed=11), [render(SMEAR, 11), render(SMEAR, 12)]
    for one, other in zip(a, b, strict=True):
        assert one.name == other.name
        assert np.array_equal(one.image(), other.image())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(64, 160), st.integers(64, 200))
def test_every_cell_has_a_disjoint_mask_of_some_size_and_a_known_label(seed, height, width):
    field = render(replace(SMEAR, height=height, width=width), seed)
    assert field.image().shape == (height, width, 3)
    assert field.image().dtype == np.uint8
    found = masks(field)
    assert found.sum(0).max(initial=0) <= 1
    assert 0 <= len(field.cells) <= SMEAR.cells[1]
    smallest = np.pi / 4 * (7.8 * SMEAR.pixels_per_micron) ** 2 * SMEAR.min_visible
    for cell, mask in zip(field.cells, found, strict=True):
        assert cell.label in (1, 2, 3)
        assert not cell.crowd
        assert mask.sum() >= 0.93 * smallest
        assert json.loads(json.dumps(cell.rle)) == cell.rle


def test_masks_cover_the_stained_pixels_and_nothing_else():
    for field in fields(CLEAN, 12, seed=40):
        inside = masks(field).any(0)
        darkness = 255.0 - field.image().min(-1)
        ground = np.median(darkness[~inside])
        edge = cv2.morphologyEx(np.asarray(inside, np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        stained = darkness > ground + 20
        assert not stained[~inside & ~edge].any()
        assert stained[inside & ~edge].mean() > 0.97  # the rest are vacuoles


def test_a_pixel_is_in_the_mask_where_the_cell_covers_most_of_it():
    agreement, shifted = [], []
    for pixels, mask in cells(label=3, count=8):
        density = -np.log(pixels[..., 0] / 240.0)  # red, which the blue rim of an L3 cell absorbs
        within, outside = (cv2.distanceTransform(np.asarray(m, np.uint8), cv2.DIST_L2, 5) for m in (mask, ~mask))
        ground, rim = np.median(density[outside > 2]), np.median(density[(within > 1) & (within < 2.5)])
        covered = density > (ground + rim) / 2
        band = (within <= 1) & (outside <= 1)  # the pixels on both sides of the outline
        agreement.append((covered == mask)[band].mean())
        shifted.append((covered == np.roll(mask, 1, axis=1))[band].mean())
    assert np.mean(agreement) > 0.93
    assert np.mean(shifted) < 0.75  # the test would notice masks that are one pixel off


def test_the_upper_cell_owns_shared_pixels():
    """The upper of two overlapping cells owns the shared pixels and both stay mostly visible."""
    crowded = replace(CLEAN, cells=(6, 8), touching=1.0)
    overlaps = 0
    for field in fields(only(1, crowded), 10, seed=60):
        for mask in masks(field):
            parts, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            hull = cv2.contourArea(cv2.convexHull(np.concatenate(parts)))
            inner = mask[1:-1, 1:-1].sum() == mask.sum()  # not cut by the border
            overlaps += inner and mask.sum() < 0.9 * hull
            assert mask.sum() > 0.55 * np.pi / 4 * (7.8 * SMEAR.pixels_per_micron) ** 2
    assert overlaps >= 3  # L1 outlines are convex: only a cell lying over it can hollow one out


def test_touching_cells_and_cells_cut_by_the_border_occur():
    touching = cut = 0
    for field in fields(SMEAR, 20, seed=0):
        found = masks(field).astype(np.uint8)
        grown = [cv2.dilate(mask, np.ones((3, 3), np.uint8)) for mask in found]
        touching += sum(bool((grown[i] & found[j]).any()) for i in range(len(found)) for j in range(i))
        cut += sum(bool(m[0].any() or m[-1].any() or m[:, 0].any() or m[:, -1].any()) for m in found)
    assert touching >= 10
    assert cut >= 10


def test_all_subtypes_occur_in_about_the_asked_shares():
    labels = [cell.label for field in fields(CLEAN, 60, seed=100) for cell in field.cells]
    shares = np.bincount(labels, minlength=4)[1:] / len(labels)
    assert np.allclose(shares, SMEAR.class_weights, atol=0.1)


def test_l1_is_small_l2_large_and_l3_between_with_natural_overlap():
    scale = SMEAR.pixels_per_micron
    diameters = {k: [2 * np.sqrt(m.sum() / np.pi) / scale for _, m in cells(k, 30)] for k in (1, 2, 3)}
    assert np.mean(diameters[1]) + 1.5 < np.mean(diameters[3]) < np.mean(diameters[2])
    assert max(diameters[1]) > min(diameters[2])
    assert np.std(diameters[2]) > 1.3 * np.std(diameters[3])  # L2 is heterogeneous, L3 homogeneous in size
    assert min(diameters[1]) > 7.7  # microns
    assert max(diameters[2]) < 15.5  # microns


def test_the_nucleus_fills_l1_and_leaves_l2_abundant_cytoplasm():
    shares = {k: np.array([nuclear(p)[m].mean() for p, m in cells(k, 30)]) for k in (1, 2, 3)}
    assert (shares[1] > 0.75).mean() > 0.75  # FAB: cytoplasm is scanty in at least 75 % of the cells
    assert (shares[2] < 0.75).mean() > 0.75
    assert np.mean(shares[2]) < 0.6
    assert np.mean(shares[1]) > np.mean(shares[3]) + 0.1


def test_l2_nuclei_are_irregular_and_the_others_regular():
    def solidity(pixels, mask):
        nucleus = cv2.morphologyEx(
            (nuclear(pixels) & mask).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)
        )
        contours, _ = cv2.findContours(nucleus, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        largest = max(contours, key=cv2.contourArea)
        return cv2.contourArea(largest) / cv2.contourArea(cv2.convexHull(largest))

    mean = {k: np.mean([solidity(p, m) for p, m in cells(k, 12)]) for k in (1, 2)}
    assert mean[1] > 0.97
    assert mean[2] < 0.955


def test_l3_cytoplasm_is_deep_blue_with_vacuoles():
    red = {k: np.mean([p[m & ~nuclear(p)][:, 0].mean() for p, m in cells(k, 12)]) for k in (2, 3)}
    assert red[3] < red[2] - 40  # blue dye absorbs red light

    def pale_spots(pixels, mask):
        inner = cv2.erode(mask.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
        pale = cv2.morphologyEx(np.ascontiguousarray(pixels[..., 1]), cv2.MORPH_TOPHAT, disc) > 70
        return cv2.connectedComponents((pale & inner).astype(np.uint8))[0] - 1

    spots = {k: np.mean([pale_spots(p, m) for p, m in cells(k, 12)]) for k in (1, 2, 3)}
    assert spots[3] >= 5
    assert spots[1] < 0.5
    assert spots[2] < spots[3] / 2


def test_red_cells_platelets_and_debris_are_background():
    ground = replace(CLEAN, empty=1.0, red_cells=(0.4, 0.4), platelets=(3, 3), debris=(2, 2))
    stained = []
    for field in fields(ground, 8, seed=0):
        assert field.cells == ()
        green = field.image()[..., 1]
        stained.append((green < 0.92 * np.percentile(green, 95)).mean())
    assert 0.2 < np.mean(stained) < 0.5


def test_the_ground_leaves_the_masks_as_they_are():
    bare, full = (
        render(replace(SMEAR, red_cells=(r, r), platelets=(n, n), debris=(n, n)), 9) for r, n in ((0.0, 0), (0.7, 5))
    )
    assert [c.rle for c in bare.cells] == [c.rle for c in full.cells]
    assert not np.array_equal(bare.image(), full.image())


def test_fields_without_cells_occur_as_often_as_asked():
    small = replace(CLEAN, height=64, width=64, cells=(1, 2))
    assert np.mean([not field.cells for field in fields(replace(small, empty=0.3), 80, seed=0)]) == pytest.approx(
        0.3, abs=0.12
    )
    assert all(field.cells for field in fields(small, 40, seed=0))


def test_stain_light_and_noise_vary_from_field_to_field():
    backgrounds = np.array([np.percentile(f.image(), 90, axis=(0, 1)) for f in fields(SMEAR, 15, seed=0)])
    assert (backgrounds.std(0) > 3).all()
    noisy, calm = (render(replace(CLEAN, empty=1.0, noise=(n, n)), 5).image().astype(float) for n in (4.0, 0.0))
    assert (noisy - calm).std() == pytest.approx(4.0, rel=0.05)


def test_defocus_and_noise_leave_the_masks_as_they_are():
    sharp = render(replace(SMEAR, defocus=(0, 0), noise=(0, 0)), 9)
    blurred = render(replace(SMEAR, defocus=(2, 2), noise=(5, 5)), 9)
    assert [c.rle for c in sharp.cells] == [c.rle for c in blurred.cells]
    assert not np.array_equal(sharp.image(), blurred.image())


def test_the_most_cells_that_fit_are_placed():
    field = render(replace(only(1, CLEAN), cells=(12, 12), touching=0.0), 2)
    assert len(field.cells) == 12


@pytest.mark.parametrize(
    "wrong",
    [
        {"height": 40},
        {"width": 0},
        {"pixels_per_micron": 0.2},
        {"cells": (0, 3)},
        {"cells": (5, 2)},
        {"cells": (1.0, 2.5)},
        {"platelets": (-1, 2)},
        {"others": (2, 1)},
        {"debris": (0, 1.5)},
        {"saturation": (-0.5, 1.0)},
        {"empty": 1.5},
        {"touching": -0.1},
        {"class_weights": (1.0, 1.0)},
        {"class_weights": (0.0, 0.0, 0.0)},
        {"min_visible": 0.0},
        {"stain_variation": 3.0},
        {"red_cells": (0.6, 0.2)},
        {"shading": (0.0, 1.5)},
        {"defocus": (1.0,)},
        {"noise": (-1.0, 2.0)},
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name_and_value(wrong, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as outside the tests, where no type is checked
    (name, value), *_ = wrong.items()
    with pytest.raises(ValueError, match="expected") as error:
        replace(SMEAR, **wrong)
    assert f"{name} = {value!r}" in str(error.value)


def test_more_cells_than_have_room_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match="enlarge the field or ask for fewer"):
        render(replace(SMEAR, height=64, width=64, cells=(40, 40), empty=0.0), 0)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed = -1"):
        render(SMEAR, -1)
