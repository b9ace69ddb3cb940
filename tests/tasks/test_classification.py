"""From class folders to a trained classifier, its scores, figures and names for cells: the whole way, at toy size."""

import csv
import json
import os
import re
import shutil
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

import wbcjax
from tests.experiments import model_of, scores_of
from tests.oracle import oracle, paint
from tests.train.steps import parameters_of_steps
from wbcjax.commands.predict.folder import predict_folder
from wbcjax.configs import base, myeloma_efficientnet_b3
from wbcjax.evaluate.classification import classification_scores
from wbcjax.evaluate.predictions import Predictions, load_predictions
from wbcjax.input.settings import CropSetSettings
from wbcjax.models import efficientnet
from wbcjax.predict.classifier import crop_classifier, live_network, load_classifier
from wbcjax.settings.checked import checked
from wbcjax.settings.parts import part
from wbcjax.smear.crops import resize
from wbcjax.smear.field import read_image
from wbcjax.smear.read import read
from wbcjax.system.files import write_png
from wbcjax.system.terminal import plain
from wbcjax.tasks import choose as tasks
from wbcjax.tasks.choose import make_task, train
from wbcjax.tasks.classification import _summary
from wbcjax.tasks.experiment import Scored
from wbcjax.train.settings import TrainSettings

CLASSES = ("blast", "other")
COLOURS = {"blast": (70, 40, 150), "other": (200, 60, 60)}
SIDE = 64  # of the canvas


def toy_config(crops: Path) -> ConfigDict:
    config = myeloma_efficientnet_b3.get_config("b0_small")
    config.dataset.update({"crops": str(crops), "classes": CLASSES, "canvas": (SIDE, SIDE)})
    config.model.update({"width": 0.2, "depth": 0.1, "norm_momentum": 0.5, "dropout": 0.0, "stochastic_depth": 0.0})
    config.train.update({"batch_size": 16, "epochs": 0.0, "steps": 80, "log_every": 16, "warmup_steps": 0})
    config.train.update({"learning_rate": 2e-3, "ema_decay": 0.0, "eval_every_epochs": 0.0, "max_minutes": 0.0})
    config.evaluate.bootstrap = 50
    return config


def write_crops(folder: Path, fields: int) -> Path:
    """Two discs of each class from every field, on a ground of its own, as `wbcjax crop` would leave them."""
    rng = np.random.default_rng(fields)
    rows = []
    for field in range(fields):
        for number in range(4):
            label = CLASSES[number % 2]
            image = np.full((40, 40, 3), rng.integers(190, 240, 3), np.uint8)
            cv2.circle(image, (20, 20), int(rng.integers(8, 14)), COLOURS[label], cv2.FILLED)
            name = f"{label}/{field}_{number}.png"
            write_png(folder / name, image)
            rows.append([name, label, f"{field}.png", ""])
    with (folder / "crops.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "class", "field", "group"], *rows])
    (folder / "crops.json").write_text(json.dumps({"margin": 0.25, "size": None, "mask_background": False}))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workdir of a short run on eight devices."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WBCJAX_CACHE", str(folder / "cache"))
        config = toy_config(write_crops(folder / "crops", 10))
        assert train(config, tasks.make_task(config), folder / "toy") is None
    return folder / "toy"


@pytest.fixture(autouse=True)
def _cache(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WBCJAX_CACHE", str(run.parent / "cache"))


def test_a_classifier_learns_what_tells_the_classes_apart(run):
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if record["kind"] == "train"]
    assert steps[-1]["loss"] < 0.5 * steps[0]["loss"]
    assert [record["accuracy"] for record in records if record["kind"] == "eval"] == [1.0]


def test_the_accuracy_of_the_training_is_watched_and_not_trained_on(run):
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for record in (record for record in records if record["kind"] == "train"):
        assert record["loss"] == pytest.approx(record["class"])
        assert 0 <= record["accuracy"] <= 1


def test_an_evaluation_can_be_scored_again_without_the_model(run, tmp_path):
    found = scores_of(run, tmp_path)
    again = classification_scores(load_predictions(tmp_path / "predictions.json"), 50)
    assert again["accuracy"] == found["accuracy"]
    assert again["confusion"] == found["confusion"] == {"classes": list(CLASSES), "counts": [[4, 0], [0, 4]]}
    assert found["counts"] == {"crops": 8, "groups": 2, "mistakes": 0}  # a fifth of ten fields
    assert json.loads((tmp_path / "scores.json").read_text())["confusion"] == found["confusion"]
    for name in ("confusion", "roc", "precision_recall", "reliability", "curves", "mistakes"):
        assert read_image(tmp_path / f"{name}.png").std() > 0, f"{name}: something is drawn"


def test_evaluation_tells_the_report_and_where_the_rest_is(run):
    told = plain(*tasks.evaluate(run, "latest", Scored("val")))
    assert "precision  recall  f1-score  support" in told
    assert f"{run}/evaluation/val_latest/report.html" in told
    said = "Scored: the 8 crops of val, which neither trained the model nor chose this checkpoint, the latest."
    assert told.split("\n\n")[1].startswith(said)
    assert said in (run / "evaluation/val_latest/report.html").read_text()


def test_results_go_where_they_are_sent_and_neither_to_the_run_nor_into_others(run, tmp_path):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    told = plain(*tasks.evaluate(run, "best", Scored("val"), out=str(tmp_path / "val")))
    assert f"The report is {tmp_path}/val/report.html" in told
    assert json.loads((tmp_path / "val/scores.json").read_text())["counts"]["crops"] == 8
    with pytest.raises(FileExistsError, match="val, which is not empty"):
        tasks.evaluate(run, "best", Scored("val"), out=str(tmp_path / "val"))
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_run_that_cannot_be_written_is_told_before_it_is_scored_with_the_remedy(run, monkeypatch):
    monkeypatch.setattr(os, "access", lambda place, mode: False)  # which root could do all the same
    monkeypatch.setattr("wbcjax.tasks.classification.evaluate_classifier", None)  # nothing is scored
    with pytest.raises(ValueError, match=r"cannot be written there \(Permission denied\): .* folder by --out"):
        tasks.evaluate(run, "best", Scored("val"))


@pytest.mark.slow
def test_folders_of_one_name_and_both_checkpoints_have_results_of_their_own(run, tmp_path):
    sites = [write_crops(tmp_path / site / "lab/data", fields) for site, fields in (("a", 2), ("b", 3))]
    for site, checkpoint in ((sites[0], "best"), (sites[1], "best"), (sites[1], "latest")):
        tasks.evaluate(run, checkpoint, Scored("val", crops=str(site)))
    found = sorted(run.glob("evaluation/lab_data_*/scores.json"))
    counts = [(path.parent.name.endswith("latest"), json.loads(path.read_text())["counts"]["crops"]) for path in found]
    assert sorted(counts) == [(False, 8), (False, 12), (True, 12)]


def test_a_run_is_scored_on_crops_that_it_never_saw(run, tmp_path):
    told = plain(*tasks.evaluate(run, "latest", Scored("val", crops=str(write_crops(tmp_path / "others", 3)))))
    (scores,) = run.glob(f"evaluation/{tmp_path.name}_others_*_latest/scores.json")
    found = json.loads(scores.read_text())
    assert found["counts"] == {"crops": 12, "groups": 3, "mistakes": 0}
    assert "others" in told


def test_other_crops_are_compared_with_nothing_and_may_lack_classes_and_names_of_the_runs_split(run, tmp_path, caplog):
    copy = shutil.copytree(run, tmp_path / "named", ignore=shutil.ignore_patterns("evaluation", "report.html"))
    config = json.loads((copy / "config.json").read_text())
    config["dataset"]["split"]["val_names"] = ["3.png"]  # of the training's fields: no concern of other crops
    (copy / "config.json").write_text(json.dumps(config))
    others = write_crops(tmp_path / "others", 3)
    shutil.rmtree(others / "other")
    rows = (others / "crops.csv").read_text().splitlines()
    (others / "crops.csv").write_text("\n".join(row for row in rows if not row.startswith("other/")))
    found = scores_of(copy, tmp_path / "out", Scored("val", crops=str(others)))
    assert found["confusion"]["counts"] == [[6, 0], [0, 0]]
    assert found["undefined"][-1] == "no crop was taken for other: its precision is not defined"
    assert "in train too" not in caplog.text
    assert f"Data: {others}." in (tmp_path / "out/report.html").read_text()


def test_other_crops_that_were_cut_otherwise_than_those_of_the_training_are_told(run, tmp_path, caplog):
    others = write_crops(tmp_path / "others", 2)
    (others / "crops.json").write_text(json.dumps({"margin": 0.5, "size": None, "mask_background": False}))
    scores_of(run, tmp_path / "out", Scored("val", crops=str(others)))
    assert f"{others} was cut with margin 0.5, {run.parent / 'crops'} with margin 0.25" in caplog.messages


@pytest.mark.slow
def test_other_crops_in_a_folder_called_val_do_not_replace_the_runs_own_evaluation(run, tmp_path):
    tasks.evaluate(run, "best", Scored("val"))
    before = (run / "report.html").read_bytes(), (run / "evaluation/val/scores.json").read_bytes()
    told = plain(*tasks.evaluate(run, "best", Scored("val", crops=str(write_crops(tmp_path / "val", 3)))))
    assert re.search(rf"evaluation/{tmp_path.name}_val_\w{{8}}/report\.html", told)
    assert ((run / "report.html").read_bytes(), (run / "evaluation/val/scores.json").read_bytes()) == before


def test_crops_that_a_run_was_trained_on_are_left_out_of_other_folders(run, tmp_path):
    copies = shutil.copytree(run.parent / "crops", tmp_path / "copies")
    told = plain(*tasks.evaluate(run, "latest", Scored("val", crops=str(copies)), out=str(tmp_path / "out")))
    found = json.loads((tmp_path / "out/scores.json").read_text())
    assert found["counts"]["crops"] == 8  # of 40, those of the two fields that validated
    assert (found["scored"]["left_out"], found["scored"]["chose_checkpoint"]) == (32, False)
    said = f"Scored: 8 crops of {tmp_path / 'copies'}, none of which the model was trained on; 32 left"
    assert told.split("\n\n")[1].startswith(said)


@pytest.mark.slow
def test_crops_are_asked_in_eight_views_and_by_several_runs(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("evaluation"))
    told = plain(*tasks.evaluate(run, "latest", Scored("val", with_runs=(copy,), tta=True), out=str(tmp_path / "out")))
    assert f"the latest. Asked together: {run}, {copy}; each image in 8 views." in told
    found, model = load_predictions(tmp_path / "out/predictions.json"), load_classifier(run, "latest")
    crop = read_image(run.parent / "crops" / found.names[0])
    turns = [np.rot90(flipped, k) for flipped in (crop, crop[:, ::-1]) for k in range(4)]
    expected = model.probabilities([np.ascontiguousarray(turn) for turn in turns]).mean(axis=0)
    np.testing.assert_allclose(found.probabilities[0], expected, atol=1e-5)
    np.testing.assert_allclose(model.with_tta().probabilities([crop])[0], expected, atol=1e-5)


@pytest.mark.slow
def test_a_calibrated_classifier_names_the_same_classes_by_other_probabilities(run, tmp_path, monkeypatch):
    copy = shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("evaluation"))
    with pytest.raises(ValueError, match=rf"8 of 8 crops of val, by {copy}, are right and 0 wrong"):
        tasks.evaluate(copy, "latest", Scored("val", calibrate=True))
    monkeypatch.setattr("wbcjax.evaluate.temperature.LEAST", 0)
    told = plain(*tasks.evaluate(copy, "latest", Scored("val", calibrate=True)))
    assert "; before calibration, by a temperature of " in told
    assert "<td>before</td>" in (copy / "evaluation/val_latest/report.html").read_text()
    before, after = load_classifier(run, "latest"), load_classifier(copy, "latest")
    assert (before.temperature, after.temperature, after.with_tta().temperature) == (1.0, pytest.approx(0.5), 1.0)
    crops = [np.full((20, 20, 3), shade, np.uint8) for shade in (60, 140, 220)]
    squares = before.probabilities(crops).astype(np.float64) ** 2
    np.testing.assert_allclose(
        after.probabilities(crops), squares / squares.sum(axis=1, keepdims=True), rtol=1e-4, atol=1e-12
    )


def test_crops_of_unknown_fields_are_resampled_one_by_one(run, tmp_path):
    others = write_crops(tmp_path / "others", 3)
    (others / "crops.csv").unlink()
    found = scores_of(run, tmp_path / "out", Scored("val", crops=str(others)))
    assert found["groups"] == {}
    assert found["bootstrap"]["units"] == "crops"


def test_a_score_that_validation_does_not_define_is_not_logged():
    one_class = Predictions(("a", "b"), (), np.zeros(2, np.int64), np.array([[0.9, 0.1], [0.4, 0.6]]), CLASSES)
    assert _summary(one_class) == {
        "accuracy": 0.5,
        "loss": pytest.approx(-np.log([0.9, 0.4]).mean()),
        "ece": pytest.approx(0.35),
    }


def test_a_run_is_told_apart_from_one_of_the_other_task(run):
    with pytest.raises(ValueError, match="is a run of classification; give one of detection"):
        wbcjax.load(run)
    with pytest.raises(ValueError, match="is a run of classification: score it on other crops, by --crops"):
        tasks.evaluate(run, "latest", Scored("val", "via.json", "images"))


def test_a_task_that_there_is_not_is_refused():
    config = base.classifier()
    config.task = "regression"
    with pytest.raises(
        ValueError, match=r"config\.task is 'regression': give one of 'detection', 'classification', or a path"
    ):
        tasks.make_task(config)


def test_crops_of_any_number_and_size_are_classified(run):
    model = load_classifier(run, "latest")
    assert model.probabilities([]).shape == (0, 2)
    crops = [np.full((size, size + 3, 3), 200, np.uint8) for size in (1, 9, 80)] * 12
    found = model.probabilities(crops)
    np.testing.assert_allclose(found.sum(axis=1), np.ones(36), atol=1e-5)
    np.testing.assert_allclose(found[:3], found[33:], atol=1e-5)  # of another batch


@pytest.fixture(scope="module")
def named(run, tmp_path_factory) -> Path:
    """What `wbcjax predict` writes of two cells whose colours the segmentation's oracle and the classifier both see."""
    folder = tmp_path_factory.mktemp("named")
    image = paint(96, 96, {(10, 10, 40, 40): 1, (50, 50, 90, 80): 2})
    write_png(folder / "images/a.png", image)
    model = load_classifier(run, "latest")
    model.probabilities = lambda crops: np.array(
        [[0.9, 0.1] if c[c.shape[0] // 2, c.shape[1] // 2, 1] == 1 else [0.2, 0.8] for c in crops]
    )  # type: ignore[method-assign]
    predict_folder(oracle((96, 96), (1.0, 1.0)), folder / "images", folder / "out", 0.5, classifier=model)
    return folder


def test_each_cell_that_is_found_is_named_by_its_crop(named):
    with (named / "out/cells.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["class"], row["named"], row["probability"]) for row in rows] == [
        ("L1", "blast", "0.9000"),
        ("L2", "other", "0.8000"),
    ]


def test_the_names_are_drawn_and_written_as_annotations(named):
    outlines, names = (read_image(named / f"out/{kind}/a.png") for kind in ("outlines", "named"))
    assert not np.array_equal(outlines, names)
    found = read(named / "out/named_via.json", named / "images")
    assert [found.classes[cell.label - 1] for cell in found.fields[0].cells] == ["blast", "other"]
    of_detector = read(named / "out/via.json", named / "images").fields[0]
    for cell, same in zip(found.fields[0].cells, of_detector.cells, strict=True):
        np.testing.assert_array_equal(cell.mask(96, 96), same.mask(96, 96))


def test_nuclei_that_a_detector_finds_are_no_cells_to_name(run, tmp_path):
    write_png(tmp_path / "images/a.png", paint(96, 96, {(10, 10, 60, 60): 1, (70, 20, 90, 40): 2}))
    detector = oracle((96, 96), (1.0, 1.0))
    detector.classes = ("cell", "nucleus")
    model = load_classifier(run, "latest")
    predict_folder(detector, tmp_path / "images", tmp_path / "out", 0.5, classifier=model)
    with (tmp_path / "out/cells.csv").open(newline="") as file:
        named = [(row["class"], row["named"] != "") for row in csv.DictReader(file)]
    assert named == [("cell", True), ("nucleus", False)]
    assert len(read(tmp_path / "out/named_via.json", tmp_path / "images").fields[0].cells) == 1


def test_cells_are_cut_out_as_the_crops_of_the_training_were(run):
    model = load_classifier(run, "latest")
    shown = []
    model.probabilities = lambda crops: shown.extend(crops) or np.tile([0.5, 0.5], (len(shown), 1))  # type: ignore[method-assign]
    image = paint(96, 96, {(30, 30, 50, 50): 1})
    model.name(image, oracle((96, 96), (1.0, 1.0)).detect(image))
    np.testing.assert_array_equal(shown.pop(), image[25:55, 25:55])  # a margin of a quarter of 20 pixels
    model.cut = {"margin": 0.25, "size": 12, "mask_background": False}  # shrunk to it: what is fine was lost
    model.name(image, oracle((96, 96), (1.0, 1.0)).detect(image))
    np.testing.assert_array_equal(shown.pop(), resize(image[25:55, 25:55], 12))


def test_a_classifier_whose_cut_is_half_known_says_what_is_missing(run):
    model = load_classifier(run, "latest")
    model.cut = {"margin": 0.25}
    with pytest.raises(ValueError, match=r"crops\.json of .* training lacks size, mask_background: train"):
        model.cut_settings()


def test_a_classifier_of_crops_of_unknown_cut_names_no_cells(run, tmp_path):
    model = load_classifier(run, "latest")
    model.cut = None
    write_png(tmp_path / "images/a.png", paint(96, 96, {}))
    with pytest.raises(ValueError, match=r"trained on crops without a crops\.json.*wbcjax crop"):
        predict_folder(oracle((96, 96)), tmp_path / "images", tmp_path / "out", 0.5, classifier=model)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_classifier_trains_on_eight_devices_as_on_one(tmp_path):
    """Batch statistics, dropout and stochastic depth included."""
    config = toy_config(write_crops(tmp_path / "crops", 10))
    config.train.optimizer = part("sgd")
    config.train.update({"learning_rate": 0.05, "steps": 2})
    one, eight = (parameters_of_steps(make_task(config), config, 2, devices) for devices in (1, 8))
    moved = jax.tree.map(lambda a, b: float(np.max(np.abs(a - b))), one[0], one[-1])
    apart = jax.tree.map(lambda a, b: float(np.max(np.abs(a - b))), one[-1], eight[-1])
    assert max(jax.tree.leaves(moved)) > 1e-3, "the steps must have changed something"
    assert max(jax.tree.leaves(apart)) < 1e-5


@pytest.mark.parametrize(("variant", "parameters"), [("b3", 11_003_434), ("b0_small", 4_010_110)])
def test_the_configs_describe_the_networks_that_they_name(variant, parameters):
    config = myeloma_efficientnet_b3.get_config(variant)
    checked(TrainSettings, config.train, "config.train")
    model = efficientnet.build(model_of(config), len(config.dataset.classes))
    assert (
        crop_classifier(live_network(model_of(config), CLASSES), CropSetSettings.from_config(config.dataset)).classes
        == config.dataset.classes
    )
    wanted = efficientnet.shapes(model, tuple(config.dataset.canvas))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(wanted)) == parameters


def test_a_variant_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="b9 is unknown; choose one of b3, b0_small"):
        myeloma_efficientnet_b3.get_config("b9")


def test_unknown_settings_of_the_model_are_refused_by_name(tmp_path):
    config = toy_config(tmp_path)
    with config.unlocked():
        config.model.heads = 3
    with pytest.raises(ValueError, match=r"config\.model\.heads is unknown"):
        make_task(config)
