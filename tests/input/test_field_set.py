"""The built set: the same fields as annotated, kept while nothing changes, never half of one, never an outdated one."""

import errno
import fcntl
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.input.sets import SPLIT, both_sides, changed, write_via, write_via_set
from wbcjax.enhance import DRAWN, METHODS, reinhard
from wbcjax.input import field_set
from wbcjax.input.contents import fingerprint
from wbcjax.input.digest import Digests
from wbcjax.input.field_set import source
from wbcjax.input.settings import FieldSetSettings, SyntheticSettings
from wbcjax.smear import synthetic
from wbcjax.smear.field import AnnotationError, SmearField
from wbcjax.smear.read import read


def test_a_built_set_holds_every_field_as_annotated_also_those_without_cells(tmp_path):
    config = write_via_set(tmp_path, cells=[2, 0, 3, 0, 1])
    found = both_sides(config, tmp_path / "cache")
    annotated = read(tmp_path / "via.json", tmp_path / "images", {"blast": 1, "other": 2}).fields
    assert sorted(found) == [field.name for field in annotated]
    for expected in annotated:
        field = found[expected.name]
        assert (field.height, field.width) == (24, 32)
        np.testing.assert_array_equal(field.image(), expected.image())
        assert [cell.label for cell in field.cells] == [cell.label for cell in expected.cells]
        for cell, wanted in zip(field.cells, expected.cells, strict=True):
            np.testing.assert_array_equal(cell.mask(24, 32), wanted.mask(24, 32))


def test_a_splits_cells_are_counted_by_class(tmp_path):
    """The cells of a split are counted by class those of empty fields too."""
    config = write_via_set(tmp_path, cells=[2, 0, 3, 0, 1])
    annotated = read(tmp_path / "via.json", tmp_path / "images", {"blast": 1, "other": 2}).fields
    sides = [source(config, side, tmp_path / "cache") for side in ("train", "val")]
    for label, name in enumerate(config.classes, start=1):
        expected = sum(cell.label == label for field in annotated for cell in field.cells)
        assert sum(side.counts()[name] for side in sides) == expected
    assert [side.counts()["fields"] for side in sides] == [len(side) for side in sides]


def test_fields_keep_the_order_of_the_annotations(tmp_path):
    config = write_via_set(tmp_path, cells=[1] * 12)
    names = source(config, "train", tmp_path / "cache").names
    assert list(names) == sorted(names, key=lambda name: int(name[:-4]))
    assert len(names) == 6


def test_few_training_fields_are_taken_of_one_built_set_and_the_others_stay_as_they_are(tmp_path):
    config = write_via_set(tmp_path, cells=[1] * 12)
    whole = field_set.sources(config, tmp_path / "cache")
    known: set[str] = set()
    for count in (2, 4, 6):
        few = field_set.sources(replace(config, train_fields=count, train_fields_seed=5), tmp_path / "cache")
        assert len(few["train"].names) == count
        assert known <= set(few["train"].names) <= set(whole["train"].names)
        known = set(few["train"].names)
        assert few["val"].names == whole["val"].names
    assert len(list((tmp_path / "cache").glob("via-*/"))) == 1
    with pytest.raises(ValueError, match="train_fields is 7, and 6 fields train"):
        field_set.sources(replace(config, train_fields=7), tmp_path / "cache")


def test_the_folds_of_a_built_set_test_every_field_once(tmp_path):
    config = write_via_set(tmp_path, cells=[1] * 6)
    tested = []
    for fold in range(3):
        parts = field_set.sources(changed(config, folds=3, fold=fold), tmp_path / "cache")
        assert not set(parts["test"].names) & {*parts["train"].names, *parts["val"].names}
        tested += parts["test"].names
    assert sorted(tested) == [f"{i}.png" for i in range(6)]


def test_an_image_that_its_exif_turns_upright_fits_its_outlines(tmp_path):
    config = write_via_set(tmp_path, cells=[1, 1])
    image = np.zeros((32, 24, 3), np.uint8)  # stored lying; upright it is 24 high and 32 wide
    image[:, :12] = 255
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # orientation 6: turn clockwise
    exif = b"\xff\xe1" + (len(tiff) + 8).to_bytes(2, "big") + b"Exif\0\0" + tiff
    (tmp_path / "images" / "0.png").write_bytes(jpeg[:2] + exif + jpeg[2:])
    field = both_sides(config, tmp_path / "cache")["0.png"]
    assert field.image().shape == (24, 32, 3)
    assert field.image()[:10].mean() > 240 > 20 > field.image()[14:].mean()
    assert (field.height, field.width) == (24, 32)


def test_the_same_inputs_are_not_built_twice(tmp_path, no_building):
    config = write_via_set(tmp_path, cells=[1, 0, 2])
    first = both_sides(config, tmp_path / "cache")
    no_building()
    again = both_sides(config, tmp_path / "cache")
    assert list(again) == list(first)
    both_sides(changed(config, max_cells=7), tmp_path / "cache")


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("WBCJAX_CACHE", str(tmp_path / "there"))
    source(write_via_set(tmp_path, cells=[1, 1]), "train")
    assert len(list((tmp_path / "there").glob("via-*/**/*.array_record*"))) == 2


def test_changed_annotations_classes_and_splits_are_seen(tmp_path):
    config, cache = write_via_set(tmp_path, cells=[1, 1, 1, 1]), tmp_path / "cache"
    assert {f.cells[0].label for f in both_sides(config, cache).values()} == {1}
    write_via(tmp_path, ["other"], [1, 1, 1, 1])
    assert {f.cells[0].label for f in both_sides(config, cache).values()} == {2}
    config = changed(config, class_of=(("other", "blast"),))
    assert {f.cells[0].label for f in both_sides(config, cache).values()} == {1}
    config = changed(config, class_of=(("other", ""),))
    assert {len(f.cells) for f in both_sides(config, cache).values()} == {0}
    config = changed(config, val_names=("2.png",))
    assert source(config, "val", cache).names == ("2.png",)
    assert source(config, "train", cache).names == ("0.png", "1.png", "3.png")


def test_a_name_list_that_changes_in_its_file_is_seen(tmp_path):
    config = write_via_set(tmp_path, cells=[1, 1, 1])
    config = changed(config, val_names=(str(tmp_path / "val.txt"),))
    for names in (("0.png",), ("1.png", "2.png")):
        (tmp_path / "val.txt").write_text("\n".join(names))
        assert source(config, "val", tmp_path / "cache").names == names


def test_a_changed_image_is_seen_though_its_annotations_stay(tmp_path):
    config = write_via_set(tmp_path, cells=[1, 1])
    both_sides(config, tmp_path / "cache")
    cv2.imwrite(str(tmp_path / "images" / "1.png"), np.full((24, 32, 3), 77, np.uint8))
    assert (both_sides(config, tmp_path / "cache")["1.png"].image() == 77).all()


@pytest.mark.parametrize("method", ["he", "clahe"])
def test_a_set_holds_its_images_enhanced_and_another_enhancement_is_another_set(tmp_path, method):
    config = write_via_set(tmp_path, cells=[1, 1, 0])
    plain = both_sides(config, tmp_path / "cache")
    config = changed(config, enhance=method)
    enhanced = both_sides(config, tmp_path / "cache")
    for name, field in plain.items():
        np.testing.assert_array_equal(enhanced[name].image(), METHODS[method](field.image()))
        assert (enhanced[name].image() != field.image()).any()
    config = changed(config, enhance="none")
    assert (both_sides(config, tmp_path / "cache")["0.png"].image() == plain["0.png"].image()).all()


def test_a_set_is_brought_to_its_stain_and_another_stain_is_another_set(tmp_path):
    config = write_via_set(tmp_path, cells=[1, 1])
    plain = both_sides(config, tmp_path / "cache")
    for mean in ((60.0, 20.0, -10.0), (75.0, 10.0, 0.0)):
        stain = replace(DRAWN, mean=mean)
        config = changed(config, enhance="reinhard", stain=stain)
        for name, field in both_sides(config, tmp_path / "cache").items():
            np.testing.assert_array_equal(field.image(), reinhard(plain[name].image(), stain=stain))
            assert (field.image() != plain[name].image()).any()
    config, digests = changed(config, enhance="he"), Digests(tmp_path / "digests.json")
    assert fingerprint(config, digests) == fingerprint(changed(config, stain=DRAWN), digests)


def test_an_image_that_goes_missing_is_reported_and_the_built_set_kept(tmp_path, no_building):
    config = write_via_set(tmp_path, cells=[1, 1])
    both_sides(config, tmp_path / "cache")
    image, aside = tmp_path / "images" / "1.png", tmp_path / "aside.png"
    image.rename(aside)
    with pytest.raises(AnnotationError, match=r"1\.png"):
        source(config, "train", tmp_path / "cache")
    aside.rename(image)
    no_building()
    assert len(both_sides(config, tmp_path / "cache")) == 2


def test_a_build_that_fails_halfway_leaves_nothing_to_be_read(tmp_path, monkeypatch):
    config, record, seen = write_via_set(tmp_path, cells=[1] * 6), field_set._cell_record, []

    def interrupted(*cell):
        seen.append(cell)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return record(*cell)

    with monkeypatch.context() as patch:
        patch.setattr(field_set, "_cell_record", interrupted)
        with pytest.raises(KeyboardInterrupt):
            source(config, "train", tmp_path / "cache")
    assert len(both_sides(config, tmp_path / "cache")) == 6


def test_a_build_that_is_killed_leaves_nothing_to_be_read(tmp_path):
    config = write_via_set(tmp_path, cells=[1] * 6)
    script = f"""
        import os
        from wbcjax.input import field_set
        from wbcjax.enhance import Stain
        from wbcjax.input.settings import FieldSetSettings, InputSettings, SyntheticSettings
        from wbcjax.input.split import SplitSettings
        record, seen = field_set._cell_record, []
        def killed(*cell):
            seen.append(cell)
            return record(*cell) if len(seen) < 5 else os._exit(9)
        field_set._cell_record = killed
        field_set.source({config!r}, "train", {str(tmp_path / "cache")!r})
    """
    root = Path(__file__).parents[2]
    died = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=root, capture_output=True, check=False)
    assert died.returncode == 9, died.stderr.decode()
    assert list((tmp_path / "cache").rglob("*incomplete*")), "it was to die in the middle"
    assert len(both_sides(config, tmp_path / "cache")) == 6


def test_a_set_that_two_processes_want_at_once_is_built_once(tmp_path, monkeypatch, caplog):
    config, build, builds = write_via_set(tmp_path, cells=[1, 2, 0]), field_set._build, []
    caplog.set_level("INFO", "wbcjax")

    def until_another_waits(*what):
        builds.append(what)
        while "waiting for another process that builds" not in caplog.text:
            time.sleep(0.01)
        build(*what)

    monkeypatch.setattr(field_set, "_build", until_another_waits)
    with ThreadPoolExecutor() as pool:  # a lock keeps threads apart as it does processes
        both = list(pool.map(lambda _: source(config, "train", tmp_path / "cache").names, range(2)))
    assert both[0] == both[1]
    assert len(builds) == 1


def test_without_locks_two_processes_may_build_the_same_set_at_once(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    config, record, others = write_via_set(tmp_path, cells=[1, 2, 0]), field_set._cell_record, []

    def while_another_finishes(*cell):
        if not others:
            others.append(None)
            others[0] = source(config, "train", tmp_path / "cache")
        return record(*cell)

    monkeypatch.setattr(field_set, "_cell_record", while_another_finishes)
    assert source(config, "train", tmp_path / "cache").names == others[0].names
    assert others[0].field(0).cells, "the other's set was pulled away from under it"


def test_a_disk_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "cache").write_text("a file where the cache should be")
    with pytest.raises(OSError, match="cache"):
        source(write_via_set(tmp_path / "set", cells=[1, 1]), "train", tmp_path / "cache")


def test_a_split_tells_how_many_cells_each_field_has_and_takes_any_number(tmp_path):
    config = write_via_set(tmp_path, cells=[1, 4, 3])
    config = changed(config, max_cells=2, train_fraction=1.0)  # which is for training: any field can be scored
    opened = source(config, "train", tmp_path / "cache")
    assert opened.cells == {"0.png": 1, "1.png": 4, "2.png": 3}
    assert len(opened.field(1).cells) == 4


def test_an_empty_split_is_refused_and_the_other_one_can_be_used(tmp_path):
    config = write_via_set(tmp_path, cells=[1, 1])
    config = changed(config, train_fraction=1.0)
    with pytest.raises(ValueError, match=r"split 'val' has no fields .*'train': 2"):
        source(config, "val", tmp_path / "cache")
    assert len(source(config, "train", tmp_path / "cache")) == 2


@pytest.fixture
def rendered() -> FieldSetSettings:
    drawn = SyntheticSettings(count=5, seed=11, height=80, width=96, cells=(1, 2))
    return FieldSetSettings(name="synthetic", classes=synthetic.CLASSES, synthetic=drawn, split=SPLIT, max_cells=4)


def test_synthetic_fields_are_stored_without_loss(tmp_path, rendered):
    found = both_sides(rendered, tmp_path / "cache")
    smear = synthetic.SyntheticSmear(height=80, width=96, cells=(1, 2))
    expected = {field.name: field for field in synthetic.fields(smear, 5, 11)}
    assert sorted(found) == sorted(expected)
    for name, field in expected.items():
        np.testing.assert_array_equal(found[name].image(), field.image())
        assert [(c.label, c.rle) for c in found[name].cells] == [(c.label, c.rle) for c in field.cells]


def test_synthetic_sets_are_kept_until_parameters_or_the_renderer_change(tmp_path, rendered, monkeypatch):
    before = both_sides(rendered, tmp_path / "cache")
    render = synthetic.render
    calls = []
    monkeypatch.setattr(synthetic, "render", lambda *args: calls.append(args) or render(*args))
    both_sides(rendered, tmp_path / "cache")
    assert len(calls) == 2, "opening a kept set renders one field, to compare"

    later = replace(rendered, synthetic=replace(rendered.synthetic, seed=12))
    assert set(both_sides(later, tmp_path / "cache")) != set(before)

    def darker(*args) -> SmearField:
        field = render(*args)
        field.image()[:] //= 2
        return field

    monkeypatch.setattr(synthetic, "render", darker)
    after = both_sides(rendered, tmp_path / "cache")
    for name, field in before.items():
        np.testing.assert_array_equal(after[name].image(), field.image() // 2)


def test_classes_that_the_renderer_does_not_draw_are_refused(tmp_path, rendered):
    rendered = changed(rendered, classes=("blast",))
    with pytest.raises(ValueError, match="synthetic fields have"):
        source(rendered, "train", tmp_path / "cache")
