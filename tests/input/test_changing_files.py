"""Files that change while a set is built of them: it is refused, nothing of it is kept, and the next try is good."""

import json
import os

import numpy as np
import pytest

from tests.input import crop_sets
from tests.input.sets import both_sides, changed, write_image, write_via_set
from wbcjax.input import contents, crop_set, field_set
from wbcjax.input.crop_set import crop_source
from wbcjax.input.digest import Digests
from wbcjax.input.field_set import source
from wbcjax.smear.field import AnnotationError


def after(function, change):
    """The function, with a change of the world behind its first call."""
    calls = []

    def changed(*arguments, **named):
        result = function(*arguments, **named)
        if not calls:
            change()
        calls.append(1)
        return result

    return changed


def sets_in(cache):
    return list(cache.rglob("*.array_record*"))


@pytest.mark.parametrize("moment", ["field_set", "image_digest", "prepare"])
def test_an_image_replaced_while_building_is_noticed(tmp_path, monkeypatch, moment):
    """An image of another size in the place of one is noticed at any moment."""
    config = write_via_set(tmp_path, cells=[1, 1])
    change = lambda: write_image(tmp_path / "images/0.png", 7, 40, 50)  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(field_set, moment, after(getattr(field_set, moment), change))
        with pytest.raises(ValueError, match=r"changed while the set was being built.*: build it again"):
            source(config, "train", tmp_path / "cache")
    assert not sets_in(tmp_path / "cache")
    assert set(both_sides(config, tmp_path / "cache")) == {"0.png", "1.png"}


@pytest.mark.parametrize("moment", ["image_digest", "prepare"])
def test_an_image_of_the_same_size_in_the_place_of_one_is_noticed(tmp_path, monkeypatch, moment):
    config = write_via_set(tmp_path, cells=[1, 1])
    change = lambda: write_image(tmp_path / "images/0.png", 7)  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(field_set, moment, after(getattr(field_set, moment), change))
        with pytest.raises(ValueError, match=r"changed while the set was being built"):
            source(config, "train", tmp_path / "cache")
    assert not sets_in(tmp_path / "cache")


@pytest.mark.parametrize("moment", ["field_set", "prepare"])
def test_annotations_that_change_under_the_reader_are_noticed(tmp_path, monkeypatch, moment):
    config = write_via_set(tmp_path, cells=[2, 2])
    other = json.loads((tmp_path / "via.json").read_text())
    for one in other.values():
        one["regions"] = one["regions"][:1]

    def change():
        (tmp_path / "via.json").write_text(json.dumps(other))

    with monkeypatch.context() as patch:
        patch.setattr(field_set, moment, after(getattr(field_set, moment), change))
        with pytest.raises(ValueError, match=r"changed while the set was being built"):
            source(config, "train", tmp_path / "cache")
    assert not sets_in(tmp_path / "cache")
    assert {len(field.cells) for field in both_sides(config, tmp_path / "cache").values()} == {1}


def test_annotations_cut_short_between_their_digest_and_their_reading_are_refused(tmp_path, monkeypatch):
    config = write_via_set(tmp_path, cells=[1, 1])
    change = lambda: os.truncate(tmp_path / "via.json", 60)  # noqa: E731
    monkeypatch.setattr(field_set, "fingerprint", after(contents.fingerprint, change))
    with pytest.raises(AnnotationError, match=r"via\.json: broken JSON"):
        source(config, "train", tmp_path / "cache")


def test_a_crop_that_changes_under_the_builder_is_noticed(tmp_path, monkeypatch):
    config = crop_sets.crops_of_fields(tmp_path / "crops", 4)
    change = lambda: write_image(tmp_path / "crops/other/0.png", 7, 8, 10)  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(crop_set, "_build", after(crop_set._build, change))
        with pytest.raises(ValueError, match="crops were changed while the set was being built"):
            crop_source(config, "train", tmp_path / "cache")
    assert not sets_in(tmp_path / "cache")
    assert len(crop_source(config, "train", tmp_path / "cache")) > 0


def test_the_limit_of_pixels_of_a_config_holds_for_fields_and_crops(tmp_path):
    fields = write_via_set(tmp_path, cells=[1, 1])
    fields = changed(fields, max_pixels=24 * 32 - 1)
    with pytest.raises(AnnotationError, match="claims 32 x 24 pixels, and 767 are allowed"):
        source(fields, "train", tmp_path / "cache")
    fields = changed(fields, max_pixels=24 * 32)
    assert len(source(fields, "train", tmp_path / "cache"))
    crops = crop_sets.crops_of_fields(tmp_path / "crops", 4)
    crops = changed(crops, max_pixels=79)
    with pytest.raises(ValueError, match="claims 10 x 8 pixels, and 79 are allowed"):
        crop_source(crops, "train", tmp_path / "cache")


def test_files_are_hashed_in_pieces_and_pipes_refused(tmp_path):
    """A pipe has no digest and a file beyond memory is hashed piece by piece."""
    os.mkfifo(tmp_path / "pipe")
    digests = Digests(tmp_path / "memory.json")
    assert digests.file(tmp_path / "pipe") == ""
    (tmp_path / "large").write_bytes(np.arange(10**6).tobytes())
    assert len(digests.file(tmp_path / "large")) == 64
