"""What a run has told of its training is read back, without what was lost and done again."""

import json
from pathlib import Path

import pytest

from wbcjax.runs.log import read_log
from wbcjax.train.progress import RunLog


def training(step, loss):
    return {"kind": "train", "step": step, "epoch": step / 4, "loss": loss}


def test_of_a_log_work_lost_and_lines_cut_short_are_left_out(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    evaluated = {"kind": "eval", "step": 4, "epoch": 1.0, "accuracy": 0.4}
    first = [training(2, loss=4.0), training(4, loss=3.0), evaluated, training(6, loss=2.0)]
    again = [{"kind": "resume", "step": 4}, training(6, loss=1.0)]
    lines = [*map(json.dumps, first), '{"kind": "tra', *map(json.dumps, again)]
    path.write_text("\n".join(lines) + "\n")
    assert read_log(path) == [*first[:3], *again]

    path.write_text("loss,accuracy\n1,2\n")
    with pytest.raises(ValueError, match=r"no record of a training run in it; is it the metrics\.jsonl") as error:
        read_log(path)
    assert str(path) in str(error.value)


def test_the_log_of_a_run_is_read(tmp_path: Path):
    records = {
        "train": {"loss": 1.5, "images_per_second": 1.0, "epoch": 0.5},
        "eval": {"epoch": 1.0, "accuracy": 0.75, "loss": 1.25},
    }
    with RunLog(tmp_path, steps=4, step=0, batch_size=1, active=True) as log:
        for kind, values in records.items():
            log.record(kind, 4, values)
    assert read_log(tmp_path / "metrics.jsonl") == [{"kind": kind, "step": 4, **of} for kind, of in records.items()]
