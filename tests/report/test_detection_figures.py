"""Figures of a detector: what they show is in the artists; that they can be drawn shows in the file."""

import base64
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.evaluate.make import random_set
from wbcjax.evaluate.cell_scores import cell_scores
from wbcjax.report.detection_figures import (
    MOST_POINTS,
    counts_figure,
    detection_curves_figure,
    figure_uri,
    logged_quantities,
    matrix_figure,
    morphology_figure,
)

AWKWARD = ("_plasma", "50 $ a $", "Zellen für β", "100 %", "<b>", "\ud800\x1b[31m", "g" * 300, "h", "i")


def panel(figure: Figure) -> Any:
    """Its only axes; matplotlib's types of what is on them say too little."""
    (axes,) = figure.axes
    return axes


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_a_matrix_shows_counts_and_shares_of_rows():
    axes = panel(matrix_figure(["L1 (FN 1)", "L2"], ["L1", "L2", "none"], [[2, 1, 0], [0, 0, 4]], ("is", "taken for")))
    assert texts(axes) == ["2\n66.7 %", "1\n33.3 %", "0\n0.0 %", "0\n0.0 %", "0\n0.0 %", "4\n100.0 %"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["L1", "L2", "none"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["L1 (FN 1)", "L2"]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("is", "taken for")
    np.testing.assert_allclose(axes.images[0].get_array(), [[2 / 3, 1 / 3, 0], [0, 0, 1]])


def test_background_has_no_shares_because_nobody_counted_it():
    names = ["cell", "background"]
    axes = panel(matrix_figure(names, names, [[3, 1], [2, 0]], ("is", "taken for"), background=True))
    assert texts(axes) == ["3\n75.0 %", "1\n25.0 %", "2", "0"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25], [0, 0]])


def test_curves_are_those_of_the_scores_with_ap50_in_the_legend():
    classes = ("L1", "L2", "L3", "never")
    curves = cell_scores(*random_set(3), classes, 0.5)["pr_curves"]
    axes = panel(detection_curves_figure(curves))
    for line, (name, curve) in zip(axes.lines, curves.items(), strict=True):
        assert line.get_xdata().tolist() == curve["recall"], name
        assert line.get_ydata().tolist() == curve["precision"], name
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == [f"{curves[name]['AP50']:.3f}  {name}" for name in classes[:3]] + ["n/a  never"]


def test_fields_of_the_same_counts_are_one_disc_with_their_number():
    axes = panel(counts_figure([2, 2, 0, 2], [3, 3, 0, 1]))
    discs = axes.collections[0]
    assert discs.get_offsets().tolist() == [[0, 0], [2, 1], [2, 3]]
    sizes = discs.get_sizes()
    assert sizes[0] == sizes[1] < sizes[2]
    assert texts(axes) == ["2"]
    assert axes.texts[0].xy == (2, 3)


def test_a_measure_shows_every_cell_and_the_median():
    """A measure has a point for each cell and the median of its class."""
    axes = panel(morphology_figure({"L1": [1.0, 2.0, 9.0, float("inf"), float("nan")], "L2": [5.0]}, "area, pixels"))
    points = [line for line in axes.lines if line.get_marker() == "o"]
    assert [line.get_ydata().tolist() for line in points] == [[1, 2, 9], [5]]
    assert all(abs(line.get_xdata() - position).max() < 0.3 for position, line in enumerate(points))
    medians = [line.get_ydata()[0] for line in axes.lines if line.get_linewidth() == 2.2]
    assert medians == [2, 5]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["L1\n3 cells", "L2\n1 cells"]
    assert axes.get_ylabel() == "area, pixels"


def test_of_very_many_cells_some_are_points_and_all_count_for_the_median():
    values = np.arange(3 * MOST_POINTS + 1.0)
    axes = panel(morphology_figure({"L1": values.tolist()}, "area"))
    (points,) = [line for line in axes.lines if line.get_marker() == "o"]
    assert len(set(points.get_ydata())) == MOST_POINTS
    assert [line.get_ydata()[0] for line in axes.lines if line.get_linewidth() == 2.2] == [np.median(values)]


def test_losses_and_scores_of_a_log_are_told_apart_from_its_other_numbers():
    records = [
        {"kind": "train", "step": 1, "epoch": 0.1, "mask": 1.0, "loss": 2.0, "learning_rate": 0.1, "grad_norm": 3.0},
        {"kind": "eval", "step": 1, "epoch": 0.1, "mask/AP": 0.5, "loss": 2.5, "paper/mAP": None},
        {"kind": "stop", "step": 1, "reason": "finished"},
    ]
    assert logged_quantities(records) == (["loss", "mask"], ["mask/AP"])
    assert logged_quantities([]) == ([], [])


@pytest.mark.parametrize("count", [1, 2, 9])
def test_classes_of_any_name_and_number_are_drawn_without_a_warning(count):
    names = AWKWARD[-count:]
    curve = {"recall": [0.0, 1.0], "precision": [1.0, 0.5], "AP50": 0.75}
    figures = [
        matrix_figure(names, names, np.eye(count, dtype=int).tolist(), ("is", "taken for")),
        detection_curves_figure(dict.fromkeys(names, curve)),
        morphology_figure({name: [1.0, 2.0] for name in names}, "area"),
        morphology_figure({name: [] for name in names}, "area"),
        counts_figure([], []),
    ]
    for figure in figures:
        kind, _, data = figure_uri(figure).partition(";base64,")
        assert kind == "data:image/svg+xml"
        assert b"</svg>" in base64.b64decode(data)


def test_the_same_figure_is_the_same_text():
    first, second = (figure_uri(counts_figure([1, 2], [2, 2])) for _ in range(2))
    assert first == second
