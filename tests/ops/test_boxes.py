"""Boxes: overlap against COCO's, coding against torchvision's and against itself."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from tests.ops.reference import case
from wbcjax.ops import boxes

iou, clip = jax.jit(boxes.iou), jax.jit(boxes.clip)
encode, decode = (jax.jit(f, static_argnums=2) for f in (boxes.encode, boxes.decode))

WEIGHTS = [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)]


# Boxes of 1 to 500 pixels a side, up to 500 pixels outside any image, in quarters of a pixel.
one_box = st.tuples(st.integers(-2000, 4000), st.integers(-2000, 4000), st.integers(4, 2000), st.integers(4, 2000))
some_boxes = st.lists(one_box, min_size=6, max_size=6).map(
    lambda rows: np.array([(x, y, x + w, y + h) for x, y, w, h in rows], np.float32) / 4
)


@given(some_boxes, some_boxes)
def test_overlap_equals_that_of_coco(a, b):
    def corner_and_size(boxes) -> Any:  # pycocotools' own types know no array of boxes
        return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).astype(np.float64)

    expected = coco.iou(corner_and_size(a), corner_and_size(b), [0] * len(b))
    np.testing.assert_allclose(iou(a, b), expected, atol=1e-4)


@given(some_boxes)
def test_a_box_overlaps_itself_wholly(a):
    np.testing.assert_allclose(np.diag(iou(a, a)), 1.0, rtol=1e-6)


def test_boxes_without_area_overlap_nothing_not_even_each_other():
    a = jnp.array([[5.0, 5.0, 5.0, 5.0], [5.0, 2.0, 5.0, 9.0], [0.0, 0.0, 10.0, 10.0]])
    assert iou(a, a).tolist() == [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]


def test_boxes_that_touch_do_not_overlap_since_the_far_edge_is_exclusive():
    assert iou(jnp.array([[0.0, 0.0, 4.0, 4.0]]), jnp.array([[4.0, 0.0, 8.0, 4.0]])) == 0.0


@pytest.mark.parametrize("weights", WEIGHTS)
@given(some_boxes, some_boxes)
def test_decoding_undoes_encoding(weights, a, references):
    again = decode(encode(a, references, weights), references, weights)
    # Off by rounding only, unless the box is more than 1000 / 16 times as large as its reference.
    grown = (a[:, 2:] - a[:, :2]) > 62.4 * (references[:, 2:] - references[:, :2])
    np.testing.assert_allclose(again[~grown.any(1)], a[~grown.any(1)], atol=1e-2)


@pytest.mark.parametrize("weights", WEIGHTS)
@given(some_boxes)
def test_no_move_keeps_the_box(weights, a):
    np.testing.assert_allclose(decode(jnp.zeros_like(a), a, weights), a, atol=1e-3)


def test_deltas_equal_torchvision():
    c = case("coding")
    deltas = encode(jnp.asarray(c["boxes"]), jnp.asarray(c["references"]), WEIGHTS[1])
    np.testing.assert_allclose(deltas, c["encoded"], rtol=1e-5, atol=1e-4)


def test_moved_boxes_equal_torchvision_where_the_largest_growth_is_cut_off():
    c = case("coding")
    assert (c["deltas"][:, 2:] / 5.0 > boxes.MAX_LOG_SCALE).any()
    moved = decode(jnp.asarray(c["deltas"]), jnp.asarray(c["references"]), WEIGHTS[1])
    np.testing.assert_allclose(moved, c["decoded"], rtol=1e-5, atol=1e-3)


def test_padding_boxes_get_finite_deltas():
    nothing = jnp.zeros((1, 4))
    something = jnp.array([[1.0, 2.0, 5.0, 9.0]])
    for a, b in ((nothing, nothing), (nothing, something), (something, nothing)):
        assert jnp.isfinite(encode(a, b, WEIGHTS[1])).all()


@given(some_boxes)
def test_clipped_boxes_lie_in_the_field_and_lose_only_what_lay_outside(a):
    clipped = np.asarray(clip(a, jnp.array([100.0, 200.0])))  # height, width
    expected = [[min(max(v, 0.0), limit) for v, limit in zip(box, (200, 100, 200, 100), strict=True)] for box in a]
    np.testing.assert_array_equal(clipped, np.array(expected, np.float32))
