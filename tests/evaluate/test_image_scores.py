"""Scores of images by vote: by hand, scikit-learn's, and what must hold for any images."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from tests.evaluate.make import annotated, detected, random_set
from tests.evaluate.papers import revanda_scores
from wbcjax.evaluate.detections import load, save
from wbcjax.evaluate.image_scores import from_confusion, image_scores, subtype_scores
from wbcjax.evaluate.image_table import image_table
from wbcjax.evaluate.scores import write_json
from wbcjax.evaluate.vote import RULES, SUBTYPES
from wbcjax.system.terminal import plain

CLASSES = ("L1", "L2", "L3", "other")
HERE, THERE, BEYOND = (0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10)
SCORE_NAMES = ("accuracy", "precision", "sensitivity", "sensitivity_all")
IMAGES = st.lists(st.tuples(st.sampled_from(SUBTYPES), st.sampled_from([*SUBTYPES, None])), max_size=25)


def scored(images, **options):
    names = [f"{number}.png" for number in range(len(images))]
    return image_scores(names, [is_ for is_, _ in images], [taken for _, taken in images], **options)


@pytest.fixture
def four_fields():
    """L1 that a false L3 cell outvotes, L3 found, L2 where only a weak cell is found, and a field without blasts."""
    annotations = [
        annotated([(HERE, 1), (THERE, 1)], crowds=[(BEYOND, 3)], name="a.png"),
        annotated([(HERE, 3), (THERE, 1)], name="b.png"),
        annotated([(HERE, 2), (THERE, 1), (BEYOND, 4)], name="c.png"),
        annotated([(HERE, 4)], crowds=[(BEYOND, 1)], name="d.png"),
    ]
    detections = [
        detected([(HERE, 1, 0.99), (THERE, 1, 0.98), (BEYOND, 3, 0.9)], name="a.png"),
        detected([(HERE, 3, 0.95)], name="b.png"),
        detected([(HERE, 2, 0.5), (BEYOND, 4, 0.99)], name="c.png"),
        detected([(HERE, 2, 0.99)], name="d.png"),
    ]
    return annotations, detections


def test_the_truth_is_the_pathologists_rule_over_annotated_cells_and_each_rule_votes(four_fields):
    scores = subtype_scores(*four_fields, classes=CLASSES, min_score=0.9)
    assert scores["min_score"] == 0.9
    assert scores["images"] == [
        {
            "name": "a.png",
            "truth": "L1",  # the crowd of L3 is no cell
            "annotated": {"L1": 2, "L2": 0, "L3": 0},
            "counts": {"L1": 2, "L2": 0, "L3": 1},  # a float32 of .9 is .9
            "votes": {"pathologists": "L3", "weighted": "L1", "l3_count": "L3"},
        },
        {
            "name": "b.png",
            "truth": "L3",
            "annotated": {"L1": 1, "L2": 0, "L3": 1},
            "counts": {"L1": 0, "L2": 0, "L3": 1},
            "votes": {"pathologists": "L3", "weighted": "L3", "l3_count": "L3"},
        },
        {
            "name": "c.png",
            "truth": "L2",
            "annotated": {"L1": 1, "L2": 1, "L3": 0},
            "counts": {"L1": 0, "L2": 0, "L3": 0},
            "votes": {"pathologists": None, "weighted": None, "l3_count": None},
        },
        {
            "name": "d.png",
            "truth": None,
            "annotated": {"L1": 0, "L2": 0, "L3": 0},
            "counts": {"L1": 0, "L2": 1, "L3": 0},
            "votes": {"pathologists": "L2", "weighted": "L2", "l3_count": "L2"},
        },
    ]
    paper = scores["rules"]["pathologists"]
    assert paper["confusion"] == {
        "classes": ["L1", "L2", "L3"],
        "counts": [[0, 0, 1], [0, 0, 0], [0, 0, 1]],
        "undetected": [0, 1, 0],
        "FN": [1, 0, 0],
        "FP": [0, 0, 1],
    }
    assert paper["mistakes"] == [
        {"name": "a.png", "truth": "L1", "predicted": "L3"},
        {"name": "c.png", "truth": "L2", "predicted": None},
    ]
    assert (paper["images"], paper["undetected"]) == (3, 1)
    assert [paper[name]["value"] for name in SCORE_NAMES] == pytest.approx([1 / 3, 1 / 2, 1 / 2, 1 / 3])
    assert scores["rules"]["weighted"]["accuracy"]["value"] == pytest.approx(2 / 3)


def test_a_lower_confidence_lets_the_weak_cell_vote(four_fields):
    scores = subtype_scores(*four_fields, classes=CLASSES, min_score=0.5)
    assert scores["images"][2]["votes"]["pathologists"] == "L2"
    assert scores["rules"]["pathologists"]["undetected"] == 0


def test_a_set_with_some_of_the_subtypes_alone_is_scored_on_those():
    annotations = [annotated([(HERE, 1)], name="a.png"), annotated([(HERE, 2)], name="b.png")]
    detections = [detected([(HERE, 1, 0.99)], name="a.png"), detected([(HERE, 2, 0.99)], name="b.png")]
    scores = subtype_scores(annotations, detections, ("L3", "L1"))["rules"]["pathologists"]
    assert [scores[name]["value"] for name in SCORE_NAMES] == [1.0, 1.0, 1.0, 1.0]
    assert scores["undefined"] == [
        "no image is L2: its sensitivity is not defined",
        "no image was taken for L2: its precision is not defined",
    ]


def test_scores_of_saved_detections_are_those_of_the_evaluation(tmp_path: Path):
    annotations, detections = random_set(3, fields=12)
    classes = ("L1", "L2", "L3", "other")
    save(tmp_path / "detections.json", classes, annotations, detections)
    again = load(tmp_path / "detections.json")
    for min_score in (0.0, 0.3, 0.7, 0.9):
        scores = subtype_scores(annotations, detections, classes, min_score)
        from_file = subtype_scores(again[1], again[2], again[0], min_score)
        assert image_table(from_file) == image_table(scores)
        np.testing.assert_equal(from_file, scores)


def test_fields_that_differ_and_labels_without_a_class_are_refused(four_fields):
    annotations, detections = four_fields
    with pytest.raises(ValueError, match="must be the same"):
        subtype_scores(annotations, detections[:3], CLASSES)
    with pytest.raises(ValueError, match=r"c\.png: label 4 has no class; the 3 classes are L1, L2, L3"):
        subtype_scores(annotations, detections, SUBTYPES)


@given(images=IMAGES)
def test_scores_are_scikit_learns(images):
    scores = scored(images, bootstrap=0)
    found = [(is_, taken) for is_, taken in images if taken]
    expected = {
        "accuracy": np.mean([is_ == taken for is_, taken in images]) if images else np.nan,
        "precision": macro(metrics.precision_score, found),
        "sensitivity": macro(metrics.recall_score, found),
        "sensitivity_all": macro(metrics.recall_score, [(is_, taken or "none") for is_, taken in images]),
    }
    assert {name: scores[name]["value"] for name in SCORE_NAMES} == pytest.approx(expected, nan_ok=True)
    matrix = metrics.confusion_matrix(*columns(found), labels=SUBTYPES) if found else np.zeros((3, 3))
    np.testing.assert_array_equal(scores["confusion"]["counts"], matrix)
    assert sum(scores["confusion"]["FN"]) == sum(scores["confusion"]["FP"])
    assert len(scores["mistakes"]) == sum(scores["confusion"]["FN"]) + scores["undetected"]
    assert np.isnan([scores["accuracy"]["low"], scores["accuracy"]["high"]]).all()


def macro(score, images) -> float:
    """scikit-learn's score of each subtype, averaged over those that have it."""
    if not images:
        return np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of labels without images
        per_class = score(*columns(images), labels=SUBTYPES, average=None, zero_division=np.nan)
    return float(per_class[~np.isnan(per_class)].mean()) if (~np.isnan(per_class)).any() else np.nan


def columns(images) -> tuple[list[str], list[str]]:
    return [is_ for is_, _ in images], [taken for _, taken in images]


@given(images=IMAGES, seed=st.integers(0, 1000))
def test_scores_and_intervals_do_not_depend_on_the_order_of_images(images, seed):
    shuffled = [images[i] for i in np.random.default_rng(seed).permutation(len(images))]
    first, again = (scored(some, bootstrap=20) for some in (images, shuffled))
    np.testing.assert_equal(again | {"mistakes": None}, first | {"mistakes": None})
    for name in SCORE_NAMES:
        low, high = first[name]["low"], first[name]["high"]
        assert np.isnan(low) or 0 <= low <= high <= 1


def test_intervals_are_those_of_resampled_images():
    images = [("L1", "L1")] * 30 + [("L1", "L2")] * 5 + [("L2", "L2")] * 20 + [("L2", None)] * 8 + [("L3", "L3")] * 20
    scores = scored(images, bootstrap=4000)
    rng = np.random.default_rng(1)
    sets = [[images[i] for i in rng.integers(0, len(images), len(images))] for _ in range(400)]
    for name, score in {
        "accuracy": lambda some: np.mean([is_ == taken for is_, taken in some]),
        "precision": lambda some: macro(metrics.precision_score, [pair for pair in some if pair[1]]),
        "sensitivity": lambda some: macro(metrics.recall_score, [pair for pair in some if pair[1]]),
    }.items():
        low, high = np.quantile([score(some) for some in sets], [0.025, 0.975])
        assert (scores[name]["low"], scores[name]["high"]) == pytest.approx((low, high), abs=0.015)


def test_intervals_depend_on_the_seed_alone():
    matrix = ([[30, 5, 0], [4, 20, 1], [0, 1, 9]], [1, 2, 3])
    assert from_confusion(*matrix, seed=3) == from_confusion(*matrix, seed=3)
    assert from_confusion(*matrix, seed=3)["precision"] != from_confusion(*matrix, seed=4)["precision"]


def test_resamplings_that_lack_a_class_do_not_count_and_are_told():
    images = [("L1", "L1")] * 3 + [("L3", "L3")]
    scores = scored(images, bootstrap=400)
    left_out = scores["bootstrap"]["left_out"]["sensitivity"]
    assert 90 < left_out < 170  # (3/4)^4, or none of L1: (1/4)^4; together .32
    assert scores["sensitivity"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    table = " ".join(plain(*image_table(whole(scores))).split())
    assert f"the interval of sensitivity leaves out {left_out} resamplings that lack it for a class" in table


def test_undetected_images_leave_scores_undefined():
    """Images that are all undetected have an accuracy of nothing and say what is not defined."""
    scores = scored([("L1", None), ("L2", None)])
    assert scores["accuracy"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert scores["sensitivity_all"]["value"] == 0.0
    assert np.isnan([scores["precision"]["value"], scores["sensitivity"]["value"]]).all()
    assert scores["bootstrap"]["left_out"]["precision"] == 0
    assert scores["undefined"] == [
        "no image of L1 was detected: its sensitivity among those detected is not defined",
        "no image was taken for L1: its precision is not defined",
        "no image of L2 was detected: its sensitivity among those detected is not defined",
        "no image was taken for L2: its precision is not defined",
        "no image is L3: its sensitivity is not defined",
        "no image was taken for L3: its precision is not defined",
    ]


def test_one_image_has_no_interval_and_none_at_all_no_score():
    one, none = scored([("L2", "L2")]), scored([])
    assert one["accuracy"]["value"] == 1.0
    assert np.isnan(one["accuracy"]["low"])
    assert one["undefined"][-1] == "there is one image only: intervals are not defined"
    assert np.isnan([none[name]["value"] for name in SCORE_NAMES]).all()
    assert "n/a" in plain(*image_table(whole(none)))
    assert "is / taken for" not in plain(*image_table(whole(none)))  # a matrix of nothing


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((["a"], ["L1", "L2"], ["L1"]), "1 images need as many truths and predictions, found 2 and 1"),
        ((["a", "a"], ["L1", "L2"], ["L1", None]), "a: 1 names are given to more than one image"),
        ((["a"], ["L4"], ["L1"]), "a: is 'L4' and was taken for 'L1'; the classes are L1, L2, L3"),
        ((["a"], ["L1"], ["other"]), "a: is 'L1' and was taken for 'other'"),
    ],
)
def test_images_that_do_not_fit_together_are_refused_by_name(parts, message):
    with pytest.raises(ValueError, match=message):
        image_scores(*parts)


def whole(scores) -> dict:
    """The scores of a rule as those of every rule."""
    return {"min_score": 0.9, "rules": dict.fromkeys(RULES, scores), "images": []}


def test_the_table_shows_the_papers_tables_2_and_3():
    lines = plain(*image_table(whole(revanda_scores()))).splitlines()
    assert lines[0] == "Subtype of images by the vote of their cells, %"
    assert [line.split() for line in lines[2:6]] == [
        ["rule", "accuracy", "precision", "sensitivity"],
        *(
            [rule, "83.72", "(79.40-87.38)", "85.17", "(79.49-89.85)", "81.61", "(76.64-86.11)"]
            for rule in ("pathologists", "weighted", "l3_count")
        ),
    ]
    papers = "Revanda et al., EFF, on their images: accuracy 83.72, precision 85.17, sensitivity 81.61"
    assert " ".join(lines[6:8]).startswith(papers)
    start = lines.index("Images by the rule pathologists") + 2
    assert [line.split() for line in lines[start : start + 5]] == [
        ["is", "/", "taken", "for", "L1", "L2", "L3", "FN", "undetected"],
        ["L1", "114", "10", "1", "11", "3"],
        ["L2", "25", "30", "0", "25", "8"],
        ["L3", "1", "0", "108", "1", "1"],
        ["FP", "26", "10", "1"],
    ]
    text = " ".join(lines[start + 6 :])
    assert (
        "sensitivity, %: L1 91.20, L2 54.55, L3 99.08 "
        "images 301, undetected 12 (no cell of a subtype scores 0.9 or more): "
        "wrong for the accuracy, left out of FN and sensitivity "
        "sensitivity with undetected images as missed, %: 78.29 ("
    ) in text
    assert lines[-1] == "in brackets 95 % intervals: 1000 resamplings of the images"


def test_the_table_says_what_its_rules_and_margins_are():
    text = " ".join(plain(*image_table(whole(revanda_scores()))).split())
    for meaning in (
        "FN, false negatives: images of the class that were taken for another",
        "FP, false positives: images of another that were taken for it",
        "pathologists: any L3 cell: L3; else L2 where there are as many L2 as L1 cells or more; else L1",
        "weighted: the subtype whose cells' scores have the greatest sum",
        "l3_count: the pathologists' rule, L3 only where 25% or more of the voting cells are",
    ):
        assert meaning in text


def test_the_papers_figures_are_not_in_the_table_of_drawn_images():
    text = plain(*image_table(whole(scored([("L1", "L1"), ("L2", "L2")])), beside_paper=False))
    assert "Revanda" not in text
    assert "83.72" not in text


def test_the_table_tells_of_images_that_have_no_truth(four_fields):
    text = " ".join(plain(*image_table(subtype_scores(*four_fields, classes=CLASSES))).split())
    assert "1 images without an annotated cell of a subtype are not scored; 1 were taken for one" in text


def test_scores_are_written_as_json_whose_every_number_is_finite(tmp_path: Path, four_fields):
    write_json(tmp_path / "subtypes.json", subtype_scores(*four_fields, classes=CLASSES))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    read = json.loads((tmp_path / "subtypes.json").read_text(), parse_constant=refuse)
    assert read["rules"]["pathologists"]["per_class"]["L2"]["sensitivity"] is None
    assert read["images"][3]["truth"] is None
