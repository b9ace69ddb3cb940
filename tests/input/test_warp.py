"""Turns by any angle and elastic deformations: one map for image, masks and boxes, resampled once."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.input.painted import on_canvas, open_batches, painted_field, source_of
from tests.input.painted import settings as config_of
from tests.input.test_augment import one_batch
from wbcjax.input.augment import FOLDS, Augment, Elastic, random_matrix, random_warp
from wbcjax.input.warp import Warp, draw_in, pixels_of_field, smooth_bend
from wbcjax.smear.field import Cell, SmearField

ELASTIC = st.sampled_from([Elastic(), Elastic(3.0, 16.0), Elastic(6.0, 32.0)])


def field_points(warp: Warp) -> np.ndarray:
    """What the centre of each canvas pixel shows, in the field's continuous coordinates, (h, w, 2)."""
    height, width = warp.canvas
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    shown = np.stack([x, y], axis=-1) if warp.bend is None else warp.bend.shown
    points = np.concatenate([shown + 0.5, np.ones((height, width, 1))], axis=-1)
    return (points @ np.linalg.inv(warp.matrix).T)[..., :2]


def bilinear(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The values of a grey image at points in continuous coordinates; its edge pixels extend outwards."""
    x, y = (points - 0.5).transpose(2, 0, 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    u, v = x - left, y - top
    rows = [np.clip(top + k, 0, image.shape[0] - 1) for k in (0, 1)]
    columns = [np.clip(left + k, 0, image.shape[1] - 1) for k in (0, 1)]
    (a, b), (c, d) = ([image[row, column].astype(float) for column in columns] for row in rows)
    return (a * (1 - u) + b * u) * (1 - v) + (c * (1 - u) + d * u) * v


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**20),
    size=st.tuples(st.integers(24, 90), st.integers(24, 90)),
    turn=st.sampled_from([10.0, 45.0, 180.0]),
    elastic=ELASTIC,
    scale=st.sampled_from([(1.0, 1.0), (0.7, 1.0), (0.5, 2.0), (1.0, 2.0)]),
)
def test_an_image_that_is_its_own_mask_stays_so_turned_and_bent(seed, size, turn, elastic, scale):
    field, canvas = painted_field(np.random.default_rng(seed), *size), (64, 96)
    flags = {"flip_horizontal": True, "flip_vertical": True, "rotate": True, "shift": True}
    batch = one_batch(field, canvas, seed, scale=scale, turn=turn, elastic=elastic, **flags)

    image, masks, valid = batch.image[0].astype(int), on_canvas(batch)[0], batch.valid[0]
    seen = np.zeros(3, bool)
    for k in np.flatnonzero(valid):
        painted = image[..., batch.labels[0, k] - 1] > 127
        seen[batch.labels[0, k] - 1] = True
        # Where the two differ they do by a pixel: on the outline
        near = [cv2.dilate(one.astype(np.uint8), np.ones((3, 3))) > 0 for one in (masks[k], painted)]
        assert not (painted & ~near[0]).any()
        assert not (masks[k].astype(bool) & ~near[1]).any()
        both, either = (masks[k] & painted).sum(), (masks[k] | painted).sum()
        assert both >= 0.97 * either - 6
        rows, columns = np.nonzero(masks[k])
        tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_array_equal(batch.boxes[0, k], tight)
    assert (image[..., ~seen] > 127).sum() <= 16, "a cell that shows was dropped"
    for array in (batch.boxes, batch.labels, batch.crowd, batch.masks, batch.corners):
        assert not array[0][~valid].any(), "padding is not zero"


@settings(max_examples=30)
@given(seed=st.integers(0, 2**20), turn=st.sampled_from([0.0, 180.0]), elastic=ELASTIC)
def test_pixels_are_those_of_the_inverse_map_in_numpy(seed, turn, elastic):
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(rng.integers(0, 256, (50, 70)).astype(np.float32), (0, 0), 2).astype(np.uint8)
    warp = random_warp(Augment(turn=turn, elastic=elastic, scale=(0.8, 1.5), shift=True), 50, 70, (64, 64), rng)
    drawn = draw_in((0, 0, 64, 64), image, warp)
    # OpenCV interpolates at 1/32 of a pixel
    slope = max(np.abs(np.diff(image.astype(int), axis=axis)).max() for axis in (0, 1))
    np.testing.assert_allclose(drawn, bilinear(image, field_points(warp)), atol=1 + slope / 16)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**20), turn=st.sampled_from([20.0, 180.0]), elastic=ELASTIC)
def test_canvas_pixels_whose_centres_are_off_the_field_are_black(seed, turn, elastic):
    white = np.full((40, 56, 3), 255, np.uint8)
    field = SmearField("a.png", 40, 56, (), pixels=white)
    augment = Augment(turn=turn, elastic=elastic, scale=(0.8, 1.5), shift=True)
    warp = random_warp(augment, 40, 56, (64, 64), np.random.default_rng(seed))
    x, y = field_points(warp).transpose(2, 0, 1)
    depth = np.minimum(np.minimum(x, 56 - x), np.minimum(y, 40 - y))  # inside the field, in its pixels
    found = pixels_of_field(40, 56, warp, (0, 0, 64, 64))
    clear = np.abs(depth) > 0.3
    np.testing.assert_array_equal(found[clear], depth[clear] > 0)

    batch = one_batch(field, (64, 64), seed, turn=turn, elastic=elastic, scale=(0.8, 1.5), shift=True)
    assert set(np.unique(batch.image)) <= {0, 255}
    height, width = batch.size[0].astype(int)
    assert not batch.image[0, height:].any()
    assert not batch.image[0, :, width:].any()


@given(seed=st.integers(0, 2**20), spacing=st.floats(8, 80))
def test_the_strongest_deformation_that_is_allowed_folds_nothing(seed, spacing):
    shown, reach = smooth_bend((64, 80), FOLDS * spacing, spacing, np.random.default_rng(seed))
    along_y, along_x = np.gradient(shown, axis=(0, 1))
    area = along_x[..., 0] * along_y[..., 1] - along_x[..., 1] * along_y[..., 0]
    assert area.min() > 0
    still = np.stack(np.meshgrid(np.arange(80), np.arange(64)), axis=-1)
    assert np.abs(shown - still).max() <= reach <= FOLDS * spacing


def test_a_deformation_is_smooth_and_moves_by_what_its_points_say():
    shown, _ = smooth_bend((256, 256), 10.0, 64.0, np.random.default_rng(0))
    moves = shown - np.stack(np.meshgrid(np.arange(256), np.arange(256)), axis=-1)
    assert 3 < np.abs(moves).max() <= 10
    assert np.abs(np.diff(moves[4:-4], n=2, axis=0)).max() < 4 * 4.2 * 10 / 64**2  # of points 40 at most, in steps of 4


def test_no_strength_at_all_is_the_identity_to_the_bit():
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    bent = Warp(np.eye(3), (48, 64), smooth_bend((48, 64), 0.0, 16.0, np.random.default_rng(1)))
    np.testing.assert_array_equal(draw_in((0, 0, 64, 48), image, bent), image)
    field = SmearField("a.png", 48, 64, (), pixels=image)
    np.testing.assert_array_equal(one_batch(field, (48, 64)).image[0], image)


def test_turns_reach_every_angle_and_no_other():
    rng = np.random.default_rng(0)
    matrices = [random_matrix(Augment(turn=30.0), 32, 32, (32, 32), rng) for _ in range(300)]
    angles = np.degrees([np.arctan2(matrix[1, 0], matrix[0, 0]) for matrix in matrices])
    assert -30 <= angles.min() < -28
    assert 28 < angles.max() <= 30
    assert np.histogram(angles, 6)[0].min() > 25


def test_a_crowd_region_moves_with_the_image_and_stays_ignored():
    field = painted_field(np.random.default_rng(4), 60, 60, cells=1)
    crowd = Cell(1, rle=field.cells[0].rle, crowd=True)
    field = SmearField("a.png", 60, 60, (crowd,), pixels=field.image())
    for seed in range(10):
        batch = one_batch(field, (64, 64), seed, turn=180.0, elastic=Elastic(4.0, 16.0), scale=(0.8, 1.2))
        rows, columns = np.nonzero(batch.image[0, ..., 0] > 127)
        assert batch.crowd[0, 0]
        assert not batch.outlined[0, 0]
        tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(batch.boxes[0, 0], tight, atol=1)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**20), elastic=ELASTIC)
def test_the_box_of_a_round_cell_frames_it_after_any_turn(seed, elastic):
    rng = np.random.default_rng(seed)
    a, b = (int(side) for side in rng.integers(8, 16, 2))
    image = cv2.ellipse(np.zeros((64, 64), np.uint8), (32, 32), (a, b), 0, 0, 360, 255, cv2.FILLED)
    cell = Cell(1, box=(32.0 - a, 32.0 - b, 33.0 + a, 33.0 + b))
    field = SmearField("a.png", 64, 64, (cell,), pixels=np.dstack([image] * 3))
    batch = one_batch(field, (64, 64), seed, turn=180.0, elastic=elastic)
    rows, columns = np.nonzero(batch.image[0, ..., 0] > 127)
    tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(batch.boxes[0, 0], tight, atol=1.5)


def test_cells_of_the_longest_diagonal_fit_their_windows():
    image = np.zeros((128, 128, 3), np.uint8)
    image[20:60, 30:70] = 255
    square = Cell(1, polygons=(np.array([[30, 20], [70, 20], [70, 60], [30, 60]], float),))
    field = SmearField("a.png", 128, 128, (square,), pixels=image)
    setup = config_of((128, 128), batch_size=1, turn=180.0, scale=(0.5, 2.0), elastic=Elastic(10.0, 24.0))
    batches = open_batches(source_of([field]), setup, seed=0)
    shown = [next(batches) for _ in range(60)]  # one that is too large for its window raises
    batches.close()
    assert max(batch.boxes[0, 0, 2] - batch.boxes[0, 0, 0] for batch in shown) > 95


def test_a_deformation_that_would_fold_is_refused_by_name():
    with pytest.raises(ValueError, match=r"elastic.strength is 9.0; give at most 0.48 of elastic.spacing, 16.0"):
        Elastic(9.0, 16.0)
