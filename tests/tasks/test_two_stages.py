"""A detector's run and a classifier's on crops of it, scored as one; and classifiers that must not be asked."""

import dataclasses
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from tests.evaluate.make import annotated, detected
from tests.tasks import test_classification, test_detection
from wbcjax import cli
from wbcjax.evaluate.two_stages import ALONE, JOINT, NAMED
from wbcjax.input.digest import Item
from wbcjax.input.field_set import Source
from wbcjax.predict.classifier import CropClassifier
from wbcjax.runs.data_note import Note
from wbcjax.tasks import choose as tasks
from wbcjax.tasks import two_stages as module
from wbcjax.tasks.choose import make_task, train
from wbcjax.tasks.experiment import Scored
from wbcjax.tasks.two_stages import asked_classifier, two_stages

FIRST, SECOND = (0, 0, 10, 10), (20, 0, 30, 10)


def classifier(classes: tuple[str, ...], rows: list[list[float]]) -> Mock:
    """A classifier that gives these probabilities to the cells of every field."""
    stub = Mock(spec=CropClassifier, classes=classes)
    stub.probabilities_of.return_value = np.array(rows, np.float32)
    return stub


def fields(*items: Item) -> Mock:
    stub = Mock(spec=Source, items=items)
    stub.__len__ = lambda _: len(items)
    return stub


def test_a_cells_probability_is_that_of_its_own_class():
    """The classes of the classifier may be in another order than the detector's."""
    found = detected([(FIRST, 1, 0.8), (SECOND, 2, 0.8)])
    named = classifier(("other", "L2", "L1"), [[0.1, 0.0, 0.9], [0.3, 0.2, 0.5]])
    image = np.zeros((40, 60, 3), np.uint8)
    scores = two_stages(named, lambda _: image, [annotated([(FIRST, 1)])], [found], ("L1", "L2"), 0.5)
    assert scores["rows"][ALONE]["detections"] == 2
    assert scores["rows"][NAMED] == {"detections": 1, "right": 1, "precision": 1.0, "recall": 1.0}


def asked(monkeypatch: pytest.MonkeyPatch, place: Path, trained: tuple[Item, ...], *of: Item, classes=("L1", "other")):
    stub = classifier(classes, [])
    monkeypatch.setattr(module, "load_classifier", lambda *_, **__: stub)
    monkeypatch.setattr(module, "load_facts", lambda _: {})
    monkeypatch.setattr(module, "note_in", lambda *_: Note({"train": trained}))
    return asked_classifier(Scored(classifier=place), "best", ("L1",), fields(*of))


def test_a_classifier_without_the_detectors_class_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="names blast, other, and the detector finds L1: give a classifier"):
        asked(monkeypatch, tmp_path, (), Item("a.png"), classes=("blast", "other"))


def test_a_classifier_that_was_trained_on_the_fields_is_refused(tmp_path, monkeypatch):
    crop = Item("L1/a_001.png", group="a.png")
    with pytest.raises(ValueError, match=r"was trained on crops of 1 of these 2 fields, such as a\.png: cut the crops"):
        asked(monkeypatch, tmp_path, (crop,), Item("a.png"), Item("b.png"))
    with pytest.raises(ValueError, match=r"1 of these 1 fields, such as 7\.png"):
        asked(monkeypatch, tmp_path, (Item("L1/c_001.png", group="patient 1"),), Item("7.png", group="patient 1"))
    assert asked(monkeypatch, tmp_path, (crop,), Item("b.png")).classes == ("L1", "other")


@pytest.mark.slow
def test_a_detector_and_a_classifier_of_its_crops_are_scored_as_one(tmp_path, monkeypatch, capsys):
    """From a detector by its crops to a classifier, and the scores of both, by the commands."""
    monkeypatch.setenv("WBCJAX_CACHE", str(tmp_path / "cache"))
    test_detection.write_via(tmp_path / "data", 12, seed=0)
    config = test_detection.toy_config()
    config.dataset.update({"name": "via", "annotations": str(tmp_path / "data/via.json")})
    config.dataset.images = str(tmp_path / "data/images")
    config.evaluate.score_threshold = 0.05
    assert train(config, make_task(config), tmp_path / "detector") is None
    places = [str(tmp_path / "data/via.json"), str(tmp_path / "data/images")]
    run, crops = str(tmp_path / "detector"), str(tmp_path / "crops")
    cli.main(["crop", *places, "--out", crops, "--run", run, "--negatives", "none"])

    of_crops = test_classification.toy_config(tmp_path / "crops")
    of_crops.dataset.classes = ("L1", "L2", "L3", "none")
    of_crops.train.steps = 4
    assert train(of_crops, tasks.make_task(of_crops), tmp_path / "classifier") is None
    capsys.readouterr()
    cli.main(["evaluate", "--workdir", run, "--classifier", str(tmp_path / "classifier")])
    told = capsys.readouterr().out
    assert "Two stages, " in told
    assert all(row in told for row in (ALONE, NAMED, JOINT))
    (page,) = (tmp_path / "detector/evaluation").glob("val_named_by_*/report.html")
    assert "Detector and classifier" in page.read_text()

    other = dataclasses.replace(Scored(split="val"), classifier=tmp_path / "classifier")
    with pytest.raises(ValueError, match="is a run of classification: --classifier is for a detector's run"):
        tasks.evaluate(tmp_path / "classifier", "latest", other)
