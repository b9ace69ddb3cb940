"""The command line itself: what is refused at once, and how it ends when it is stopped."""

from pathlib import Path
from typing import Any

import pytest

from wbcjax import cli
from wbcjax.commands.inspect import annotated_set as inspect_set


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--min-score", "50", "50 is no score; give a number from 0 to 1"),
        ("--min-score", "nan", "nan is no score; give a number from 0 to 1"),
        ("--scale", "0", "0 is no scale; give a number above 0"),
        ("--scale", "half", "half is no scale; give a number above 0"),
    ],
)
def test_a_number_out_of_its_range_is_refused_with_the_range(
    option: str, value: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture
):
    with pytest.raises(SystemExit):
        cli.main(["predict", str(tmp_path), str(tmp_path), f"--out={tmp_path}", option, value])
    assert told in capsys.readouterr().err


def test_an_interrupted_command_says_so_and_exits_as_shells_expect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(inspect_set, "inspect", interrupted)
    with pytest.raises(SystemExit) as stop:
        cli.main(["inspect", str(tmp_path), str(tmp_path)])
    assert stop.value.code == 130
    assert capsys.readouterr().err == "wbcjax: stopped by SIGINT; the files written so far are whole\n"
