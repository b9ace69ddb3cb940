"""The config file that `wbcjax inspect --write` gives: it trains as it stands."""

from pathlib import Path

import pytest

from tests.input.sets import write_via_set
from wbcjax import cli
from wbcjax.commands.config_file import load_config_file
from wbcjax.commands.inspect.proposed_file import BATCH, config_file
from wbcjax.input.field_set import sources
from wbcjax.input.settings import FieldSetSettings

LINES = [
    'config.dataset.name = "synthetic"',
    'config.dataset.classes = ("L1", "L2", "L3")',
    "config.dataset.synthetic.count = 9",
    "config.model.rpn.anchor_sizes = (24.0, 40.0, 64.0)",
]


def inspect(folder: Path, *more: str) -> None:
    cli.main(["inspect", str(folder / "via.json"), str(folder / "images"), *more])


def test_the_written_config_reads_the_set_as_it_was_inspected(tmp_path, capsys):
    write_via_set(tmp_path, cells=[2, 1, 2, 1, 2, 2])
    inspect(tmp_path, "--leave-out", "other", "--write", str(tmp_path / "mine.py"))
    assert f"wbcjax train --config {tmp_path / 'mine.py'} --workdir runs/mine" in capsys.readouterr().out
    config = load_config_file(str(tmp_path / "mine.py"))
    assert config.dataset.classes == ("blast",)
    assert config.init_from == "starter"
    parts = sources(FieldSetSettings.from_config(config.dataset), tmp_path / "cache")
    assert sum(len(part) for part in parts.values()) == 6
    assert sum(part.counts()["blast"] for part in parts.values()) == 6


def test_a_set_with_problems_is_written_to_be_trained_without_them(tmp_path):
    write_via_set(tmp_path, cells=[2, 1, 2])
    (tmp_path / "images/1.png").write_bytes(b"no image")
    inspect(tmp_path, "--on-error", "skip", "--write", str(tmp_path / "mine.py"))
    assert load_config_file(str(tmp_path / "mine.py")).dataset.on_error == "skip"


def test_no_config_is_written_over_another_file(tmp_path):
    write_via_set(tmp_path, cells=[1])
    (tmp_path / "mine.py").write_text("precious")
    with pytest.raises(SystemExit, match=r"mine\.py: there is such a file already: name a new one"):
        inspect(tmp_path, "--write", str(tmp_path / "mine.py"))
    assert (tmp_path / "mine.py").read_text() == "precious"


def test_a_set_without_cells_has_no_config_to_write(tmp_path):
    write_via_set(tmp_path, cells=[0, 0])
    with pytest.raises(SystemExit, match="no cell is annotated, so no config can be proposed"):
        inspect(tmp_path, "--write", str(tmp_path / "mine.py"))
    assert not (tmp_path / "mine.py").exists()


@pytest.mark.parametrize(("fields", "epochs"), [(298, 49.0), (10, 500.0), (100_000, 3.0)])
def test_a_small_set_is_trained_on_more_often_than_a_large_one(tmp_path, fields, epochs):
    (tmp_path / "mine.py").write_text(config_file('a "b".json', LINES, fields))
    config = load_config_file(str(tmp_path / "mine.py"))
    assert config.train.epochs == epochs
    assert config.train.batch_size == BATCH
