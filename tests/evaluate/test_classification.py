"""Scores of a classifier: the paper's own figures, numbers by hand, scikit-learn's, and what must always hold."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.calibration import calibration_curve

from wbcjax.evaluate.classification import classification_scores, worst_mistakes
from wbcjax.evaluate.classification_table import classification_table
from wbcjax.evaluate.predictions import Predictions, load_predictions, save_predictions
from wbcjax.evaluate.scores import write_json
from wbcjax.system.terminal import plain

CLASSES = ("myeloma", "non_myeloma")


def predictions(labels, probabilities, classes=CLASSES, groups=()) -> Predictions:
    names = tuple(f"crop{i}.png" for i in range(len(labels)))
    return Predictions(names, tuple(groups), np.array(labels, np.int64), np.array(probabilities, float), classes)


def random_predictions(seed: int, crops: int = 60, classes: int = 3, groups: int = 7) -> Predictions:
    """Better than guessing; probabilities in steps of 1/8, so that many are equal."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, crops)
    eighths = np.stack([rng.multinomial(8, np.full(classes, 1 / classes)) for _ in labels])
    swapped = np.where(rng.random(crops) < 0.5, eighths.argmax(axis=1), labels)
    for row, a, b in zip(eighths, labels, swapped, strict=True):
        row[[a, b]] = row[[b, a]] if row[a] < row[b] else row[[a, b]]
    fields = tuple(f"field{i}" for i in rng.integers(0, groups, crops))
    return predictions(labels, eighths / 8, tuple("abcdefgh"[:classes]), fields)


def of_paper() -> Predictions:
    """The confusion matrix of Suvon et al., Fig. 12."""
    labels, taken = np.repeat([[0, 0, 1, 1], [0, 1, 0, 1]], [286, 5, 23, 212], axis=1)
    return predictions(labels, np.where(np.arange(2) == taken[:, None], 0.9, 0.1))


def permuted(one: Predictions, order: np.ndarray) -> Predictions:
    names, groups = np.array(one.names)[order], np.array(one.groups)[order]
    return Predictions(
        tuple(names.tolist()), tuple(groups.tolist()), one.labels[order], one.probabilities[order], one.classes
    )


def numbers(value, path="") -> dict[str, float]:
    """All numbers of nested dicts and lists by where they stand."""
    if isinstance(value, dict):
        value = list(value.items())
    elif isinstance(value, list):
        value = list(enumerate(value))
    else:
        return {path: value} if isinstance(value, (int, float)) else {}
    return {place: number for key, entry in value for place, number in numbers(entry, f"{path}/{key}").items()}


def test_the_papers_figures_come_from_its_confusion_matrix():
    scores = classification_scores(of_paper(), bootstrap=0)
    assert scores["confusion"] == {"classes": list(CLASSES), "counts": [[286, 5], [23, 212]]}
    lines = plain(*classification_table(scores)).splitlines()
    assert lines[:2] == ["Took 498 of 526 crops for what they are (94.7 %).", "Mistook 28 for another class."]
    assert [line.split() for line in lines[5:11]] == [
        ["precision", "recall", "f1-score", "support"],
        ["myeloma", "0.93", "0.98", "0.95", "291"],
        ["non_myeloma", "0.98", "0.90", "0.94", "235"],
        ["accuracy", "0.95", "526"],
        ["macro", "avg", "0.95", "0.94", "0.95", "526"],
        ["weighted", "avg", "0.95", "0.95", "0.95", "526"],
    ]
    assert lines[12] == "accuracy 0.9468"
    assert [line.split()[-2:] for line in lines[-2:]] == [["286", "5"], ["23", "212"]]


def test_scores_worked_by_hand():
    scores = classification_scores(
        predictions([0, 0, 0, 1, 1], [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.3, 0.7], [0.6, 0.4]], groups="aabbb"),
        bootstrap=0,
    )
    assert scores["accuracy"]["value"] == 0.6
    assert scores["report"]["per_class"]["myeloma"] == pytest.approx(
        {"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "support": 3}
    )
    assert scores["report"]["macro"] == pytest.approx(
        {"precision": 7 / 12, "recall": 7 / 12, "f1": 7 / 12, "support": 5}
    )
    assert scores["report"]["weighted"]["recall"] == pytest.approx(0.6)

    # Of the six pairs of both classes four are ranked rightly, one is wrong, and one is equal.
    assert scores["auroc"]["per_class"] == pytest.approx({"myeloma": 4.5 / 6, "non_myeloma": 4.5 / 6})
    assert scores["auroc"]["value"] == pytest.approx(4.5 / 6)
    # Down to .8 two of three are found at precision 1; the third only at .3, with all five crops.
    assert scores["average_precision"]["per_class"]["myeloma"] == pytest.approx(2 / 3 + 1 / 3 * 3 / 5)
    assert scores["curves"]["roc"]["myeloma"] == {
        "false_positive_rate": [0, 0, 0, 0.5, 1],
        "true_positive_rate": pytest.approx([0, 1 / 3, 2 / 3, 2 / 3, 1]),
        "thresholds": [0.9, 0.8, 0.6, 0.3],
    }

    # Bins of a fifteenth: .6 is the upper edge of one, .7 (twice, right once), .8 of one (right) and .9 (right).
    assert scores["calibration"]["ece"] == pytest.approx((0.6 + 2 * abs(0.5 - 0.7) + 0.2 + 0.1) / 5)
    assert [(row["crops"], row["accuracy"]) for row in scores["calibration"]["reliability"]] == [
        (1, 0),
        (2, 0.5),
        (1, 1),
        (1, 1),
    ]
    assert scores["groups"] == {
        "a": {"crops": 2, "right": 2, "accuracy": 1.0},
        "b": {"crops": 3, "right": 1, "accuracy": 1 / 3},
    }
    assert scores["counts"] == {"crops": 5, "groups": 2, "mistakes": 2}
    assert scores["mistakes"] == [
        {
            "index": 2,
            "name": "crop2.png",
            "group": "b",
            "label": "myeloma",
            "predicted": "non_myeloma",
            "confidence": 0.7,
        },
        {
            "index": 4,
            "name": "crop4.png",
            "group": "b",
            "label": "non_myeloma",
            "predicted": "myeloma",
            "confidence": 0.6,
        },
    ]
    assert scores["undefined"] == []


@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_those_of_scikit_learn(seed: int):
    one = random_predictions(seed)
    scores = classification_scores(one, bootstrap=0)
    taken = one.probabilities.argmax(axis=1)
    report = metrics.classification_report(one.labels, taken, target_names=one.classes, output_dict=True)
    assert isinstance(report, dict)
    ours = scores["report"]
    for name, rows in (*ours["per_class"].items(), ("macro avg", ours["macro"]), ("weighted avg", ours["weighted"])):
        assert list(rows.values()) == pytest.approx(list(report[name].values())), name
    assert scores["accuracy"]["value"] == pytest.approx(report["accuracy"])
    assert scores["auroc"]["value"] == pytest.approx(
        metrics.roc_auc_score(one.labels, one.probabilities, multi_class="ovr", average="macro")
    )
    for label, name in enumerate(one.classes):
        is_class, probability = one.labels == label, one.probabilities[:, label]
        assert scores["average_precision"]["per_class"][name] == pytest.approx(
            metrics.average_precision_score(is_class, probability)
        )
        roc, pr = scores["curves"]["roc"][name], scores["curves"]["pr"][name]
        assert len(roc["thresholds"]) == len(roc["true_positive_rate"]) - 1
        for at, true, false in zip(
            roc["thresholds"], roc["true_positive_rate"][1:], roc["false_positive_rate"][1:], strict=True
        ):
            assert true == pytest.approx((probability >= at)[is_class].mean())
            assert false == pytest.approx((probability >= at)[~is_class].mean())
        assert (pr["precision"][-1], pr["recall"][-1], len(pr["thresholds"])) == (1, 0, len(pr["recall"]) - 1)
        for at, precision, recall in zip(pr["thresholds"], pr["precision"][:-1], pr["recall"][:-1], strict=True):
            assert precision == pytest.approx(is_class[probability >= at].mean())
            assert recall == pytest.approx((probability >= at)[is_class].mean())

    confidence, right = one.probabilities.max(axis=1), taken == one.labels
    accuracy, mean = calibration_curve(right, confidence, n_bins=15)
    reliability = scores["calibration"]["reliability"]
    assert [row["accuracy"] for row in reliability] == pytest.approx(accuracy)
    assert [row["confidence"] for row in reliability] == pytest.approx(mean)


def test_intervals_are_those_of_resampled_fields_scored_by_scikit_learn():
    one = random_predictions(3, crops=40, classes=2, groups=5)
    scores = classification_scores(one, bootstrap=200, seed=5)
    fields, groups = sorted(set(one.groups)), np.array(one.groups)
    rng = np.random.default_rng(5)
    accuracies, aurocs = [], []
    for _ in range(200):
        times = rng.multinomial(len(fields), [1 / len(fields)] * len(fields))
        drawn = np.concatenate(
            [np.flatnonzero(groups == field) for field, n in zip(fields, times, strict=True) for _ in range(n)]
        )
        labels, rows = one.labels[drawn], one.probabilities[drawn]
        accuracies.append(np.mean(rows.argmax(axis=1) == labels))
        aurocs.append(np.mean([metrics.roc_auc_score(labels == k, rows[:, k]) for k in range(2)]))
    assert [scores["accuracy"]["low"], scores["accuracy"]["high"]] == pytest.approx(
        np.quantile(accuracies, [0.025, 0.975])
    )
    assert [scores["auroc"]["low"], scores["auroc"]["high"]] == pytest.approx(np.quantile(aurocs, [0.025, 0.975]))
    assert scores["bootstrap"] == {"resamplings": 200, "seed": 5, "units": "groups", "without_auroc": 0}


def test_crops_of_few_fields_give_wider_intervals_than_independent_crops():
    right = np.repeat([True, True, True, False], 25)  # four fields, one of which is all wrong
    rows = np.where(right[:, None], [0.9, 0.1], [0.1, 0.9])
    by_field = classification_scores(predictions(np.zeros(100), rows, groups=np.repeat(list("abcd"), 25).tolist()))
    by_crop = classification_scores(predictions(np.zeros(100), rows))
    assert by_field["accuracy"]["low"] == 0.25  # three fields of four drawn wrong, or all: 5 %
    assert by_field["accuracy"]["high"] == 1.0
    # A binomial share of 100: standard deviation .043.
    assert by_crop["accuracy"]["low"] == pytest.approx(0.75 - 1.96 * 0.0433, abs=0.02)
    assert by_crop["accuracy"]["high"] == pytest.approx(0.75 + 1.96 * 0.0433, abs=0.02)
    assert by_crop["bootstrap"]["units"] == "crops"


def test_resamplings_without_a_class_do_not_count_for_auroc_and_are_told():
    rows = [[0.9, 0.1]] * 4 + [[0.2, 0.8]]
    scores = classification_scores(predictions([0, 0, 0, 0, 1], rows, groups="aaaab"), bootstrap=400)
    left_out = scores["bootstrap"]["without_auroc"]
    assert 150 < left_out < 250  # of two draws from two fields half take one field twice
    assert scores["auroc"] | {"per_class": None} == {"value": 1.0, "low": 1.0, "high": 1.0, "per_class": None}
    assert f"the interval of AUROC leaves out {left_out} resamplings that lack a class" in plain(
        *classification_table(scores)
    )


def test_what_an_absent_class_leaves_undefined_is_said_and_left_out_of_averages():
    scores = classification_scores(
        predictions([0, 0, 1, 1], [[0.8, 0.2, 0], [0.4, 0.6, 0], [0.1, 0.9, 0], [0, 1, 0]], ("a", "b", "c")),
        bootstrap=9,
    )
    assert scores["report"]["per_class"]["c"] == pytest.approx(
        {"precision": np.nan, "recall": np.nan, "f1": np.nan, "support": 0}, nan_ok=True
    )
    assert scores["report"]["macro"]["recall"] == pytest.approx((1 / 2 + 1) / 2)
    assert np.isnan(scores["auroc"]["per_class"]["c"])
    assert scores["auroc"]["value"] == 1.0
    assert scores["average_precision"]["value"] == 1.0
    assert scores["curves"]["pr"]["c"] == {"precision": [], "recall": [], "thresholds": []}
    assert scores["undefined"] == [
        "no crop is c: its recall, ROC and PR curves are not defined",
        "no crop was taken for c: its precision is not defined",
    ]
    text = plain(*classification_table(scores))
    assert ["c", "n/a", "n/a", "n/a", "0"] in [line.split() for line in text.splitlines()]
    assert all(sentence in text for sentence in scores["undefined"])


def test_a_single_crop_has_scores_and_says_what_it_has_not():
    scores = classification_scores(predictions([0], [[0.5, 0.5]]))
    assert (scores["accuracy"]["value"], scores["calibration"]["ece"]) == (1.0, 0.5)  # of equals the first
    assert np.isnan([scores["accuracy"]["low"], scores["auroc"]["value"], scores["auroc"]["high"]]).all()
    assert scores["bootstrap"]["without_auroc"] == 0
    assert scores["undefined"] == [
        "every crop is myeloma: its ROC curve is not defined",
        "no crop is non_myeloma: its recall, ROC and PR curves are not defined",
        "no crop was taken for non_myeloma: its precision is not defined",
        "there is one crop only: intervals are not defined",
    ]
    assert plain(*classification_table(scores)).count("n/a") == 4  # of the second class three, and AUROC


def test_matrices_of_many_classes_have_numbers_above_their_columns():
    one = random_predictions(0, crops=200, classes=8)
    named = replace(one, classes=tuple(f"{name}: a long name" for name in one.classes))
    lines = plain(*classification_table(classification_scores(named, bootstrap=0))).splitlines()
    assert lines[-9].split() == ["is", "/", "taken", "for", *(f"({number})" for number in range(1, 9))]
    assert lines[-1].startswith("(8) h: a long name")
    assert len({len(line) for line in lines[-9:]}) == 1


@given(st.integers(0, 10**6), st.integers(1, 25), st.integers(2, 4), st.integers(1, 4))
def test_any_predictions_have_scores_within_their_bounds_whatever_their_order(seed, crops, classes, groups):
    one = random_predictions(seed, crops, classes, groups)
    scores = classification_scores(one, bootstrap=5)
    order = np.random.default_rng(seed).permutation(crops)
    again = classification_scores(permuted(one, order), bootstrap=5)
    for mistake in again["mistakes"]:
        mistake["index"] = int(order[mistake["index"]])
    assert numbers(scores) == pytest.approx(numbers(again), nan_ok=True)
    assert [mistake["name"] for mistake in scores["mistakes"]] == [mistake["name"] for mistake in again["mistakes"]]

    fractions = {
        place: number
        for place, number in numbers(scores).items()
        if not place.startswith(("/confusion", "/counts", "/bootstrap", "/mistakes"))
        and not place.endswith(("/support", "/crops", "/right", "/bins"))
    }
    assert all(np.isnan(number) or -1e-9 <= number <= 1 + 1e-9 for number in fractions.values())
    assert scores["report"]["weighted"]["recall"] == pytest.approx(scores["accuracy"]["value"])
    for score in (scores["accuracy"], scores["auroc"]):
        assert np.isnan(score["low"]) or score["low"] <= score["high"]
    assert np.sum(scores["confusion"]["counts"]) == sum(row["crops"] for row in scores["calibration"]["reliability"])
    assert sum(group["right"] for group in scores["groups"].values()) == crops - len(scores["mistakes"])
    assert plain(*classification_table(scores))


def test_the_worst_mistakes_are_the_most_confident_and_equals_go_by_name():
    rows = [[0.2, 0.8], [0.2, 0.8], [0.9, 0.1], [0.05, 0.95], [0.4, 0.6]]
    one = predictions([0, 0, 0, 0, 0], rows)
    assert worst_mistakes(one).tolist() == [3, 0, 1, 4]
    assert worst_mistakes(replace(one, names=("b", "a", "c", "d", "e"))).tolist() == [3, 1, 0, 4]
    assert worst_mistakes(predictions([0], [[0.9, 0.1]])).tolist() == []


@pytest.mark.parametrize("groups", [(), tuple("aabbcc")])
def test_saved_predictions_come_back_and_give_the_same_scores(tmp_path: Path, groups):
    rows = np.random.default_rng(0).dirichlet([1, 1, 1], 6).astype(np.float32)
    one = predictions([0, 1, 2, 2, 1, 0], rows, ("a", "b", "c"), groups)
    one = replace(one, probabilities=rows)
    save_predictions(tmp_path / "run/predictions.json", one)
    again = load_predictions(tmp_path / "run/predictions.json")
    assert (again.names, again.groups, again.classes) == (one.names, one.groups, one.classes)
    np.testing.assert_array_equal(again.labels, one.labels)
    np.testing.assert_array_equal(again.probabilities, one.probabilities)
    assert classification_scores(again, bootstrap=20) == classification_scores(one, bootstrap=20)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["predictions.json"]  # nothing partial left


def test_scores_are_written_as_json_whose_every_number_is_finite(tmp_path: Path):
    scores = classification_scores(predictions([0, 0], [[0.9, 0.1], [0.2, 0.8]]), bootstrap=5)
    write_json(tmp_path / "scores.json", scores)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    read = json.loads((tmp_path / "scores.json").read_text(), parse_constant=refuse)
    assert read["auroc"]["value"] is None
    assert read["accuracy"] == scores["accuracy"]


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda text: text[: len(text) // 2], "JSONDecodeError"),
        (lambda text: "[]", "TypeError"),
        (lambda text: text.replace('"label": "b"', '"label": "z"', 1), "ValueError"),
        (lambda text: text.replace('"label"', '"class"', 1), "KeyError('label')"),
        (lambda text: text.replace("0.25", "0.75", 1), "crop1.png: [0.75, 0.75] are no probabilities"),
        (lambda text: text.replace('"group": "f"', '"group": null', 1), "2 crops need as many groups"),
    ],
)
def test_a_damaged_file_of_predictions_is_refused_by_name(tmp_path: Path, damage, found):
    path = tmp_path / "predictions.json"
    save_predictions(path, predictions([0, 1], [[0.5, 0.5], [0.25, 0.75]], ("a", "b"), ("f", "f")))
    path.write_text(damage(path.read_text()))
    with pytest.raises(ValueError, match="not a whole file of saved predictions") as error:
        load_predictions(path)
    assert str(path) in str(error.value)
    assert found in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": (), "labels": np.zeros(0, int), "probabilities": np.zeros((0, 2))}, "there are no crops to score"),
        ({"classes": ("a",), "probabilities": np.ones((2, 1))}, "two classes or more"),
        ({"classes": ("a", "a")}, "of different names; found ['a', 'a']"),
        ({"classes": ("a", "b", "c")}, "2 crops and 3 classes need as many labels and rows of probabilities"),
        ({"labels": np.zeros(3, int)}, "found (3,) and (2, 2)"),
        ({"groups": ("f",)}, "2 crops need as many groups, or none at all; found 1"),
        ({"names": ("x.png", "x.png")}, "x.png: 1 names are given to more than one crop"),
        ({"labels": np.array([0, 2])}, "two.png: label 2 has no class; the 2 classes count from 0"),
        ({"labels": np.array([-1, 0])}, "one.png: label -1 has no class"),
        ({"probabilities": np.array([[0.5, 0.5], [np.nan, 1]])}, "two.png: a probability is not finite"),
        ({"probabilities": np.array([[0.5, 0.5], [-1.0, 2.0]])}, "two.png: [-1.0, 2.0] are no probabilities"),
        ({"probabilities": np.array([[0.5, 0.4], [0.0, 1.0]])}, "one.png: [0.5, 0.4] are no probabilities"),
    ],
)
def test_predictions_that_cannot_be_are_refused(unchecked_types, change, message):
    parts = {
        "names": ("one.png", "two.png"),
        "groups": (),
        "labels": np.array([0, 1]),
        "probabilities": np.full((2, 2), 0.5),
        "classes": ("a", "b"),
    }
    with pytest.raises(ValueError) as error:  # noqa: PT011
        Predictions(**parts | change)
    assert message in str(error.value)
