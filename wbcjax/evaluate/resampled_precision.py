"""Average precision of many resamplings of a set of fields, from one matching of their detections."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from wbcjax.evaluate.average_precision import RECALL_POINTS, ClassMatches

AT_ONCE = 4_000_000  # counts of detections in memory


def resampled_precision(found: Sequence[ClassMatches], times: Int[np.ndarray, "b f"]) -> Float[np.ndarray, "b t"]:
    """AP at each IoU threshold of sets in which field f is there `times[b, f]` times; NaN without a cell to find.

    The means over the classes that have cells. A row equals `average_precision` of the set with each field repeated,
    the copies side by side; its AP is the mean over the thresholds. Of detections of one field, class and score the
    copies of the first one come first; in the repeated set they would take turns.

    Args:
        found: of each class.
    """
    by_class = np.stack([_of_class(of_class, times) for of_class in found])  # (C, b, t)
    defined = ~np.isnan(by_class)
    counted = defined.sum(axis=0)
    total = np.where(defined, by_class, 0.0).sum(axis=0)
    return np.divide(total, counted, out=np.full(total.shape, np.nan), where=counted > 0)


def _of_class(found: ClassMatches, times: Int[np.ndarray, "b f"]) -> Float[np.ndarray, "b t"]:
    rows = max(AT_ONCE // max(len(found.field), 1), 1)
    parts = [_of_rows(found, times[start : start + rows]) for start in range(0, len(times), rows)]
    return np.concatenate([np.zeros((0, len(found.matched))), *parts])


def _of_rows(found: ClassMatches, times: Int[np.ndarray, "b f"]) -> Float[np.ndarray, "b t"]:
    cells = times @ found.cells  # (b,)
    here = times[:, found.field]  # (b, d): how often each detection is there
    before = np.cumsum(here, axis=1)  # (b, d): with it
    precision = np.full((len(times), len(found.matched)), np.nan)
    for threshold, (matched, ignored) in enumerate(zip(found.matched, found.ignored, strict=True)):
        hits = np.flatnonzero(matched & ~ignored)  # recall and the envelope of precision change at these alone
        left_out = np.cumsum(here * ignored, axis=1)[:, hits] if ignored.any() else 0
        true = np.cumsum(here[:, hits], axis=1)  # (b, h)
        each = true / (before[:, hits] - left_out + np.spacing(1))
        envelope = np.maximum.accumulate(each[:, ::-1], axis=1)[:, ::-1]
        for row in np.flatnonzero(cells):
            first = np.searchsorted(true[row] / cells[row], RECALL_POINTS, side="left")
            precision[row, threshold] = np.append(envelope[row], 0.0)[first].mean()
    return precision
