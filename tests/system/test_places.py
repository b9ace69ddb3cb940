"""Where files may go: the cache with and without a home, folders for results, and a file system that refuses."""

import errno
import os
from pathlib import Path

import pytest

from wbcjax.system import files, places
from wbcjax.system.places import cache_folder, check_out, check_writable, error_text, name_of


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, and no memory of what was told."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(places.tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.delenv("WBCJAX_CACHE", raising=False)
    places._temporary_cache.cache_clear()
    return tmp_path / "temporary"


def homeless(monkeypatch: pytest.MonkeyPatch):
    """As for a user of a number that no account has, in an environment without HOME."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda number: {}[number])


def test_without_a_home_the_cache_is_a_temporary_one_which_is_told_once(monkeypatch, temporary, caplog):
    homeless(monkeypatch)
    assert cache_folder() == cache_folder() == temporary / f"wbcjax-{os.getuid()}"
    assert cache_folder().stat().st_mode & 0o777 == 0o700
    (line,) = caplog.messages
    assert line.startswith("there is no home folder: sets and compiled programs are kept in")
    assert line.endswith("WBCJAX_CACHE can name another folder")


@pytest.mark.parametrize("home", ["/proc", "file"])
def test_a_home_that_cannot_be_written_gives_way_to_a_temporary_cache(monkeypatch, temporary, tmp_path, home, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / home))  # "/proc" stays as it is
    assert cache_folder() == temporary / f"wbcjax-{os.getuid()}"
    assert "/.cache/wbcjax cannot be written (" in caplog.text


def test_a_home_that_can_be_written_has_the_cache(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    assert cache_folder() == tmp_path / "home/.cache/wbcjax"
    assert not caplog.messages


def test_a_temporary_cache_that_another_user_made_is_not_used(monkeypatch, temporary):
    homeless(monkeypatch)
    (temporary / f"wbcjax-{os.getuid()}").mkdir(mode=0o700)
    (temporary / f"wbcjax-{os.getuid()}").chmod(0o777)
    others = cache_folder()
    assert others.parent == temporary
    assert others.name != f"wbcjax-{os.getuid()}"
    assert others.stat().st_mode & 0o777 == 0o700


def test_a_named_cache_is_taken_as_it_is(monkeypatch):
    """A given cache is used as it is; an unknown user is an error."""
    monkeypatch.setenv("WBCJAX_CACHE", "/proc/no")
    assert cache_folder() == Path("/proc/no")
    monkeypatch.setenv("WBCJAX_CACHE", "~nobody-of-that-name/cache")
    with pytest.raises(ValueError, match=r"WBCJAX_CACHE is '~nobody-of-that-name/cache' .*: give the folder's whole"):
        cache_folder()


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "Permission denied; change its permissions, or give another place"),
        (errno.EROFS, "Read-only file system; give a place that can be written"),
        (errno.ENOSPC, "No space left on device; free some space, or give another place"),
        (errno.ENOENT, "No such file or directory; check the name"),
        (errno.ENOTDIR, "Not a directory; a file is where a folder should be; give another place"),
        (errno.ENAMETOOLONG, "File name too long; give a shorter name"),
    ],
)
def test_what_a_file_system_refuses_is_told_by_its_place_and_the_remedy(monkeypatch, number, remedy):
    error = OSError(number, os.strerror(number), "/far/away/scores.json")
    assert error_text(error) == f"/far/away/scores.json: {remedy}"
    monkeypatch.setenv("WBCJAX_CACHE", "/far")
    assert error_text(error) == f"/far/away/scores.json: {remedy} (WBCJAX_CACHE says where the cache is)"


def test_errors_of_our_own_are_told_as_they_are():
    assert error_text(FileNotFoundError("x/config.json does not exist: give")) == "x/config.json does not exist: give"
    assert error_text(ValueError("a.png: no")) == "a.png: no"
    assert error_text(OSError(errno.EFBIG, "it has more than 5 bytes", "a.png")) == "a.png: it has more than 5 bytes"


@pytest.mark.parametrize("step", ["open", "replace"])
def test_a_file_that_cannot_be_written_is_named_as_it_was_asked_for(tmp_path, monkeypatch, step):
    def refuse(path: Path, *_: object):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Path, step, refuse)
    with pytest.raises(OSError, match="No space") as refusal:
        files.write_atomically(tmp_path / "scores.json", b"new")
    assert error_text(refusal.value).startswith(f"{tmp_path}/scores.json: No space left on device; free some space")
    assert not list(tmp_path.glob(".*"))


def test_results_go_into_a_new_or_an_empty_folder_and_nowhere_else(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "images").mkdir()
    image = tmp_path / "images/a.png"
    image.touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for good in ("new/deep", "empty"):
        check_out(tmp_path / good, [image])
    assert not (tmp_path / "new").exists()
    refused = {
        "images": (ValueError, "where the images lie"),
        "images/a.png": (NotADirectoryError, "which is a file"),
        "dangling": (NotADirectoryError, "which is a file"),
        ".": (FileExistsError, "which is not empty: choose a new folder, or empty"),
        "images/a.png/out": (NotADirectoryError, "Not a directory"),
    }
    for place, (kind, message) in refused.items():
        with pytest.raises(kind, match=message):
            check_out(tmp_path / place, [image])


def test_a_folder_that_cannot_be_made_is_named_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda place, mode: place != tmp_path)
    with pytest.raises(PermissionError) as refusal:
        check_writable(tmp_path / "out/deep")
    assert error_text(refusal.value).startswith(
        f"{tmp_path}/out/deep: Permission denied; change its permissions, or give"
    )


def test_places_of_one_name_have_names_of_their_own(tmp_path):
    sites = [str(tmp_path / f"{site}/lab/via.json") for site in "ab"]
    images = [str(tmp_path / f"images_{number}") for number in "12"]
    names = {name_of(site, folder) for site in sites for folder in images}
    assert len(names) == 4
    assert all(name.startswith("lab_via_") and len(name) == len("lab_via_") + 8 for name in names)
    assert name_of(str(tmp_path / "crops.v1")) != name_of(str(tmp_path / "crops.v2"))
    assert len(name_of("/")) == 8
    assert len(name_of(f"/{'x' * 250}/{'y' * 250}")) < 140


def test_where_users_have_no_numbers_the_temporary_cache_is_a_new_folder(monkeypatch, temporary):
    """Windows does not say whose a folder is."""
    homeless(monkeypatch)
    monkeypatch.delattr(os, "getuid")
    monkeypatch.setattr(Path, "expanduser", no_home)
    assert cache_folder().parent == temporary
    assert cache_folder().stat().st_mode & 0o777 == 0o700


def no_home(_: Path) -> Path:
    raise RuntimeError("Could not determine home directory.")
