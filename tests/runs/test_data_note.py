"""What a run was trained on is noted, and is never scored, whatever becomes of the data: grown, renamed, moved."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import pytest

from tests.input.sets import changed, write_image, write_via, write_via_set
from wbcjax.input.digest import Item
from wbcjax.input.field_set import sources
from wbcjax.input.settings import CropSetSettings, FieldSetSettings
from wbcjax.input.split import SplitSettings
from wbcjax.runs.data_note import (
    NOTE,
    Note,
    changes_since,
    check_moved,
    in_noted_folder,
    note_in,
    note_of,
    refuse_forgotten,
    settle_parts,
    without,
)
from wbcjax.smear.field import read_image
from wbcjax.tasks.class_counts import class_warnings, tell_classes
from wbcjax.tasks.scored_part import default_part, other_part, own_part, scored_note


@dataclass(frozen=True)
class Fields:
    """A part of a set without the set."""

    items: tuple[Item, ...]

    def select(self, rows: Sequence[int]) -> "Fields":
        return Fields(tuple(self.items[row] for row in rows))

    @property
    def names(self) -> list[str]:
        return [item.name for item in self.items]


def fields(*names: str, group: str | None = None, image: str = "") -> Fields:
    """Fields whose image follows from their name, or is `image`."""
    return Fields(tuple(Item(name, image or f"pixels of {name}", "cells", group) for name in names))


def begun(workdir: Path, note: Note) -> Path:
    """The folder of a run that has saved a step, with a note of its data."""
    (workdir / "checkpoints/3").mkdir(parents=True)
    (workdir / "data.json").write_text(json.dumps({"scale": [1, 1], NOTE: note.plain()}))
    return workdir


def test_a_set_that_grows_under_a_run_validates_on_nothing_that_trained(tmp_path):
    """The figures of the report: 40 fields become 120, and the split is another one."""
    cache = tmp_path / "cache"
    config = write_via_set(tmp_path, cells=[1] * 40, height=24, width=24)
    first, note = settle_parts(sources(config, cache), "", tmp_path / "run")
    begun(tmp_path / "run", note)
    for i in range(40, 120):
        write_image(tmp_path / f"images/{i}.png", i, 24, 24)
    write_via(tmp_path, ["blast"], [1] * 120)
    config = changed(config, seed=7)
    grown = sources(config, cache)
    leak = set(grown["val"].names) & set(first["train"].names)
    assert leak, "without a note they would be scored"
    kept, again = settle_parts(grown, "", tmp_path / "run")
    assert set(kept["val"].names) == set(grown["val"].names) - leak
    assert kept["val"].field(0).name == kept["val"].names[0]
    assert kept["train"].names == grown["train"].names
    trained = {item.name for item in again.seen("train")}
    assert trained == set(first["train"].names) | set(grown["train"].names)


def test_what_was_ever_trained_on_stays_noted_through_every_start(tmp_path):
    note = note_of({"train": fields("a", "b"), "val": fields("c")})
    _, note = settle_parts({"train": fields("d"), "val": fields("a", "e")}, "", begun(tmp_path / "1", note))
    kept, note = settle_parts({"train": fields("f"), "val": fields("b", "d", "g")}, "", begun(tmp_path / "2", note))
    assert kept["val"].names == ["g"]
    assert {item.name for item in note.seen("train")} == {"a", "b", "d", "f"}
    assert {item.name for item in note.seen("val")} >= {"c", "e", "g"}


def test_unchanged_data_keep_their_parts_and_nothing_is_told(tmp_path, caplog):
    parts = {"train": fields("a", "b"), "val": fields("c")}
    _, note = settle_parts(parts, "", tmp_path)
    kept, again = settle_parts(parts, "", begun(tmp_path, note))
    assert kept == parts
    assert again == note
    assert not caplog.text


def test_a_copy_under_another_name_counts_as_trained_on_and_is_named(tmp_path, caplog):
    kept, _ = settle_parts(
        {"train": fields("a"), "val": Fields((*fields("copy", image="pixels of a").items, *fields("b").items))},
        "",
        None,
    )
    assert kept["val"].names == ["b"]
    assert "val: 1 of 2 left out, as the run has seen them: 1 by the image (copy)" in caplog.text


def test_a_lossless_copy_in_another_format_has_the_same_image(tmp_path):
    config = write_via_set(tmp_path, cells=[1, 1])
    cv2.imwrite(str(tmp_path / "images/0.bmp"), read_image(tmp_path / "images/0.png")[..., ::-1])
    data = json.loads((tmp_path / "via.json").read_text())
    data["1.png"] |= {"filename": "0.bmp", "size": (tmp_path / "images/0.bmp").stat().st_size}
    (tmp_path / "via.json").write_text(json.dumps(data))
    items = [item for part in sources(config, tmp_path / "cache").values() for item in part.items]
    assert {item.name for item in items} == {"0.png", "0.bmp"}
    assert items[0].image == items[1].image


def test_a_resaved_image_is_known_by_its_name():
    """An image saved anew is known by its name and a patient by its group."""
    seen = (*fields("a").items, *fields("p1", group="p").items)
    val = Fields((*fields("a", image="other pixels").items, *fields("p2", group="p").items, *fields("b").items))
    assert without(val, "val", seen).names == ["b"]
    assert without(val, "val", seen, apart=True).names == ["a", "p2", "b"], "of another folder both are others"


def test_nothing_left_to_validate_is_an_error():
    """Nothing left to validate is an error and nothing left to test waits for the evaluation."""
    with pytest.raises(ValueError, match=r"val: 1 of 1 left out, .*Nothing is left to score: add fields"):
        settle_parts({"train": fields("a"), "val": fields("x", image="pixels of a")}, "", None)
    parts = {"train": fields("a"), "val": fields("b"), "test": fields("x", image="pixels of b")}
    kept, note = settle_parts(parts, "", None)
    assert kept["test"].names == []
    with pytest.raises(ValueError, match=r"test: 1 of 1 left out"):
        own_part(parts, "test", note, Path("run"), apart=False, moved=False)


def test_what_another_run_was_trained_on_comes_with_its_weights(tmp_path):
    origin = begun(tmp_path / "origin", note_of({"train": fields("a"), "val": fields("b")}))
    parts = {"train": fields("c"), "val": fields("a", "d"), "test": fields("b", "e")}
    kept, note = settle_parts(parts, str(origin), None)
    assert (kept["val"].names, kept["test"].names) == (["d"], ["e"])
    assert {item.name for item in note.seen("train")} == {"a", "c"}


def test_the_note_of_a_run_that_saved_nothing_is_of_no_account(tmp_path):
    begun(tmp_path, note_of({"train": fields("a"), "val": fields("b")}))
    (tmp_path / "checkpoints/3").rmdir()
    kept, _ = settle_parts({"train": fields("b"), "val": fields("a")}, "", tmp_path)
    assert kept["val"].names == ["a"]


def test_every_change_of_the_data_is_told(tmp_path, caplog):
    before = note_of({"train": fields("a", "b", "c"), "val": fields("d", "e")})
    now = {
        "train": Fields((*fields("a").items, Item("b", "other", "cells"), Item("c", "pixels of c", "moved"))),
        "val": fields("e", "f1", "f2", "f3", "f4"),
    }
    told = "4 added (f1, f2, f3, ...), 1 gone (d), 1 with another image (b), 1 annotated otherwise (c)"
    assert changes_since(before, {name: part.items for name, part in now.items()}) == told
    settle_parts(now, "", begun(tmp_path, before))
    assert f"the data have changed since {tmp_path} was last trained: {told}; it goes on with them" in caplog.text
    moved = {"train": fields("a", "b", "d").items, "val": fields("c", "e").items}
    assert changes_since(before, moved) == "2 in another part (d, c)"


def test_a_task_made_without_the_runs_folder_is_refused(tmp_path):
    noted = note_of({"train": fields("a", "b"), "val": fields("c")})
    workdir = begun(tmp_path, noted)
    refuse_forgotten({NOTE: noted.plain()}, workdir)
    for facts in ({}, {NOTE: note_of({"train": fields("a"), "val": fields("b")}).plain()}):
        with pytest.raises(ValueError, match=r"make the task by make_task\(config, workdir\)"):
            refuse_forgotten(facts, workdir)


def test_a_broken_note_is_named():
    with pytest.raises(ValueError, match=r"runs/x/data\.json: its 'data' is no note .*restore the file, or delete it"):
        note_in({NOTE: {"parts": []}}, "runs/x")
    assert note_in({"scale": [1, 1]}, "runs/x") is None


def test_relative_paths_are_those_of_the_folder_of_the_training(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "wbcjax")
    for name in ("first", "second"):
        (tmp_path / name / "data").mkdir(parents=True)
        (tmp_path / name / "data/via.json").write_text(name)
    monkeypatch.chdir(tmp_path / "first")
    note = note_of({"train": fields("a"), "val": fields("b")})
    split = SplitSettings(val_names=("val.txt", "b"))
    noted = FieldSetSettings(annotations="data/via.json", images=str(tmp_path / "images"), split=split)
    assert in_noted_folder(noted, note) == (noted, False)
    monkeypatch.chdir(tmp_path / "second")
    dataset, moved = in_noted_folder(noted, note)
    assert not moved
    assert dataset.annotations == str(tmp_path / "first/data/via.json")
    assert dataset.images == str(tmp_path / "images")
    assert dataset.split.val_names == (str(tmp_path / "first/val.txt"), "b")
    assert f"data/via.json is that of {tmp_path}/first, where the run was trained" in caplog.text


def test_other_data_at_the_same_path_are_refused(tmp_path, monkeypatch, caplog):
    """Data of the same path that are others are refused when the runs own are gone."""
    (tmp_path / "second/data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "second")
    note = Note({"train": fields("a").items, "val": fields("b").items}, folder=str(tmp_path / "gone"))
    dataset = FieldSetSettings(images="data")
    assert in_noted_folder(dataset, note) == (dataset, True)
    assert f"{tmp_path / 'gone/data'} is no longer there; {tmp_path / 'second/data'} is taken for it" in caplog.text
    moved = {"train": fields("a"), "val": fields("b", "c")}
    check_moved(note, moved, Path("run"))
    others = {"train": fields("a", image="1"), "val": fields("b", image="2")}
    with pytest.raises(ValueError, match=r"run was trained in .*gone, where its data are no more.*are others"):
        own_part(others, "val", note, Path("run"), apart=False, moved=True)


def test_test_scores_leave_out_what_trained_or_chose(caplog):
    """Test is scored without what trained or chose and other data without what trained."""
    note = note_of({"train": fields("a"), "val": fields("b")})
    parts = {"train": fields("a"), "val": fields("c"), "test": fields("b", "d")}
    assert own_part(parts, "test", note, Path("run"), apart=False, moved=False).items == fields("d").items
    assert own_part(parts, "train", note, Path("run"), apart=False, moved=False).items == fields("a").items
    other = Fields((*fields("x", image="pixels of a").items, *fields("b").items, *fields("a", image="new").items))
    caplog.clear()
    assert other_part(other, "other/via.json", note, Path("run")).names == ["b", "a"]
    assert "1 by the image (x)" in caplog.text
    assert "other/via.json: 1 of 2 were validated on, and chose the best checkpoint" in caplog.text
    assert "1 have a name that the run was trained on, and another image" in caplog.text
    with pytest.raises(ValueError, match="have no part 'test'; they have train, val"):
        own_part({"train": fields("a"), "val": fields("b")}, "test", note, Path("run"), apart=False, moved=False)


def test_a_run_without_a_note_is_scored_whole_and_the_log_says_why(caplog):
    caplog.set_level("INFO", "wbcjax")
    parts = {"train": fields("a"), "val": fields("b", "c")}
    assert own_part(parts, "val", None, Path("old"), apart=False, moved=False).names == ["b", "c"]
    assert "old is of an earlier version and notes no data" in caplog.text


@pytest.mark.parametrize(
    ("split", "dataset", "part"),
    [
        ({}, {}, "val"),
        ({"test_fraction": 0.2}, {}, "test"),
        ({"test_names": ("a.png",)}, {}, "test"),
        ({}, {"test_crops": "tested"}, "test"),
    ],
)
def test_the_part_that_is_scored_is_test_where_the_config_has_one(split, dataset, part):
    assert default_part(CropSetSettings(split=SplitSettings(**split), **dataset)) == part
    assert dataset or default_part(FieldSetSettings(split=SplitSettings(**split))) == part


def test_the_sentence_on_a_score_says_what_the_fields_were_for():
    assert scored_note("test", "best", "9 fields", 0, None)["sentence"] == (
        "Scored: the 9 fields of test, which neither trained the model nor chose its checkpoint."
    )
    assert scored_note("val", "best", "9 fields", 2, None) == {
        "part": "val",
        "chose_checkpoint": True,
        "left_out": 2,
        "sentence": "Scored: the 9 fields of val, which did not train the model but chose its checkpoint; 2 left out, "
        "as the run has seen them.",
    }
    assert "nor chose this checkpoint, the latest" in scored_note("val", "latest", "9 fields", 0, None)["sentence"]
    assert "which the model was trained on" in scored_note("train", "best", "9 fields", 0, None)["sentence"]
    assert scored_note("val", "best", "9 crops", 0, "other")["sentence"] == (
        "Scored: 9 crops of other, none of which the model was trained on."
    )
    assert scored_note("val", "best", "9 crops", 0, "other", noted=False)["sentence"] == (
        "Scored: 9 crops of other, on some of which the model may have been trained."
    )


def test_a_run_without_a_note_is_told_what_is_assumed(tmp_path, caplog):
    """A resumed run without a note logs which data it is taken to have seen."""
    caplog.set_level("INFO", "wbcjax")
    parts = {"train": fields("a"), "val": fields("b")}
    settle_parts(parts, "", tmp_path)
    assert not caplog.records
    (tmp_path / "checkpoints/3").mkdir(parents=True)
    (tmp_path / "data.json").write_text(json.dumps({"scale": [1, 1]}))
    kept, _ = settle_parts(parts, "", tmp_path)
    assert kept == parts
    assert "notes no data: it is taken to have been trained on what trains now" in caplog.text


def test_cell_counts_are_told_within_80_columns(caplog):
    """Cells of each class and part are told at every start within 80 columns."""
    caplog.set_level("INFO", "wbcjax")
    counts = {"train": {"fields": 45, "L1": 120, "L2": 0}, "val": {"fields": 15, "L1": 40, "L2": 7}}
    tell_classes(counts, ("L1", "L2"))
    lines = caplog.messages[0].splitlines()
    assert [line.split() for line in lines[3:]] == [
        ["train", "val"],
        ["fields", "45", "15"],
        ["L1", "120", "40"],
        ["L2", "0", "7"],
    ]
    assert max(map(len, lines)) <= 80
    assert "class 'L2' has no cells in train, and 7 in val: it is not learned" in caplog.text


def test_classes_that_nobody_has_or_that_a_part_lacks_are_warned_of():
    counts = {
        "train": {"fields": 1, "a": 3, "b": 0, "c": 4},
        "val": {"fields": 1, "a": 2, "b": 0, "c": 0},
        "test": {"fields": 1, "a": 2, "b": 0, "c": 1},
    }
    nobody, unscored = class_warnings(counts, ("a", "b", "c"))
    assert nobody.startswith("class 'b' has no cells in any part: take it out of dataset.classes")
    assert unscored == "class 'c' has no cells in val: its scores there are not defined"
    assert class_warnings({"train": {"a": 1}, "val": {"a": 1}}, ("a",)) == []


def test_the_note_says_which_folder_it_was_written_in():
    assert note_of({}).folder == os.getcwd()  # noqa: PTH109
