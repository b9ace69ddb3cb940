"""The maps from field to canvas: exact where they can be, and the same for image, masks and boxes."""

import colorsys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from tests.input.painted import boxed_field, on_canvas, open_batches, painted_field, source_of
from tests.input.painted import settings as config_of
from wbcjax.batch import Batch
from wbcjax.input.appearance import random_colour
from wbcjax.input.augment import Augment, random_matrix
from wbcjax.input.draw import fit
from wbcjax.input.warp import Warp, draw
from wbcjax.smear.field import Cell, SmearField, text_rle

LUMA = np.array([0.299, 0.587, 0.114])  # of Rec. 601, as in NTSC


def one_batch(field, canvas, seed=0, **augment) -> Batch:
    batches = open_batches(source_of([field]), config_of(canvas, batch_size=1, **augment), seed=seed)
    batch = next(batches)
    batches.close()
    return batch


def dihedral(image: np.ndarray) -> list[np.ndarray]:
    """The eight turns and mirror images."""
    return [np.rot90(side, k) for side in (image, image[:, ::-1]) for k in range(4)]


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**20),
    size=st.tuples(st.integers(12, 90), st.integers(12, 90)),
    canvas=st.sampled_from([(64, 64), (64, 128), (128, 64)]),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans()),
    scale=st.sampled_from([(1.0, 1.0), (0.2, 0.5), (0.5, 1.0), (1.0, 2.5)]),
)
def test_masks_boxes_and_image_stay_aligned_through_every_augmentation(seed, size, canvas, flips, scale):
    field = painted_field(np.random.default_rng(seed), *size)
    names = ("flip_horizontal", "flip_vertical", "rotate", "shift")
    batch = one_batch(field, canvas, seed, scale=scale, **dict(zip(names, flips, strict=True)))

    # Grey levels that the edge of a mask may differ by: when shrunk, mask and image are averaged on grids of
    # their own, and a few pixels differ by all.
    margin = 16 if scale[0] * min(canvas[0] / size[0], canvas[1] / size[1]) >= 0.6 else 100
    image, masks, valid = batch.image[0], on_canvas(batch)[0], batch.valid[0]
    for k in np.flatnonzero(valid):
        channel = image[..., batch.labels[0, k] - 1].astype(int)
        clear = abs(channel - 127.5) > margin
        differ = np.count_nonzero(masks[k][clear] != (channel[clear] > 127))
        assert differ <= (0 if margin == 16 else 4)
        rows, columns = np.nonzero(masks[k])
        tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_array_equal(batch.boxes[0, k], tight)
    height, width = batch.size[0]
    beyond = image.copy()
    beyond[: int(np.ceil(height)), : int(np.ceil(width))] = 0
    assert not beyond.any(), "the image reaches beyond its size"
    for array in (batch.boxes, batch.labels, batch.crowd, batch.masks, batch.corners):
        assert not array[0][~valid].any(), "padding is not zero"


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**20),
    size=st.tuples(st.integers(12, 90), st.integers(12, 90)),
    canvas=st.sampled_from([(64, 64), (64, 128), (128, 64)]),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans()),
    scale=st.sampled_from([(1.0, 1.0), (0.2, 0.5), (0.5, 1.0), (1.0, 2.5)]),
)
def test_boxes_without_outlines_frame_what_was_painted_in_them_through_every_augmentation(
    seed, size, canvas, flips, scale
):
    field = boxed_field(np.random.default_rng(seed), *size)
    names = ("flip_horizontal", "flip_vertical", "rotate", "shift")
    batch = one_batch(field, canvas, seed, scale=scale, **dict(zip(names, flips, strict=True)))

    fitted = min(canvas[0] / size[0], canvas[1] / size[1])
    # Pixels whose centres lie in the box are painted; when shrunk, areas are averaged on a grid of their own.
    off = 0.501 if scale[0] * fitted >= 0.6 else 1.5
    valid = batch.valid[0]
    seen = {int(label): k for k, label in enumerate(batch.labels[0]) if valid[k]}
    for cell in field.cells:
        rows, columns = np.nonzero(batch.image[0, ..., cell.label - 1] > 127)
        if cell.label in seen:
            x1, y1, x2, y2 = box = batch.boxes[0, seen[cell.label]]
            assert x2 - x1 >= 1
            assert y2 - y1 >= 1
            assert (x2 - x1) * (y2 - y1) >= 16 - 1e-3
            np.testing.assert_allclose(
                box, [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], rtol=0, atol=off
            )
        else:
            assert cell.box is not None
            whole = (cell.box[2] - cell.box[0]) * (cell.box[3] - cell.box[1]) * (fitted * scale[1]) ** 2
            assert len(rows) <= max(16, whole / 4) + sum(batch.image.shape[1:3]), "a cell that shows was dropped"
    for array in (batch.boxes, batch.labels):
        assert not array[0][~valid].any(), "padding is not zero"
    assert not batch.outlined.any()
    assert not batch.masks.any()


def test_boxes_between_pixels_are_flipped_and_turned_as_they_are():
    box = (10.25, 20.5, 40.75, 50.0)
    field = SmearField("a.png", 64, 64, (Cell(1, box=box),), pixels=np.zeros((64, 64, 3), np.uint8))
    flags = {"flip_horizontal": True, "flip_vertical": True, "rotate": True}
    found = {tuple(one_batch(field, (64, 64), seed, **flags).boxes[0, 0].tolist()) for seed in range(60)}
    x, y = (10.25, 40.75), (20.5, 50.0)
    mirrored_x, mirrored_y = (64 - 40.75, 64 - 10.25), (14.0, 43.5)
    sides = [(a, b) for a in (x, mirrored_x) for b in (y, mirrored_y)]
    expected = {(a[0], b[0], a[1], b[1]) for a, b in sides} | {(b[0], a[0], b[1], a[1]) for a, b in sides}
    assert found == expected


def test_a_box_cut_at_the_canvas_is_ignored_when_too_little_is_left():
    field = SmearField("a.png", 64, 64, (Cell(1, box=(0.0, 30.0, 20.0, 50.0)),), pixels=np.zeros((64, 64, 3), np.uint8))
    shown = [one_batch(field, (64, 64), seed, scale=(2.0, 2.0), shift=True, min_visible=0.5) for seed in range(60)]
    assert sum(not batch.valid.any() for batch in shown) > 2  # wholly outside
    areas = {False: [], True: []}
    for batch in shown:
        if batch.valid[0, 0]:
            x1, y1, x2, y2 = batch.boxes[0, 0]
            assert 0 <= x1 < x2 <= 40
            assert 0 <= y1 < y2 <= 64
            areas[batch.crowd[0, 0]].append((x2 - x1) * (y2 - y1))
    assert len(areas[False]) > 5
    assert len(areas[True]) > 5
    assert max(areas[True]) < 0.5 * 40 * 40 <= min(areas[False])


@settings(max_examples=40)
@given(seed=st.integers(0, 2**20), shift=st.booleans())
def test_at_scale_one_a_flip_or_turn_moves_pixels_and_never_mixes_them(seed, shift):
    rng = np.random.default_rng(seed)
    field = painted_field(rng, 48, 48)
    field.image()[:] = rng.integers(0, 256, (48, 48, 3))
    augment = Augment(flip_horizontal=True, flip_vertical=True, rotate=True, shift=shift)
    matrix = random_matrix(augment, 48, 48, (48, 48), rng)
    drawn, place = draw(field.image(), Warp(matrix, (48, 48)))
    assert place == (0, 0, 48, 48)
    assert any(np.array_equal(drawn, turned) for turned in dihedral(field.image()))
    back, _ = draw(drawn, Warp(np.linalg.inv(matrix), (48, 48)))
    np.testing.assert_array_equal(back, field.image())


def test_all_eight_orientations_occur_and_only_those_asked_for():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    eight = [turned.tobytes() for turned in dihedral(image)]

    def seen(**augment) -> set[int]:
        rng = np.random.default_rng(1)
        matrices = [random_matrix(Augment(**augment), 16, 16, (16, 16), rng) for _ in range(80)]
        return {eight.index(draw(image, Warp(m, (16, 16)))[0].tobytes()) for m in matrices}

    assert seen(flip_horizontal=True, flip_vertical=True, rotate=True) == set(range(8))
    assert seen() == {0}
    assert seen(flip_horizontal=True) == {0, 4}
    assert seen(flip_vertical=True) == {0, 6}  # a half turn of the mirror image
    assert seen(rotate=True) == {0, 1, 2, 3}


@settings(max_examples=100)
@given(
    seed=st.integers(0, 2**20),
    size=st.tuples(st.integers(5, 200), st.integers(5, 200)),
    scale=st.sampled_from([(0.3, 0.9), (1.0, 1.0), (1.1, 3.0)]),
    shift=st.booleans(),
)
def test_a_small_field_lies_whole_a_large_one_covers(seed, size, scale, shift):
    """A smaller field lies whole on the canvas and a larger one covers it."""
    canvas = (64, 128)
    augment = Augment(flip_horizontal=True, flip_vertical=True, rotate=True, scale=scale, shift=shift)
    matrix = random_matrix(augment, size[0], size[1], canvas, np.random.default_rng(seed))
    corners = matrix @ np.array([[0, size[1]], [0, size[0]], [1, 1]])
    for axis, limit in ((0, canvas[1]), (1, canvas[0])):
        low, high = sorted(corners[axis])
        if high - low <= limit:
            assert low == pytest.approx(0, abs=1e-9)
        else:
            assert low <= 1e-9
            assert high >= limit - 1e-9


def test_shift_reaches_both_ends_of_a_larger_field():
    rng = np.random.default_rng(0)
    starts = [random_matrix(Augment(scale=(1.5, 1.5), shift=True), 8, 8, (8, 8), rng)[0, 2] for _ in range(200)]
    assert set(starts) == {0, -1, -2, -3, -4}


def test_shrinking_averages_areas_instead_of_skipping_pixels():
    image = np.random.default_rng(0).integers(0, 256, (128, 256, 3), np.uint8)
    drawn, scale = fit(image, (32, 64))
    assert scale == 0.25
    means = image.reshape(32, 4, 64, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(drawn, means, atol=0.5001)


def test_enlarging_interpolates_between_pixel_centres():
    line = np.array([10, 50, 90, 250], np.uint8)
    image = np.repeat(np.repeat(line[None, :, None], 4, 0), 3, 2)  # (4, 4, 3)
    drawn, scale = fit(image, (8, 64))
    assert scale == 2
    # Canvas pixel i has its centre at (i + 0.5) / 2 in the field, whose own centres are at 0.5, 1.5, ...
    expected = np.interp((np.arange(8) + 0.5) / 2, np.arange(4) + 0.5, line)
    np.testing.assert_allclose(drawn[3, :8, 1], expected, atol=0.51)
    assert not drawn[:, 8:].any()


@given(size=st.tuples(st.integers(1, 300), st.integers(1, 300)))
def test_fit_shows_the_whole_image_at_one_scale_and_nothing_beside_it(size):
    drawn, scale = fit(np.full((*size, 3), 200, np.uint8), (64, 128))
    assert scale == min(64 / size[0], 128 / size[1])
    # A canvas pixel shows the image when its centre lies on it.
    rows = (np.arange(64) + 0.5 < size[0] * scale)[:, None]
    columns = np.arange(128) + 0.5 < size[1] * scale
    np.testing.assert_array_equal(drawn, np.where(rows & columns, 200, 0)[..., None].repeat(3, 2))


def test_a_cell_cut_below_the_least_share_is_ignored_and_no_background():
    mask = np.zeros((64, 64), np.uint8)
    mask[30:50, 0:20] = 1
    cell = Cell(label=1, rle=text_rle(coco_mask.encode(np.asfortranarray(mask))))
    field = SmearField("a.png", 64, 64, (cell,), pixels=np.zeros((64, 64, 3), np.uint8))
    areas = {False: [], True: []}
    for seed in range(60):
        batch = one_batch(field, (64, 64), seed, scale=(2.0, 2.0), shift=True, min_visible=0.5)
        visible = int(batch.masks.sum())
        assert batch.valid[0, 0] == (visible > 0)
        if visible:
            areas[batch.crowd[0, 0]].append(visible)
    assert len(areas[False]) > 5
    assert len(areas[True]) > 5
    assert max(areas[True]) < 0.5 * 4 * 400 <= min(areas[False])


def test_a_whole_cell_that_drawing_shrinks_is_not_taken_for_cut():
    rows, columns = np.indices((64, 64)) + 0.5
    disk = (np.hypot(rows - 30.2, columns - 31.4) < 7).astype(np.uint8)
    outlined = Cell(label=1, rle=text_rle(coco_mask.encode(np.asfortranarray(disk))))
    field = SmearField(
        "a.png", 64, 64, (outlined, Cell(label=1, box=(20.3, 21.4, 40.1, 39.7))), pixels=np.zeros((64, 64, 3), np.uint8)
    )
    batches = [one_batch(field, (64, 64), seed, scale=(0.5, 1.0), min_visible=1.0) for seed in range(30)]
    shares = [batch.masks[0, 0].sum() / (disk.sum() * (batch.size[0, 0] / 64) ** 2) for batch in batches]
    assert min(shares) < 0.97  # of its area, to whole pixels: no crop has taken it
    assert not any(batch.crowd.any() for batch in batches)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**20),
    size=st.tuples(st.integers(8, 90), st.integers(8, 90)),
    scale=st.sampled_from([(0.5, 1.5), (0.3, 0.9)]),
)
def test_every_pixel_that_counts_as_field_was_drawn(seed, size, scale):
    white = np.full((*size, 3), 255, np.uint8)
    field = SmearField("a.png", size[0], size[1], (), pixels=white)
    batch = one_batch(field, (64, 96), seed, scale=scale, rotate=True, flip_horizontal=True, shift=True)
    rows, columns = np.arange(64), np.arange(96)
    inside = (rows < batch.size[0, 0])[:, None] & (columns < batch.size[0, 1])  # as MaskRCNN.features has it
    np.testing.assert_array_equal(batch.image[0], np.where(inside, 255, 0)[..., None].repeat(3, 2))


def test_without_colour_change_the_pixels_stay_as_they_are():
    matrix = random_colour(Augment(), 100.0, np.random.default_rng(0))
    np.testing.assert_allclose(matrix, np.eye(3, 4), atol=1e-12)


@given(seed=st.integers(0, 2**20))
def test_brightness_scales_and_contrast_stretches_about_the_mean(seed):
    bright = random_colour(Augment(brightness=0.4), 90.0, np.random.default_rng(seed))
    assert 0.6 <= bright[0, 0] <= 1.4
    np.testing.assert_allclose(bright, bright[0, 0] * np.eye(3, 4), atol=1e-9)

    contrast = random_colour(Augment(contrast=0.4), 90.0, np.random.default_rng(seed))
    assert 0.6 <= contrast[0, 0] <= 1.4
    np.testing.assert_allclose(contrast[:, :3], contrast[0, 0] * np.eye(3), atol=1e-9)
    np.testing.assert_allclose(contrast @ [90, 90, 90, 1], 90)


@given(seed=st.integers(0, 2**20), colour=st.tuples(*[st.floats(0.05, 0.95)] * 3))
def test_saturation_and_hue_leave_greys_and_luma_alone(seed, colour):
    matrix = random_colour(Augment(saturation=0.5, hue=30), 0.0, np.random.default_rng(seed))
    np.testing.assert_allclose(matrix @ [80, 80, 80, 1], 80, atol=0.02)
    assert LUMA @ matrix @ [*colour, 1] == pytest.approx(LUMA @ colour, abs=1e-3)


@given(seed=st.integers(0, 2**20), colour=st.tuples(*[st.floats(0.1, 0.9)] * 3))
def test_hue_turns_the_chroma_within_its_range_and_saturation_scales_it(seed, colour):
    chroma = complex(*colorsys.rgb_to_yiq(*colour)[1:])
    if abs(chroma) < 0.05:
        return
    turned = random_colour(Augment(hue=30), 0.0, np.random.default_rng(seed)) @ [*colour, 1]
    turn = complex(*colorsys.rgb_to_yiq(*turned)[1:]) / chroma
    assert abs(turn) == pytest.approx(1, abs=0.05)  # colorsys rounds the constants of YIQ
    assert abs(np.degrees(np.angle(turn))) <= 30 + 2
    scaled = random_colour(Augment(saturation=0.5), 0.0, np.random.default_rng(seed)) @ [*colour, 1]
    stretch = complex(*colorsys.rgb_to_yiq(*scaled)[1:]) / chroma
    assert 0.5 - 0.05 <= stretch.real <= 1.5 + 0.05
    assert abs(stretch.imag) < 0.05


def test_colour_changes_stay_on_the_field_and_off_the_masks():
    rng = np.random.default_rng(3)
    field = painted_field(rng, 32, 32)
    field.image()[:] = rng.integers(60, 200, (32, 32, 3))
    colours = {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 20.0}
    plain, changed = one_batch(field, (64, 128), 5), one_batch(field, (64, 128), 5, **colours)
    assert not np.array_equal(plain.image, changed.image)
    assert not changed.image[0, :, 64:].any(), "colour leaks beside the field"
    np.testing.assert_array_equal(plain.masks, changed.masks)


@pytest.mark.parametrize(
    ("name", "value"),
    [("scale", (0.0, 1.0)), ("scale", (2.0, 1.0)), ("brightness", -0.1), ("hue", 181.0), ("min_visible", 1.5)],
)
def test_an_impossible_range_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"augment.{name} is"):
        Augment(**{name: value})
