"""Scores of repeated trainings with their intervals, and differences between them, by resampling what was tested.

A setting that is compared is trained with several seeds, and for each seed, where there are folds, once for each fold.
Its score is the mean over the seeds of the mean over the folds, each fold weighing as many fields as it tests.

The bootstrap is paired: of two settings the same units (fields, or patients) are drawn in each resampling, and of each
its own trainings. Of n it draws n - 1, so that the variance is right also where n is small (Rao and Wu, Resampling
inference with complex survey data, JASA 83, 1988): by the usual n of n the spread of three seeds would come out a third
too small. Crossed draws of units and trainings are those of Owen, The pigeonhole bootstrap, Annals of Applied
Statistics 1, 2007.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

RESAMPLINGS = 2000
INTERVAL = 0.95
FEW_SEEDS = 5  # below that intervals are too narrow where trainings differ much: three values span 75 % at best
FEW_UNITS = 10  # below that intervals by percentiles are too narrow


class Estimate(NamedTuple):
    """A score, or a difference, with the ends of its interval; NaN for what is not defined."""

    value: float
    low: float
    high: float


class Difference(NamedTuple):
    """A score less that of another setting, and the p-value of the two-sided test that they are the same."""

    estimate: Estimate
    p: float


@dataclass(frozen=True, eq=False)
class Training:
    """What a trained model scores on the items (fields, or crops) that it was tested on, in every resampling."""

    seed: int
    fold: int
    items: tuple[str, ...]
    samples: Float[np.ndarray, " b"]  # in the order of `Draws.of(items)`; NaN where the score is not defined


class Draws:
    """How often each item is in each resampling; items of one unit are drawn together. The first is the set itself."""

    def __init__(self, unit_of: Mapping[str, str], resamplings: int = RESAMPLINGS, seed: int = 0) -> None:
        """`unit_of`: the unit, such as the patient, of each item. Of a single unit there is no resampling."""
        units = sorted(set(unit_of.values()))
        self.units = len(units)
        self.seed = seed
        drawn = _times(self.units, resamplings, np.random.default_rng(seed))
        self._times = np.concatenate([np.ones((1, self.units), np.int64), drawn])  # (1 + b, u)
        column = {unit: number for number, unit in enumerate(units)}
        self._column = {item: column[unit] for item, unit in unit_of.items()}

    def __len__(self) -> int:
        return len(self._times)

    def of(self, items: Sequence[str]) -> Int[np.ndarray, "b i"]:
        """How often each of these items is there."""
        return self._times[:, [self._column[item] for item in items]]


@dataclass(frozen=True, eq=False)
class Scored:
    """The score of one setting in every resampling, that of the set itself first."""

    samples: Float[np.ndarray, " b"]
    by_seed: Mapping[int, float]  # of the set itself

    @property
    def estimate(self) -> Estimate:
        return _estimate(self.samples)

    @property
    def spread(self) -> float:
        """The standard deviation over the seeds; NaN for one."""
        values = list(self.by_seed.values())
        return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def score_of(trainings: Sequence[Training], draws: Draws, number: int) -> Scored:
    """The score of the setting that has this number among those compared, from its trainings: all folds of each seed.

    Trainings of two settings are drawn independently of each other, by their numbers.
    """
    seeds = sorted({training.seed for training in trainings})
    of_seeds = np.stack([_of_seed([one for one in trainings if one.seed == seed], draws) for seed in seeds])  # (n, b)
    drawn = _times(len(seeds), len(draws) - 1, np.random.default_rng([draws.seed, number]))
    if len(drawn) == 0:  # one seed, whose training is in every resampling
        drawn = np.ones((len(draws) - 1, len(seeds)), np.int64)
    weights = np.concatenate([np.ones((1, len(seeds)), np.int64), drawn])  # (b, n)
    samples = (weights.T * of_seeds).sum(axis=0) / weights.sum(axis=1)
    return Scored(samples, dict(zip(seeds, of_seeds[:, 0].tolist(), strict=True)))


def difference(of: Scored, other: Scored) -> Difference:
    """The score of one setting less that of another of the same `Draws`.

    The p-value is twice the share of resamplings in which the difference has the other sign, or is none; it is at least
    2 / (resamplings + 1).
    """
    samples = of.samples - other.samples
    drawn = samples[1:][~np.isnan(samples[1:])]
    if not len(drawn) or np.isnan(samples[0]):
        return Difference(_estimate(samples), float("nan"))
    fewer = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return Difference(_estimate(samples), min(1.0, 2 * (fewer + 1) / (len(drawn) + 1)))


def holm(p: Sequence[float]) -> list[float]:
    """p-values of several tests, corrected so that any false alarm among them is as rare as said; NaN counts as none.

    S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979.
    """
    corrected, largest = [float("nan")] * len(p), 0.0
    order = sorted((row for row, value in enumerate(p) if not np.isnan(value)), key=lambda row: p[row])
    for rank, row in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p[row]))
        corrected[row] = largest
    return corrected


def _of_seed(folds: Sequence[Training], draws: Draws) -> Float[np.ndarray, " b"]:
    """The mean over the folds, each weighing the items of it that were drawn; a fold without a score weighs nothing."""
    scores = np.stack([fold.samples for fold in folds])  # (k, b)
    weights = np.stack([draws.of(fold.items).sum(axis=1) for fold in folds]) * ~np.isnan(scores)
    total = np.where(weights > 0, scores * weights, 0.0).sum(axis=0)
    weight = weights.sum(axis=0)
    return np.divide(total, weight, out=np.full(total.shape, np.nan), where=weight > 0)


def _times(n: int, resamplings: int, rng: np.random.Generator) -> Int[np.ndarray, "b n"]:
    """How often each of n is drawn in each of the resamplings; no resampling of one, which has no variation."""
    if n < 2:
        return np.zeros((0, n), np.int64)
    return rng.multinomial(n - 1, np.full(n, 1 / n), size=resamplings)


def _estimate(samples: Float[np.ndarray, " b"]) -> Estimate:
    drawn = samples[1:][~np.isnan(samples[1:])]
    if not len(drawn):
        return Estimate(float(samples[0]), float("nan"), float("nan"))
    low, high = np.quantile(drawn, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    return Estimate(float(samples[0]), float(low), float(high))
