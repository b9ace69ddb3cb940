"""Whether scores are probabilities: how often what scores about s is right."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

CALIBRATION_BINS = 15  # as in Guo et al., On Calibration of Modern Neural Networks, 2017


def reliability(confidence: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"], counted: str) -> dict[str, Any]:
    """The expected calibration error of scores, and the bins that it is made of.

    Args:
        confidence: the scores, in [0, 1].
        right: which of the predictions are right.
        counted: their name, "crops" or "detections": the key of their number in each bin.

    Returns:
        ece: the mean difference of score and share that is right (Guo et al. 2017, Eqn. 3), NaN without predictions.
        bins: equal bins of confidence, each closed above.
        reliability: low, high, number, mean confidence and accuracy of each bin that holds some.
    """
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    confidence = confidence.astype(np.float64)
    bin_of = np.searchsorted(edges[1:-1], confidence, side="left")
    rows = [
        {
            "low": float(edges[bin]),
            "high": float(edges[bin + 1]),
            counted: int((bin_of == bin).sum()),
            "confidence": float(confidence[bin_of == bin].mean()),
            "accuracy": float(right[bin_of == bin].mean()),
        }
        for bin in np.unique(bin_of)
    ]
    gaps = [row[counted] * abs(row["accuracy"] - row["confidence"]) for row in rows]
    return {"ece": sum(gaps) / len(right) if gaps else math.nan, "bins": CALIBRATION_BINS, "reliability": rows}


def calibration_line(now: Mapping[str, Any], before: Mapping[str, Any] | None) -> str:
    """The expected calibration error as text; `before` is that of the same predictions before they were calibrated."""
    line = f"expected calibration error {_figure(now['ece'])}, in {now['bins']} bins"
    if before is None:
        return line
    return f"{line}; before calibration, by a temperature of {before['temperature']:.3f}, {_figure(before['ece'])}"


def _figure(ece: float) -> str:
    return "n/a" if math.isnan(ece) else f"{ece:.4f}"
