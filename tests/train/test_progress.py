"""The records of a run and what the terminal shows."""

import pytest

from tests.train import toy
from wbcjax.train.progress import RunLog

VALUES = {"loss": 1.25, "square": 1.0, "grad_norm": 3.0, "learning_rate": 0.1, "images_per_second": 4.0, "epoch": 0.5}


def log(workdir, step=0, active=True):
    return RunLog(workdir, steps=100, step=step, batch_size=2, active=active)


def test_a_run_without_a_terminal_gets_a_line_with_losses_speed_and_time_left(tmp_path, capfd):
    with log(tmp_path) as run:
        run.advance()
        run.record("train", 10, VALUES)
    assert capfd.readouterr().err == "step 10/100 epoch 0.50 loss 1.25 square 1 4.0 img/s 00:45 left\n"
    assert toy.records(tmp_path) == [{"kind": "train", "step": 10, **VALUES}]


def test_a_terminal_gets_a_bar_with_losses_speed_and_time_left(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with log(tmp_path, step=50) as run:
        run.advance(10)
        run.record("train", 60, VALUES)
    shown = capfd.readouterr().err
    assert "120/200" in shown
    assert "loss=1.25" in shown
    assert "img/s" in shown
    assert "grad_norm" not in shown


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_lacks_are_written_as_null(tmp_path, value):
    with log(tmp_path) as run:
        run.record("eval", 1, {"mask AP": value, "images": ["a.png"]})
    assert toy.records(tmp_path) == [{"kind": "eval", "step": 1, "mask AP": None, "images": ["a.png"]}]


def test_what_was_written_stays_when_a_run_goes_on(tmp_path):
    for step in (1, 2):
        with log(tmp_path, step=step - 1) as run:
            run.record("eval", step, {})
    assert [line["step"] for line in toy.records(tmp_path)] == [1, 2]


def test_only_the_first_process_writes(tmp_path, capfd):
    with log(tmp_path, active=False) as run:
        run.advance()
        run.record("train", 1, VALUES)
        run.say("hello")
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""
