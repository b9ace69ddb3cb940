"""Matching against torchvision's Matcher, crowds and padding, and the counts and chances of the sample."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.reference import case
from wbcjax.ops.assign import match, max_positives, sample

# Candidates against one cell of 10 x 10 at the origin, by what they overlap of it.
CELL = [0.0, 0.0, 10.0, 10.0]
ALL, MOST, HALF, LITTLE, NOTHING = [0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 5], [0, 0, 10, 1], [50, 50, 60, 60]

sample_jit = jax.jit(sample, static_argnums=(3, 4, 5))


def matched(candidates, boxes, valid=None, crowd=None, positive_iou=0.7, negative_iou=0.3, keep_best=True):
    boxes = jnp.asarray(boxes, jnp.float32).reshape(-1, 4)
    valid = jnp.ones(len(boxes), bool) if valid is None else jnp.asarray(valid)
    crowd = jnp.zeros(len(boxes), bool) if crowd is None else jnp.asarray(crowd)
    candidates = jnp.asarray(candidates, jnp.float32)
    return jax.tree.map(np.asarray, match(candidates, boxes, valid, crowd, positive_iou, negative_iou, keep_best))


@pytest.mark.parametrize(("name", "limits"), [("keep_best", (0.7, 0.3, True)), ("plain", (0.5, 0.5, False))])
def test_candidates_are_matched_as_by_torchvision(name, limits):
    c = case("match")
    expected = c[name]  # the cell, or -1 for a negative, -2 for neither
    found = matched(c["candidates"], c["boxes"], None, None, *limits)
    np.testing.assert_array_equal(found.positive, expected >= 0)
    np.testing.assert_array_equal(found.negative, expected == -1)
    np.testing.assert_array_equal(found.cell[found.positive], expected[expected >= 0])


def test_the_thresholds_themselves_are_positive_and_not_negative():
    found = matched([HALF, LITTLE], [CELL], positive_iou=0.5, negative_iou=0.1, keep_best=False)
    assert found.positive.tolist() == [True, False]
    assert found.negative.tolist() == [False, False]


def test_all_candidates_that_overlap_a_cell_most_are_kept_however_little_they_do():
    found = matched([LITTLE, [0, 9, 10, 10], [0, 0, 5, 1], NOTHING], [CELL])
    assert found.positive.tolist() == [True, True, False, False]
    assert found.negative.tolist() == [False, False, True, True]


def test_a_low_quality_match_goes_to_the_cell_that_its_candidate_overlaps_most():
    # The candidate is the best of both cells, and overlaps the second more.
    found = matched([[0, 0, 10, 4]], [[0, 0, 10, 20], [0, 0, 10, 10]])
    assert found.positive.tolist() == [True]
    assert found.cell.tolist() == [1]


def test_a_cell_that_no_candidate_touches_makes_none_positive():
    found = matched([NOTHING, NOTHING], [CELL])
    assert not found.positive.any()
    assert found.negative.all()


def test_in_an_empty_field_every_candidate_is_negative():
    found = matched([ALL, NOTHING], [CELL], valid=[False])
    assert not found.positive.any()
    assert found.negative.all()


def test_candidates_on_a_crowd_are_neither_positive_nor_negative():
    found = matched([ALL, MOST, LITTLE, NOTHING], [CELL], crowd=[True])
    assert not found.positive.any()
    assert found.negative.tolist() == [False, False, False, True]


@pytest.mark.parametrize("side", [4, 16, 28, 64, 512])
def test_a_candidate_inside_a_crowd_is_no_negative_however_small(side):
    inside, beside = [400, 400, 400 + side, 400 + side], [1000, 400, 1000 + side, 400 + side]
    found = matched([inside, beside], [[0, 0, 900, 900]], crowd=[True])
    assert found.negative.tolist() == [False, True]


def test_a_large_candidate_that_a_crowd_hardly_touches_stays_negative():
    # 8 of 10,000 square pixels lie in the crowd, then 12.
    large = [0, 0, 100, 100]
    assert matched([large], [[98, 96, 120, 120]], crowd=[True]).negative.tolist() == [True]
    assert matched([large], [[97, 96, 120, 120]], crowd=[True]).negative.tolist() == [False]


def test_a_crowd_does_not_hide_the_cells_beside_it():
    crowd_beside = [5.0, 0.0, 30.0, 10.0]
    found = matched([ALL, [20, 0, 30, 10], NOTHING], [crowd_beside, CELL], crowd=[True, False])
    assert found.positive.tolist() == [True, False, False]
    assert found.cell[0] == 1
    assert found.negative.tolist() == [False, False, True]


def test_padding_that_looks_like_a_cell_or_a_crowd_changes_nothing():
    c = case("match")
    padding = c["candidates"][:4]
    alone = matched(c["candidates"], c["boxes"])
    boxes, valid = np.concatenate([padding, c["boxes"]]), [False] * 4 + [True] * len(c["boxes"])
    padded = matched(c["candidates"], boxes, valid, [True] * 2 + [False] * (len(boxes) - 2))
    np.testing.assert_array_equal(padded.positive, alone.positive)
    np.testing.assert_array_equal(padded.negative, alone.negative)
    np.testing.assert_array_equal(padded.cell[alone.positive] - 4, alone.cell[alone.positive])


kinds = st.lists(st.sampled_from(["positive", "negative", "neither"]), min_size=24, max_size=24).map(np.array)
sizes = st.sampled_from([(8, 0.25), (8, 0.5), (16, 0.33), (24, 1.0), (40, 0.5), (4, 0.0)])


@given(kinds, sizes, st.integers(0, 99))
def test_a_sample_has_the_promised_counts_positives_first_and_no_candidate_twice(kinds, size, seed):
    count, fraction = size
    positive, negative = kinds == "positive", kinds == "negative"
    key = jax.random.key(seed)
    index, is_positive, real = map(np.asarray, sample_jit(key, positive, negative, count, fraction, False))
    assert index.shape == is_positive.shape == real.shape == (count,)
    positives = min(positive.sum(), int(count * fraction))
    assert is_positive.tolist() == [True] * positives + [False] * (count - positives)
    assert real.sum() == min(positives + negative.sum(), count)
    assert positive[index[is_positive]].all()
    assert negative[index[real & ~is_positive]].all()
    assert len(set(index[real])) == real.sum()


@given(kinds, st.integers(0, 99))
def test_with_the_ratio_kept_negatives_are_as_many_as_the_positives_ask_for(kinds, seed):
    positive, negative = kinds == "positive", kinds == "negative"
    _, is_positive, real = map(np.asarray, sample_jit(jax.random.key(seed), positive, negative, 16, 0.25, True))
    positives = min(positive.sum(), 4)
    assert is_positive.sum() == positives
    assert real.sum() == positives + min(3 * positives, negative.sum())


def test_one_third_is_rounded_as_matterport_does():
    """The ratio of one third is cut as matterport cuts it for every number of positives."""
    numbers = np.arange(70)
    positive = np.arange(400) < numbers[:, None]
    draw = functools.partial(sample, count=200, positive_fraction=0.33, keep_ratio=True)
    _, is_positive, real = jax.vmap(lambda p: draw(jax.random.key(0), p, ~p))(jnp.asarray(positive))
    taken = np.minimum(numbers, 66)
    # DetectionTargetLayer in mrcnn/model.py
    negatives = (np.float32(1.0 / 0.33) * taken.astype(np.float32)).astype(int) - taken
    np.testing.assert_array_equal(is_positive.sum(axis=1), taken)
    np.testing.assert_array_equal((real & ~is_positive).sum(axis=1), negatives)


def test_every_candidate_has_the_same_chance():
    positive, negative = jnp.arange(30) < 10, jnp.arange(30) >= 10
    draw = functools.partial(sample, count=8, positive_fraction=0.5, keep_ratio=False)
    index, _, _ = jax.jit(jax.vmap(lambda key: draw(key, positive, negative)))(
        jax.random.split(jax.random.key(5), 4000)
    )
    times = np.bincount(np.ravel(index), minlength=30)
    # Binomial: 4 of 10 positives, 4 of 20 negatives; within five standard deviations.
    np.testing.assert_allclose(times[:10], 4000 * 0.4, atol=5 * np.sqrt(4000 * 0.4 * 0.6))
    np.testing.assert_allclose(times[10:], 4000 * 0.2, atol=5 * np.sqrt(4000 * 0.2 * 0.8))


def test_two_keys_choose_differently_and_one_key_alike():
    positive, negative = np.arange(200) < 100, np.arange(200) >= 100
    first, again, other = (sample_jit(jax.random.key(k), positive, negative, 32, 0.5, False)[0] for k in (0, 0, 1))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


def test_the_most_positives_are_rounded_down():
    assert max_positives(200, 0.33) == 66
