"""Progress bars: on a terminal alone, and harmless to what they count."""

import re

import pytest

from wbcjax.system.progress import shown


@pytest.fixture
def screen(monkeypatch, capfd):
    monkeypatch.setenv("COLUMNS", "80")
    return lambda: re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", capfd.readouterr().err)


def test_a_terminal_shows_how_many_are_done(screen, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert list(shown("abc", "inspect", "field")) == ["a", "b", "c"]
    last = re.split(r"[\r\n]+", screen().strip())[-1]
    assert last.startswith("inspect ")
    assert "3/3 fields" in last
    assert len(last) <= 80


def test_a_file_gets_no_bar(screen):
    assert list(shown(iter("abc"), "inspect", "field", 3)) == ["a", "b", "c"]
    assert screen() == ""


def test_a_process_that_is_not_the_first_shows_no_bar(screen, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert list(shown("ab", "inspect", "field", active=False)) == ["a", "b"]
    assert screen() == ""


def test_an_error_within_the_loop_leaves_the_terminal_as_it_was(screen, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")

    def fails() -> None:
        for _ in shown("ab", "inspect", "field"):
            raise ValueError("of the loop")

    with pytest.raises(ValueError, match="of the loop"):
        fails()
    assert list(shown("a", "again", "field")) == ["a"]  # one bar at a time: the first has ended
    assert "again" in screen()
