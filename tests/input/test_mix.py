"""Mixed crops: the target has the shares of the pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wbcjax.input.mix import Mix, mix_crops

BLACK, WHITE = np.zeros((20, 30, 3), np.uint8), np.full((20, 30, 3), 255, np.uint8)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 5))
def test_mixup_blends_every_pixel_by_the_share_told(seed, parameter):
    mixed, share = mix_crops(WHITE, BLACK, Mix(mixup=parameter), np.random.default_rng(seed))
    assert 0 <= share <= 1
    assert np.abs(mixed - 255 * share).max() <= 1


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 5))
def test_cutmix_puts_one_rectangle_in_and_counts_its_pixels(seed, parameter):
    mixed, share = mix_crops(WHITE, BLACK, Mix(cutmix=parameter), np.random.default_rng(seed))
    cut = mixed[..., 0] == 0
    assert share == pytest.approx(1 - cut.mean())
    rows, columns = cut.any(axis=1), cut.any(axis=0)
    np.testing.assert_array_equal(cut, rows[:, None] & columns)
    assert np.abs(np.diff(np.flatnonzero(rows))).max(initial=1) == 1
    assert np.abs(np.diff(np.flatnonzero(columns))).max(initial=1) == 1


def test_both_ways_are_taken_by_turns():
    rng = np.random.default_rng(0)
    blended = [set(np.unique(mix_crops(WHITE, BLACK, Mix(1.0, 1.0), rng)[0])) - {0, 255} != set() for _ in range(200)]
    assert 60 < sum(blended) < 140


def test_shares_follow_beta():
    rng = np.random.default_rng(0)
    shares = np.array([mix_crops(WHITE, BLACK, Mix(mixup=0.3), rng)[1] for _ in range(3000)])
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / (4 * (2 * 0.3 + 1)), abs=0.01)  # of Beta(a, a)


@pytest.mark.parametrize("wrong", [{"mixup": -0.1}, {"cutmix": float("nan")}, {"mixup": float("inf")}])
def test_a_parameter_that_beta_does_not_know_is_refused(wrong):
    with pytest.raises(ValueError, match=rf"mix\.{next(iter(wrong))} is .*above 0"):
        Mix(**wrong)
