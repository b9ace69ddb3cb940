"""How good a classifier of crops is: every score of its predictions."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn import metrics

from wbcjax.evaluate.predictions import Predictions
from wbcjax.evaluate.reliability import reliability

ClassificationScores = dict[str, Any]
INTERVAL = 0.95  # of the resamplings lie within


def classification_scores(predictions: Predictions, bootstrap: int = 1000, seed: int = 0) -> ClassificationScores:
    """Every score of a classifier, as a nested dict of plain numbers; the order of the crops does not matter.

    Args:
        bootstrap: resamplings that the intervals come from; with 0 they are not defined. Whole groups are drawn, with
            replacement, because crops of one field are not independent; single crops where groups are not known.
        seed: of the resampling.

    Returns, with NaN for what is not defined and averages over the classes for which it is:
        accuracy: value, with low and high of its 95 % interval (percentiles of the resamplings).
        report: precision, recall, f1 and support of each class, and their macro and weighted averages, as in Fig. 11
            of Suvon et al.; scikit-learn's definitions.
        confusion: classes, and counts: rows are true classes, columns predicted ones.
        auroc: areas under the ROC curves, per_class against the rest; their mean as value, with its interval.
        average_precision: per_class, their mean as value.
        curves: roc and pr of each class: points along the curve, and the thresholds of the probability that give them.
            ROC's first point (0, 0) and PR's last (precision 1, recall 0), where no crop is taken for the class, have
            no threshold. Lists are empty where there is no curve.
        calibration: ece, the expected calibration error, and the bins behind it: see `reliability`.
        groups: crops, right and accuracy of each; {} where they are not known.
        mistakes: all of them, the most confident first: index, name, group, label, predicted, confidence.
        counts: crops, groups, mistakes.
        bootstrap: resamplings, seed, units ("groups" or "crops"), and without_auroc: the resamplings that lack a class
            of the set, which the interval of auroc leaves out.
        undefined: sentences saying which scores are not defined, and why.
    """
    against_rest = _against_rest(predictions)
    roc = {name: _roc(*one) for name, one in against_rest.items()}
    auroc = {name: _area(curve) for name, curve in roc.items()}
    precision = {name: _average_precision(*one) for name, one in against_rest.items()}
    samples = _resample(predictions, bootstrap, seed)
    return {
        "accuracy": {"value": float(predictions.right.mean()), **_interval(samples.accuracies)},
        "report": _report(predictions),
        "confusion": {"classes": list(predictions.classes), "counts": _confusion(predictions).tolist()},
        "auroc": {"value": _mean(auroc.values()), **_interval(samples.aurocs), "per_class": auroc},
        "average_precision": {"value": _mean(precision.values()), "per_class": precision},
        "curves": {"roc": roc, "pr": {name: _precision_recall(*one) for name, one in against_rest.items()}},
        "calibration": reliability(predictions.confidence, predictions.right, "crops"),
        "groups": _of_groups(predictions),
        "mistakes": [_mistake(predictions, i) for i in worst_mistakes(predictions).tolist()],
        "counts": {
            "crops": len(predictions.names),
            "groups": len(set(predictions.groups)),
            "mistakes": int((~predictions.right).sum()),
        },
        "bootstrap": {
            "resamplings": bootstrap,
            "seed": seed,
            "units": "groups" if predictions.groups else "crops",
            "without_auroc": int(np.isnan(samples.aurocs).sum()) if not math.isnan(_mean(auroc.values())) else 0,
        },
        "undefined": _undefined(predictions),
    }


def worst_mistakes(predictions: Predictions) -> Int[np.ndarray, " m"]:
    """Indices of the misclassified crops, the most confident first, equals by name."""
    wrong = np.flatnonzero(~predictions.right)
    return np.array(sorted(wrong, key=lambda i: (-predictions.confidence[i], predictions.names[i])), np.int64)


Curve = dict[str, list[float]]


def _against_rest(
    predictions: Predictions,
) -> dict[str, tuple[Bool[np.ndarray, " n"], Float[np.ndarray, " n"]]]:
    """Of each class, which crops are of it, and its predicted probability for each crop."""
    probabilities = predictions.probabilities.astype(np.float64)
    return {name: (predictions.labels == i, probabilities[:, i]) for i, name in enumerate(predictions.classes)}


def _roc(positive: Bool[np.ndarray, " n"], probability: Float[np.ndarray, " n"]) -> Curve:
    if positive.all() or not positive.any():
        return {"false_positive_rate": [], "true_positive_rate": [], "thresholds": []}
    false, true, thresholds = metrics.roc_curve(positive, probability)
    return {
        "false_positive_rate": false.tolist(),
        "true_positive_rate": true.tolist(),
        "thresholds": thresholds[1:].tolist(),  # the first one is infinite
    }


def _area(roc: Curve) -> float:
    points = roc["false_positive_rate"], roc["true_positive_rate"]
    return float(metrics.auc(*points)) if points[0] else math.nan


def _precision_recall(positive: Bool[np.ndarray, " n"], probability: Float[np.ndarray, " n"]) -> Curve:
    if not positive.any():
        return {"precision": [], "recall": [], "thresholds": []}
    curve = metrics.precision_recall_curve(positive, probability, drop_intermediate=True)
    return dict(zip(("precision", "recall", "thresholds"), (part.tolist() for part in curve), strict=True))


def _average_precision(positive: Bool[np.ndarray, " n"], probability: Float[np.ndarray, " n"]) -> float:
    return float(metrics.average_precision_score(positive, probability)) if positive.any() else math.nan


def _report(predictions: Predictions) -> dict[str, Any]:
    """The entry `report`. scikit-learn leaves NaN out of its averages."""
    options: dict[str, Any] = {"labels": np.arange(len(predictions.classes)), "zero_division": np.nan}

    def score(average: str | None) -> Any:
        return metrics.precision_recall_fscore_support(
            predictions.labels, predictions.predicted, average=average, **options
        )

    rows = np.transpose(score(None)).tolist()
    averages = {average: score(average)[:3] for average in ("macro", "weighted")}
    return {
        "per_class": {name: _row(row) for name, row in zip(predictions.classes, rows, strict=True)},
        **{average: _row((*values, len(predictions.labels))) for average, values in averages.items()},
    }


def _row(values: Sequence[float]) -> dict[str, float]:
    precision, recall, f1, support = values
    return {"precision": float(precision), "recall": float(recall), "f1": float(f1), "support": int(support)}


def _confusion(predictions: Predictions) -> Int[np.ndarray, "c c"]:
    labels = np.arange(len(predictions.classes))
    return metrics.confusion_matrix(predictions.labels, predictions.predicted, labels=labels)


def _of_groups(predictions: Predictions) -> dict[str, dict[str, float]]:
    crops = Counter(predictions.groups)
    right = Counter(group for group, is_right in zip(predictions.groups, predictions.right, strict=False) if is_right)
    return {
        group: {"crops": crops[group], "right": right[group], "accuracy": right[group] / crops[group]}
        for group in sorted(crops)
    }


def _mistake(predictions: Predictions, index: int) -> dict[str, Any]:
    return {
        "index": index,
        "name": predictions.names[index],
        "group": predictions.groups[index] if predictions.groups else None,
        "label": predictions.classes[predictions.labels[index]],
        "predicted": predictions.classes[predictions.predicted[index]],
        "confidence": float(predictions.confidence[index]),
    }


class _Samples(NamedTuple):
    accuracies: Float[np.ndarray, " b"]
    aurocs: Float[np.ndarray, " b"]  # NaN where a class is missing


def _resample(predictions: Predictions, bootstrap: int, seed: int) -> _Samples:
    """Accuracy and mean AUROC of sets drawn from this one; none from a single group, which has no variation."""
    units, unit_of = np.unique(np.array(predictions.groups or predictions.names), return_inverse=True)
    rng = np.random.default_rng(seed)
    rankings = [_rank(*one) for one in _against_rest(predictions).values() if one[0].any() and not one[0].all()]
    samples = np.full((bootstrap if len(units) > 1 else 0, 2), np.nan)
    for sample in samples:
        times = rng.multinomial(len(units), np.full(len(units), 1 / len(units)))[unit_of]  # each crop was drawn
        sample[0] = times @ predictions.right / times.sum()
        if rankings:
            sample[1] = np.mean([_auroc(ranking, times) for ranking in rankings])
    return _Samples(*samples.T)


class _Ranking(NamedTuple):
    order: Int[np.ndarray, " n"]  # of the crops, by rising probability
    positive: Bool[np.ndarray, " n"]  # in that order
    starts: Int[np.ndarray, " t"]  # where another probability begins


def _rank(positive: Bool[np.ndarray, " n"], probability: Float[np.ndarray, " n"]) -> _Ranking:
    order = np.argsort(probability)
    starts = np.flatnonzero(np.diff(probability[order], prepend=-1.0))
    return _Ranking(order, positive[order], starts)


def _auroc(ranking: _Ranking, times: Int[np.ndarray, " n"]) -> float:
    """Area under the ROC curve of a set that holds each crop so many times; NaN where it lacks one side.

    The share of pairs, one of the class and one of the rest, that are ranked rightly, equals counting half (Hanley and
    McNeil 1982). scikit-learn gives the same from weights; this is faster for a thousand resamplings of a set.
    """
    ranked = times[ranking.order]
    positives = np.add.reduceat(ranked * ranking.positive, ranking.starts)
    negatives = np.add.reduceat(ranked * ~ranking.positive, ranking.starts)
    pairs = positives.sum() * negatives.sum()
    return float(positives @ (negatives.cumsum() - negatives / 2) / pairs) if pairs else math.nan


def _interval(samples: Float[np.ndarray, " b"]) -> dict[str, float]:
    defined = samples[~np.isnan(samples)]
    low, high = np.quantile(defined, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2]) if len(defined) else (np.nan, np.nan)
    return {"low": float(low), "high": float(high)}


def _mean(values: Iterable[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def _undefined(predictions: Predictions) -> list[str]:
    counts = _confusion(predictions)
    sentences = []
    for name, crops, taken in zip(predictions.classes, counts.sum(axis=1), counts.sum(axis=0), strict=True):
        if not crops:
            sentences.append(f"no crop is {name}: its recall, ROC and PR curves are not defined")
        if crops == len(predictions.labels):
            sentences.append(f"every crop is {name}: its ROC curve is not defined")
        if not taken:
            sentences.append(f"no crop was taken for {name}: its precision is not defined")
    if len(set(predictions.groups or predictions.names)) == 1:
        sentences.append(f"there is one {'group' if predictions.groups else 'crop'} only: intervals are not defined")
    return sentences
