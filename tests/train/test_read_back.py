"""Saves under names that a storage layer could misread, and saves that do not come back as they were."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests.train.saved import assert_whole, contents, place, state
from wbcjax.train.checkpoint import Checkpoints, NotSaved, checkpoint_directory, load_variables
from wbcjax.train.checkpoint_digests import write_digests
from wbcjax.train.misfit import find_alteration
from wbcjax.train.plain_name import is_plain, plain_name

NAMES = [
    "exp [1]",
    "a\\b",
    "**",
    "a*b",
    "[!a]",
    "{a,b}",
    "a?b",
    "gs:",
    "50%",
    "#1",
    "-x",
    "細胞 é",
    "e.",
    "a\nb",
    "|",
    "x" * 255,
]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_saved_whole_under_any_name_and_beside_others(tmp_path, name):
    other = tmp_path / "a1b" / "checkpoints"  # which "a*b" is a pattern of
    with Checkpoints(other) as checkpoints:
        checkpoints.save(state(1), place(), 0.5)
    before = contents(other)
    with Checkpoints(checkpoint_directory(tmp_path / name)) as checkpoints:
        checkpoints.save(state(1), place(), 0.5)
        checkpoints.save(state(2), place(3), 0.6)
    variables, step = load_variables(tmp_path / name)
    assert step == 2
    np.testing.assert_equal(variables, {"params": state(2).params, **state(2).collections})
    with Checkpoints(checkpoint_directory(tmp_path / name)) as checkpoints:
        assert_whole(checkpoints, checkpoint_directory(tmp_path / name), 2)
    assert contents(other) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({"a1b", name})


def test_the_link_to_a_folder_is_gone_afterwards_and_needs_a_plain_place(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with plain_name(tmp_path / "[1]" / "7") as name:
        assert "[" not in str(name)
        assert name.parent.readlink() == tmp_path / "[1]"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "[2]").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "[2]"))
    with (
        pytest.raises(OSError, match="set TMPDIR to another folder, or give another --workdir"),
        plain_name(tmp_path / "*"),
    ):
        pass
    assert list((tmp_path / "[2]").iterdir()) == []


def lose_arrays(folder: Path) -> None:
    """What orbax did under such a name: all is there but the files of the arrays."""
    for item in ("prediction", "training"):
        shutil.rmtree(folder / item / "d")


def swap_items(folder: Path) -> None:
    (folder / "prediction").rename(folder / "aside")
    shutil.copytree(folder.parent / "1" / "prediction", folder / "prediction")


def lose_place(folder: Path) -> None:
    (folder / "data" / "metadata").write_text("{}")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # orbax leaves the other arrays waiting
@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lose_arrays, "what was written is incomplete"),
        (swap_items, "read back, batch_stats/mean is not what was written"),
        (lose_place, "read back, the place in the data is not what was written"),
    ],
)
def test_a_save_that_does_not_come_back_as_it_was_is_none(tmp_path, monkeypatch, spoil: Callable, told: str):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state(1), place(), 0.5)
        save = ocp.Checkpointer.save

        def spoiled(self: ocp.Checkpointer, folder: Path, **arguments):
            save(self, folder, **arguments)
            spoil(Path(folder))

        with monkeypatch.context() as patch:
            patch.setattr(ocp.Checkpointer, "save", spoiled)
            with pytest.raises(NotSaved, match=rf"step 2 could not be written to \S+: {told}.*step 1 is intact"):
                checkpoints.save(state(2), place(), 0.6)
        assert [path.name for path in tmp_path.iterdir()] == ["1"]
        checkpoints.save(state(2), place(), 0.6)
        assert_whole(checkpoints, tmp_path, 2)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_an_earlier_version_lost_under_such_a_name_is_set_aside(tmp_path, caplog):
    directory = tmp_path / "exp [1]"
    with Checkpoints(directory) as checkpoints:
        checkpoints.save(state(1), place(), 0.5)
        checkpoints.save(state(2), place(), 0.6)
    lose_arrays(directory / "2")
    write_digests(directory / "2", without="metrics")  # it took them after the loss
    with Checkpoints(directory) as checkpoints:
        assert checkpoints.latest == 1
        assert_whole(checkpoints, directory, 1)
    assert "a checkpoint is torn" in caplog.text
    assert sorted(path.name for path in directory.iterdir()) == ["1", "2.torn"]


def test_one_flipped_bit_is_an_alteration():
    """A bit a type and a shape are alterations and no number is itself."""
    saved = {"a": np.array([np.nan, -0.0], np.float32), "b": {"c": np.zeros((), np.int32), "d": np.zeros((0, 2))}}
    assert find_alteration(saved, {**saved, "a": saved["a"].copy()}) == ""
    assert find_alteration({**saved, "a": np.array([np.nan, 0.0], np.float32)}, saved) == "a"
    assert find_alteration({**saved, "b": {**saved["b"], "c": np.zeros((), np.uint32)}}, saved) == "b/c"
    assert find_alteration({**saved, "b": {**saved["b"], "d": np.zeros((2, 0))}}, saved) == "b/d"


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        (PureWindowsPath("C:\\Users\\me\\runs\\x y"), True),
        (PureWindowsPath("\\\\server\\share\\runs"), True),
        (PureWindowsPath("C:\\runs\\[1]"), False),
        (PurePosixPath("/runs/C:x"), False),
        (PurePosixPath("/runs/a\\b"), False),
        (PurePosixPath("/runs/a_b"), True),
    ],
)
def test_drives_and_backslashes_between_folders_of_windows_need_no_link(path, plain):
    assert is_plain(path) == plain
