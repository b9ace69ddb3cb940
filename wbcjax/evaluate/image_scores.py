"""How often a vote of the cells finds the subtype of an image: confusion matrix and scores, with intervals."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from wbcjax.evaluate.detections import FieldAnnotations, FieldDetections, check_pairs
from wbcjax.evaluate.reported_cells import reported_cells
from wbcjax.evaluate.vote import MIN_SCORE, RULES, SUBTYPES, decide, vote, voters

ImageScores = dict[str, Any]
INTERVAL = 0.95  # of the resamplings lie within


def subtype_scores(
    annotations: Sequence[FieldAnnotations],
    detections: Sequence[FieldDetections],
    classes: Sequence[str],
    min_score: float = MIN_SCORE,
) -> dict[str, Any]:
    """The subtype of each image by every rule of `vote.RULES`, and the scores of each rule.

    The truth of an image is the pathologists' rule on its annotated cells, crowd regions apart. One without annotated
    cells of a subtype has no truth: it is listed with its votes, and no score counts it.

    Args:
        annotations, detections: of the same fields in the same order.
        classes: names of label 1, 2, ...; cells of a class that is no subtype do not vote.
        min_score: cells of a lower score do not vote either. A cell that was detected as several classes votes as the
            one of the highest score, see `reported_cells`.

    Returns `min_score`; `rules`: `image_scores` by rule; `images`: of each its name, truth (None where there is none),
    annotated and voting cells of each subtype as `annotated` and `counts`, and `votes`, the subtype or None by rule.

    Raises ValueError when the lists differ in their fields or a label has no class.
    """
    check_pairs(annotations, detections)
    fields = zip(annotations, detections, strict=True)
    images = [_image(annotated, detected, classes, min_score) for annotated, detected in fields]
    known = [image for image in images if image["truth"] is not None]
    names, truth = [image["name"] for image in known], [image["truth"] for image in known]
    return {
        "min_score": min_score,
        "rules": {rule: image_scores(names, truth, [image["votes"][rule] for image in known]) for rule in RULES},
        "images": images,
    }


def image_scores(
    names: Sequence[str],
    truth: Sequence[str],
    predicted: Sequence[str | None],
    classes: Sequence[str] = SUBTYPES,
    bootstrap: int = 1000,
    seed: int = 0,
) -> ImageScores:
    """The scores of `from_confusion`, and `mistakes`: name, truth and predicted of each image that is not right.

    Args:
        names: of the images; unique.
        truth: the true class of each, one of `classes`.
        predicted: the predicted class of each; None: undetected.

    Raises ValueError, naming the image, where these do not fit together.
    """
    _check(names, truth, predicted, classes)
    images = list(zip(names, truth, predicted, strict=True))
    pairs = Counter(zip(truth, predicted, strict=True))
    counts = [[pairs[actual, taken] for taken in classes] for actual in classes]
    undetected = [pairs[actual, None] for actual in classes]
    mistakes = [
        {"name": name, "truth": actual, "predicted": taken} for name, actual, taken in images if actual != taken
    ]
    return from_confusion(counts, undetected, classes, bootstrap, seed) | {"mistakes": mistakes}


def from_confusion(
    counts: Sequence[Sequence[int]],
    undetected: Sequence[int],
    classes: Sequence[str] = SUBTYPES,
    bootstrap: int = 1000,
    seed: int = 0,
) -> ImageScores:
    """Every score of a confusion matrix of images, as a nested dict of plain numbers, by the definitions of the paper.

    Section 4.2 of Revanda et al. gives its definitions in words; these reproduce all its digits. Rows are true classes:
    so read, its 91.20, 54.55 and 99.08 % are the sensitivities. Its Table 3 leaves out the 12 images of 301 where no
    cell was found. The accuracy counts them as wrong (252 / 301 = 83.72 %; of the 289 in the table it would be
    87.20 %). The margin FN and the sensitivity do not count them (81.61 %; with them, as its words have it, 78.29 %).
    `sensitivity_all` does: a model cannot raise it by leaving images undetected.

    Args:
        counts: images by true class (row) and predicted class (column).
        undetected: images of each row where no cell voted.
        bootstrap: resamplings that the intervals come from. Single images are drawn, with replacement: where several
            are of one patient the intervals are too narrow. Where all images are right they have no width.
        seed: of the resampling.

    Returns, with NaN for what is not defined and averages over the classes for which it is:
        accuracy: share of all images that are classified rightly, as value with low and high of its 95 % interval
            (percentiles of the resamplings). The next three have intervals too.
        precision: mean over the classes of the share of images predicted as it that are of it.
        sensitivity: mean over the classes of the share of its detected images that are predicted as it.
        sensitivity_all: the same, of all its images.
        per_class: images, precision, sensitivity and sensitivity_all of each.
        confusion: classes, counts, undetected, and the margins FN (images of a class taken for another, undetected ones
            apart) and FP (images of another taken for it).
        images, undetected: how many.
        bootstrap: resamplings, seed, and left_out: by score, the resamplings in which it is not defined for a class of
            the set, which its interval leaves out.
        undefined: sentences saying which scores are not defined, and why.
    """
    table = np.column_stack([np.reshape(counts, (len(classes), -1)), undetected]).astype(np.int64)  # (c, c + 1)
    tables = np.concatenate([table[None], _resample(table, bootstrap, seed)])  # (1 + b, c, c + 1), the set's own first
    by_class = _by_class(tables)
    right, taken = table.diagonal(), table[:, :-1]
    return {
        "accuracy": _with_interval(_accuracy(tables)),
        **{name: _with_interval(_mean(score)) for name, score in by_class.items()},
        "per_class": {
            name: {"images": int(table[i].sum()), **{key: float(score[0, i]) for key, score in by_class.items()}}
            for i, name in enumerate(classes)
        },
        "confusion": {
            "classes": list(classes),
            "counts": taken.tolist(),
            "undetected": table[:, -1].tolist(),
            "FN": (taken.sum(axis=1) - right).tolist(),
            "FP": (taken.sum(axis=0) - right).tolist(),
        },
        "images": int(table.sum()),
        "undetected": int(table[:, -1].sum()),
        "bootstrap": {
            "resamplings": bootstrap,
            "seed": seed,
            "left_out": {name: _left_out(_mean(score)) for name, score in by_class.items()},
        },
        "undefined": _undefined(table, classes),
    }


def _image(
    annotated: FieldAnnotations, detected: FieldDetections, classes: Sequence[str], min_score: float
) -> dict[str, Any]:
    """An entry of `images`."""
    cells = _class_names(annotated.name, annotated.labels[~annotated.crowd], classes)
    _class_names(detected.name, detected.labels, classes)
    found = reported_cells(detected, min_score, classes)
    voting = voters(_class_names(found.name, found.labels, classes), found.scores, min_score)
    return {
        "name": annotated.name,
        "truth": vote(cells, np.ones(len(cells))),
        "annotated": {name: cells.count(name) for name in SUBTYPES},
        "counts": {name: len(scores) for name, scores in voting.items()},
        "votes": {rule: decide(voting, rule) for rule in RULES},
    }


def _class_names(field: str, labels: Int[np.ndarray, " n"], classes: Sequence[str]) -> list[str]:
    highest = labels.max(initial=0)
    if highest > len(classes):
        raise ValueError(f"{field}: label {highest} has no class; the {len(classes)} classes are {', '.join(classes)}")
    return [classes[int(label) - 1] for label in labels]


def _check(names: Sequence[str], truth: Sequence[str], predicted: Sequence[str | None], classes: Sequence[str]) -> None:
    if not len(names) == len(truth) == len(predicted):
        raise ValueError(
            f"{len(names)} images need as many truths and predictions, found {len(truth)} and {len(predicted)}"
        )
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(
            f"{repeated[0]}: {len(repeated)} names are given to more than one image; name each differently"
        )
    for name, actual, taken in zip(names, truth, predicted, strict=True):
        if actual not in classes or taken not in (*classes, None):
            raise ValueError(
                f"{name}: is {actual!r} and was taken for {taken!r}; the classes are {', '.join(classes)}, "
                "and None is for images taken for none"
            )


def _accuracy(tables: Int[np.ndarray, "b c t"]) -> Float[np.ndarray, " b"]:
    right = np.trace(tables, axis1=1, axis2=2)
    return _ratio(right, tables.sum(axis=(1, 2)))


def _by_class(tables: Int[np.ndarray, "b c t"]) -> dict[str, Float[np.ndarray, "b c"]]:
    """The scores of each class from matrices whose last column holds the undetected images."""
    right = np.diagonal(tables, axis1=1, axis2=2)  # (b, c)
    taken = tables[:, :, :-1]  # (b, c, c)
    return {
        "precision": _ratio(right, taken.sum(axis=1)),
        "sensitivity": _ratio(right, taken.sum(axis=2)),
        "sensitivity_all": _ratio(right, tables.sum(axis=2)),
    }


def _ratio(part: Int[np.ndarray, "*n"], whole: Int[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """NaN where the whole is nothing."""
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def _mean(score: Float[np.ndarray, "b c"]) -> Float[np.ndarray, " b"]:
    """Over the classes for which the first row, the set's own, is defined; NaN where a row lacks one of these."""
    defined = ~np.isnan(score[0])
    return score[:, defined].mean(axis=1) if defined.any() else np.full(len(score), np.nan)


def _with_interval(values: Float[np.ndarray, " b"]) -> dict[str, float]:
    """The first value, the set's own, and the interval of the others, its resamplings'."""
    sampled = values[1:][~np.isnan(values[1:])]
    low, high = np.quantile(sampled, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2]) if len(sampled) else (np.nan, np.nan)
    return {"value": float(values[0]), "low": float(low), "high": float(high)}


def _left_out(values: Float[np.ndarray, " b"]) -> int:
    """How many resamplings do not count for the interval of a score that the set itself has."""
    return 0 if math.isnan(values[0]) else int(np.isnan(values[1:]).sum())


def _resample(table: Int[np.ndarray, "c t"], bootstrap: int, seed: int) -> Int[np.ndarray, "b c t"]:
    """Matrices of sets of images drawn from this one; none from a single image, which has no variation.

    Images of one entry of the matrix are alike here, so that drawing images is drawing entries by their share.
    """
    images = int(table.sum())
    if images < 2:
        return np.zeros((0, *table.shape), np.int64)
    drawn = np.random.default_rng(seed).multinomial(images, table.ravel() / images, size=bootstrap)
    return drawn.reshape(bootstrap, *table.shape)


def _undefined(table: Int[np.ndarray, "c t"], classes: Sequence[str]) -> list[str]:
    sentences = []
    for i, name in enumerate(classes):
        if not table[i].sum():
            sentences.append(f"no image is {name}: its sensitivity is not defined")
        elif not table[i, :-1].sum():
            sentences.append(f"no image of {name} was detected: its sensitivity among those detected is not defined")
        if not table[:, i].sum():
            sentences.append(f"no image was taken for {name}: its precision is not defined")
    if table.sum() == 1:
        sentences.append("there is one image only: intervals are not defined")
    return sentences
