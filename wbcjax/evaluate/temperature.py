"""Scores calibrated by a temperature: Guo et al., On Calibration of Modern Neural Networks, 2017, Sec. 4.2.

Logits are divided by one number, which is fitted to predictions that are known to be right or wrong. A softmax tells
its logits but for a constant, which does not matter here: they are the logarithms of its probabilities. A detection
keeps the probability of its own class alone; its logit is that of right against wrong.

The order of scores stays, so average precision does, and 0.5 stays 0.5.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

# Of right and of wrong predictions: ten of the rarer kind for each fitted number (Peduzzi et al., J. Clin. Epidemiol.
# 49, 1996).
LEAST = 10
# Below, scores of float32 that differ would become the same number; above, all scores are about a half.
LOWEST, HIGHEST = 0.5, 10.0
SMALLEST = 1e-12  # probability: lower ones are clipped to it when a temperature is fitted
HALVINGS = 50  # of the range of 1 / temperature


def fit_temperature(probabilities: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"], what: str) -> float:
    """The temperature, from `LOWEST` to `HIGHEST`, by which the true classes 0..c-1 are most likely.

    The likelihood has one maximum, as it is concave in 1 / temperature: its slope is bisected.

    what: the predictions, as an error names them. Raises ValueError with fewer than `LEAST` right or wrong ones.
    """
    _check_enough(probabilities.argmax(axis=1) == labels, what)
    return _fitted(probabilities, labels)


def fit_score_temperature(scores: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"], what: str) -> float:
    """The same for scores that are to be the probability of being right."""
    _check_enough(right, what)
    scores = scores.astype(np.float64)
    return _fitted(np.stack([1 - scores, scores], axis=1), right.astype(np.int64))


def scaled(probabilities: Float[np.ndarray, "n c"], temperature: float) -> Float[np.ndarray, "n c"]:
    """Probabilities of logits that are divided by the temperature; the order of a row stays."""
    with np.errstate(divide="ignore"):  # of a probability of 0, which stays 0
        logits = np.log(probabilities.astype(np.float64)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def scaled_scores(scores: Float[np.ndarray, " n"], temperature: float) -> Float[np.ndarray, " n"]:
    """Scores of logits that are divided by the temperature, float64; by its inverse they are as they were."""
    scores = scores.astype(np.float64)
    with np.errstate(divide="ignore", over="ignore"):  # 0 and 1 stay
        logits = np.log(scores) - np.log1p(-scores)
        return 1 / (1 + np.exp(-logits / temperature))


def _check_enough(right: Bool[np.ndarray, " n"], what: str) -> None:
    count, of = int(right.sum()), len(right)
    if min(count, of - count) < LEAST:
        raise ValueError(
            f"{count} of {of} {what} are right and {of - count} wrong, and to fit a temperature takes {LEAST} of each: "
            "give val more data, by a lower config.dataset.split.train_fraction before training"
        )


def _fitted(probabilities: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]) -> float:
    logits = np.log(np.clip(probabilities.astype(np.float64), SMALLEST, 1.0))
    of_label = logits[np.arange(len(labels)), labels]
    low, high = 1 / HIGHEST, 1 / LOWEST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        powers = np.exp(middle * (logits - logits.max(axis=1, keepdims=True)))
        expected = (powers * logits).sum(axis=1) / powers.sum(axis=1)
        low, high = (middle, high) if (of_label - expected).sum() > 0 else (low, middle)
    return float(2 / (low + high))
