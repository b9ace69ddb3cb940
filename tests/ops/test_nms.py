"""Greedy suppression against the plain loop over boxes, best first."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.reference import case
from wbcjax.ops.nms import keep_in_rounds, nms

THRESHOLDS = [0.3, 0.5, 0.7]

compiled = jax.jit(nms, static_argnums=(3, 4, 5))
rounds_of = jax.jit(keep_in_rounds, static_argnums=3)


def greedy(boxes, scores, groups, threshold):
    """Indices of the boxes kept, by the definition, in exact arithmetic where coordinates are whole numbers."""
    boxes, groups = np.asarray(boxes, np.float64), np.asarray(groups)
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    inter = np.prod(np.maximum(high - low, 0.0), axis=2)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    overlap_more = 10 * inter > round(10 * threshold) * (area[:, None] + area[None, :] - inter)
    rivals = overlap_more & (groups[:, None] == groups[None, :])
    kept = []
    for i in np.argsort(-np.asarray(scores), kind="stable").tolist():
        if scores[i] > -np.inf and not rivals[i, kept].any():
            kept.append(i)
    return kept


def kept_by_nms(boxes, scores, groups, threshold, max_kept=None):
    """What both forms keep."""
    boxes, scores = jnp.asarray(boxes, jnp.float32), jnp.asarray(scores, jnp.float32)
    arguments = boxes, scores, jnp.asarray(groups, jnp.int32), threshold, max_kept or len(boxes)
    index, valid = jax.device_get(compiled(*arguments, False))
    for_cpus = jax.device_get(compiled(*arguments, True))
    assert np.array_equal(valid, np.sort(valid)[::-1]), "the real ones come first"
    np.testing.assert_array_equal(for_cpus, (index, valid))
    return index[valid].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("seed", range(3))
def test_heaps_of_random_boxes_leave_what_the_plain_loop_leaves(threshold, seed):
    rng = np.random.default_rng(seed)
    heaps = rng.integers(0, 300, (25, 2)).repeat(12, axis=0)
    corner = heaps + rng.integers(-6, 6, heaps.shape)
    boxes = np.concatenate([corner, corner + rng.integers(40, 60, corner.shape)], axis=1)
    scores, groups = rng.permutation(300), rng.integers(0, 3, 300)
    expected = greedy(boxes, scores, groups, threshold)
    assert 30 < len(expected) < 250
    assert kept_by_nms(boxes, scores, groups, threshold) == expected


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_boxes_kept_equal_torchvision(threshold):
    c = case("nms")
    assert kept_by_nms(c["boxes"], c["scores"], c["groups"], threshold) == c[f"kept_{threshold}"].tolist()


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("order", ["falling", "rising", "shuffled"])
def test_a_chain_in_which_each_box_overlaps_only_its_neighbours(threshold, order):
    # Neighbours overlap by more than the threshold, boxes two apart by less: what a dropped box overlaps must stay.
    step = {0.3: 40, 0.5: 25, 0.7: 12}[threshold]
    boxes = chain(301, step)
    rank = {"falling": -np.arange(301), "rising": np.arange(301), "shuffled": np.random.default_rng(7).permutation(301)}
    groups = np.zeros(301, int)
    kept = kept_by_nms(boxes, rank[order], groups, threshold)
    assert kept == greedy(boxes, rank[order], groups, threshold)
    if order != "shuffled":
        assert sorted(kept) == list(range(0, 301, 2))


def chain(count, step):
    """Boxes 100 wide, each `step` to the right of the one before, best first."""
    left = step * np.arange(count)
    return np.stack([left, np.zeros_like(left), left + 100, np.full_like(left, 100)], axis=1).astype(np.float32)


@pytest.mark.parametrize("count", [1, 2, 301])
def test_a_chain_takes_a_round_for_each_box(count):
    kept, rounds = rounds_of(chain(count, 25), np.zeros(count, np.int32), np.ones(count, bool), 0.5)
    assert np.flatnonzero(kept).tolist() == list(range(0, count, 2))
    assert rounds == count


@pytest.mark.slow
@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.sampled_from([0, 5, 12, 25, 40, 100]), st.integers(0, 1)), min_size=24, max_size=24),
    st.permutations(range(24)),
    st.sampled_from(THRESHOLDS),
)
def test_broken_and_branching_chains_leave_what_the_plain_loop_leaves(links, scores, threshold):
    steps, groups = np.array(links).T
    boxes = chain(24, 0) + np.cumsum(steps)[:, None] * [1, 0, 1, 0]
    assert kept_by_nms(boxes, scores, groups, threshold) == greedy(boxes, scores, groups, threshold)


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 5)),
        min_size=12,
        max_size=12,
    ),
    st.sampled_from(THRESHOLDS),
)
def test_boxes_of_equal_score_equal_place_and_no_area_leave_what_the_plain_loop_leaves(rows, threshold):
    x, y, w, h, score = np.array(rows).T
    boxes, groups = np.stack([x, y, x + w, y + h], axis=1), np.arange(12) % 2
    assert kept_by_nms(boxes, score, groups, threshold) == greedy(boxes, score, groups, threshold)


def test_groups_do_not_suppress_each_other():
    boxes = [[0, 0, 10, 10]] * 3
    assert kept_by_nms(boxes, [1, 3, 2], [0, 1, 1], 0.5) == [1, 0]


def test_boxes_of_score_minus_infinity_are_neither_kept_nor_suppress():
    assert kept_by_nms([[0, 0, 10, 10]] * 2, [-np.inf, -5], [0, 0], 0.5) == [1]
    assert kept_by_nms([[0, 0, 10, 10]] * 2, [-np.inf, -np.inf], [0, 0], 0.5) == []


@pytest.mark.parametrize("max_kept", [1, 3, 10, 40])
def test_no_more_than_the_most_wanted_are_kept_and_they_are_the_best(max_kept):
    rng = np.random.default_rng(3)
    corner = rng.integers(0, 100, (40, 2))
    boxes = np.concatenate([corner, corner + 30], axis=1)
    scores, groups = rng.permutation(40), np.zeros(40, int)
    expected = greedy(boxes, scores, groups, 0.5)
    assert kept_by_nms(boxes, scores, groups, 0.5, max_kept) == expected[:max_kept]


@pytest.mark.parametrize("cpu", [True, False])
def test_images_of_a_batch_do_not_change_each_other(cpu):
    rng = np.random.default_rng(4)
    corner = rng.integers(0, 100, (5, 40, 2)).astype(np.float32)
    boxes = np.concatenate([corner, corner + 30], axis=2)
    scores, groups = rng.random((5, 40), np.float32), np.zeros((5, 40), np.int32)
    scores[2, 10:] = -np.inf  # this image's loop ends before the others'
    batched = jax.jit(jax.vmap(functools.partial(nms, iou_threshold=0.5, max_kept=20, cpu=cpu)))
    index, valid = batched(boxes, scores, groups)
    for i in range(5):
        kept = np.asarray(index[i])[np.asarray(valid[i])].tolist()
        assert kept == greedy(boxes[i], scores[i], groups[i], 0.5)[:20]
