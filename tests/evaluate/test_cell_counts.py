"""Counts of cells by class, and the confidence intervals of their shares."""

import csv
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from wbcjax.evaluate.cell_counts import (
    AIM,
    ALL,
    COLUMNS,
    OF_PATIENT,
    Z,
    cells_for,
    count_cells,
    counts_csv,
    counts_table,
    shares,
    wilson,
)
from wbcjax.system.terminal import plain

PUBLISHED = [  # count, n, interval by method 3 of table I of Newcombe, Statistics in Medicine 17, 1998
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (0, 20, 0.0000, 0.1611),
    (1, 29, 0.0061, 0.1718),
]


def table(images, classes) -> list[dict[str, str]]:
    found = [(name, np.array(labels, np.int32)) for name, labels in images]
    return list(csv.DictReader(counts_csv(found, classes).decode().splitlines()))


@pytest.mark.parametrize(("count", "n", "low", "high"), PUBLISHED)
def test_wilsons_interval_is_the_published_one(count, n, low, high):
    found = wilson(count, n)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    assert found.share == count / n


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_interval_is_that_of_scipy_and_holds_the_share(of):
    count, n = of
    found, theirs = wilson(count, n), binomtest(count, n).proportion_ci(0.95, method="wilson")
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert 0 <= found.low <= found.share <= found.high <= 1
    mirrored = wilson(n - count, n)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((found.low, found.high), abs=1e-12)


@given(st.lists(st.lists(st.integers(1, 3), max_size=9), max_size=5))
def test_counts_of_all_images_are_the_sums_of_each(images):
    rows = table([(f"{number}.png", labels) for number, labels in enumerate(images)], ("a", "b", "c"))
    assert len(rows) == 3 * (len(images) + 1)
    for name in ("a", "b", "c"):
        *each, whole = [row for row in rows if row["class"] == name]
        assert whole["image"] == ALL
        assert int(whole["cells"]) == sum(int(row["cells"]) for row in each)
        assert int(whole["n"]) == sum(map(len, images))


def test_without_a_cell_there_is_no_share():
    assert shares(np.zeros(0, np.int32), ("a", "b")) == {}
    rows = table([("1.png", [])], ("a", "b"))
    assert [tuple(row[column] for column in COLUMNS[1:]) for row in rows[:2]] == [
        ("a", "0", "0", "", "", "", ""),
        ("b", "0", "0", "", "", "", ""),
    ]
    assert counts_table("", np.zeros(0, np.int32), ("a", "b")).rows == (("a", "0"), ("b", "0"))


def test_all_of_one_class_has_an_interval_to_one():
    found = shares(np.ones(10, np.int32), ("a", "b"))
    assert found["a"] == (1.0, pytest.approx(0.7225, abs=1e-4), 1.0)
    assert found["b"] == (0.0, 0.0, pytest.approx(0.2775, abs=1e-4))


def test_a_model_of_one_class_gives_counts_without_shares():
    assert counts_table("", np.ones(10, np.int32), ("cell",)).rows == (("cell", "10"),)
    assert table([("1.png", [1, 1])], ("cell",))[0]["share"] == ""


def test_nuclei_are_counted_but_are_no_share_of_cells():
    labels, classes = np.array([1, 1, 1, 2, 2, 3], np.int32), ("blast", "nucleus", "other")
    assert count_cells(labels, classes) == 4
    assert shares(labels, classes).keys() == {"blast", "other"}
    assert shares(labels, classes)["blast"].share == 0.75
    assert [row["n"] for row in table([("1.png", labels)], classes)] == ["4"] * 6
    assert counts_table("", labels, classes).rows[1] == ("nucleus", "2", "", "")


def test_the_terminal_says_share_interval_and_number_of_cells():
    labels = np.repeat([1, 2], [170, 330]).astype(np.int32)
    told = counts_table("Cells found", labels, ("blast", "other"))
    assert plain(told).splitlines() == [
        "Cells found",
        "-----------",
        "class  cells  share, %  95 % interval, %",
        "blast    170        34          30 to 38",
        "other    330        66          62 to 70",
        "Shares of 500 cells. The intervals are of counting alone, not of the model's",
        "errors.",
    ]
    assert counts_table("", np.repeat([1, 2], [498, 2]), ("blast", "other")).rows == (
        ("blast", "498", "99.6", "98.6 to 99.9"),
        ("other", "2", "0.4", "0.1 to 1.4"),
    )


def test_the_table_reads_back_as_numbers():
    row = table([("a,b.png", [1, 2])], ('L"1', "L2"))[0]
    assert (row["image"], row["class"]) == ("a,b.png", 'L"1')
    assert all(math.isfinite(float(row[column])) for column in COLUMNS[2:])


def reach(share: float, n: int) -> float:
    """Half of the width of Wilson's interval, by his formula."""
    return Z * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)


@given(st.floats(0, 1), st.floats(0.01, 0.3))
def test_so_many_cells_reach_the_aim_and_one_less_does_not(share, aim):
    n = cells_for(share, aim)
    assert reach(share, n) <= aim + 1e-9
    assert n == 1 or reach(share, n - 1) > aim - 1e-9


def test_five_hundred_cells_are_enough_for_any_share_within_five_points():
    assert [cells_for(share) for share in (0.0, 0.1, 0.2, 0.5, 1.0)] == [35, 141, 245, 381, 35]
    rows = table([("1.png", [1] * 50 + [2] * 50)], ("a", "b"))
    assert rows[0]["cells_for_5_points"] == "381"
    assert AIM == 0.05


@pytest.mark.parametrize("share", [0.05, 0.2, 0.34, 0.5])
@pytest.mark.parametrize("n", [100, 500])
def test_intervals_hold_the_true_share_in_95_of_100_simulated_slides(share, n):
    """Cells are drawn with the true share; the interval of each draw holds it in 93 to 97 of 100."""
    counts = np.random.default_rng(0).binomial(n, share, 4000)
    bounds = {count: wilson(count, n) for count in np.unique(counts).tolist()}
    held = np.mean([bounds[count].low <= share <= bounds[count].high for count in counts.tolist()])
    assert 0.93 <= held <= 0.97


def test_patients_have_lines_of_all_their_images():
    images = [("1", np.array([1, 1])), ("2", np.array([2])), ("3", np.array([2, 2]))]
    rows = list(csv.DictReader(counts_csv(images, ("a", "b"), ["P", "Q", "P"]).decode().splitlines()))
    cells = {(row["image"], row["patient"], row["class"]): int(row["cells"]) for row in rows}
    assert cells[OF_PATIENT, "P", "a"] == 2
    assert cells[OF_PATIENT, "P", "b"] == 2
    assert cells[OF_PATIENT, "Q", "b"] == 1
    assert cells[ALL, "", "b"] == 3
    assert len(rows) == 2 * 6
