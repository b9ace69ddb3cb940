"""A part of a set of which no cell counts: training stops, and a scored part is told to have nothing to score."""

import json
from pathlib import Path

import pytest

from tests.smear import two_discs
from tests.smear.two_discs import annotation, flat, save
from wbcjax.configs import smear_demo
from wbcjax.input.field_set import sources
from wbcjax.input.settings import FieldSetSettings
from wbcjax.tasks.choose import make_task


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two fields, of which `a.png` trains; its two cells are crowd regions."""
    monkeypatch.setenv("WBCJAX_CACHE", str(tmp_path / "cache"))
    two_discs.images(tmp_path / "images", "a.png", "b.png")
    crowd = [annotation(1, [flat(two_discs.P1)], iscrowd=1), annotation(2, [flat(two_discs.P2)], iscrowd=1)]
    whole = two_discs.coco(annotations=[*crowd, annotation(1, [flat(two_discs.P2)], id=3, image_id=2)])
    whole["images"].append(whole["images"][0] | {"id": 2, "file_name": "b.png"})
    config = smear_demo.get_config()
    config.dataset.update({"name": "coco", "annotations": str(save(tmp_path / "set.json", whole))})
    config.dataset.update({"images": str(tmp_path / "images"), "classes": ("L1", "L2"), "canvas": (128, 160)})
    config.dataset.split.train_names, config.dataset.split.val_names = ("a.png",), ("b.png",)
    return config


def test_training_stops_where_all_its_cells_are_crowd_regions(config):
    told = r"nothing to learn from train: no cell counts: all 2 cells are crowd regions .*; take them as cells by"
    with pytest.raises(ValueError, match=told):
        make_task(config)


def test_crowd_regions_taken_as_cells_train(config):
    config.dataset.crowd_as_cells = True
    assert make_task(config).images == 1


def test_a_set_is_built_anew_when_it_is_taken_otherwise(config):
    for taken, counts in (({}, [0, 0]), ({"crowd_as_cells": True}, [1, 1]), ({"rectangles_as_boxes": True}, [0, 0])):
        config.dataset.update(taken)
        found = sources(FieldSetSettings.from_config(config.dataset))["train"]
        assert [found.counts()[name] for name in ("L1", "L2")] == counts
        config.dataset.update(dict.fromkeys(taken, False))


def test_training_stops_where_no_cell_is_annotated(config):
    path = Path(config.dataset.annotations)
    whole = json.loads(path.read_text())
    whole["annotations"] = whole["annotations"][2:]
    path.write_text(json.dumps(whole))
    with pytest.raises(ValueError, match="nothing to learn from train: no cell is annotated; annotate some"):
        make_task(config)


def test_a_part_with_a_cell_that_counts_is_not_told_of(config):
    assert sources(FieldSetSettings.from_config(config.dataset))["val"].uncounted() == ""
