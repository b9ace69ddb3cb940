"""Digests follow what files hold, whatever their times say, and files that lie untouched are not read again."""

import os
import time
from pathlib import Path

import pytest

from wbcjax.input import digest
from wbcjax.input.digest import Digests


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "set" / "a.png"
    path.parent.mkdir()
    path.write_bytes(b"first")
    return path


@pytest.fixture
def settled(monkeypatch):
    """As if every file had lain untouched for long."""
    monkeypatch.setattr(digest, "SETTLED", -1)


def of_file(tmp_path: Path, path: Path) -> str:
    """The digest by a new opening, which remembers it for the next."""
    digests = Digests(tmp_path / "cache/memory.json")
    found = digests.file(path)
    digests.remember()
    return found


@pytest.mark.usefixtures("settled")
def test_a_file_that_lies_untouched_is_read_once(tmp_path, file, monkeypatch):
    first = of_file(tmp_path, file)
    monkeypatch.setattr(digest, "open_regular", refused)
    assert of_file(tmp_path, file) == first


def refused(path: Path):
    raise AssertionError(f"{path} was read again")


@pytest.mark.usefixtures("settled")
def test_another_content_of_the_same_size_and_time_of_modification_is_seen(tmp_path, file):
    first, times = of_file(tmp_path, file), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    before = file.stat().st_ctime_ns
    while file.stat().st_ctime_ns == before:  # the clock of a file system ticks every few milliseconds
        file.write_bytes(b"other")
        time.sleep(0.001)
    os.utime(file, ns=times)
    assert of_file(tmp_path, file) != first


def test_a_change_within_a_tick_of_the_clock_is_seen(tmp_path, file, monkeypatch):
    monkeypatch.setattr(digest, "SETTLED", 1e18)
    for content in (b"11111", b"22222", b"33333"):
        file.write_bytes(content)
        assert of_file(tmp_path, file) == Digests(tmp_path / "none").file(file)
    assert not (tmp_path / "cache").exists(), "what has just changed is not to be remembered"


@pytest.mark.usefixtures("settled")
def test_a_touched_file_of_the_same_content_has_the_same_digest(tmp_path, file):
    first = of_file(tmp_path, file)
    os.utime(file, ns=(1, 1))
    assert of_file(tmp_path, file) == first


@pytest.mark.usefixtures("settled")
def test_a_memory_that_is_broken_or_cannot_be_written_costs_time_only(tmp_path, file):
    first = of_file(tmp_path, file)
    (tmp_path / "cache/memory.json").write_text("{")
    assert of_file(tmp_path, file) == first
    digests = Digests(file / "no folder" / "memory.json")
    assert digests.file(file) == first
    digests.remember()


def test_what_is_no_file_has_no_digest(tmp_path):
    digests = Digests(tmp_path / "memory.json")
    assert digests.file(tmp_path) == digests.file(tmp_path / "absent") == ""


def test_a_folders_digest_follows_names_contents_and_empty_folders_but_not_its_place(tmp_path, file):
    digests = Digests(tmp_path / "memory.json")
    folder, seen = file.parent, []

    def changed() -> bool:
        seen.append(digests.folder(folder))
        return seen[-1] not in seen[:-1]

    assert changed()
    (folder / ".DS_Store").write_bytes(b"hidden")
    assert not changed()
    (folder / "masks").mkdir()
    assert changed()
    (folder / "masks" / "1.png").write_bytes(b"first")
    assert changed()
    (folder / "masks" / "1.png").rename(folder / "masks" / "2.png")
    assert changed()
    file.write_bytes(b"other")
    assert changed()
    folder.rename(tmp_path / "moved")
    assert digests.folder(tmp_path / "moved") == seen[-1]
