"""A slice of `python -m benchmarks.faults`: kill -9 anywhere loses nothing, to the bit."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.faults import kinds
from benchmarks.faults.compare import differences, final_state
from benchmarks.faults.run import Base, Run, judge
from tests.train import toy
from tests.train.test_loop import Killed, killed_in_batch
from tests.train.toy import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A training that was left alone."""
    return Base.of(Run(tmp_path_factory.mktemp("faults") / "undisturbed"))


def struck(kind: kinds.Kind, base: Base, folder: Path) -> list[str]:
    """What is wrong with a training after a fault, which strikes at moments that a seed chooses."""
    for attempt in range(20):
        random = np.random.default_rng([8, attempt])
        run = Run(folder / str(attempt))
        try:
            done = kind.strike(run, base, random)
        except kinds.TooLate:
            continue
        run.finish()
        return judge(run, base, kind.tolerance, done.lines_cut, kind.may_complain).problems
    raise AssertionError("it always ended before the fault struck")


@pytest.mark.parametrize("name", ["kill", "kill_saving", "flip"])
def test_a_fault_loses_nothing_of_a_training_in_a_process_of_its_own(base, tmp_path, name):
    assert struck(kinds.KINDS[name], base, tmp_path) == []


def test_twenty_steps_are_ten_a_kill_and_ten_more_to_the_bit(tmp_path):
    phases = ({"layers": "heads", "epochs": 5.0}, {"layers": "all", "epochs": 3.0})
    config = toy.config(steps=20, ema_decay=0.9, eval_every_epochs=4.0, phases=phases)  # evaluated after each 10
    scores = iter([0.7, 0.2])
    train(config, toy.task(evaluate=lambda variables: {"mask AP": next(scores)}), tmp_path / "straight")
    with pytest.raises(Killed):
        train(config, toy.task(killed_in_batch(11), evaluate=lambda variables: {"mask AP": 0.7}), tmp_path / "pieces")
    assert final_state(tmp_path / "pieces")["latest step"] == 10
    train(config, toy.task(evaluate=lambda variables: {"mask AP": 0.2}), tmp_path / "pieces")
    straight = final_state(tmp_path / "straight")
    assert (straight["latest step"], straight["best step"], straight["best score"]) == (20, 10, 0.7)
    assert differences(final_state(tmp_path / "pieces"), straight, 0.0) == []


def test_a_single_bit_of_difference_in_the_state_is_seen(base):
    for name, value in base.state.items():
        if isinstance(value, np.ndarray):
            data = bytearray(value.tobytes())
            data[0] ^= 1
            other = np.frombuffer(data, value.dtype).reshape(value.shape)
            assert differences(base.state | {name: other}, base.state, 0.0) == [name]
    assert differences(base.state, base.state, 0.0) == []
