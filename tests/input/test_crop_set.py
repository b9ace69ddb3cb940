"""Sets of crops: what the class folders hold, divided by field, never outdated; and what is refused, by its name."""

import json
import logging
import shutil
from collections import Counter

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.input.crop_sets import crops_of_fields, describe, write_crops, write_table
from tests.input.sets import changed
from wbcjax.commands.crop.folder import crop_folder
from wbcjax.commands.crop.pieces import CropSettings
from wbcjax.enhance import METHODS
from wbcjax.input import crop_set
from wbcjax.input.crop_set import crop_source
from wbcjax.input.digest import pixels_digest
from wbcjax.input.split import SplitSettings, split_fields
from wbcjax.smear import synthetic
from wbcjax.smear.field import SmearField, read_image
from wbcjax.smear.read import FieldSet

BOTH = {"myeloma": 4, "other": 3}


def both_sides(config, cache):
    return {side: crop_source(config, side, cache) for side in ("train", "val")}


def refusal(config, cache, split="train") -> str:
    with pytest.raises((ValueError, OSError)) as error:
        crop_source(config, split, cache)
    return str(error.value)


@pytest.fixture
def no_building(monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("the set was built again")

    return lambda: monkeypatch.setattr(crop_set, "_build", refuse)


def test_a_built_set_holds_every_crop(tmp_path):
    """A built set holds every crop with its class and field by class and name."""
    config = crops_of_fields(tmp_path / "crops", fields=5)
    sides = both_sides(config, tmp_path / "cache")
    assert sorted(sides["train"].names + sides["val"].names) == sorted(
        f"{name}/{i}.png" for name in ("myeloma", "other") for i in range(10)
    )
    for source in sides.values():
        assert list(source.names) == sorted(source.names)
        assert source.classes == ("myeloma", "other")
        assert source.labels.dtype == np.int32
        for i, name in enumerate(source.names):
            assert source.labels[i] == name.startswith("other")
            assert source.groups[i] == f"{int(name.split('/')[1][:-4]) % 5}.jpg"
            np.testing.assert_array_equal(source.image(i), read_image(tmp_path / "crops" / name))


def test_labels_follow_the_order_of_the_classes_in_the_config(tmp_path):
    write_crops(tmp_path / "crops", BOTH)
    source = crop_source(
        describe(tmp_path / "crops", ("other", "myeloma"), train_fraction=1.0), "train", tmp_path / "cache"
    )
    assert source.names == tuple(f"other/{i}.png" for i in range(3)) + tuple(f"myeloma/{i}.png" for i in range(4))
    assert source.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]


def test_the_bytes_of_a_jpeg_are_kept_as_they_are(tmp_path):
    config = write_crops(tmp_path / "crops", BOTH)
    image = np.random.default_rng(1).integers(0, 256, (20, 20, 3), np.uint8)
    data = cv2.imencode(".jpg", image)[1].tobytes()
    (tmp_path / "crops/other/9.JPG").write_bytes(data)
    config = changed(config, train_fraction=1.0)
    source = crop_source(config, "train", tmp_path / "cache")
    assert source._records[source.names.index("other/9.JPG")]["image"] == data


def test_the_same_crops_are_not_built_twice_wherever_they_lie(tmp_path, no_building):
    config = crops_of_fields(tmp_path / "crops", fields=4)
    names = crop_source(config, "train", tmp_path / "cache").names
    no_building()
    assert crop_source(config, "train", tmp_path / "cache").names == names
    (tmp_path / "crops").rename(tmp_path / "moved")
    config = changed(config, crops=str(tmp_path / "moved"))
    config = changed(config, classes=("myeloma", "other"))
    assert crop_source(config, "train", tmp_path / "cache").names == names


def test_a_crop_that_changes_appears_or_disappears_is_seen(tmp_path):
    config = write_crops(tmp_path / "crops", BOTH)
    config = changed(config, train_fraction=1.0)
    folder, cache = tmp_path / "crops/other", tmp_path / "cache"
    assert len(crop_source(config, "train", cache)) == 7
    cv2.imwrite(str(folder / "1.png"), np.full((8, 10, 3), 77, np.uint8))
    assert np.all(crop_source(config, "train", cache).image(5) == 77)
    shutil.copy(folder / "0.png", folder / "3.png")
    assert crop_source(config, "train", cache).names[-1] == "other/3.png"
    (folder / "1.png").unlink()
    assert crop_source(config, "train", cache).names[-3:] == ("other/0.png", "other/2.png", "other/3.png")


def test_a_changed_split_or_field_is_seen(tmp_path):
    config = crops_of_fields(tmp_path / "crops", fields=3, of_each=1)
    config = changed(config, val_names=("0.jpg",))
    assert crop_source(config, "val", tmp_path / "cache").names == ("myeloma/0.png", "other/0.png")
    config = changed(config, val_names=("2.jpg", "1.jpg"))
    assert crop_source(config, "train", tmp_path / "cache").names == ("myeloma/0.png", "other/0.png")
    table = tmp_path / "crops/crops.csv"
    table.write_text(table.read_text().replace("other/1.png,,,1.jpg", "other/1.png,,,0.jpg"))
    assert crop_source(config, "train", tmp_path / "cache").names == ("myeloma/0.png", "other/0.png", "other/1.png")


def test_a_set_holds_its_crops_enhanced_and_another_enhancement_is_another_set(tmp_path):
    config = write_crops(tmp_path / "crops", BOTH)
    plain = crop_source(config, "train", tmp_path / "cache")
    config = changed(config, enhance="he")
    enhanced = crop_source(config, "train", tmp_path / "cache")
    for i in range(len(plain)):
        np.testing.assert_array_equal(enhanced.image(i), METHODS["he"](plain.image(i)))
        assert (enhanced.image(i) != plain.image(i)).any()


def test_a_build_that_is_interrupted_leaves_nothing_to_be_read(tmp_path, monkeypatch):
    config = write_crops(tmp_path / "crops", BOTH)

    def interrupted(crops, enhance):
        yield crops[0].path.read_bytes()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(crop_set, "image_files", interrupted)
        with pytest.raises(KeyboardInterrupt):
            crop_source(config, "train", tmp_path / "cache")
    assert sum(map(len, both_sides(config, tmp_path / "cache").values())) == 7


def test_crops_of_a_field_and_fields_of_a_group_are_on_one_side(tmp_path):
    config = write_crops(tmp_path / "crops", {"myeloma": 12, "other": 12})
    rows = [(f"{name}/{i}.png", f"{i % 6}.jpg", f"p{i % 3}") for name in BOTH for i in range(12)]
    write_table(tmp_path / "crops", rows)
    for seed in range(3):
        config = changed(config, seed=seed)
        sides = both_sides(config, tmp_path / "cache")
        assert set(sides["train"].groups) | set(sides["val"].groups) == {"p0", "p1", "p2"}
        assert not set(sides["train"].groups) & set(sides["val"].groups)
        assert len(sides["train"]) + len(sides["val"]) == 24


@given(seed=st.integers(0, 20), fraction=st.floats(0.2, 0.8))
def test_crops_are_divided_as_their_fields_are_for_a_detector(tmp_path_factory, seed, fraction):
    folder = tmp_path_factory.getbasetemp() / "divided"
    if not folder.exists():
        crops_of_fields(folder, fields=6, of_each=1)
    pixels = np.zeros((2, 2, 3), np.uint8)
    fields = [SmearField(f"{i}.jpg", 2, 2, (), pixels=pixels) for i in range(6)]
    wanted = split_fields(fields, SplitSettings(seed=seed, train_fraction=fraction))
    sides = crop_set.crop_sides(describe(folder, seed=seed, train_fraction=fraction))
    for side, of_side in wanted.items():
        assert {crop.field for crop in sides[side]} == {field.name for field in of_side}


def test_lists_name_fields_and_what_is_none_is_refused(tmp_path):
    config = crops_of_fields(tmp_path / "crops", fields=4)
    config = changed(config, val_names=("1.jpg", "3.jpg"))
    sides = both_sides(config, tmp_path / "cache")
    assert set(sides["train"].groups) == {"0.jpg", "2.jpg"}
    assert set(sides["val"].groups) == {"1.jpg", "3.jpg"}
    config = changed(config, val_names=("7.jpg",))
    assert "split.val_names: '7.jpg' is no field of this set" in refusal(config, tmp_path / "cache")


def test_crops_without_a_table_are_warned_of(tmp_path, caplog):
    """Without a table each crop is its own field and the log warns of it."""
    config = write_crops(tmp_path / "crops", BOTH)
    source = crop_source(config, "train", tmp_path / "cache")
    assert source.groups == source.names
    assert "the fields of the crops are not known (no crops.csv)" in caplog.text


def test_another_folder_validates_when_it_is_named(tmp_path, caplog):
    crops_of_fields(tmp_path / "crops", fields=3)
    write_crops(tmp_path / "val", BOTH, seed=1)
    config = describe(tmp_path / "crops", val_crops=tmp_path / "val")
    sides = both_sides(config, tmp_path / "cache")
    assert len(sides["train"]) == 12
    assert sides["val"].names == tuple(f"{name}/{i}.png" for name, count in BOTH.items() for i in range(count))
    np.testing.assert_array_equal(sides["val"].image(0), read_image(tmp_path / "val/myeloma/0.png"))
    assert not caplog.text
    config = changed(config, val_names=("0.jpg",))
    assert "and dataset.split lists names or takes a part to test on: leave out one or the other" in refusal(
        config, tmp_path / "cache"
    )


def test_crops_to_score_need_no_training_crops(tmp_path, caplog):
    """Crops that are only to be scored need no crops to train on and not every class."""
    write_crops(tmp_path / "val", {"myeloma": 3})
    (tmp_path / "val/crops.json").write_text(json.dumps({"margin": 0.3}))
    config = describe(tmp_path / "crops", val_crops=tmp_path / "val")
    config = changed(config, crops="")
    source = crop_source(config, "val", tmp_path / "cache")
    assert source.names == ("myeloma/0.png", "myeloma/1.png", "myeloma/2.png")
    assert source.cut == {"margin": 0.3}
    assert not caplog.text
    with pytest.raises(ValueError, match="split 'train' has no crops"):
        crop_source(config, "train", tmp_path / "cache")


def test_other_folders_of_crops_validate_and_test(tmp_path):
    """Crops of other folders validate and test or one folders are split in three."""
    crops_of_fields(tmp_path / "crops", fields=10)
    write_crops(tmp_path / "val", {"other": 2}, seed=1)
    write_crops(tmp_path / "tested", {"myeloma": 3}, seed=2)
    config = describe(tmp_path / "crops", val_crops=tmp_path / "val")
    config = changed(config, test_crops=str(tmp_path / "tested"))
    found = crop_set.crop_sources(config, tmp_path / "cache")
    assert {part: len(crops) for part, crops in found.items()} == {"train": 40, "val": 2, "test": 3}
    np.testing.assert_array_equal(found["test"].image(1), read_image(tmp_path / "tested/myeloma/1.png"))
    assert found["test"].items[1].image == pixels_digest(read_image(tmp_path / "tested/myeloma/1.png"))
    config = describe(tmp_path / "crops", test_fraction=0.2)
    found = crop_set.crop_sources(config, tmp_path / "cache")
    assert {part: len(crops) for part, crops in found.items()} == {"train": 16, "val": 16, "test": 8}
    assert not set(found["test"].groups) & set(found["train"].groups + found["val"].groups)
    config = changed(config, test_crops=str(tmp_path / "tested"))
    assert "and dataset.split takes crops to test on too" in refusal(config, tmp_path / "cache")


def test_a_class_in_val_that_train_lacks_is_refused(tmp_path):
    config = write_crops(tmp_path / "crops", {"myeloma": 2, "other": 1})
    write_table(tmp_path / "crops", [("myeloma/0.png", "a", ""), ("myeloma/1.png", "b", ""), ("other/0.png", "b", "")])
    config = changed(config, val_names=("b",))
    told = refusal(config, tmp_path / "cache")
    assert told == "val has classes that train lacks: 'other' (1 crop); change dataset.split, or add crops of them"


def test_an_empty_split_is_refused_and_the_other_one_can_be_used(tmp_path):
    config = write_crops(tmp_path / "crops", BOTH)
    for fraction, empty, full in ((1.0, "val", "train"), (0.0, "train", "val")):
        config = changed(config, train_fraction=fraction)
        sizes = {"train": 0, "val": 0, "test": 0} | {full: 7}
        told = refusal(config, tmp_path / "cache", empty)
        assert told == f"split {empty!r} has no crops (crops by split: {sizes}); change dataset.split"
        assert len(crop_source(config, full, tmp_path / "cache")) == 7


def test_a_folder_that_is_not_there_is_named(tmp_path):
    assert f"{tmp_path / 'none'}: no such folder; set dataset.crops" in refusal(describe(tmp_path / "none"), tmp_path)
    write_crops(tmp_path / "crops", BOTH)
    config = describe(tmp_path / "crops", val_crops=tmp_path / "gone")
    assert f"{tmp_path / 'gone'}: no such folder; set dataset.val_crops" in refusal(config, tmp_path)


@pytest.mark.parametrize("classes", [("myeloma",), (), ("other", "other")])
def test_fewer_than_two_classes_are_refused(tmp_path, classes):
    write_crops(tmp_path / "crops", BOTH)
    told = refusal(describe(tmp_path / "crops", classes), tmp_path)
    assert told == f"dataset.classes is {classes}; give the names of two class folders or more, each once"


def test_unmatched_folders_and_classes_are_named_at_once(tmp_path):
    """Every folder that fits no class and class without crops is named at once."""
    write_crops(tmp_path / "crops", {"myeloma": 1, "Other": 1, "blast": 0})
    (tmp_path / "crops/blast/notes.txt").write_text("none yet")
    told = refusal(describe(tmp_path / "crops", ("myeloma", "other", "blast")), tmp_path)
    suffixes = ".bmp, .jp2, .jpeg, .jpg, .png, .tif, .tiff, .webp"
    assert told.splitlines() == [
        f"{tmp_path / 'crops'}: these crops cannot be used",
        "  there is no folder of the class 'other'; add one, or take it out of dataset.classes",
        "  the folder 'Other' is no class; add it to dataset.classes, or move it elsewhere",
        f"  the folder of the class 'blast' holds no image ({suffixes}); add some",
    ]


def test_every_crop_that_cannot_be_read_is_named_and_nothing_is_built(tmp_path):
    config = write_crops(tmp_path / "crops", BOTH)
    (tmp_path / "crops/myeloma/1.png").write_bytes(b"")
    (tmp_path / "crops/other/2.png").write_bytes((tmp_path / "crops/other/2.png").read_bytes()[:40])
    (tmp_path / "crops/other/gone.png").symlink_to(tmp_path / "nowhere.png")
    told = refusal(config, tmp_path / "cache").splitlines()
    assert told[0] == "3 of 8 crops cannot be read:"
    assert sorted(told[1:]) == [
        f"  {tmp_path}/crops/myeloma/1.png: not an image that OpenCV can decode; replace the file or leave it out",
        f"  {tmp_path}/crops/other/2.png: not an image that OpenCV can decode; replace the file or leave it out "
        "(it is cut short)",
        f"  {tmp_path}/crops/other/gone.png: No such file or directory",
    ]
    assert not list((tmp_path / "cache").rglob("*.array_record*"))


def test_hidden_files_are_passed_over_and_other_files_are_told(tmp_path, caplog):
    config = crops_of_fields(tmp_path / "crops", fields=4)
    for name in ("myeloma/.hidden.png", "._crops.csv", "README.txt", "other/notes.txt", "loose.png"):
        (tmp_path / "crops" / name).write_bytes(b"")
    (tmp_path / "crops/other/deeper").mkdir()
    (tmp_path / "crops/.trash").mkdir()
    assert sum(map(len, both_sides(config, tmp_path / "cache").values())) == 16
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    left_out = "3 left out, being no images in class folders:\n  loose.png\n  other/deeper\n  other/notes.txt"
    assert told == 2 * [f"{tmp_path / 'crops'}: {left_out}"]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (["myeloma,myeloma/0.png,a,"], "does not list 'other/0.png'; add a line with its field, or move it elsewhere"),
        (["myeloma,myeloma/1.png,a,"], "lists 'myeloma/1.png', which is not there; put it back, or delete its line"),
        (["myeloma,other/0.png,a,"], "has 'other/0.png' as 'myeloma'; correct the column, or move the file to that"),
        (["other,other/0.png,a,"] * 2, "lists 'other/0.png' 2 times; leave one line"),
        (
            ["myeloma,myeloma/0.png,a,p1", "other,other/0.png,a,p2"],
            "has the field 'a' in several groups, 'p1', 'p2'; give it one",
        ),
    ],
)
def test_a_table_that_does_not_fit_the_folders_is_refused_by_file(tmp_path, rows, told):
    config = write_crops(tmp_path / "crops", {"myeloma": 1, "other": 1})
    (tmp_path / "crops/crops.csv").write_text("\n".join(["class,file,field,group", *rows]))
    assert f"\n  crops.csv {told}" in refusal(config, tmp_path / "cache")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"file;class\n", "crops.csv has no column 'file', 'class', 'field', 'group'; it has 'file;class'"),
        (b"", "crops.csv has no column 'file', 'class', 'field', 'group'; it has none"),
        (b"\xff\xfe\x00", "crops.csv is no table of comma-separated values in UTF-8"),
    ],
)
def test_a_file_that_is_no_such_table_is_told(tmp_path, data, told):
    config = write_crops(tmp_path / "crops", {"myeloma": 1, "other": 1})
    (tmp_path / "crops/crops.csv").write_bytes(data)
    assert told in refusal(config, tmp_path / "cache")


def test_a_table_saved_by_a_spreadsheet_is_read(tmp_path):
    config = write_crops(tmp_path / "crops", {"myeloma": 1, "other": 1})
    lines = ["file,class,field,group", "myeloma/0.png,myeloma,é.jpg,", "other/0.png,other,é.jpg,", ""]
    (tmp_path / "crops/crops.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    config = changed(config, train_fraction=1.0)
    assert crop_source(config, "train", tmp_path).groups == ("é.jpg", "é.jpg")


def test_crops_that_the_crop_command_cuts_are_taken_with_how_they_were_cut(tmp_path):
    smear = synthetic.SyntheticSmear(height=96, width=128, cells=(2, 3))
    fields = list(synthetic.fields(smear, 6, 0))
    found = FieldSet(fields, synthetic.CLASSES, Counter(), [], 0, 0, [])
    crop_folder(found, tmp_path / "crops", CropSettings(margin=0.2, size=24, seed=3))
    sides = both_sides(describe(tmp_path / "crops", synthetic.CLASSES), tmp_path / "cache")
    assert sum(map(len, sides.values())) == sum(len(field.cells) for field in fields)
    assert sides["train"].image(0).shape == (24, 24, 3)
    cut = {
        "margin": 0.2,
        "size": 24,
        "mask_background": False,
        "negatives": None,
        "balance": False,
        "seed": 3,
        "runs": [],
    }
    assert sides["train"].cut == cut


def test_how_crops_were_cut_may_be_unknown_but_not_garbled(tmp_path):
    config = write_crops(tmp_path / "crops", BOTH)
    assert crop_source(config, "train", tmp_path / "cache").cut is None
    (tmp_path / "crops/crops.json").write_text("{margin")
    assert "crops.json: no JSON (" in refusal(config, tmp_path / "cache")
    (tmp_path / "crops/crops.json").write_text("[0.1]")
    assert "crops.json: holds no settings by name; correct it, or delete it" in refusal(config, tmp_path / "cache")


def test_crops_to_validate_with_that_were_cut_otherwise_are_told(tmp_path, caplog):
    crops_of_fields(tmp_path / "crops", fields=3)
    write_crops(tmp_path / "val", BOTH, seed=1)
    for folder, margin in (("crops", 0.1), ("val", 0.3)):
        (tmp_path / folder / "crops.json").write_text(json.dumps({"margin": margin, "size": None, "seed": margin}))
    source = crop_source(describe(tmp_path / "crops", val_crops=tmp_path / "val"), "val", tmp_path / "cache")
    assert source.cut == {"margin": 0.1, "size": None, "seed": 0.1}
    assert caplog.messages == [f"{tmp_path / 'val'} was cut with margin 0.3, {tmp_path / 'crops'} with margin 0.1"]
