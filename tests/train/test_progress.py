"""The records of a run and what the terminal shows."""

import os
import re
import resource
import signal
import struct
from collections.abc import Callable

import pytest
from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

from tests.train import toy
from wbcjax.train.progress import RunLog, interval

VALUES = {"loss": 1.25, "square": 1.0, "grad_norm": 3.0, "learning_rate": 0.1, "images_per_second": 4.0, "epoch": 0.5}


def log(workdir, step=0, active=True):
    return RunLog(workdir, steps=100, step=step, batch_size=2, active=active)


def test_without_a_terminal_progress_is_a_line(tmp_path, capfd):
    """A run without a terminal gets a line with losses speed and time left."""
    with log(tmp_path) as run:
        run.advance()
        run.record("train", 10, VALUES)
    assert capfd.readouterr().err == "step 10/100 epoch 0.50 loss 1.25 square 1 4.0 img/s 00:45 left\n"
    assert toy.records(tmp_path) == [{"kind": "train", "step": 10, **VALUES}]


@pytest.fixture
def terminal(monkeypatch, capfd) -> Callable[[], list[str]]:
    """A terminal of 80 columns in the place of standard error; what it showed since, line by line."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    return lambda: re.split(r"[\r\n]+", re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", capfd.readouterr().err))


def test_a_terminal_gets_a_bar_with_loss_speed_and_time_left(tmp_path, terminal):
    with log(tmp_path, step=50) as run:
        for _ in range(10):
            run.advance()
        run.record("train", 60, VALUES)
    last = terminal()[-2]
    assert re.fullmatch(r"epoch 0\.5 \S* *60/100 steps loss 1\.25 4\.0 img/s 00:20 left ?", last)
    assert len(last) == 80


def test_the_bar_says_compiling_until_a_step_has_run(tmp_path, terminal):
    with log(tmp_path) as run:
        assert terminal()[0].rstrip().endswith("0/100 steps compiling")
        run.advance()
        run._progress.refresh()
        assert terminal()[-1].rstrip().endswith("1/100 steps running")
        run.compiling()
        run._progress.refresh()
        assert terminal()[-1].rstrip().endswith("1/100 steps compiling")


def test_a_line_is_shown_above_the_bar_as_it_is(tmp_path, terminal):
    with log(tmp_path) as run:
        run.say("saved in [red]runs[/red]")
    assert "saved in [red]runs[/red]" in [line.strip() for line in terminal()]


def test_the_bar_of_a_run_beyond_its_end_is_a_full_one(tmp_path, terminal):
    with log(tmp_path, step=120):
        pass
    assert "120/120 steps" in terminal()[-2]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "00:00"), (59.6, "01:00"), (3599, "59:59"), (3 * 3600 + 62, "3:01:02")]
)
def test_times_are_told_in_hours_minutes_and_seconds(seconds, text):
    assert interval(seconds) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_lacks_are_written_as_null(tmp_path, value):
    with log(tmp_path) as run:
        run.record("eval", 1, {"mask AP": value, "images": ["a.png"]})
    assert toy.records(tmp_path) == [{"kind": "eval", "step": 1, "mask AP": None, "images": ["a.png"]}]


def test_a_record_without_room_leaves_no_half_line(tmp_path):
    before, soft_and_hard = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    with log(tmp_path) as run:
        run.record("eval", 1, {"mask AP": 0.5})
        written = (tmp_path / "metrics.jsonl").stat().st_size
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (written + 10, soft_and_hard[1]))
            with pytest.raises(OSError, match=r"metrics\.jsonl or .* could not be written: File too large.*Free some"):
                run.record("eval", 2, {"mask AP": 0.6})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, soft_and_hard)
            signal.signal(signal.SIGXFSZ, before)
        run.record("eval", 3, {"mask AP": 0.7})
    assert [line["step"] for line in toy.records(tmp_path)] == [1, 3]


def test_what_was_written_stays_when_a_run_goes_on(tmp_path):
    for step in (1, 2):
        with log(tmp_path, step=step - 1) as run:
            run.record("eval", step, {})
    assert [line["step"] for line in toy.records(tmp_path)] == [1, 2]


def test_a_run_goes_on_where_nobody_reads_its_terminal_any_more(tmp_path, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", buffering=1) as unread:
        monkeypatch.setattr("sys.stderr", unread)
        with log(tmp_path) as run:
            for step in (10, 20):
                run.record("train", step, VALUES)
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)  # for what it holds back
    assert [line["step"] for line in toy.records(tmp_path)] == [10, 20]


def test_only_the_first_process_writes(tmp_path, capfd):
    with log(tmp_path, active=False) as run:
        run.advance()
        run.record("train", 1, VALUES)
        run.say("hello")
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


def test_a_log_that_a_kill_left_empty_gets_no_empty_line(tmp_path):
    (tmp_path / "metrics.jsonl").touch()
    with log(tmp_path) as run:
        run.record("resume", 0, {})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"kind": "resume", "step": 0}\n'


def events(path) -> list:
    """What a TensorBoard file holds: records of a length, its checksum, an event, and its checksum."""
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        found.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return found


def test_tensorboard_gets_finite_numbers_and_drops_steps_that_are_done_again(tmp_path):
    with log(tmp_path) as run:
        run.record("eval", 7, {"mask AP": 0.5, "images": ["a.png"], "loss": float("nan")})
    (first,) = tmp_path.glob("events*")
    version, told = events(first)
    assert version.file_version == "brain.Event:2"
    assert (told.step, told.summary.value[0].tag, told.summary.value[0].simple_value) == (7, "eval/mask_AP", 0.5)
    first.unlink()
    with log(tmp_path, step=4):
        pass
    (second,) = tmp_path.glob("events*")
    assert [(event.step, event.session_log.status) for event in events(second)[1:]] == [(5, 1)]  # START
