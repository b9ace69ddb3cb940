"""Figures of a classifier: what they show is in the artists; that they can be drawn shows in the file."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from wbcjax.evaluate.classification import classification_scores
from wbcjax.evaluate.predictions import Predictions
from wbcjax.report.classification_figures import (
    confusion_figure,
    precision_recall_figure,
    reliability_figure,
    roc_figure,
    training_figure,
    write_figure,
)

SCORE_FIGURES = (confusion_figure, roc_figure, precision_recall_figure)
AWKWARD = ("_plasma", "50 $ a $", "Zellen für β", "100 %", "e", "f", "g", "h", "i")


def predictions(labels, probabilities, classes=("myeloma", "non_myeloma")) -> Predictions:
    names = tuple(f"crop{i}.png" for i in range(len(labels)))
    return Predictions(names, (), np.array(labels, np.int64), np.array(probabilities, float), classes)


@pytest.fixture
def scores():
    """Three of one class, one of which is mistaken, and one of the other."""
    return classification_scores(
        predictions([0, 0, 0, 1], [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.1, 0.9]]), bootstrap=0
    )


def panels(figure: Figure) -> list[Any]:
    """Its axes; matplotlib's types of what is on them say too little."""
    return list(figure.axes)


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def legend(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_the_confusion_matrix_shows_counts_and_shares_of_rows(scores):
    (axes,) = panels(confusion_figure(scores))
    assert texts(axes) == ["2\n66.7 %", "1\n33.3 %", "0\n0.0 %", "1\n100.0 %"]
    assert [text.get_position() for text in axes.texts] == [(0, 0), (1, 0), (0, 1), (1, 1)]  # column, row
    assert [label.get_text() for label in axes.get_xticklabels()] == ["myeloma", "non_myeloma"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[2 / 3, 1 / 3], [0, 1]])
    assert axes.get_title() == "accuracy 0.7500, 4 crops"


def test_titles_give_the_interval_where_there_is_one():
    rows = [[0.9, 0.1], [0.2, 0.8]] * 10
    scores = classification_scores(predictions([0, 1] * 10, rows), bootstrap=20)
    assert panels(confusion_figure(scores))[0].get_title() == "accuracy 1.0000 (1.0000 to 1.0000), 20 crops"
    assert panels(roc_figure(scores))[0].get_title() == "AUROC, mean 1.000 (1.000 to 1.000)"


def test_curves_are_those_of_the_scores_with_their_areas_in_the_legend(scores):
    (axes,) = panels(roc_figure(scores))
    guess, first, second = axes.lines
    np.testing.assert_array_equal(guess.get_xdata(), guess.get_ydata())
    for line, name in ((first, "myeloma"), (second, "non_myeloma")):
        curve = scores["curves"]["roc"][name]
        np.testing.assert_array_equal(line.get_xdata(), curve["false_positive_rate"])
        np.testing.assert_array_equal(line.get_ydata(), curve["true_positive_rate"])
    assert legend(axes) == ["1.000  myeloma", "1.000  non_myeloma"]

    (axes,) = panels(precision_recall_figure(scores))
    first, chance, second, _ = axes.lines
    np.testing.assert_array_equal(first.get_xdata(), scores["curves"]["pr"]["myeloma"]["recall"])
    np.testing.assert_array_equal(second.get_ydata(), scores["curves"]["pr"]["non_myeloma"]["precision"])
    assert first.get_drawstyle() == "steps-post"
    assert set(chance.get_ydata()) == {0.75}  # three of four crops
    assert legend(axes) == ["1.000  myeloma", "1.000  non_myeloma"]


def test_precision_does_not_run_straight_between_points():
    # Recall falls along scikit-learn's curve: "post" holds a point's precision down to the next lower recall.
    rows = [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]]
    (axes,) = panels(precision_recall_figure(classification_scores(predictions([0, 1, 1, 0], rows), bootstrap=0)))
    line = axes.lines[0]
    assert (np.diff(line.get_xdata()) <= 0).all()
    steps = zip(line.get_xdata(), line.get_ydata(), line.get_xdata()[1:], strict=False)
    area = sum(precision * (recall - lower) for recall, precision, lower in steps)
    assert area == pytest.approx((1 + 2 / 4) / 2)  # average precision


def test_reliability_shows_accuracy_and_crops_of_each_bin_that_holds_some(scores):
    above, below = panels(reliability_figure(scores["calibration"], "crops"))
    low, width = 10 / 15, 1 / 15
    for axes, heights in ((above, [0, 1, 1]), (below, [1, 1, 2])):
        assert [bar.get_height() for bar in axes.patches] == heights
        assert [bar.get_x() for bar in axes.patches] == pytest.approx([low, low + width, low + 3 * width])
        assert [bar.get_width() for bar in axes.patches] == pytest.approx([width] * 3)
    assert above.lines[0].get_xdata().tolist() == pytest.approx([0.7, 0.8, 0.9])
    assert above.get_title().startswith(f"expected calibration error {scores['calibration']['ece']:.3f}, 15 bins")


def test_a_class_without_crops_is_said_to_have_no_curve():
    scores = classification_scores(predictions([0, 0], [[0.9, 0.1], [0.3, 0.7]]), bootstrap=0)
    assert legend(panels(roc_figure(scores))[0]) == ["n/a  myeloma", "n/a  non_myeloma"]
    assert legend(panels(precision_recall_figure(scores))[0]) == ["1.000  myeloma", "n/a  non_myeloma"]
    assert texts(panels(confusion_figure(scores))[0])[2:] == ["0\nn/a", "0\nn/a"]
    assert panels(roc_figure(scores))[0].get_title() == "AUROC, mean n/a"


@pytest.mark.parametrize("figure", SCORE_FIGURES)
def test_classes_of_any_name_and_number_are_drawn_without_a_warning(tmp_path: Path, figure):
    labels = np.arange(40) % len(AWKWARD)
    rows = np.random.default_rng(0).dirichlet(np.ones(len(AWKWARD)), 40)
    drawn = figure(classification_scores(predictions(labels, rows, AWKWARD), bootstrap=0))
    write_figure(tmp_path / "figure.png", drawn)
    image = cv2.imread(str(tmp_path / "figure.png"))
    assert image is not None
    assert min(image.shape[:2]) >= 700
    assert len(np.unique(image)) > 50
    if figure in (roc_figure, precision_recall_figure):
        assert [entry.split("  ")[1] for entry in legend(panels(drawn)[0])] == list(AWKWARD)


def test_figures_are_written_whole_in_their_names_format(tmp_path: Path, scores):
    """Figures are written in the format of their name whole or not at all."""
    write_figure(tmp_path / "figures/roc.pdf", roc_figure(scores))
    write_figure(tmp_path / "figures/roc.svg", roc_figure(scores))
    assert (tmp_path / "figures/roc.pdf").read_bytes().startswith(b"%PDF")
    assert b"<svg" in (tmp_path / "figures/roc.svg").read_bytes()
    (tmp_path / "roc.bmpx").write_text("kept")
    with pytest.raises(ValueError, match="bmpx"):
        write_figure(tmp_path / "roc.bmpx", roc_figure(scores))
    assert (tmp_path / "roc.bmpx").read_text() == "kept"


def training(step, **values):
    return {"kind": "train", "step": step, "epoch": step / 4, **values}


def evaluated(step, **values):
    return {"kind": "eval", "step": step, "epoch": step / 4, **values}


def test_training_curves_show_the_log_the_means_of_its_epochs_and_the_validation():
    records = [
        training(2, loss=4.0, accuracy=0.5),
        training(4, loss=2.0, accuracy=0.7),
        evaluated(4, accuracy=0.4),
        training(6, loss=None, accuracy=0.7),
        training(8, loss=1.0, accuracy=0.8),
        evaluated(8, accuracy=0.6),
        {"kind": "stop", "step": 8, "reason": "finished"},
    ]
    accuracy, loss = panels(training_figure(records))
    log, epochs, validation = accuracy.lines
    assert log.get_xydata().tolist() == [[0.5, 0.5], [1, 0.7], [1.5, 0.7], [2, 0.8]]
    np.testing.assert_allclose(epochs.get_xydata(), [[1, 0.6], [2, 0.75]])
    assert validation.get_xydata().tolist() == [[1, 0.4], [2, 0.6]]
    assert legend(accuracy) == ["training", "validation"]
    assert legend(loss) == ["training"]
    assert loss.lines[1].get_xydata().tolist() == [[1, 3], [2, 1]]  # null, which was not finite, left out
    (single,) = panels(training_figure(records, ["accuracy"]))
    assert single.get_title() == "accuracy"


def test_a_quantity_that_no_record_has_is_refused_by_name():
    with pytest.raises(ValueError, match="no training or validation record has a number for 'auroc'"):
        training_figure([training(2, loss=4.0)], ["auroc"])
