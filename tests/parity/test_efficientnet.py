"""EfficientNet against torchvision's and Keras's, with the same weights: from committed figures, or live.

The live part (`pytest -m parity`) runs both libraries on another seed and compares every value, gradients of B3 too.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pytest

from tests.parity import efficientnet as parity

LIVE_SEED = 43
TOLERANCE = 1e-4  # largest difference, relative to the largest value of the reference
TRAINING_TOLERANCE = 1e-3

LIVE = [pytest.param("live", name, marks=pytest.mark.parity) for name in parity.CASES]
FIRST, *OTHERS = parity.CASES
COMMITTED = [("committed", FIRST), *(pytest.param("committed", name, marks=pytest.mark.slow) for name in OTHERS)]
PREDICTED = [*COMMITTED, *LIVE]
TRAINED = [*(("committed", name) for name in parity.TRAINED), *LIVE]


class Pair(NamedTuple):
    theirs: Mapping[str, np.ndarray]
    ours: Mapping[str, np.ndarray]


@pytest.mark.parametrize(("source", "name"), PREDICTED)
@pytest.mark.parametrize("stage", ["features", "logits"])
def test_features_and_logits_equal_the_other_librarys(source, name, stage):
    pair = _predicted(source, name)
    compared = [key for key in pair.theirs if key == stage or key.startswith(f"{stage}/")]
    assert compared
    for key in compared:
        theirs, mine = pair.theirs[key], pair.ours[key]
        assert mine.shape == theirs.shape, key
        np.testing.assert_allclose(mine, theirs, rtol=0.0, atol=TOLERANCE * np.abs(theirs).max(), err_msg=key)


@pytest.mark.slow
@pytest.mark.parametrize(("source", "name"), TRAINED)
def test_the_loss_of_a_batch_equals_the_other_librarys(source, name):
    pair = _trained(source, name)
    np.testing.assert_allclose(pair.ours["loss"], pair.theirs["loss"], rtol=TRAINING_TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize(("source", "name"), TRAINED)
@pytest.mark.parametrize("kind", ["gradient", "statistics"])
def test_gradients_and_running_statistics_of_every_variable_equal_the_other_librarys(source, name, kind):
    """Live differences are of norms of arrays; a committed row is an array's norm and a random weighting of it."""
    pair = _trained(source, name)
    if source == "committed":
        theirs, mine = ({str(row): figures for row, figures in enumerate(side[kind])} for side in pair)
        sizes = {key: figures[0] for key, figures in theirs.items()}
    else:
        theirs, mine = (_of_kind(side, kind) for side in pair)
        sizes = {key: np.linalg.norm(values) for key, values in theirs.items()}
    assert mine.keys() == theirs.keys()
    # A bias before a batch normalisation has no effect: its gradient is rounding error alone.
    rounding = 1e-6 * np.linalg.norm(list(sizes.values()))
    for key, size in sizes.items():
        assert np.linalg.norm(mine[key] - theirs[key]) <= TRAINING_TOLERANCE * size + rounding, key


def _of_kind(stages: Mapping[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    return {name: values for name, values in stages.items() if name.startswith(f"{kind}/")}


@functools.cache
def _predicted(source: str, name: str) -> Pair:
    case = parity.CASES[name]
    if source == "live":
        names, theirs = _live(name)
        return Pair(theirs, parity.predict(case, names, LIVE_SEED))
    names, theirs = parity.committed(name)
    return Pair(theirs, parity.brief(parity.predict(case, names, parity.COMMITTED_SEED)))


@functools.cache
def _trained(source: str, name: str) -> Pair:
    case = parity.CASES[name]
    if source == "live":
        names, theirs = _live(name)
        return Pair(theirs, parity.train(case, names, LIVE_SEED))
    names, theirs = parity.committed(name)
    return Pair(theirs, parity.brief(parity.train(case, names, parity.COMMITTED_SEED)))


@functools.cache
def _live(name: str) -> tuple[parity.Names, parity.Arrays]:
    reason = "torchvision or keras is not installed (extra `parity`)"
    reference = pytest.importorskip("tests.parity.make_efficientnet_reference", reason=reason)
    return reference.run(parity.CASES[name], LIVE_SEED, train=True)
