"""Comparisons of settings: against a plain bootstrap, and whether intervals and tests keep their word."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbcjax.evaluate.comparison import Draws, Scored, Training, difference, holm, score_of


def means(draws: Draws, items: tuple[str, ...], values: np.ndarray) -> np.ndarray:
    """The mean of a value of each item, in every resampling."""
    times = draws.of(items)
    total = times.sum(axis=1)
    return np.divide(times @ values, total, out=np.full(len(times), np.nan), where=total > 0)


def trained(draws: Draws, items: tuple[str, ...], values: np.ndarray, seed: int = 0, fold: int = 0) -> Training:
    return Training(seed, fold, items, means(draws, items, values))


def named(count: int) -> tuple[str, ...]:
    return tuple(f"{i:03}.png" for i in range(count))


def test_a_paired_difference_is_that_of_a_plain_bootstrap_over_the_same_fields():
    rng = np.random.default_rng(0)
    easy = rng.normal(0.7, 0.2, 40)
    one, other = easy + rng.normal(0.02, 0.05, 40), easy + rng.normal(0, 0.05, 40)
    draws, items = Draws({name: name for name in named(40)}, resamplings=20000), named(40)
    less = difference(
        score_of([trained(draws, items, one)], draws, 0), score_of([trained(draws, items, other)], draws, 1)
    )
    drawn = np.random.default_rng(1).integers(0, 40, (20000, 39))
    plain = one[drawn].mean(axis=1) - other[drawn].mean(axis=1)
    assert less.estimate.value == pytest.approx(one.mean() - other.mean())
    np.testing.assert_allclose(less.estimate[1:], np.quantile(plain, [0.025, 0.975]), atol=6e-4)
    assert less.p == pytest.approx(2 * min((plain <= 0).mean(), (plain >= 0).mean()), abs=0.01)
    alone = score_of([trained(draws, items, one)], draws, 0).estimate
    assert alone.high - alone.low > 2 * (less.estimate.high - less.estimate.low), "the pairing is lost"


def test_intervals_and_tests_keep_their_word_over_many_experiments():
    """Of 300 experiments without a difference: 5 seeds of each setting, whose trainings differ as much as fields do."""
    rng = np.random.default_rng(2)
    items, covered, alarms = named(40), 0, 0
    for repetition in range(300):
        draws = Draws({name: name for name in items}, resamplings=300, seed=repetition)
        easy = rng.normal(0, 1, 40)
        scored = [
            score_of(
                [trained(draws, items, easy + rng.normal(0, 0.4, 40) + rng.normal(0, 0.15), seed) for seed in range(5)],
                draws,
                number,
            )
            for number in range(2)
        ]
        less = difference(*scored)
        covered += less.estimate.low <= 0 <= less.estimate.high
        alarms += less.p < 0.05
    assert 0.87 <= covered / 300 <= 0.98
    assert 0.02 <= alarms / 300 <= 0.13


def test_patients_are_drawn_whole_and_so_their_likeness_widens_the_intervals():
    rng = np.random.default_rng(3)
    items, covered = named(60), {"patients": 0, "fields": 0}
    for repetition in range(200):
        values = np.repeat(rng.normal(0, 1, 20), 3) + rng.normal(0, 0.2, 60)
        for units, unit_of in (("patients", lambda i: f"p{i // 3}"), ("fields", lambda i: items[i])):
            draws = Draws({name: unit_of(i) for i, name in enumerate(items)}, resamplings=200, seed=repetition)
            _, low, high = score_of([trained(draws, items, values)], draws, 0).estimate
            covered[units] += low <= 0 <= high
    assert covered["patients"] / 200 >= 0.87
    assert covered["fields"] / 200 <= 0.82


def test_the_spread_of_trainings_counts_in_the_variance_as_a_mean_of_so_many_has_it():
    draws, items = Draws({name: name for name in named(30)}, resamplings=40000), named(30)
    seeds = np.array([0.1, 0.5, 0.9])
    scored = score_of([trained(draws, items, np.full(30, value), seed) for seed, value in enumerate(seeds)], draws, 0)
    assert scored.estimate.value == pytest.approx(0.5)
    assert scored.spread == pytest.approx(np.std(seeds, ddof=1))
    assert np.var(scored.samples[1:]) == pytest.approx(np.var(seeds, ddof=1) / 3, rel=0.03)


def test_folds_weigh_as_many_fields_as_they_test_also_in_a_resampling():
    draws, items = Draws({name: name for name in named(10)}, resamplings=50), named(10)
    folds = (items[:7], items[7:])
    values = np.arange(10.0)
    trainings = [
        trained(draws, folds[0], values[:7], fold=0),
        trained(draws, folds[1], values[7:], fold=1),
    ]
    np.testing.assert_allclose(score_of(trainings, draws, 0).samples, means(draws, items, values))


def test_a_fold_that_is_not_drawn_or_has_no_score_is_left_out():
    unit_of = {"a.png": "p1", "b.png": "p1", "c.png": "p2"}
    draws = Draws(unit_of, resamplings=20)  # of two patients one is drawn
    trainings = [
        trained(draws, ("a.png", "b.png"), np.array([1.0, 1.0]), fold=0),
        trained(draws, ("c.png",), np.array([0.0]), fold=1),
    ]
    samples = score_of(trainings, draws, 0).samples
    assert samples[0] == pytest.approx(2 / 3)
    assert set(samples[1:]) == {0.0, 1.0}


def test_of_one_unit_nothing_is_known_but_the_score():
    draws = Draws({"a.png": "p", "b.png": "p"})
    scored = score_of([trained(draws, ("a.png", "b.png"), np.array([0.2, 0.4]))], draws, 0)
    assert scored.estimate.value == pytest.approx(0.3)
    assert math.isnan(scored.estimate.low)
    assert math.isnan(scored.spread)
    assert math.isnan(difference(scored, scored).p)


def test_equal_settings_are_no_finding_and_a_sure_one_is_never_surer_than_its_resamplings():
    draws, items = Draws({name: name for name in named(20)}, resamplings=99), named(20)
    one, other = (score_of([trained(draws, items, np.full(20, value))], draws, 0) for value in (0.9, 0.1))
    assert difference(one, one).p == 1.0
    assert difference(one, other).p == pytest.approx(2 / 100)


def test_the_same_draws_come_again_whatever_the_order_of_the_fields():
    there, back = Draws({name: name for name in named(9)}), Draws({name: name for name in named(9)[::-1]})
    np.testing.assert_array_equal(there.of(named(9)), back.of(named(9)))
    assert (there.of(named(9))[0] == 1).all()
    assert (there.of(named(9))[1:].sum(axis=1) == 8).all()


def test_holms_correction_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.02, math.nan, 0.9]), [0.04, math.nan, 0.9])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_a_corrected_p_value_is_never_smaller_and_keeps_the_order(p):
    corrected = holm(p)
    assert all(one <= after <= 1 for one, after in zip(p, corrected, strict=True))
    assert all(corrected[i] <= corrected[j] for i in range(len(p)) for j in range(len(p)) if p[i] < p[j])


def test_a_resampling_without_a_score_does_not_count():
    samples = np.array([0.5, np.nan, 0.4, 0.6])
    assert Scored(samples, {0: 0.5}).estimate == pytest.approx((0.5, 0.405, 0.595))
