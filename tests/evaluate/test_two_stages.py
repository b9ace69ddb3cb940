"""A detector and a classifier together: precision, recall and AP by hand on a few cells."""

import math

import numpy as np
import pytest

from tests.evaluate.make import annotated, detected, random_set
from wbcjax.evaluate.scores import detection_scores
from wbcjax.evaluate.two_stages import ALONE, JOINT, NAMED, two_stage_scores, two_stage_table

A, B, C, D = (0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10), (0, 20, 10, 30)
CELLS = annotated([(A, 1), (B, 1), (C, 1)])
FOUND = detected([(A, 1, 0.9), (D, 1, 0.8), (B, 1, 0.7), (C, 1, 0.2)])
ONE = np.ones(4, np.float32)


def rows(probabilities, min_score=0.5):
    return two_stage_scores([CELLS], [FOUND], [np.array(probabilities, np.float32)], ("cell",), min_score)["rows"]


def test_a_classifier_that_names_all_changes_nothing():
    of = rows(ONE)
    assert (
        of[ALONE]
        == of[NAMED]
        == of[JOINT]
        == {
            "detections": 3,
            "right": 2,
            "precision": pytest.approx(2 / 3),
            "recall": pytest.approx(2 / 3),
        }
    )


def test_a_false_alarm_that_the_classifier_names_otherwise_no_longer_counts():
    of = rows([0.9, 0.1, 0.9, 0.9])
    assert of[NAMED] == {"detections": 2, "right": 2, "precision": 1.0, "recall": pytest.approx(2 / 3)}
    assert of[JOINT] == of[NAMED]
    assert of[ALONE]["detections"] == 3


def test_at_the_same_recall_as_many_cells_are_found_as_by_the_detector():
    of = rows([0.9, 0.8, 0.1, 0.9])  # the classifier doubts a true cell: another takes its place
    assert of[NAMED]["right"] == 1
    assert of[JOINT] == {"detections": 3, "right": 2, "precision": pytest.approx(2 / 3), "recall": pytest.approx(2 / 3)}


def test_the_average_precision_is_that_of_both_scores():
    annotations, detections = random_set(3)
    rng = np.random.default_rng(0)
    by_crop = [rng.random(len(found.rles)).astype(np.float32) for found in detections]
    classes = ("a", "b", "c", "d")
    found = two_stage_scores(annotations, detections, by_crop, classes, 0.5)["mask"]
    alone = detection_scores(annotations, detections, classes, 0.5)["mask"]
    assert found[ALONE] == {"AP": alone["AP"], "AP50": alone["AP50"]}
    assert found[JOINT]["AP"] != alone["AP"]


def test_fields_without_cells_and_detections_have_no_precision():
    empty = two_stage_scores([annotated([])], [detected([])], [np.zeros(0, np.float32)], ("cell",), 0.5)
    assert empty["rows"][ALONE]["detections"] == 0
    assert math.isnan(empty["rows"][JOINT]["precision"])
    assert math.isnan(empty["rows"][ALONE]["recall"])


def test_the_table_has_a_row_for_each_way():
    table = two_stage_table(two_stage_scores([CELLS], [FOUND], [ONE], ("cell",), 0.5))
    assert [row[0] for row in table.rows] == [ALONE, NAMED, JOINT]
    assert table.rows[0][1:5] == ("3", "2", "66.7", "66.7")
    assert table.title == "Two stages, 3 annotated cells"
