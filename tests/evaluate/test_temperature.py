"""Temperatures against a minimiser of SciPy, and what calibration must leave as it is: the order, and so every AP."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit, softmax

from tests.evaluate.make import annotated, detected, random_set
from wbcjax.evaluate.cell_scores import cell_scores, labelled_detections
from wbcjax.evaluate.overlap import mask_overlaps
from wbcjax.evaluate.reliability import calibration_line, reliability
from wbcjax.evaluate.scores import detection_scores
from wbcjax.evaluate.temperature import (
    HIGHEST,
    LOWEST,
    fit_score_temperature,
    fit_temperature,
    scaled,
    scaled_scores,
)

CLASSES = ("L1", "L2", "L3", "other")


@pytest.mark.parametrize("true", [0.6, 1.0, 2.5])
def test_scores_that_are_too_sure_by_a_factor_get_it_as_their_temperature(true):
    rng = np.random.default_rng(0)
    logits = rng.normal(0.3, 1.5, 20000)
    right = rng.random(20000) < expit(logits)
    scores = expit(logits * true).astype(np.float32)
    found = fit_score_temperature(scores, right, "scores")
    assert found == pytest.approx(true, rel=0.05)
    exact: Any = minimize_scalar(
        lambda t: np.logaddexp(0, np.where(right, -1, 1) * logit(scores.astype(np.float64)) / t).mean(),
        bounds=(LOWEST, HIGHEST),
        method="bounded",
        options={"xatol": 1e-8},
    )
    assert found == pytest.approx(exact.x, rel=1e-5)
    before, after = (reliability(of, right, "scores")["ece"] for of in (scores, scaled_scores(scores, found)))
    assert after < 0.02
    assert true == 1.0 or after < before / 3


def test_the_temperature_of_several_classes_makes_the_true_ones_most_likely():
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (3000, 4))
    labels = np.array([rng.choice(4, p=softmax(row)) for row in logits])
    probabilities = softmax(logits * 1.7, axis=1).astype(np.float32)

    def loss(t: float) -> Any:
        return -np.log(softmax(np.log(probabilities.astype(np.float64)) / t, axis=1)[np.arange(3000), labels]).mean()

    exact: Any = minimize_scalar(loss, bounds=(LOWEST, HIGHEST), method="bounded", options={"xatol": 1e-8})
    found = fit_temperature(probabilities, labels, "crops")
    assert found == pytest.approx(exact.x, rel=1e-5)
    assert found == pytest.approx(1.7, rel=0.1)
    np.testing.assert_allclose(
        scaled(probabilities, found), softmax(np.log(probabilities.astype(np.float64)) / found, axis=1), atol=1e-12
    )


def test_a_temperature_beyond_its_range_is_taken_at_the_end_of_it():
    right = np.arange(100) % 4 > 0
    assert fit_score_temperature(np.where(right, 0.51, 0.49), right, "scores") == pytest.approx(LOWEST)
    assert fit_score_temperature(np.where(right, 0.01, 0.99), right, "scores") == pytest.approx(HIGHEST)


@pytest.mark.parametrize("temperature", [LOWEST, 0.8, 3.0, HIGHEST])
def test_scores_that_differ_by_a_last_bit_keep_their_order_and_can_be_brought_back(temperature):
    rng = np.random.default_rng(2)
    near_1 = 1 - np.arange(1, 50, dtype=np.float32) * np.float32(2**-24)
    scores = np.unique(np.concatenate([rng.random(500, np.float32), near_1, np.array([0.0, 0.5, 1.0], np.float32)]))
    found = scaled_scores(scores, temperature)
    assert (np.diff(found) > 0).all()
    assert found[[0, -1]].tolist() == [0.0, 1.0]
    assert found[scores == 0.5].tolist() == [0.5]
    np.testing.assert_allclose(scaled_scores(found, 1 / temperature), scores, atol=1e-6)


def test_a_calibrated_crop_is_of_the_class_that_it_was_and_a_probability_of_zero_stays():
    rows = np.random.default_rng(3).dirichlet(np.ones(4) / 3, 200)
    rows[0] = (1.0, 0.0, 0.0, 0.0)
    for temperature in (LOWEST, HIGHEST):
        found = scaled(rows, temperature)
        np.testing.assert_array_equal(found.argsort(axis=1, kind="stable"), rows.argsort(axis=1, kind="stable"))
        np.testing.assert_allclose(found.sum(axis=1), 1)
        assert found[0].tolist() == [1, 0, 0, 0]
        np.testing.assert_allclose(scaled(found, 1 / temperature), rows, atol=1e-9)


@pytest.mark.parametrize("temperature", [LOWEST, 1.9, HIGHEST])
def test_calibration_leaves_every_average_precision_as_it_is(temperature):
    annotations, detections = random_set(5)
    calibrated = [replace(field, scores=scaled_scores(field.scores, temperature)) for field in detections]
    before, after = (detection_scores(annotations, of, CLASSES, 0.5) for of in (detections, calibrated))
    for key in ("mask", "box", "touching"):
        assert str(after[key]) == str(before[key])
    curves = [cell_scores(annotations, of, CLASSES, 0.5)["pr_curves"] for of in (detections, calibrated)]
    for name in CLASSES:
        assert curves[0][name]["precision"] == curves[1][name]["precision"]


@pytest.mark.parametrize("wrong", [0, 9])
def test_too_few_wrong_or_right_predictions_to_fit_are_told_with_the_remedy(wrong):
    right = np.arange(50) >= wrong
    told = (
        rf"{50 - wrong} of 50 crops of val are right and {wrong} wrong, and to fit a temperature takes 10 of each: give"
    )
    with pytest.raises(ValueError, match=told):
        fit_temperature(np.tile([0.2, 0.8], (50, 1)), right.astype(int), "crops of val")
    with pytest.raises(ValueError, match=rf"{wrong} of 50 detections are right"):
        fit_score_temperature(np.full(50, 0.8), ~right, "detections")
    with pytest.raises(ValueError, match="0 of 0 detections are right"):
        fit_score_temperature(np.zeros(0), np.zeros(0, bool), "detections")


def test_a_detection_is_right_where_coco_matches_it_with_a_cell_of_its_class():
    cell, crowd = (0, 0, 20, 20), (30, 20, 60, 40)
    truth = [annotated([(cell, 1)], crowds=[(crowd, 2)])]
    found = [
        detected(
            [
                (cell, 1, 0.9),
                ((0, 0, 20, 19), 1, 0.8),  # found already
                (cell, 2, 0.7),  # of another class
                ((0, 0, 20, 11), 3, 0.6),
                ((31, 21, 40, 30), 2, 0.95),  # in a crowd region: neither right nor wrong
                ((40, 0, 50, 10), 1, 0.1),
            ]
        )
    ]
    overlaps = [mask_overlaps(truth[0], found[0])]
    scores, right = labelled_detections(truth, found, overlaps, CLASSES)
    assert sorted(zip(scores.round(2).tolist(), right.tolist(), strict=True)) == [
        (pytest.approx(0.1), False),
        (pytest.approx(0.6), False),
        (pytest.approx(0.7), False),
        (pytest.approx(0.8), False),
        (pytest.approx(0.9), True),
    ]
    counted = cell_scores(truth, found, CLASSES, 0.5)["calibration"]
    assert [row["detections"] for row in counted["reliability"]] == [1, 1, 1, 1, 1]
    assert counted["ece"] == pytest.approx((0.1 + 0.6 + 0.7 + 0.8 + 0.1) / 5)


def test_no_detection_has_no_calibration_error():
    of_none = cell_scores([annotated([])], [detected([])], CLASSES, 0.5)["calibration"]
    assert (math.isnan(of_none["ece"]), of_none["reliability"]) == (True, [])
    assert calibration_line(of_none, None) == "expected calibration error n/a, in 15 bins"


def test_the_line_for_the_terminal_has_the_error_before_and_after():
    now, before = {"ece": 0.0321, "bins": 15}, {"ece": 0.1, "temperature": 1.25}
    assert calibration_line(now, before) == (
        "expected calibration error 0.0321, in 15 bins; before calibration, by a temperature of 1.250, 0.1000"
    )
