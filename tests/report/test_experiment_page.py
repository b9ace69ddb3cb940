"""The page and tables of an experiment: every figure in its place, what is not defined said to be so."""

import csv
import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from wbcjax.evaluate.comparison import Difference, Estimate, Scored
from wbcjax.report.experiment_figures import curves_figure, settings_figure, validation_figure
from wbcjax.report.experiment_page import (
    Experiment,
    RunRow,
    Setting,
    experiment_blocks,
    experiment_page,
    named,
    runs_csv,
    settings_csv,
)
from wbcjax.system.terminal import plain

NAN = math.nan


def scored(value: float, away: float = 0.05, seeds: int = 2) -> Scored:
    """A score whose resamplings lie evenly `away` from it on both sides."""
    samples = np.concatenate([[value], np.linspace(value - away / 0.95, value + away / 0.95, 401)])
    return Scored(samples, {seed: value + 0.01 * (seed - (seeds - 1) / 2) for seed in range(seeds)})


def small(**changes) -> Experiment:
    settings = (
        Setting(("none", "10"), {"mask AP": scored(0.5), "mask AP50": scored(0.7)}, 10.0, "2 of 2"),
        Setting(
            ("eff", "10"),
            {"mask AP": scored(0.6), "mask AP50": scored(0.8)},
            10.0,
            "2 of 2",
            other=("none", "10"),
            difference=Difference(Estimate(0.1, -0.02, 0.21), 0.031),
            p_corrected=0.062,
        ),
        Setting(("none", "all"), {}, NAN, "0 of 2"),
    )
    runs = (
        RunRow("enhance=none,seed=0", ("none", "10"), 0, 0, "finished", 20, "finished", 10, {"mask AP": 0.495}),
        RunRow("enhance=eff,seed=0", ("eff", "10"), 0, 0, "failed: no space <left>"),
    )
    whole: dict[str, Any] = {
        "name": "edges",
        "axes": ("dataset.enhance", "dataset.train_fields"),
        "scores": ("mask AP", "mask AP50"),
        "settings": settings,
        "runs": runs,
        "remarks": ("WARNING: two seeds are too few.",),
    }
    return Experiment(**{**whole, **changes})


def legend_of(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_the_tables_for_a_terminal_have_each_figure_in_its_place():
    lines = plain(*experiment_blocks(small())).splitlines()
    assert lines[:2] == ["Scores", "------"]
    none, eff, missing = (lines[row].split() for row in (3, 4, 5))
    assert none[:5] == ["none", "10", "2", "of", "2"]
    assert " ".join(none[5:]) == "10 50.0 (45.0 to 55.0) 0.7 70.0 (65.0 to 75.0) 0.7"
    assert " ".join(eff[5:]) == "10 60.0 (55.0 to 65.0) 0.7 80.0 (75.0 to 85.0) 0.7"
    assert missing == ["none", "all", "0", "of", "2", *["n/a"] * 5]
    (row,) = (line for line in lines if line.startswith("enhance eff"))
    assert "enhance none, train_fields 10" in row
    assert row.split()[-5:] == ["+10.0", "(-2.0", "to", "+21.0)", "0.031"]
    assert lines[-1] == "WARNING: two seeds are too few."


def test_one_comparison_is_not_corrected_and_several_are():
    assert "Holm" not in plain(*experiment_blocks(small()))
    settings = small().settings
    assert "p (Holm) is corrected for the 2 comparisons" in " ".join(
        plain(*experiment_blocks(small(settings=(*settings, settings[1])))).split()
    )


def test_the_files_hold_the_same_from_0_to_1_and_nothing_where_nothing_is_defined():
    none, eff, missing = csv.DictReader(settings_csv(small()).decode().splitlines())
    assert none["mask AP"] == "0.5"
    assert float(none["mask AP low"]) == pytest.approx(0.45, abs=1e-3)
    assert float(none["mask AP50 high"]) == pytest.approx(0.75, abs=1e-3)
    assert float(none["mask AP sd over seeds"]) == pytest.approx(0.01 / 2**0.5, rel=1e-4)
    assert (none["compared with"], none["p"]) == ("", "")
    assert eff["compared with"] == "enhance none, train_fields 10"
    assert [eff[key] for key in ("difference", "difference low", "difference high")] == ["0.1", "-0.02", "0.21"]
    assert (eff["p"], eff["p Holm"]) == ("0.031", "0.062")
    assert (missing["mask AP"], missing["trained_on"]) == ("", "")
    done, failed = csv.DictReader(runs_csv(small()).decode().splitlines())
    assert (done["mask AP"], done["mask AP50"], done["trained_on"]) == ("0.495", "", "10")
    assert (failed["state"], failed["steps"]) == ("failed: no space <left>", "")


def test_the_page_escapes_what_failed_and_leaves_out_what_there_is_none_of():
    page = experiment_page(small())
    assert "enhance=eff,seed=0 failed: no space &lt;left&gt;" in page
    assert "3 settings, 1 of 2 runs finished." in page
    assert "Training: no finished run has logged two scores of its validation or more." in page
    nothing = experiment_page(Experiment("empty", (), (), (Setting((), {}, NAN, "0 of 1"),), ()))
    assert "Scores: no seed of any setting is finished yet." in nothing
    assert "Learning curve: the number of training fields is not varied." in nothing


@pytest.mark.parametrize(("steps", "drawn"), [((20,), False), ((10, 20), True)])
def test_one_score_of_val_is_no_curve(steps, drawn):
    records = tuple({"kind": "eval", "step": step, "mask/AP": step / 100} for step in steps)
    runs = (dataclasses.replace(small().runs[0], records=records),)
    assert ("during the training" in experiment_page(small(runs=runs))) is drawn


def test_a_setting_in_words():
    assert named(("dataset.enhance", "seed"), ("eff", "3")) == "enhance eff, seed 3"
    assert named((), ()) == "all runs"
    assert named(("model.rpn.channels", "model.fpn.channels"), ("8", "16")) == (
        "model.rpn.channels 8, model.fpn.channels 16"
    )


def test_the_figure_of_settings_draws_intervals_values_and_seeds():
    axes: Any = settings_figure(["a", "b" * 60], [scored(0.5), scored(0.6, seeds=1)], "mask AP").axes[0]
    interval, value, seeds, *second = axes.lines
    np.testing.assert_allclose(interval.get_xdata(), [45, 55], atol=0.1)
    np.testing.assert_allclose(value.get_xdata(), [50])
    np.testing.assert_allclose(seeds.get_xdata(), [49.5, 50.5])
    assert len(second) == 2, "one seed has no spread to draw"
    assert [len(label.get_text()) for label in axes.get_yticklabels()] == [1, 40]


def test_a_learning_curve_is_drawn_from_few_fields_to_many():
    lines = {"none": [(100, scored(0.7)), (10, scored(0.5))], "eff": [(10, scored(0.55)), (100, scored(0.72))]}
    axes: Any = curves_figure(lines, "mask AP").axes[0]
    curves = [container.lines[0] for container in axes.containers]
    (first, none), (second, eff) = (curve.get_xydata().T for curve in curves)
    np.testing.assert_allclose(none, [50, 70])
    np.testing.assert_allclose(eff, [55, 72])
    np.testing.assert_allclose(first * second, [10**2, 100**2])  # both beside the number, on either side
    assert (first < second).all()
    assert axes.get_xscale() == "log"
    assert legend_of(axes) == ["none", "eff"]


def test_the_runs_of_a_setting_share_a_colour_and_one_entry_of_the_legend():
    lines = [("none", [(10, 0.1), (20, 0.2)]), ("eff", [(10, 0.3), (20, 0.4)]), ("none", [(10, 0.2), (20, 0.3)])]
    axes: Any = validation_figure(lines, "mask/AP").axes[0]
    first, other, again = axes.lines
    assert first.get_color() == again.get_color() != other.get_color()
    np.testing.assert_allclose(again.get_ydata(), [20, 30])
    assert legend_of(axes) == ["none", "eff"]
