"""An optimizer of one's own: a file beside the config, named there by its path."""

from pathlib import Path

import chex
import jax
import numpy as np
import pytest

from tests.train import toy
from wbcjax.settings.parts import part
from wbcjax.train.checkpoint import load_variables


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder outside of the package, with the example in it."""
    text = Path(__file__).with_name("my_optimizer.py").read_text()
    (tmp_path / "my_optimizer.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def trained(workdir: Path, *lengths: int) -> dict:
    """The variables of the toy after so many steps, stopped and gone on with at each of `lengths`."""
    config = toy.config(
        optimizer=part("my_optimizer:signum", momentum=0.5), weight_decay=0.1, warmup_steps=0, schedule="step"
    )
    for config.train.steps in lengths:
        toy.train(config, toy.task(), workdir, allow_config_change=True)
    return load_variables(workdir, "latest")[0]


def test_an_own_optimizer_steps_by_signs_at_the_rate_of_the_schedule(place):
    before, after = toy.variables(3)["params"], trained(place / "run", 1)["params"]
    decayed = jax.tree.map(lambda weight: 0.99 * weight if weight.ndim > 1 else weight, before)  # 1 - rate * decay
    steps = jax.tree.map(lambda new, old: np.round(np.abs(new - old), 4), after, decayed)
    assert np.all(steps["box_head"]["bias"] == np.float32(0.1))
    # None where a gradient is exactly 0, which another processor may round to something else.
    assert {float(step) for leaf in jax.tree.leaves(steps) for step in leaf.flat} <= {0.0, float(np.float32(0.1))}


def test_an_own_optimizer_goes_on_from_its_state_to_the_bit(place):
    chex.assert_trees_all_equal(trained(place / "in_two", 1, 3), trained(place / "at_once", 3))
