"""The vote of an image's cells: the rules by hand, against a plain count, and what must hold for any cells."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from wbcjax.evaluate.vote import RULES, SUBTYPES, vote, voters

SCORES = st.one_of(st.sampled_from([0.0, 0.5, 0.9, 0.95, 1.0]), st.floats(0, 1))
CELLS = st.lists(st.tuples(st.sampled_from([*SUBTYPES, "other"]), SCORES), max_size=30)


def voted(text: str, rule: str = "pathologists") -> str | None:
    """The vote of certain cells named in one line, as "L1 L1 L2"."""
    return vote(text.split(), [1.0] * len(text.split()), rule)


@pytest.mark.parametrize(
    ("cells", "subtype"),
    [
        ("", None),
        ("other", None),
        ("L1", "L1"),
        ("L2", "L2"),
        ("L3", "L3"),
        ("L1 L2", "L2"),  # as many: the second rule of section 3.7
        ("L1 L2 L1", "L1"),
        ("L2 L1 L1 L2", "L2"),
        ("L1 L1 L2 L1 L2 L3", "L3"),
        ("L2 other other L1 L1", "L1"),
    ],
)
def test_the_pathologists_rule_is_that_of_section_3_7(cells, subtype):
    assert voted(cells) == subtype


@pytest.mark.parametrize(
    ("cells", "subtype"),
    [
        ("L3", "L3"),
        ("L1 L1 L1 L3", "L3"),  # a quarter
        ("L1 L1 L1 L1 L3", "L1"),
        ("L2 L2 L2 L1 L3", "L2"),
        ("L1 L1 L2 L2 L3", "L2"),  # L3 cells that are too few do not vote
        ("L1 L1 L1 L1 L1 L1 L3 L3", "L3"),
        ("L1 L1 L1 L1 L1 L1 L1 L3 L3", "L1"),
        ("L1 L1 L1 L3 other", "L3"),  # of the cells that vote
        ("", None),
    ],
)
def test_too_small_a_share_of_l3_cells_makes_no_l3(cells, subtype):
    assert voted(cells, "l3_count") == subtype


def test_the_weighted_vote_adds_up_scores_and_lets_no_cell_decide_alone():
    assert vote(["L1", "L1", "L3"], [0.95, 0.95, 1.0], "weighted") == "L1"
    assert vote(["L1", "L2"], [0.99, 0.95], "weighted") == "L1"
    assert vote(["L1", "L2"], [0.95, 0.95], "weighted") == "L2"  # of equal sums the graver
    assert vote(["L3", "L1", "L2"], [0.95, 0.95, 0.95], "weighted") == "L3"
    assert vote(["L1"], [0.0], "weighted", min_score=0) == "L1"  # not a subtype without any cell
    assert vote([], [], "weighted") is None


def test_the_sum_of_scores_does_not_depend_on_the_order_of_additions():
    # Added one by one, .1 + .2 + .3 is more than .3 + .3, and .3 + .2 + .1 is not.
    for tenths in ([0.1, 0.2, 0.3], [0.3, 0.2, 0.1]):
        assert vote(["L1"] * 3 + ["L2"] * 2, [*tenths, 0.3, 0.3], "weighted", min_score=0) == "L2"


def test_cells_below_the_minimum_score_do_not_vote():
    assert vote(["L3", "L1"], [0.89, 0.9]) == "L1"
    assert vote(["L3"], [0.89]) is None
    assert vote(["L3"], [0.89], min_score=0.5) == "L3"


def test_a_float32_score_at_the_minimum_votes():
    """A float32 score of the minimum votes though it is less as a double."""
    scores = np.array([0.9], np.float32)
    assert float(scores[0]) < 0.9
    assert vote(["L1"], scores) == "L1"


@pytest.mark.parametrize("rule", RULES)
@given(cells=CELLS, seed=st.integers(0, 1000), min_score=SCORES)
def test_the_order_of_cells_never_matters(rule, cells, seed, min_score):
    shuffled = [cells[i] for i in np.random.default_rng(seed).permutation(len(cells))]
    first, again = (
        vote([label for label, _ in some], [score for _, score in some], rule, min_score) for some in (cells, shuffled)
    )
    assert first == again


@given(cells=CELLS, low=SCORES, high=SCORES)
def test_raising_the_minimum_score_never_adds_a_cell(cells, low, high):
    low, high = sorted((low, high))
    labels, scores = [label for label, _ in cells], [score for _, score in cells]
    more, fewer = voters(labels, scores, low), voters(labels, scores, high)
    for name in SUBTYPES:
        assert Counter(fewer[name]) <= Counter(more[name])
    for rule in RULES:
        assert vote(labels, scores, rule, low) is not None or vote(labels, scores, rule, high) is None


@given(cells=CELLS, min_score=SCORES)
def test_votes_are_those_of_a_plain_count(cells, min_score):
    labels, scores = [label for label, _ in cells], [score for _, score in cells]
    voting = [(label, Fraction(score)) for label, score in cells if score >= min_score and label != "other"]
    count = Counter(label for label, _ in voting)

    def vote_of_two() -> str | None:
        return ("L1" if count["L1"] > count["L2"] else "L2") if voting else None

    assert vote(labels, scores, "pathologists", min_score) == ("L3" if count["L3"] else vote_of_two())
    few = 4 * count["L3"] < len(voting)
    assert vote(labels, scores, "l3_count", min_score) == ("L3" if count["L3"] and not few else vote_of_two())

    sums = {name: sum(score for label, score in voting if label == name) for name in count}
    ordered = sorted(sums.values())
    assume(len(ordered) < 2 or ordered[-1] == ordered[-2] or ordered[-1] - ordered[-2] > Fraction(1, 2**40))
    expected = max(sums, key=lambda name: (sums[name], name)) if sums else None
    assert vote(labels, scores, "weighted", min_score) == expected


@given(cells=CELLS)
def test_cells_of_other_classes_change_no_vote(cells):
    alone = [cell for cell in cells if cell[0] != "other"]
    for rule in RULES:
        votes = [vote([label for label, _ in some], [score for _, score in some], rule, 0.5) for some in (cells, alone)]
        assert votes[0] == votes[1]


def test_an_unknown_rule_is_refused_with_those_there_are():
    with pytest.raises(
        ValueError, match="no rule is called 'majority'; the rules are pathologists, weighted, l3_count"
    ):
        vote([], [], "majority")


@pytest.mark.parametrize("scores", [[0.9], [0.9, float("nan")]])
def test_cells_without_a_finite_score_are_refused(scores):
    with pytest.raises(ValueError, match="2 cells need as many finite scores"):
        vote(["L1", "L2"], scores)
