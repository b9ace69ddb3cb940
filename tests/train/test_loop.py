"""The loop: a run in one go, a run in pieces, and runs that must stop."""

import dataclasses
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import chex
import jax
import numpy as np
import pytest

from tests.train import toy
from tests.train.toy import train
from wbcjax.settings.checked import ConfigError
from wbcjax.train.checkpoint import Checkpoints, checkpoint_directory, load_variables
from wbcjax.train.guard import NonFiniteLoss
from wbcjax.train.workdir import ConfigChanged


def killer(read: int, number: int):
    """Images that send this process a signal when the read-th image of the run is read, counted from 1."""
    reads = []

    def on_read(_):
        reads.append(1)
        if len(reads) == read:
            os.kill(os.getpid(), number)

    return toy.Images(on_read=on_read)


def weights(workdir: Path) -> dict:
    return load_variables(workdir, "latest")[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_stopped_by_a_signal_resumes_exactly(tmp_path, number):
    """A run stopped by a signal goes on as if it had not been."""
    config = toy.config(steps=6, ema_decay=0.9)
    assert train(config, toy.task(), tmp_path / "straight") is None
    assert train(config, toy.task(killer(8 * 2 + 3, number)), tmp_path / "pieces") == number
    assert load_variables(tmp_path / "pieces", "latest")[1] == 3
    assert train(config, toy.task(), tmp_path / "pieces") is None
    chex.assert_trees_all_equal(weights(tmp_path / "pieces"), weights(tmp_path / "straight"))
    straight, pieces = (toy.records(tmp_path / name) for name in ("straight", "pieces"))
    assert [line["kind"] for line in straight] == ["train", "train", "train", "eval", "stop"]
    assert [(line["kind"], line["step"]) for line in pieces] == [
        ("train", 2),
        ("train", 3),
        ("stop", 3),
        ("resume", 3),
        ("train", 4),
        ("train", 6),
        ("eval", 6),
        ("stop", 6),
    ]
    assert pieces[5]["loss"] == straight[2]["loss"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_run_in_another_thread_than_the_main_one_trains_alike(tmp_path):
    config = toy.config(steps=2)
    train(config, toy.task(), tmp_path / "main")
    with ThreadPoolExecutor() as pool:
        assert pool.submit(train, config, toy.task(), tmp_path / "other").result() is None
    chex.assert_trees_all_equal(weights(tmp_path / "other"), weights(tmp_path / "main"))


@pytest.mark.slow
def test_a_phase_change_at_the_point_of_resuming_makes_no_difference(tmp_path):
    phases = ({"layers": "heads", "epochs": 1.2}, {"layers": "5+", "epochs": 1.2, "learning_rate_scale": 0.5})
    config = toy.config(steps=0, phases=phases, parallel="pmap")  # three steps each
    train(config, toy.task(), tmp_path / "straight")
    train(config, toy.task(killer(8 * 3, signal.SIGTERM)), tmp_path / "pieces")
    first = weights(tmp_path / "pieces")["params"]
    chex.assert_trees_all_equal(first["backbone"], toy.variables(3)["params"]["backbone"])
    train(config, toy.task(), tmp_path / "pieces")
    last = weights(tmp_path / "pieces")["params"]
    chex.assert_trees_all_equal(last, weights(tmp_path / "straight")["params"])
    chex.assert_trees_all_equal(last["backbone"]["layer3_0"], toy.variables(3)["params"]["backbone"]["layer3_0"])
    assert not np.array_equal(last["backbone"]["layer4_0"]["kernel"], first["backbone"]["layer4_0"]["kernel"])


def test_evaluations_are_recorded_and_the_best_is_kept(tmp_path):
    scores = iter([0.2, 0.7, 0.4, 0.1])
    config = toy.config(steps=8, eval_every_epochs=0.8)  # every second step
    train(config, toy.task(evaluate=lambda variables: {"mask AP": next(scores), "box AP": 0.6}), tmp_path)
    found = [(line["step"], line["mask AP"], line["box AP"]) for line in toy.records(tmp_path, "eval")]
    assert found == [(2, 0.2, 0.6), (4, 0.7, 0.6), (6, 0.4, 0.6), (8, 0.1, 0.6)]
    assert load_variables(tmp_path, "best")[1] == 4
    assert load_variables(tmp_path, "latest")[1] == 8
    assert [line["step"] for line in toy.records(tmp_path, "train")] == [2, 4, 6, 8]
    assert any(path.name.startswith("events.out.tfevents") for path in tmp_path.iterdir())


def test_the_averaged_weights_are_evaluated_and_saved(tmp_path):
    evaluated = []
    task = toy.task(evaluate=lambda variables: evaluated.append(jax.device_get(variables)) or {"mask AP": 0.5})
    train(toy.config(steps=3, ema_decay=0.5, log_every=1), task, tmp_path / "average")
    train(toy.config(steps=3, ema_decay=0.0, log_every=1), task, tmp_path / "last")
    chex.assert_trees_all_equal(weights(tmp_path / "average"), evaluated[0])
    chex.assert_trees_all_equal(weights(tmp_path / "last"), evaluated[1])
    kernels = [variables["params"]["box_head"]["kernel"] for variables in evaluated]
    assert not np.allclose(kernels[0], kernels[1])
    means = [variables["batch_stats"]["backbone"]["norm"]["mean"] for variables in evaluated]
    assert not np.allclose(means[0], means[1])


def test_a_signal_breaks_an_evaluation_off_and_it_is_made_up_for(tmp_path):
    def interrupted(_):
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the evaluation went on")

    config = toy.config(steps=4, eval_every_epochs=0.8)
    assert train(config, toy.task(evaluate=interrupted), tmp_path) == signal.SIGINT
    assert toy.records(tmp_path, "eval") == []
    assert load_variables(tmp_path, "latest")[1] == 2
    train(config, toy.task(), tmp_path)
    assert [line["step"] for line in toy.records(tmp_path, "eval")] == [2, 4]


def test_a_fault_in_the_evaluation_loses_no_training(tmp_path):
    def broken(_):
        raise ZeroDivisionError

    config = toy.config(steps=4, eval_every_epochs=0.8)
    with pytest.raises(ZeroDivisionError):
        train(config, toy.task(evaluate=broken), tmp_path)
    assert load_variables(tmp_path, "latest")[1] == 2


def test_a_run_traces_its_step_once_in_each_phase(tmp_path):
    chex.clear_trace_counter()
    phases = ({"layers": "heads", "epochs": 2}, {"layers": "all", "epochs": 2})
    losses = chex.assert_max_traces(toy.losses, n=len(phases))
    config = toy.config(steps=0, phases=phases, eval_every_epochs=0.5, log_every=1)
    train(config, dataclasses.replace(toy.task(), losses=losses), tmp_path)
    assert len(toy.records(tmp_path, "train")) == 10


def test_a_nonfinite_loss_is_skipped_and_told(tmp_path, capfd):
    """A loss that is not finite is skipped told with its images and the run goes on."""
    order = _order(8 * 6)
    bad = order[8 + 5]  # in the second batch, and not in the first
    hit = [step for step in range(6) if bad in order[8 * step : 8 * step + 8]]
    config = toy.config(steps=6, log_every=2, max_skipped_in_a_row=len(hit) + 1)
    assert train(config, toy.task(toy.Images(bad=[bad])), tmp_path) is None
    skipped = toy.records(tmp_path, "skipped")
    assert [line["step"] for line in skipped] == hit
    assert skipped[0]["images"] == [f"image_{index}.png" for index in order[8:16]]
    assert skipped[0]["losses"]["square"] == "nan"
    size = skipped[0]["losses"]["size"]
    assert f"step 1 skipped: loss nan, grad_norm nan, size {size:.4g}, square nan. Images: " in capfd.readouterr().err
    told = toy.records(tmp_path, "train")
    assert [line.get("skipped", 0) for line in told] == [
        sum(2 * i <= step < 2 * i + 2 for step in hit) for i in range(3)
    ]
    assert np.isfinite(told[0]["loss"])  # of the step that counted
    assert toy.records(tmp_path)[-1] == {"kind": "stop", "step": 6, "reason": "finished"}


def test_too_many_skipped_steps_stop_the_run(tmp_path):
    """As many skipped steps in a row as allowed stop the run with the batch saved."""
    config = toy.config(steps=10, log_every=4)
    everything = toy.Images(bad=range(toy.IMAGES))
    with pytest.raises(NonFiniteLoss, match=r"step 2: loss nan.*square nan.*3 in a row.*nonfinite\.json"):
        train(config, toy.task(everything), tmp_path)
    report = json.loads((tmp_path / "nonfinite.json").read_text())
    assert (report["step"], report["in_a_row"]) == (2, 3)
    third = _order(24)[16:]
    assert report["images"] == [f"image_{index}.png" for index in third]
    with np.load(tmp_path / "nonfinite_batch_0.npz") as batch:
        assert sorted(batch) == sorted(toy.ToyBatch._fields)
        assert batch["index"].tolist() == third
        np.testing.assert_array_equal(batch["image"], np.stack([everything[index].image for index in third]))
    assert [line["kind"] for line in toy.records(tmp_path)] == ["skipped"] * 3


@pytest.mark.parametrize(("scores", "flagged"), [((0.5, 0.0, 0.4), [4]), ((0.0, 0.0, 0.3), []), ((0.5, 0.3, 0.1), [])])
def test_a_score_that_collapses_is_flagged(tmp_path, capfd, scores, flagged):
    left = list(scores)
    config = toy.config(steps=6, eval_every_epochs=0.8)
    train(config, toy.task(evaluate=lambda variables: {"mask AP": left.pop(0)}), tmp_path)
    assert [line["step"] for line in toy.records(tmp_path, "collapse")] == flagged
    assert ("step 4: mask AP collapsed, 0 after 0.5" in capfd.readouterr().err) == bool(flagged)


def test_a_collapse_right_after_a_restart_is_flagged(tmp_path):
    scores = [0.5, 0.0]
    evaluate = lambda variables: {"mask AP": scores.pop(0)}  # noqa: E731
    train(toy.config(steps=2), toy.task(evaluate=evaluate), tmp_path)
    train(toy.config(steps=4), toy.task(evaluate=evaluate), tmp_path, allow_config_change=True)
    assert toy.records(tmp_path, "collapse") == [{"kind": "collapse", "step": 4, "mask AP": 0.0, "best": 0.5}]


def _order(count: int) -> list[int]:
    batches = toy.batches(toy.Images(), count, 3)
    return [int(index) for index in next(batches).index]


def test_a_run_out_of_minutes_evaluates_and_resumes(tmp_path):
    """A run ends with an evaluation when its minutes are over and goes on later."""
    config = toy.config(steps=500, max_minutes=1e-6, eval_every_epochs=0.0)
    task = toy.task(evaluate=lambda variables: {"mask AP": 0.25})
    assert train(config, task, tmp_path) is None
    assert train(config, task, tmp_path) is None
    stops = [(line["step"], line["reason"]) for line in toy.records(tmp_path, "stop")]
    assert stops == [(1, "max_minutes"), (2, "max_minutes")]  # every run makes a step at least
    assert [line["step"] for line in toy.records(tmp_path, "eval")] == [1, 2]
    assert load_variables(tmp_path, "latest")[1] == 2


class Killed(BaseException):
    """Stands for an end that no code sees, such as a power cut."""


def killed_in_batch(number: int) -> toy.Images:
    reads = []

    def on_read(_):
        reads.append(1)
        if len(reads) > 8 * (number - 1):
            raise Killed

    return toy.Images(on_read=on_read)


def test_a_killed_run_resumes_from_its_last_save(tmp_path):
    """A run that is killed goes on from where its minutes saved it and keeps the best."""
    config = toy.config(steps=6, eval_every_epochs=0.8, checkpoint_minutes=1e-9, ema_decay=0.9)
    scores = [0.1, 0.7, 0.2]
    train(config, toy.task(evaluate=lambda variables: {"mask AP": 0.7}), tmp_path / "straight")
    with pytest.raises(Killed):
        train(
            config,
            toy.task(killed_in_batch(6), evaluate=lambda variables: {"mask AP": scores.pop(0)}),
            tmp_path / "pieces",
        )
    with Checkpoints(checkpoint_directory(tmp_path / "pieces")) as checkpoints:
        assert (checkpoints.latest, checkpoints.best) == (5, 4)
        assert not checkpoints.evaluated(5)
    train(config, toy.task(evaluate=lambda variables: {"mask AP": scores.pop(0)}), tmp_path / "pieces")
    chex.assert_trees_all_equal(weights(tmp_path / "pieces"), weights(tmp_path / "straight"))
    assert load_variables(tmp_path / "pieces", "best")[1] == 4
    assert [line["step"] for line in toy.records(tmp_path / "pieces", "eval")] == [2, 4, 6]


@pytest.mark.parametrize("minutes", [0.0, 60.0])
def test_no_state_is_saved_between_evaluations_before_the_minutes_are_over(tmp_path, minutes):
    config = toy.config(steps=6, eval_every_epochs=0.8, checkpoint_minutes=minutes)
    with pytest.raises(Killed):
        train(config, toy.task(killed_in_batch(4)), tmp_path)
    assert load_variables(tmp_path, "latest")[1] == 2


def test_a_run_that_stops_for_skipped_steps_saves_none_of_them(tmp_path):
    config = toy.config(steps=10, log_every=10, checkpoint_minutes=1e-9, max_skipped_in_a_row=1)
    with pytest.raises(NonFiniteLoss, match=r"step 1: .*--allow_config_change"):
        train(config, toy.task(toy.Images(bad=[_order(16)[8 + 5]])), tmp_path)
    assert load_variables(tmp_path, "latest")[1] == 1


def test_a_corrected_config_is_taken_after_a_first_try_that_saved_nothing(tmp_path):
    with pytest.raises(NonFiniteLoss):
        train(toy.config(steps=3), toy.task(toy.Images(bad=range(toy.IMAGES))), tmp_path)
    train(toy.config(steps=2, learning_rate=0.01), toy.task(), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["train"]["learning_rate"] == 0.01
    assert toy.records(tmp_path)[-1] == {"kind": "stop", "step": 2, "reason": "finished"}


def test_another_config_is_refused_and_recorded_when_allowed(tmp_path):
    train(toy.config(steps=2), toy.task(), tmp_path)
    longer = toy.config(steps=4)
    with pytest.raises(ConfigChanged, match=r"train\.steps: 2 in the workdir, 4 now"):
        train(longer, toy.task(), tmp_path)
    train(longer, toy.task(), tmp_path, allow_config_change=True)
    assert toy.records(tmp_path, "resume")[0]["config_changes"] == {"train.steps": [2, 4]}
    assert toy.records(tmp_path, "stop")[-1] == {"kind": "stop", "step": 4, "reason": "finished"}


def test_a_finished_run_started_again_does_nothing_more(tmp_path):
    train(toy.config(steps=2), toy.task(), tmp_path)
    train(toy.config(steps=2), toy.task(), tmp_path)
    assert [line["kind"] for line in toy.records(tmp_path)] == ["train", "eval", "stop", "resume", "stop"]


def untouched() -> toy.Images:
    """Images that no run may read: where a loop would be endless, its test fails."""

    def on_read(_):
        raise AssertionError("it trains on")

    return toy.Images(on_read=on_read)


@pytest.mark.parametrize("left", [14, 16, 1])  # of twenty images; 2 epochs of them are 4 steps, and 1
def test_a_run_ends_at_once_where_its_set_has_become_smaller(tmp_path, capfd, left):
    config = toy.config(steps=0, epochs=2.0)
    train(config, toy.task(), tmp_path)
    capfd.readouterr()
    smaller = dataclasses.replace(toy.task(untouched()), images=left)
    assert train(config, smaller, tmp_path) is None
    steps = round(2 * left / 8) or 1
    assert f"already at step 5 of {steps} in {tmp_path}\n" in capfd.readouterr().err
    assert toy.records(tmp_path)[-1] == {"kind": "stop", "step": 5, "reason": "finished"}
    assert load_variables(tmp_path, "latest")[1] == 5


def test_a_run_with_fewer_steps_than_it_has_done_is_evaluated_and_ends(tmp_path):
    train(toy.config(steps=8), toy.task(killer(8 * 5, signal.SIGTERM)), tmp_path)
    assert toy.records(tmp_path, "eval") == []
    shorter = toy.config(steps=3, warmup_steps=0, eval_every_epochs=0.4)
    train(shorter, toy.task(untouched()), tmp_path, allow_config_change=True)
    assert [line["step"] for line in toy.records(tmp_path, "eval")] == [5]
    assert toy.records(tmp_path)[-1] == {"kind": "stop", "step": 5, "reason": "finished"}


def test_a_run_goes_on_where_its_set_has_become_larger(tmp_path):
    config = toy.config(steps=0, epochs=1.6)
    train(config, toy.task(), tmp_path)
    train(config, dataclasses.replace(toy.task(), images=30), tmp_path)
    assert [line["step"] for line in toy.records(tmp_path, "stop")] == [4, 6]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("images", "stopped_at", "told", "steps"),
    [
        (10, 2, ["step 2: training layers 'all'"], 5),  # of "heads"; now they end after step 1
        (40, 3, ["step 3: training layers 'heads'", "step 5: training layers 'all'"], 20),  # and now after step 5
    ],
)
def test_a_set_of_another_size_moves_the_phases_and_the_run_goes_on(tmp_path, capfd, images, stopped_at, told, steps):
    phases = ({"layers": "heads", "epochs": 1.0}, {"layers": "all", "epochs": 3.0})  # from steps 0 and 2
    config = toy.config(steps=0, phases=phases)
    train(config, toy.task(killer(8 * stopped_at, signal.SIGTERM)), tmp_path)
    capfd.readouterr()
    train(config, dataclasses.replace(toy.task(), images=images), tmp_path)
    assert [line for line in capfd.readouterr().err.splitlines() if "training layers" in line] == told
    assert toy.records(tmp_path)[-1] == {"kind": "stop", "step": steps, "reason": "finished"}


def test_a_line_that_a_kill_cut_short_spoils_no_other(tmp_path):
    train(toy.config(steps=2), toy.task(), tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "tra')
    train(toy.config(steps=2), toy.task(), tmp_path)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert lines[3] == '{"kind": "tra'
    assert [json.loads(line)["kind"] for line in lines[4:]] == ["resume", "stop"]


def test_an_evaluation_without_the_score_that_ranks_checkpoints_is_refused(tmp_path):
    with pytest.raises(ValueError, match="the evaluation gave box AP, not 'mask AP'"):
        train(toy.config(steps=1), toy.task(evaluate=lambda variables: {"box AP": 0.5}), tmp_path)


def test_losses_are_means_over_the_steps_since_the_last_record(tmp_path):
    train(toy.config(steps=4, log_every=1), toy.task(), tmp_path / "every")
    train(toy.config(steps=4, log_every=4), toy.task(), tmp_path / "fourth")
    every, fourth = (toy.records(tmp_path / name, "train") for name in ("every", "fourth"))
    assert len(fourth) == 1
    for name in ("loss", "square", "size", "grad_norm"):
        assert fourth[0][name] == pytest.approx(np.mean([line[name] for line in every]), rel=1e-5)
    assert fourth[0]["learning_rate"] == every[-1]["learning_rate"]
    assert every[0]["loss"] == pytest.approx(every[0]["square"] + 0.5 * every[0]["size"])
    assert fourth[0]["epoch"] == 4 * 8 / 20


def test_a_batch_of_no_images_is_refused_before_anything_is_planned(tmp_path):
    with pytest.raises(ConfigError, match=r"config\.train\.batch_size is 0, which \d+ devices cannot share evenly"):
        train(toy.config(batch_size=0, steps=0, epochs=1.0), toy.task(), tmp_path)
    assert not (tmp_path / "config.json").exists()
