"""States to save, and what must hold of them once they are."""

from pathlib import Path

import chex
import grain
import numpy as np

from tests.train import toy
from wbcjax.train.checkpoint import Checkpoints
from wbcjax.train.checkpoint_digests import find_fault
from wbcjax.train.state import TrainState


def state(step: int, size: int = 500) -> TrainState:
    """Noise of `step`, in float32, that zstd does not make smaller."""
    noise = np.random.default_rng(step)

    def weights() -> dict:
        return {name: {"kernel": noise.standard_normal((size, 2), np.float32)} for name in ("stem", "head")}

    return TrainState(
        step=np.full((), step, np.int32),
        params=weights(),
        collections={"batch_stats": {"mean": noise.standard_normal(3, np.float32)}},
        opt_state={"momentum": weights()},
        ema=None,
        key=np.array([0, step], np.uint32),
    )


def batches(done: int = 0) -> grain.DatasetIterator:
    data = toy.batches(toy.Images(), 4, 0)
    for _ in range(done):
        next(data)
    return data


def place(done: int = 0) -> dict:
    return batches(done).get_state()


def assert_whole(checkpoints: Checkpoints, directory: Path, step: int, size: int = 500) -> None:
    assert find_fault(directory / str(step)) is None
    data = batches()
    chex.assert_trees_all_equal(checkpoints.restore(step, state(0, size), data), state(step, size))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
