"""What commands print: whole on a narrow terminal, plain in a file, and nothing from a file that steers a terminal."""

import io
import re
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wbcjax.system.terminal import Attention, Heading, Note, Table, Verbatim, plain, printable, show

CELLS = Table("Cells", ("class", "cells"), (("L1", "7 (2 %)"), ("a longer name", "1200 (98 %)")), "A note.")
ESCAPE = re.compile(r"\x1b\[[\d;]*m")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch, width: int, *blocks, **environment: str) -> str:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"COLUMNS": str(width), "TERM": "xterm-256color", **environment}.items():
        monkeypatch.setenv(name, value)
    screen = Terminal()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", screen)
        show(*blocks)
    return screen.getvalue()


def test_columns_are_aligned_and_figures_set_to_the_right():
    assert plain(CELLS).splitlines() == [
        "Cells",
        "-----",
        "class                cells",
        "L1                 7 (2 %)",
        "a longer name  1200 (98 %)",
        "A note.",
    ]


def test_tables_without_a_head_or_without_rows_are_shown():
    assert plain(Table("Set", (), (("fields", "3"), ("images", "x")))) == "Set\n---\nfields  3\nimages  x\n"
    assert plain(Table("Set", ("class",), ())) == "Set\n---\nclass\n"
    assert plain(Table("Set", (), ())) == "Set\n---\n"
    assert plain(Table("", ("a", "b"), (("x", "1"),))) == "a  b\nx  1\n"


@pytest.mark.parametrize(
    ("entries", "figures"),
    [
        (("1", "n/a", ""), True),
        (("+0.25", "-3"), True),
        (("97.1 (95.0 to 98.2)", "80.00 (75.10-85.20)"), True),
        (("12 of 301", "7 (2 %)", "30 to 38", "12 %"), True),
        (("1", "a.png"), False),
        (("3 x 3 x 64", "64"), False),
        (("3 L1, 1 L3",), False),
        (("", ""), False),
    ],
)
def test_a_column_is_of_figures_only_where_all_entries_are(entries, figures):
    assert Table("", ("",), tuple((entry,) for entry in entries)).figures(0) is figures


def test_blocks_are_an_empty_line_apart_and_empty_ones_left_out():
    assert plain("one", [], ["two", "three"], "", Table("", (), (("4",),))) == "one\n\ntwo\nthree\n\n4\n"


def test_a_file_gets_every_row_and_line_whole_and_notes_wrapped(capsys):
    long = "word " * 40
    show(Table("", (), ((long.strip(), "1"),), long), long, Attention(long))
    row, *note, gap, line, end, attention = capsys.readouterr().out.splitlines()
    assert (row, gap, line, end, attention) == (f"{long} 1", "", long.strip(), "", long.strip())
    assert " ".join(note).split() == long.split()
    assert [len(part) for part in note] == [79, 79, 39]


def test_a_file_gets_no_colours_whatever_the_environment_asks(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    show(CELLS, Attention("Missed 3"))
    assert "\x1b" not in capsys.readouterr().out


def test_a_terminal_has_colours_and_a_file_of_it_the_same_words(monkeypatch):
    shown = on_terminal(monkeypatch, 80, CELLS, [Attention("Missed 3"), "fine"])
    assert "\x1b[1;31mMissed 3\x1b[0m\nfine\n" in shown
    assert "\x1b[2mA note.\x1b[0m" in shown
    assert [line.rstrip() for line in ESCAPE.sub("", shown).splitlines()] == plain(
        CELLS, ["Missed 3", "fine"]
    ).splitlines()


def test_no_color_and_dumb_terminals_are_heeded(monkeypatch):
    assert "31m" not in on_terminal(monkeypatch, 80, Attention("Missed 3"), NO_COLOR="1")
    assert on_terminal(monkeypatch, 80, Attention("Missed 3"), TERM="dumb") == "Missed 3\n"


def test_an_entry_of_a_table_may_call_for_attention(monkeypatch):
    table = Table("", (), (("left out", Attention("3")),))
    assert "\x1b[1;31m3\x1b[0m" in on_terminal(monkeypatch, 80, table)


def test_lines_are_wrapped_below_their_indent_and_paths_stay_whole(monkeypatch):
    shown = on_terminal(monkeypatch, 20, ["  one two three four five", "at /a/path/longer/than/the/line it is"])
    assert shown.splitlines() == ["  one two three four", "  five", "at", "/a/path/longer/than/the/line", "it is"]


def test_a_line_to_copy_is_never_wrapped(monkeypatch):
    line = 'config.dataset.classes = ("L1", "L2", "L3")  # of the FAB group'
    assert on_terminal(monkeypatch, 20, Verbatim(line)) == f"{line}\n"


def test_a_heading_is_underlined_as_far_as_the_terminal_goes(monkeypatch):
    assert plain(Heading("Worth a look")) == "Worth a look\n------------\n"
    lines = ESCAPE.sub("", on_terminal(monkeypatch, 10, Heading("Worth a look"))).splitlines()
    assert lines == ["Worth a", "look", "-" * 10]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(st.text("abc -/", min_size=1, max_size=60), min_size=1, max_size=4),
    value=st.floats(0, 1e4),
    columns=st.integers(1, 5),
    width=st.integers(70, 120),
)
def test_a_table_fits_the_terminal_and_loses_nothing(monkeypatch, names, value, columns, width):
    figure = f"{value:.1f}"
    table = Table("T", ("name", *["some figure"] * columns), tuple((name, *[figure] * columns) for name in names))
    lines = ESCAPE.sub("", on_terminal(monkeypatch, width, table)).splitlines()
    assert max(map(len, lines)) <= width
    assert sum(line.split().count(figure) for line in lines) >= len(names) * columns
    kept = re.sub(r"\s", "", "".join(lines))
    assert all(kept.count(sign) >= sum(name.count(sign) for name in names) for sign in "abc/")


def test_signs_that_steer_a_terminal_or_cannot_be_written_are_spelt_out():
    assert printable("L1 \x1b[31m\n\u202e\ud800\x00é") == "L1 \\x1b[31m\\n\\u202e\\ud800\\x00é"
    hostile = "\x1b[2J\n"
    table = Table(hostile, (hostile,), ((hostile,),), hostile)
    shown = plain(table, hostile, [Attention(hostile), Verbatim(hostile), Note(hostile), Heading(hostile)])
    assert "\x1b" not in shown
    assert shown.count("\\x1b[2J\\n") == 9
