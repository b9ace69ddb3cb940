"""The length of a run, its phases, evaluations and learning rates."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.train import toy
from wbcjax.settings.checked import checked
from wbcjax.train.plan import Phase, learning_rate, plan_run
from wbcjax.train.settings import TrainSettings


def settings(**changes) -> TrainSettings:
    return checked(TrainSettings, toy.config(**changes).train, "config.train")


def rates(settings, images, steps):
    schedule = learning_rate(settings, plan_run(settings, images))
    return np.array([schedule(jnp.int32(step)) for step in range(steps)])


def test_epochs_phases_and_steps_give_the_length_in_that_order():
    phases = ({"layers": "heads", "epochs": 2}, {"layers": "all", "epochs": 1.5, "learning_rate_scale": 0.1})
    assert plan_run(settings(steps=0, epochs=3.0), 20).steps == 8  # 2.5 steps in an epoch
    assert plan_run(settings(steps=5, epochs=3.0), 20).steps == 5
    plan = plan_run(settings(steps=0, phases=phases), 20)
    assert plan.steps == 9
    assert plan.phases == (Phase(0, "heads", 1.0), Phase(5, "all", 0.1))
    assert [plan.phase(step).first for step in (0, 4, 5, 8)] == [0, 0, 5, 5]
    assert plan_run(settings(steps=3, phases=phases), 20).steps == 3


def test_a_run_of_less_than_a_step_is_one_step():
    assert plan_run(settings(steps=0, epochs=1.0), 1).steps == 1


def test_a_run_beyond_its_phases_is_refused():
    phases = ({"layers": "heads", "epochs": 2},)
    with pytest.raises(
        ValueError, match=r"phases end after 2 epochs, the run after 4 \(10 steps of 8 images out of 20"
    ):
        plan_run(settings(steps=10, phases=phases), 20)
    with pytest.raises(ValueError, match=r"epochs is 4, and config\.train\.phases end after 2: lengthen a phase"):
        plan_run(settings(steps=0, epochs=4.0, phases=phases), 20)


def test_a_run_without_a_length_or_without_images_is_refused():
    with pytest.raises(ValueError, match="length of the run is not given"):
        plan_run(settings(steps=0), 20)
    with pytest.raises(ValueError, match="training set is empty"):
        plan_run(settings(), 0)


@given(images=st.integers(1, 300), batch=st.integers(1, 16), every=st.floats(0.1, 5), epochs=st.floats(0.1, 12))
def test_an_evaluation_falls_due_once_in_every_interval_and_at_the_end(images, batch, every, epochs):
    plan = plan_run(settings(steps=0, epochs=epochs, batch_size=batch, eval_every_epochs=every), images)
    due = [step for step in range(plan.steps + 1) if plan.evaluation_due(step)]
    interval = every * images / batch
    expected = {max(1, round(count * interval)) for count in range(1, int(plan.steps / interval) + 2)}
    assert due == sorted({step for step in expected if step <= plan.steps} | {plan.steps})


def test_no_evaluation_but_the_last_when_none_is_asked_for():
    plan = plan_run(settings(steps=7, eval_every_epochs=0.0), 20)
    assert [step for step in range(8) if plan.evaluation_due(step)] == [7]


def test_weights_beyond_the_end_of_a_plan_that_became_shorter_are_evaluated():
    plan = plan_run(settings(steps=4, eval_every_epochs=10.0), 20)
    assert [step for step in range(8) if plan.evaluation_due(step)] == [4, 5, 6, 7]


@pytest.mark.parametrize("schedule", ["cosine", "step"])
def test_the_learning_rate_beyond_the_end_stays_as_it_was_there(schedule):
    actual = rates(settings(steps=4, schedule=schedule, boundaries=(1,)), 20, 9)
    np.testing.assert_allclose(actual[5:], actual[4] * np.ones(4), atol=1e-9)


def test_cosine_rises_over_the_warm_up_and_ends_at_zero():
    actual = rates(settings(steps=10, warmup_steps=4, learning_rate=0.2), 20, 11)
    np.testing.assert_allclose(actual[:4], [0.05, 0.1, 0.15, 0.2], rtol=1e-6)
    np.testing.assert_allclose(actual[4:], 0.1 * (1 + np.cos(np.pi * np.arange(7) / 6)), atol=1e-7)


def test_step_decay_drops_at_its_boundaries_in_epochs():
    actual = rates(settings(steps=9, schedule="step", boundaries=(2, 3.2), gamma=0.1, warmup_steps=0), 20, 9)
    np.testing.assert_allclose(actual, [0.1] * 5 + [0.01] * 3 + [0.001], rtol=1e-5)


def test_epochs_beyond_any_count_of_steps_are_endless():
    """As with config.train.max_minutes, or for a learning rate that never drops."""
    actual = rates(settings(steps=0, epochs=1e9, learning_rate=0.2, warmup_steps=0), 20, 3)
    np.testing.assert_allclose(actual, [0.2] * 3, rtol=1e-6)
    never = settings(steps=9, schedule="step", boundaries=(2, 1e300), gamma=0.1, warmup_steps=0)
    np.testing.assert_allclose(rates(never, 20, 9), [0.1] * 5 + [0.01] * 4, rtol=1e-5)
    phases = ({"layers": "heads", "epochs": 1e300, "learning_rate_scale": 2.0}, {"layers": "all", "epochs": 1e300})
    plan = plan_run(settings(steps=0, phases=phases), 24)
    assert (plan.steps, plan.phase(10**6).layers) == (2**31 - 1, "heads")


def test_a_phase_scales_the_learning_rate_from_its_first_step():
    phases = ({"layers": "heads", "epochs": 1, "learning_rate_scale": 2.0}, {"layers": "all", "epochs": 2})
    actual = rates(settings(steps=0, schedule="step", warmup_steps=0, phases=phases), 24, 9)
    np.testing.assert_allclose(actual, [0.2] * 3 + [0.1] * 6, rtol=1e-6)


def test_a_phase_warms_up_again_from_its_first_step():
    phases = (
        {"layers": "heads", "epochs": 1},
        {"layers": "5+", "epochs": 2, "learning_rate_scale": 0.5, "warmup_steps": 4},
        {"layers": "all", "epochs": 1, "warmup_steps": 2},
    )
    run = settings(steps=0, schedule="step", learning_rate=0.8, warmup_steps=2, phases=phases)
    expected = [0.4, 0.8, 0.8, 0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4, 0.8, 0.8]  # three steps in an epoch
    np.testing.assert_allclose(rates(run, 24, 12), expected, rtol=1e-6)
    cosine = settings(steps=0, schedule="cosine", learning_rate=0.8, warmup_steps=0, phases=phases)
    share = np.array([1, 1, 1, 0.125, 0.25, 0.375, 0.5, 0.5, 0.5, 0.5, 1, 1])  # of the rate, scale and warm-up
    np.testing.assert_allclose(rates(cosine, 24, 12), share * 0.4 * (1 + np.cos(np.pi * np.arange(12) / 12)), rtol=1e-5)


def test_of_two_warm_ups_the_lower_rate_counts():
    phases = ({"layers": "heads", "epochs": 1, "warmup_steps": 4}, {"layers": "all", "epochs": 2, "warmup_steps": 2})
    run = settings(steps=0, schedule="step", learning_rate=0.8, warmup_steps=8, phases=phases)
    np.testing.assert_allclose(rates(run, 24, 9), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.8], rtol=1e-6)
    run = settings(steps=0, schedule="step", learning_rate=0.8, warmup_steps=2, phases=phases)
    np.testing.assert_allclose(rates(run, 24, 9), [0.2, 0.4, 0.6, 0.4, 0.8, 0.8, 0.8, 0.8, 0.8], rtol=1e-6)


@pytest.mark.parametrize(("meant_for", "expected"), [(0, 0.2), (8, 0.2), (2, 0.8), (16, 0.1)])
def test_the_learning_rate_scales_with_the_batch(meant_for, expected):
    """The learning rate grows with the batch from the one it is meant for."""
    scaled = settings(steps=4, batch_size=8, learning_rate=0.2, learning_rate_batch=meant_for, schedule="step")
    np.testing.assert_allclose(rates(scaled, 20, 3), [expected / 2, expected, expected], rtol=1e-6)  # two warm up


def test_every_wrong_key_of_the_config_is_named_at_once():
    wrong = {"optimizer": {"part": "sdg"}, "log_every": 0, "ema_decay": 1.0, "phases": ({"layers": "all"},)}
    config = toy.config(**wrong).train.to_dict()
    with pytest.raises(ValueError, match=r"config\.train\.") as error:
        checked(TrainSettings, type(toy.config())(config | {"learning_rte": 1.0}), "config.train")
    for part in (
        "learning_rte is unknown: did you mean config.train.learning_rate?",
        "optimizer.part is 'sdg': did you mean 'sgd'?",
        "log_every is 0: give a whole number of at least 1",
        "ema_decay is 1.0: give a number of at least 0 and below 1",
        "phases[0].epochs is missing",
    ):
        assert part in str(error.value)
