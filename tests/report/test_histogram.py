"""Histograms: counts by hand, and lines as they are seen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbcjax.report.histogram import bin_name, histogram, histogram_lines
from wbcjax.system.terminal import plain


def test_whole_numbers_are_counted_one_by_one():
    shown = histogram("Fields", "cells", np.array([2.0, 2, 5]), whole=True)
    assert shown.edges == (2, 3, 4, 5, 6)
    assert shown.counts == (2, 0, 0, 1)
    assert plain(histogram_lines(shown)).splitlines() == [
        "Fields (cells)",
        "--------------",
        "2  2  ########################################",
        "3  0",
        "4  0",
        "5  1  ####################",
    ]


def test_many_whole_numbers_share_bins_named_by_first_and_last():
    shown = histogram("Fields", "cells", np.arange(0, 60, dtype=float), whole=True)
    assert set(shown.counts) == {5}
    assert [bin_name(shown, position) for position in (0, 11)] == ["0 to 4", "55 to 59"]


def test_bins_are_round_and_edges_go_right():
    """Bins are of a round width and a value on an edge is in the right one."""
    shown = histogram("Sizes", "pixels", np.array([38.0, 40, 49.9, 120]))
    assert shown.edges == tuple(range(30, 131, 10))
    assert shown.counts == (1, 2, 0, 0, 0, 0, 0, 0, 0, 1)
    assert bin_name(shown, 1) == "40 to 50"


@pytest.mark.parametrize("values", [[], [0.0], [7.3], [7.3, 7.3]])
def test_few_values_have_one_bin(values):
    assert histogram("Sizes", "pixels", np.array(values)).counts == (len(values),)


@given(values=st.lists(st.floats(0, 1e4), min_size=1, max_size=30), whole=st.booleans())
def test_every_value_is_in_one_of_at_most_17_bins(values, whole):
    shown = histogram("", "", np.round(values) if whole else np.array(values), whole)
    assert sum(shown.counts) == len(values)
    assert len(shown.counts) <= 17
    assert len(shown.edges) == len(shown.counts) + 1
