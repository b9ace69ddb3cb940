"""The input's rate beside the step's: counted against a clock that is set, and told."""

from itertools import count
from typing import NamedTuple

import numpy as np
import pytest

from tests.commands.test_step_time import COST, DEVICE
from tests.tasks.test_detection import toy_config
from wbcjax.commands.plan import input_rate
from wbcjax.commands.plan.input_rate import BATCHES, input_text, measured_rate, rate_of
from wbcjax.tasks.choose import experiment_of


class OnlyIndex(NamedTuple):
    index: np.ndarray


class Endless:
    """Batches of four images, which must be closed."""

    def __init__(self) -> None:
        self.open, self.taken = True, 0

    def __iter__(self) -> "Endless":
        return self

    def __next__(self) -> OnlyIndex:
        self.taken += 1
        return OnlyIndex(np.zeros(4))

    def close(self) -> None:
        self.open = False


@pytest.fixture
def five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks at the clock."""
    ticks = count(100.0, 5.0)
    monkeypatch.setattr(input_rate, "perf_counter", lambda: next(ticks))


@pytest.mark.usefixtures("five_seconds")
def test_a_rate_is_all_images_by_all_the_time():
    batches = Endless()
    assert rate_of(lambda: batches) == pytest.approx(4 * BATCHES / 5.0)
    assert (batches.taken, batches.open) == (BATCHES, False)


@pytest.mark.usefixtures("five_seconds")
def test_the_input_of_a_config_is_measured():
    assert measured_rate(experiment_of(toy_config())) == pytest.approx(8 * BATCHES / 5.0)


@pytest.mark.parametrize(
    ("rate", "told"),
    [
        (50.0, "the input holds the run back: 4 such machines would keep up"),
        (500.0, "the step holds the run back, not the input"),
    ],
)
def test_what_holds_the_run_back_is_told(rate: float, told: str):
    # 16 images in 100 ms of computing and 3.5 ms of the all-reduce between eight devices
    expected = f"measured over {BATCHES} batches. The step of 8 devices should take 154.6: {told}."
    assert input_text(rate, COST, DEVICE, 0.4) == f"The input of this machine makes {rate:.1f} images/s, {expected}"


def test_without_hardware_the_rate_alone_is_told():
    told = f"The input of this machine makes 50.0 images/s, measured over {BATCHES} batches."
    assert input_text(50.0, COST, None, 0.4) == told
