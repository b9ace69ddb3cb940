"""Average precision of resampled sets: that of the set with its fields repeated, and intervals that cover."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.evaluate.make import random_set
from wbcjax.evaluate import resampled_precision as resampling
from wbcjax.evaluate.average_precision import IOU_THRESHOLDS, ClassMatches, average_precision, match_class
from wbcjax.evaluate.comparison import Draws, Training, score_of
from wbcjax.evaluate.overlap import mask_overlaps
from wbcjax.evaluate.resampled_precision import resampled_precision

CLASSES = 4


def matched_set(seed: int, fields: int = 6, tied: bool = True):
    annotations, detections = random_set(seed, fields)
    if not tied:
        rng = np.random.default_rng(seed)
        detections = [replace(one, scores=rng.permutation(len(one.rles)).astype(np.float32)) for one in detections]
    overlaps = [mask_overlaps(*pair) for pair in zip(annotations, detections, strict=True)]
    ignored = [field.crowd for field in annotations]
    found = [match_class(annotations, detections, overlaps, ignored, label, 100) for label in range(1, CLASSES + 1)]
    return annotations, detections, overlaps, found


@pytest.mark.parametrize("seed", range(3))
def test_the_set_itself_has_its_own_precision_with_ties_in_its_order(seed):
    annotations, detections, overlaps, found = matched_set(seed)
    (row,) = resampled_precision(found, np.ones((1, len(annotations)), np.int64))
    whole = average_precision(annotations, detections, overlaps, CLASSES)
    np.testing.assert_allclose([row.mean(), row[0], row[5]], [whole.ap, whole.ap50, whole.ap75], atol=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_a_resampled_sets_precision_is_that_of_the_set_with_its_fields_repeated(seed):
    annotations, detections, overlaps, found = matched_set(seed, tied=False)
    times = np.random.default_rng(seed).integers(0, 4, (12, len(annotations)))
    precision = resampled_precision(found, times)
    assert precision.shape == (12, len(IOU_THRESHOLDS))
    for row, drawn in zip(precision, times, strict=True):
        copies = [field for field, count in enumerate(drawn) for _ in range(count)]
        parts: Any = ([of[field] for field in copies] for of in (annotations, detections, overlaps))
        whole = average_precision(*parts, CLASSES)  # pyright: ignore[reportCallIssue]
        np.testing.assert_allclose([row.mean(), row[0], row[5]], [whole.ap, whole.ap50, whole.ap75], atol=1e-12)


def test_sets_too_large_for_memory_at_once_are_scored_in_parts_alike(monkeypatch):
    *_, found = matched_set(3)
    times = np.random.default_rng(0).integers(0, 3, (9, 6))
    whole = resampled_precision(found, times)
    monkeypatch.setattr(resampling, "AT_ONCE", 2 * len(found[0].field))
    np.testing.assert_array_equal(resampled_precision(found, times), whole)


def test_a_resampling_without_a_cell_has_no_precision_and_one_without_detections_has_none_right():
    *_, found = matched_set(0)
    assert np.isnan(resampled_precision(found, np.zeros((1, 6), np.int64))).all()
    nothing = ClassMatches(np.zeros(0, np.int64), np.zeros((10, 0), bool), np.zeros((10, 0), bool), np.array([2, 0]))
    precision = resampled_precision([nothing], np.array([[1, 1], [0, 3]]))
    np.testing.assert_array_equal(precision, np.stack([np.zeros(10), np.full(10, np.nan)]))


def drawn_matches(rng: np.random.Generator, fields: int) -> ClassMatches:
    """Fields of three cells, at one threshold: 85 % are found, and each field has two false detections on average."""
    per_field = [
        (rng.beta(6, 2, hits := rng.binomial(3, 0.85)), rng.beta(2, 5, rng.poisson(2)), hits) for _ in range(fields)
    ]
    rows = np.repeat(np.arange(fields), [len(right) + len(wrong) for right, wrong, _ in per_field])
    scores = np.concatenate([np.concatenate([right, wrong]) for right, wrong, _ in per_field])
    right = np.concatenate([[True] * len(right) + [False] * len(wrong) for right, wrong, _ in per_field]).astype(bool)
    order = np.argsort(-scores, kind="stable")
    matched = right[order][None]
    return ClassMatches(rows[order], matched, np.zeros_like(matched), np.full(fields, 3))


def test_intervals_of_average_precision_cover_that_of_the_population():
    rng = np.random.default_rng(7)
    truth = float(resampled_precision([drawn_matches(rng, 20000)], np.ones((1, 20000), np.int64))[0, 0])
    names = tuple(f"{field}.png" for field in range(50))
    covered = 0
    for repetition in range(200):
        draws = Draws({name: name for name in names}, resamplings=200, seed=repetition)
        samples = resampled_precision([drawn_matches(rng, 50)], draws.of(names))[:, 0]
        _, low, high = score_of([Training(0, 0, names, samples)], draws, 0).estimate
        covered += low <= truth <= high
    assert 0.89 <= covered / 200 <= 0.99
