"""Cells pasted between fields: aligned with their masks, over others with notice, and never on unannotated cells."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from tests.input.painted import open_batches, source_of
from tests.input.painted import settings as config_of
from wbcjax.input.augment import Augment, CopyPaste
from wbcjax.input.copy_paste import Scene, Sticker, cut_sticker, open_ground, paste_cells, paste_into, whole_cells
from wbcjax.input.draw import ReadField, draw_field
from wbcjax.input.sample import DrawnCell
from wbcjax.input.warp import Warp
from wbcjax.smear.field import Cell, SmearField, text_rle
from wbcjax.smear.rle import cut_outs

GROUND, NUCLEUS = (225, 220, 230), (90, 45, 135)
CANVAS = (160, 160)
PASTE = Augment(paste=CopyPaste(cells=6), rotate=True, flip_horizontal=True)
PLACES = [(40, 40), (115, 45), (45, 115), (118, 118)]


def disc(x: int, y: int, radius: int, size: int = 160) -> np.ndarray:
    return cv2.circle(np.zeros((size, size), np.uint8), (x, y), radius, 1, cv2.FILLED)


def cell_of(mask: np.ndarray, label: int = 1, crowd: bool = False) -> Cell:
    return Cell(label, rle=text_rle(coco_mask.encode(np.asfortranarray(mask))), crowd=crowd)


def smear(annotated: Sequence[int], others: Sequence[int] = (), radius: int = 15, crowd: bool = False) -> SmearField:
    """A field with nuclei at some of PLACES, each annotated or not."""
    image, cells = np.full((160, 160, 3), GROUND, np.uint8), []
    for place in (*annotated, *others):
        image[disc(*PLACES[place], radius) > 0] = NUCLEUS
    for place in annotated:
        cells.append(cell_of(disc(*PLACES[place], radius), 1 + place % 3, crowd))
    return SmearField("a.png", 160, 160, tuple(cells), pixels=image)


def read(field: SmearField) -> ReadField:
    outlines = cut_outs([cell.to_rle(field.height, field.width) for cell in field.cells if cell.outlined])
    return ReadField(field, outlines, open_ground(field, 40.0), whole_cells(field, outlines))


def pasted(field: ReadField, donor: ReadField, augment: Augment, seed: int):
    before = draw_field(field, Warp(np.eye(3), CANVAS), augment.min_visible)
    after = paste_into(before, field, donor, augment, augment.paste.cells, np.random.default_rng(seed))
    return before, after


def whole(drawn: DrawnCell, canvas: tuple[int, int] = CANVAS) -> np.ndarray:
    """A cell's mask on its canvas."""
    mask, (x1, y1, x2, y2) = np.zeros(canvas, bool), map(int, drawn.box)
    assert drawn.mask is not None
    mask[y1:y2, x1:x2] = drawn.mask
    return mask


def coloured(number: int, radius: int, at: tuple[int, int], side: int = 64) -> tuple[Cell, np.ndarray, np.ndarray]:
    """A cell, its mask and an image in which it has the colour of its number and nothing else has."""
    mask = disc(*at, radius, side)
    image = np.zeros((side, side, 3), np.uint8)
    image[mask > 0] = (number, 255 - number, 7 * number % 256)
    return cell_of(mask), mask, image


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**20),
    present=st.lists(st.tuples(st.integers(3, 12), st.integers(0, 63), st.integers(0, 63)), max_size=5),
    radii=st.lists(st.integers(3, 14), min_size=1, max_size=5),
    touching=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_every_seen_pixel_of_a_cell_is_in_its_mask_and_no_other(seed, present, radii, touching):
    """Each cell has a colour of its own, so that the image says which pixels of it are seen."""
    image, cells = np.zeros((64, 64, 3), np.uint8), []
    for number, (radius, x, y) in enumerate(present, start=1):
        cell, mask, painted = coloured(number, radius, (x, y))
        mask[(image > 0).any(axis=-1)] = 0  # the annotations do not overlap
        image[mask > 0] = painted[mask > 0]
        if mask.any():
            x, y, w, h = cv2.boundingRect(mask)
            cells.append(DrawnCell(cell, (x, y, x + w, y + h), mask[y : y + h, x : x + w], ignored=False))
    numbers = {id(drawn.cell): tuple(image[whole(drawn, (64, 64))][0]) for drawn in cells}
    areas = {id(drawn.cell): np.count_nonzero(drawn.mask) for drawn in cells}
    stickers = []
    for number, radius in enumerate(radii, start=100):
        cell, mask, painted = coloured(number, radius, (15, 15), 31)
        stickers.append(Sticker(cell, painted, mask > 0, mask.astype(np.float32)))
        numbers[id(cell)], areas[id(cell)] = (number, 255 - number, 7 * number % 256), np.count_nonzero(mask)
    augment = Augment(paste=CopyPaste(touching=touching))
    ground = np.ones((64, 64), bool)
    changed, found = paste_cells(Scene(image, cells, ground), stickers, augment, np.random.default_rng(seed))

    seen = {id(drawn.cell): drawn for drawn in found}
    for cell, colour in numbers.items():
        shown = (changed == np.array(colour)).all(axis=-1)
        if cell not in seen:
            assert not shown.any(), "a cell that is seen has gone"
            continue
        drawn = seen[cell]
        np.testing.assert_array_equal(whole(drawn, (64, 64)), shown)
        y, x = np.nonzero(shown)
        assert drawn.box == (x.min(), y.min(), x.max() + 1, y.max() + 1)
        covered = shown.sum() < areas[cell]
        assert drawn.ignored == (covered and shown.sum() < max(16, augment.min_visible * areas[cell]))
    if touching == 0:
        assert all(whole(drawn, (64, 64)).sum() == areas[id(drawn.cell)] for drawn in found), "free ground is free"


def test_a_covered_cell_is_cut_then_ignored_then_gone():
    """A large cell is pasted beside a small one, more or less over it."""
    cell, below, image = coloured(1, 4, (50, 50), 100)
    drawn = DrawnCell(cell, (46, 46, 55, 55), below[46:55, 46:55], ignored=False)
    above, mask, painted = coloured(100, 28, (30, 30), 61)
    sticker = Sticker(above, painted, mask > 0, mask.astype(np.float32))
    scene, augment = Scene(image, [drawn], np.ones((100, 100), bool)), Augment(paste=CopyPaste(1, touching=1.0))
    fates = set()
    for seed in range(60):
        changed, cells = paste_cells(scene, [sticker], augment, np.random.default_rng(seed))
        seen = (changed == (1, 254, 7)).all(axis=-1)
        of_below = [one for one in cells if one.cell is cell]
        assert bool(of_below) == seen.any()
        if of_below:
            np.testing.assert_array_equal(whole(of_below[0], (100, 100)), seen)
            assert of_below[0].ignored == (seen.sum() < 16)
        fates.add("gone" if not of_below else "ignored" if of_below[0].ignored else "cut")
    assert fates == {"gone", "ignored", "cut"}


@settings(max_examples=40)
@given(seed=st.integers(0, 2**20), touching=st.sampled_from([0.0, 1.0]), feather=st.sampled_from([0.0, 1.0, 2.0]))
def test_no_cell_is_pasted_on_an_unannotated_nucleus_crowd_or_box(seed, touching, feather):
    field = smear([0], others=[1])
    boxed = Cell(2, box=(20.0, 90.0, 70.0, 140.0))
    field = replace(field, cells=(*field.cells, boxed, cell_of(disc(*PLACES[3], 25), crowd=True)))
    augment = replace(PASTE, paste=CopyPaste(6, touching, feather))
    before, after = pasted(read(field), read(smear([0, 1, 2])), augment, seed)
    closed = disc(*PLACES[1], 14) + disc(*PLACES[3], 25)
    closed[90:140, 20:70] = 1
    np.testing.assert_array_equal(after.image[closed > 0], before.image[closed > 0])
    kept = [drawn for drawn in after.cells if drawn.cell in field.cells[1:]]
    assert [drawn.box for drawn in kept] == [drawn.box for drawn in before.cells[1:]]
    assert len(after.cells) >= 3


def test_an_unannotated_nucleus_that_an_annotated_cell_touches_is_still_one():
    field = smear([0], others=[1])
    reaching = cell_of(disc(115, 72, 17))  # over the lower edge of the nucleus at PLACES[1]
    ground = open_ground(replace(field, cells=(*field.cells, reaching)), 40.0)
    assert not ground[disc(*PLACES[1], 13) > 0].any()
    assert ground[disc(*PLACES[0], 13) > 0].all(), "an annotated one"


def test_without_unannotated_cells_the_same_place_is_used():
    """What the test above forbids happens where the nucleus is annotated: the ground is what decides."""
    augment = replace(PASTE, paste=CopyPaste(6, 1.0))
    over = disc(*PLACES[1], 14) > 0
    changes = 0
    for seed in range(20):
        before, after = pasted(read(smear([0, 1])), read(smear([0, 1, 2])), augment, seed)
        changes += not np.array_equal(after.image[over], before.image[over])
    assert changes > 3


def test_touching_cells_touch_and_the_others_are_clear():
    donor = read(smear([0, 1, 2]))
    for touching, seed in itertools.product((0.0, 1.0), range(12)):
        augment = replace(PASTE, paste=CopyPaste(1, touching))
        before, after = pasted(read(smear([0, 3])), donor, augment, seed)
        if len(after.cells) > 2:
            new, old = whole(after.cells[-1]), np.any([whole(drawn) for drawn in before.cells], axis=0)
            near = cv2.dilate(new.astype(np.uint8), np.ones((11, 11))) > 0  # the soft edge is 3 pixels wide
            assert (old & near).any() == bool(touching) or not touching
            assert (old & new).any() <= bool(touching)


def test_a_pasted_cell_has_its_donors_pixels_and_a_soft_edge():
    field, donor = read(smear([])), read(smear([0]))
    augment = Augment(paste=CopyPaste(1, 0.0, 2.0))
    after = next(drawn for seed in range(50) if (drawn := pasted(field, donor, augment, seed)[1]).cells)
    (cell,) = after.cells
    mask = whole(cell).astype(np.uint8)
    assert cell.cell is donor.field.cells[0]
    assert mask.sum() == pytest.approx(disc(80, 80, 15).sum(), rel=0.01)
    cover = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 2.0)[..., None]
    # The donor's own edge is blended with ground of the same colour
    expected = np.where(mask[..., None] > 0, cover * NUCLEUS + (1 - cover) * GROUND, GROUND)
    np.testing.assert_allclose(after.image, expected, atol=1.01)


def test_cells_that_may_be_cut_or_covered_and_crowd_regions_are_never_donors():
    cut = smear([0], crowd=True)
    at_border, lower, upper = (disc(x, y, 15) for x, y in ((0, 80), (80, 110), (80, 135)))
    lower[upper > 0] = 0
    donor = read(replace(cut, cells=(*cut.cells, *map(cell_of, (at_border, lower, upper)))))
    assert donor.whole == []
    for seed in range(10):
        before, after = pasted(read(smear([1])), donor, PASTE, seed)
        np.testing.assert_array_equal(after.image, before.image)
        assert len(after.cells) == 1


@given(scale=st.floats(0.5, 2.0), angle=st.floats(0, 6.3))
def test_a_cut_out_cell_is_scaled_and_turned_with_its_pixels(scale, angle):
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    field = smear([0, 1], radius=14)
    sticker = cut_sticker(read(field), 1, np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]]), 1.0)
    assert sticker is not None
    assert sticker.cell is field.cells[1]
    assert sticker.mask.sum() == pytest.approx(disc(80, 80, 14).sum() * scale**2, rel=0.08)
    dark = sticker.pixels[..., 1] < 132
    assert (dark ^ sticker.mask).sum() <= 0.03 * sticker.mask.sum() + 4
    assert sticker.cover[sticker.mask].min() > 0.3
    edge = np.concatenate([sticker.cover[0], sticker.cover[-1], sticker.cover[:, 0], sticker.cover[:, -1]])
    assert not edge.any(), "the soft edge is cut off"


def test_a_cell_that_shrinks_to_a_speck_is_not_pasted():
    assert cut_sticker(read(smear([0])), 0, np.diag([0.1, 0.1, 1.0]), 1.0) is None


def stream(augment: Augment, seed: int, max_cells: int = 8, count: int = 4):
    fields = [smear([0, 1]), smear([2], others=[3]), smear([], others=[0])]
    fields = [replace(field, name=f"{number}.png") for number, field in enumerate(fields)]
    batches = open_batches(source_of(fields), config_of(CANVAS, 3, max_cells, **vars(augment)), seed)
    try:
        return [next(batches) for _ in range(count)]
    finally:
        batches.close()


def test_batches_with_pasted_cells_are_those_of_their_seed():
    augment = replace(PASTE, scale=(0.7, 1.3), turn=180.0)
    first, again, other = (stream(augment, seed) for seed in (3, 3, 4))
    for one, same in zip(first, again, strict=True):
        for array, expected in zip(one, same, strict=True):
            np.testing.assert_array_equal(array, expected)
    assert not all(np.array_equal(one.image, another.image) for one, another in zip(first, other, strict=True))
    assert sum(batch.valid.sum() for batch in first) > 4 * 3 + 8
    for batch in first:
        areas = batch.masks.sum(axis=(2, 3))
        assert (areas[batch.valid & batch.outlined] > 0).all()


def test_no_more_cells_are_pasted_than_there_are_places():
    many = replace(PASTE, paste=CopyPaste(50, 0.5))
    counts = [batch.valid.sum(axis=1) for batch in stream(many, 0, max_cells=4, count=8)]
    assert np.max(counts) == 4


def test_without_pasting_a_stream_draws_what_it_drew_before():
    plain = stream(Augment(rotate=True, hue=5.0), 1)
    none = stream(Augment(rotate=True, hue=5.0, paste=CopyPaste(0, 0.9)), 1)
    for one, same in zip(plain, none, strict=True):
        np.testing.assert_array_equal(one.image, same.image)
