"""From a config to trained weights, scores, pictures and predictions: the whole way, at toy size."""

import copy
import dataclasses
import functools
import importlib
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

import wbcjax
from tests.evaluate.make import annotated, detected
from tests.experiments import model_of, scores_of
from tests.input.sets import write_format
from tests.train.steps import parameters_of_steps
from wbcjax import cli
from wbcjax.configs import base, smear_demo
from wbcjax.evaluate import detections as saved
from wbcjax.evaluate.detections import FieldDetections, annotate
from wbcjax.evaluate.scores import write_json
from wbcjax.input.field_set import sources
from wbcjax.input.settings import FieldSetSettings
from wbcjax.models import mask_rcnn
from wbcjax.predict.detector import predictor
from wbcjax.runs.data_note import note_in, refuse_forgotten
from wbcjax.runs.folder import load_config, load_facts
from wbcjax.settings.checked import checked
from wbcjax.settings.parts import part
from wbcjax.smear import synthetic
from wbcjax.smear.field import read_image
from wbcjax.smear.paste import patch_rle
from wbcjax.system.files import write_png
from wbcjax.system.terminal import plain
from wbcjax.tasks import choose as tasks
from wbcjax.tasks.choose import make_task, train
from wbcjax.tasks.detection import all_scores, all_tables
from wbcjax.tasks.experiment import Scored
from wbcjax.train.plan import plan_run
from wbcjax.train.settings import TrainSettings

CANVAS = (128, 128)


def toy_config() -> ConfigDict:
    config = smear_demo.get_config()
    config.dataset.synthetic.update({"count": 12, "height": 96, "width": 128})
    config.dataset.canvas = CANVAS
    config.model.backbone.width = 8
    for module in (config.model.fpn, config.model.rpn, config.model.box_head, config.model.mask_head):
        module.channels = 16
    config.model.mask_head.bins = 7
    config.train.update({"batch_size": 8, "epochs": 0.0, "steps": 2, "log_every": 1})
    return config


def write_via(folder: Path, count: int, seed: int) -> None:
    """Drawn fields as a user would bring them: images, and outlines in a VIA file."""
    (folder / "images").mkdir(parents=True)
    entries = {}
    for field in synthetic.fields(synthetic.SyntheticSmear(height=96, width=128), count, seed):
        write_png(folder / "images" / field.name, field.image())
        regions = []
        for cell in field.cells:
            outlines, _ = cv2.findContours(cell.mask(96, 128), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            x, y = max(outlines, key=len)[:, 0].T
            shape = {"name": "polygon", "all_points_x": x.tolist(), "all_points_y": y.tolist()}
            region = {"cell": synthetic.CLASSES[cell.label - 1]}
            regions.append({"shape_attributes": shape, "region_attributes": region})
        entries[field.name] = {"filename": field.name, "size": 0, "regions": regions, "file_attributes": {}}
    (folder / "via.json").write_text(json.dumps(entries))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workdir of a run of two steps on eight devices, on annotated files."""
    folder = tmp_path_factory.mktemp("run")
    write_via(folder / "data", 12, seed=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WBCJAX_CACHE", str(folder / "cache"))
        config = toy_config()
        config.dataset.name = "via"
        config.dataset.annotations = str(folder / "data/via.json")
        config.dataset.images = str(folder / "data/images")
        task = make_task(config)
        assert train(config, dataclasses.replace(task, losses=count_traces(task.losses)), folder / "toy") is None
    return folder / "toy"


TRACES: list[str] = []


def count_traces(losses):
    """`losses`, noting each time that JAX traces it: compiled code never comes here."""

    @functools.wraps(losses)
    def noted(*arguments):
        TRACES.append("losses")
        return losses(*arguments)

    return noted


@pytest.fixture(autouse=True)
def _cache(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WBCJAX_CACHE", str(run.parent / "cache"))


def test_a_run_leaves_its_config_and_every_loss_of_every_step(run):
    assert json.loads((run / "config.json").read_text())["dataset"]["canvas"] == list(CANVAS)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if record["kind"] == "train"]
    assert [record["step"] for record in steps] == [1, 2]
    for record in steps:
        parts = [record[name] for name in ("rpn_objectness", "rpn_box", "class", "box", "mask")]
        assert record["loss"] == pytest.approx(sum(parts), rel=1e-5)
    assert any(record["kind"] == "eval" and "mask/AP" in record for record in records)


def test_a_run_notes_at_which_scale_it_saw_its_fields_and_prediction_keeps_to_it(run):
    assert load_facts(run)["scale"] == [1.0, 1.0]  # 96 x 128 on 128 x 128
    assert wbcjax.load(run, which="latest").scales == (1.0, 1.0)


def test_a_run_notes_how_large_its_cells_are_and_no_pixel_size_where_none_is_known(run):
    facts, model = load_facts(run), wbcjax.load(run, which="latest")
    train = sources(FieldSetSettings.from_config(load_config(run).dataset))["train"]
    sides = [side for i in range(len(train)) for side in train.measures[i].sides]
    assert facts["cell_sides"] == pytest.approx(np.percentile(sides, (5, 50, 95)).tolist())
    assert (facts["pixel_size"], model.pixel_size, model.cell_sides) == (0.0, 0.0, tuple(facts["cell_sides"]))


def test_all_training_steps_run_one_compilation(run):
    assert len(TRACES) == 1


def test_an_evaluation_can_be_scored_again_without_the_model(run, tmp_path):
    found = scores_of(run, tmp_path)
    _, annotations, detections = saved.load(tmp_path / "detections.json")
    again = all_scores(annotations, detections, FieldSetSettings.from_config(load_config(run).dataset), 0.5) | {
        "scored": found["scored"]
    }
    write_json(tmp_path / "again.json", again)
    assert json.loads((tmp_path / "again.json").read_text()) == json.loads((tmp_path / "scores.json").read_text())
    text = plain(*all_tables(found))
    assert plain(*all_tables(again)) == text
    assert "Subtype of images by the vote of their cells" in text
    assert "Revanda et al., EFF, on their images" in text
    assert found["counts"]["fields"] == 3  # a quarter of twelve
    assert (tmp_path / "report.html").is_file()  # of no evaluation of the run's own folder
    assert read_image(tmp_path / "contact_sheet.png").std() > 0, "something is drawn"


def test_a_field_with_more_cells_than_max_cells_is_refused_naming_every_limit_that_must_move(tmp_path, monkeypatch):
    monkeypatch.setenv("WBCJAX_CACHE", str(tmp_path / "cache"))
    config = toy_config()
    config.dataset.synthetic.update({"count": 4, "cells": (6, 6), "empty": 0.0})
    config.dataset.max_cells = 2
    config.model.detection.per_image = 4
    with pytest.raises(
        ValueError, match=r"dataset\.max_cells is 2; set it to \d or more, for\n  synthetic_"
    ) as refused:
        make_task(config)
    assert "--config.model.detection.per_image=" in str(refused.value)


def drawn_run(run: Path, folder: Path, **synthetic) -> Path:
    """A copy of the run whose config says that its fields were drawn; its weights do."""
    shutil.copytree(run, folder)
    config = json.loads((run / "config.json").read_text())
    config["dataset"]["name"] = "synthetic"
    config["dataset"]["synthetic"] |= synthetic
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(("subtypes", "voted"), [([], False), ([4, 4, 4], True)])
def test_drawn_images_vote_only_where_they_are_of_patients_and_never_beside_the_paper(run, tmp_path, subtypes, voted):
    config = load_config(drawn_run(run, tmp_path / "drawn", subtypes=subtypes))
    fields = [annotated([((0, 0, 10, 10), 1)])], [detected([((0, 0, 10, 10), 1, 0.99)])]
    found = all_scores(*fields, FieldSetSettings.from_config(config.dataset), 0.5)
    text = " ".join(plain(*all_tables(found)).split())
    assert ("images" in found) == ("by the vote of their cells" in text) == voted
    assert ("no subtype of images: these drawn fields mix cells of every subtype by chance" in text) != voted
    assert "Revanda" not in text


def test_a_set_without_subtypes_says_that_no_cell_votes(run):
    config = load_config(run)
    config.dataset.classes = ("myeloma", "nucleus")
    found = all_scores([annotated([])], [detected([])], FieldSetSettings.from_config(config.dataset), 0.5)
    assert "no subtype of images: no class is one of L1, L2, L3, so that no cell votes" in plain(*all_tables(found))


def test_one_subtype_alone_is_not_voted_on(run):
    config = load_config(run)
    config.dataset.classes = ("L2", "other")
    found = all_scores([annotated([])], [detected([])], FieldSetSettings.from_config(config.dataset), 0.5)
    assert found["without_votes"] == "of L1, L2, L3 there is L2 alone, for which every cell would vote"


def test_a_run_is_scored_on_annotated_fields_that_it_never_saw(run, tmp_path):
    write_via(tmp_path / "other", 5, seed=100)
    places = str(tmp_path / "other/via.json"), str(tmp_path / "other/images")
    found = scores_of(run, tmp_path / "out", Scored("val", *places))
    _, annotations, _ = saved.load(tmp_path / "out/detections.json")
    assert [field.name for field in annotations] == [f"synthetic_{seed:05d}.png" for seed in range(100, 105)]
    assert found["counts"]["fields"] == 5


def test_fields_that_a_run_was_trained_on_are_not_scored_under_another_name_or_in_another_file(run, tmp_path, caplog):
    write_via(tmp_path / "other", 14, seed=0)  # the run's 12 fields, and two more
    entries = json.loads((tmp_path / "other/via.json").read_text())
    for name in list(entries):
        (tmp_path / "other/images" / name).rename(tmp_path / f"other/images/renamed_{name}")
        entries[name]["filename"] = f"renamed_{name}"
    (tmp_path / "other/via.json").write_text(json.dumps(entries))
    places = str(tmp_path / "other/via.json"), str(tmp_path / "other/images")
    found = scores_of(run, tmp_path / "out", Scored("val", *places))
    assert found["counts"]["fields"] == 5  # the three that validated, and those two
    assert found["scored"]["left_out"] == 9
    assert json.loads((tmp_path / "out/scores.json").read_text())["scored"] == found["scored"]
    assert (
        f"5 fields of {places[0]}, none of which the model was trained on" in (tmp_path / "out/report.html").read_text()
    )
    assert "9 of 14 left out, as the run has seen them: 9 by the image (renamed_" in caplog.text
    assert "3 of 5 were validated on" in caplog.text


def test_a_run_says_what_it_scored_and_has_no_test_part_that_nobody_asked_for(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    in_words, scored, *_ = tasks.evaluate(copy, "latest")
    assert isinstance(in_words, list)
    assert in_words[0].startswith("Found ")
    assert str(scored).startswith("Scored: the 3 fields of val, which neither trained")
    with pytest.raises(ValueError, match="have no part 'test'; they have train, val"):
        tasks.evaluate(copy, "latest", Scored("test"))


def test_a_task_for_a_begun_run_validates_on_nothing_that_it_was_trained_on(run):
    config = load_config(run)
    config.dataset.split.seed = 5  # another split, as a set that grew has it
    before = note_in(load_facts(run), run)
    assert before is not None
    trained = {item.name for item in before.seen("train")}
    now = set(sources(FieldSetSettings.from_config(config.dataset))["val"].names)
    assert now & trained
    noted = note_in(make_task(config, run).facts, run)
    assert noted is not None
    assert {item.name for item in noted.seen("train")} > trained
    with pytest.raises(ValueError, match=r"make the task by make_task\(config, workdir\)"):
        refuse_forgotten(make_task(config).facts, run)


@pytest.mark.slow
def test_test_time_augmentation_has_its_own_folder_and_prints_every_score(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("evaluation"))
    told = plain(*tasks.evaluate(copy, "latest", Scored("val", tta=True)))
    assert "chose this checkpoint, the latest. Asked for each image in 10 views." in told
    assert "SegPC mIoU" in told
    assert "expected calibration error" in told
    assert [path.name for path in (copy / "evaluation").iterdir()] == ["val_tta_latest"]
    found = json.loads((copy / "evaluation/val_tta_latest/scores.json").read_text())
    assert found["counts"]["fields"] == 3
    assert "segpc_miou" in found["cells"]["segmentation"]


@pytest.mark.slow
def test_runs_asked_together_are_scored_on_what_none_of_them_has_seen(run, tmp_path):
    fold = shutil.copytree(run, tmp_path / "fold", ignore=shutil.ignore_patterns("evaluation"))
    together = Scored("val", with_runs=(fold,))
    found = scores_of(run, tmp_path / "both", together)
    assert found["counts"]["fields"] == 3
    assert found["scored"]["sentence"].endswith(f"the latest. Asked together: {run}, {fold}.")

    facts = json.loads((fold / "data.json").read_text())
    parts = facts["data"]["parts"]
    parts["train"].append(parts["val"].pop())
    (fold / "data.json").write_text(json.dumps(facts))
    found = scores_of(run, tmp_path / "less", together)
    assert (found["counts"]["fields"], found["scored"]["left_out"]) == (2, 1)
    parts["train"] += parts["val"]
    (fold / "data.json").write_text(json.dumps(facts))
    with pytest.raises(ValueError, match=rf"val for {fold}: 3 of 3 left out, .* Nothing is left to score"):
        scores_of(run, tmp_path / "none", together)


def test_runs_that_cannot_be_asked_together_are_refused_by_name(run, tmp_path):
    other = shutil.copytree(run, tmp_path / "other", ignore=shutil.ignore_patterns("evaluation"))
    config = json.loads((other / "config.json").read_text())
    config["dataset"]["enhance"] = "he"
    (other / "config.json").write_text(json.dumps(config))
    together = Scored("val", with_runs=(other,))
    with pytest.raises(ValueError, match=rf"{other} was trained on images enhanced by 'he', {run} by 'none'"):
        tasks.evaluate(run, "latest", together)
    (other / "config.json").write_text(json.dumps(config | {"task": "classification"}))
    with pytest.raises(ValueError, match=rf"{other} is a run of classification; give one of detection"):
        tasks.evaluate(run, "latest", together)
    with pytest.raises(FileNotFoundError, match=r"absent/config\.json does not exist"):
        tasks.evaluate(run, "latest", Scored("val", with_runs=(tmp_path / "absent",)))


def found_too_surely(model: Any, fields: Any) -> tuple[list, list]:
    """Every cell, at a score of 0.95, and as often a corner of its field: what `model` makes of them."""
    pairs = []
    for field in map(fields.field, range(len(fields))):
        cells = annotate(field.name, field.height, field.width, field.cells)
        corner = patch_rle(np.ones((2, 2), np.uint8), 0, 0, field.height, field.width)
        count = len(cells.labels)
        found = FieldDetections(
            field.name,
            field.height,
            field.width,
            np.concatenate([cells.boxes, np.tile(np.array([0, 0, 2, 2], np.float32), (count, 1))]),
            np.tile(cells.labels, 2),
            np.full(2 * count, 0.95, np.float32),
            [*cells.rles, *count * [corner]],
        )
        pairs.append((cells, model.calibrated(found)))
    return [cells for cells, _ in pairs], [found for _, found in pairs]


@pytest.mark.slow
def test_a_calibrated_run_scores_and_predicts_by_its_temperature_from_then_on(run, tmp_path, monkeypatch):
    monkeypatch.setattr("wbcjax.tasks.detection.detect_split", found_too_surely)
    monkeypatch.setattr("wbcjax.evaluate.temperature.LEAST", 2)
    copy = shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("evaluation"))
    before = scores_of(copy, tmp_path / "before")
    assert "uncalibrated" not in before
    assert before["cells"]["calibration"]["ece"] == pytest.approx(0.45)
    told = plain(*tasks.evaluate(copy, "latest", Scored("", calibrate=True)))
    assert "before calibration, by a temperature of 10.000, 0.4500" in told  # half are right: the highest there is
    (noted,) = json.loads((copy / "calibration.json").read_text()).values()
    assert noted == {"plain": {"temperature": pytest.approx(10), "fitted_on": noted["plain"]["fitted_on"]}}
    page = (copy / "evaluation/val_latest/report.html").read_text()
    assert "Expected calibration error (ECE)" in page
    assert "<td>before</td>" in page

    after = scores_of(copy, tmp_path / "after")
    assert after["uncalibrated"]["temperature"] == pytest.approx(10)
    assert after["uncalibrated"]["ece"] == pytest.approx(0.45)
    score = 1 / (1 + 19**-0.1)  # of 0.95, whose odds are 19
    assert after["cells"]["calibration"]["ece"] == pytest.approx(score - 0.5, abs=1e-6)
    assert str(after["mask"]) == str(before["mask"])
    assert str(after["box"]) == str(before["box"])
    model = wbcjax.load(copy, which="latest")
    assert (model.temperature, model.tta_temperature) == (pytest.approx(10), 1.0)


def test_a_set_too_small_or_of_another_part_calibrates_nothing(run, tmp_path):
    with pytest.raises(ValueError, match=rf"detections of val, by {run}, are right .* takes 10 of each"):
        tasks.evaluate(run, "latest", Scored("val", calibrate=True), out=str(tmp_path / "out"))
    assert not (run / "calibration.json").exists()
    with pytest.raises(ValueError, match=f"{run} is calibrated on its own part val: score it on other data by a call"):
        tasks.evaluate(run, "latest", Scored("train", calibrate=True))
    with pytest.raises(ValueError, match=f"a temperature is kept with one run: calibrate {run} alone"):
        tasks.evaluate(run, "latest", Scored("val", with_runs=(run.parent / "toy",), calibrate=True))


def test_a_run_on_files_is_not_scored_on_drawn_fields(run, tmp_path):
    with pytest.raises(ValueError, match="was not trained on drawn fields: give --annotations"):
        scores_of(run, tmp_path, Scored("val", drawn_seed=7))


@pytest.mark.slow
def test_a_run_on_drawn_fields_is_scored_on_others_only(run, tmp_path):
    drawn = drawn_run(run, tmp_path / "drawn")
    for seed in (0, 11):
        with pytest.raises(ValueError, match=f"drawn_seed {seed} draws fields that .* was trained on"):
            scores_of(drawn, tmp_path / "out", Scored("val", drawn_seed=seed))
    with pytest.raises(ValueError, match="score it on others of these, by --drawn_seed"):
        scores_of(drawn, tmp_path / "out", Scored("val", "via.json", "images"))
    scores_of(drawn, tmp_path / "out", Scored("val", drawn_seed=12))
    _, annotations, _ = saved.load(tmp_path / "out/detections.json")
    assert [field.name for field in annotations] == [f"synthetic_{seed:05d}.png" for seed in range(12, 24)]


def test_predict_finds_cells_in_images_of_any_size_with_one_compilation(run):
    model = wbcjax.load(run, which="latest")
    rng = np.random.default_rng(0)
    for height, width in [(96, 128), (300, 100), (31, 500), (1, 1)]:
        found = model.detect(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        assert (found.height, found.width) == (height, width)
        assert np.all(found.boxes >= 0)
        assert np.all(found.boxes <= [width, height, width, height])
    assert model.network.compiled.compilations == 1


def test_predict_refuses_what_is_no_rgb_image_by_name(run, unchecked_types):
    model: Any = wbcjax.load(run, which="latest")
    for wrong in (None, run / "a.png", [[1, 2, 3]], np.zeros((4, 4), np.uint8)):
        with pytest.raises(ValueError, match=r"smear\.png: needs RGB as \(height, width, 3\) uint8, got "):
            model.detect(wrong, "smear.png")
        with pytest.raises(ValueError, match=r"smear\.png: needs RGB"):
            list(model.detect_each([("smear.png", wrong)]))
    with pytest.raises(ValueError, match="detect_each needs pairs of a name and an image, got ndarray"):
        list(model.detect_each([np.zeros((4, 4, 3), np.uint8)]))


@pytest.mark.slow
def test_a_copy_and_a_pickle_of_a_predictor_find_the_same_cells(run):
    model = wbcjax.load(run, which="latest")
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    found = model.detect(image)  # its weights are on the devices, its network compiled
    assert len(found.scores)
    for same in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        again = same.detect(image)
        np.testing.assert_array_equal(again.boxes, found.boxes)
        np.testing.assert_array_equal(again.scores, found.scores)
        assert again.rles == found.rles
        assert same.classes == model.classes
    assert model.network.compiled.compilations == 1


@pytest.mark.slow
def test_the_command_says_how_many_cells_it_found_and_at_which_scale(run, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    for name, height in (("a.png", 60), ("b.jpg", 200)):
        cv2.imwrite(str(images / name), np.full((height, 80, 3), 200, np.uint8))
    out = tmp_path / "out"
    command = ["predict", str(run), str(images), "--out", str(out), "--checkpoint", "latest", "--min-score", "0"]
    cli.main(command)
    written = json.loads((out / "predictions.json").read_text())
    assert [image["file_name"] for image in written["images"]] == ["a.png", "b.jpg"]
    assert [category["name"] for category in written["categories"]] == ["L1", "L2", "L3"]
    cells = len((out / "cells.csv").read_text().splitlines()) - 1
    assert f"{cells} cells in 2 images at scale 1, 1 of them in tiles" in capsys.readouterr().out
    cli.main([*command, "--scale", "0.5", "--out", str(tmp_path / "halved")])
    assert "cells in 2 images at scale 0.5\n" in capsys.readouterr().out


def test_the_command_refuses_to_draw_over_the_images_it_reads(run, tmp_path):
    image = tmp_path / "a.png"
    cv2.imwrite(str(image), np.full((60, 80, 3), 200, np.uint8))
    before = image.read_bytes()
    for images in (tmp_path, image):
        with pytest.raises(SystemExit, match="choose another folder"):
            cli.main(["predict", str(run), str(images), "--out", str(tmp_path), "--checkpoint", "latest"])
    assert image.read_bytes() == before


def test_the_command_ends_in_failure_when_an_image_was_not_read_and_names_it(run, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    for name in ("a.png", "c.png"):
        cv2.imwrite(str(images / name), np.full((60, 80, 3), 200, np.uint8))
    (images / "b.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    with pytest.raises(SystemExit, match=r"1 image could not be processed:\n.*b\.png: not an image"):
        cli.main(["predict", str(run), str(images), "--out", str(out), "--checkpoint", "latest"])
    written = json.loads((out / "predictions.json").read_text())
    assert [image["file_name"] for image in written["images"]] == ["a.png", "c.png"]
    assert "cells in 2 images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("images", "message"),
    [("absent", "no image there"), ("twice", "differ in suffix only"), ("broken.png", r"broken\.png")],
)
def test_the_command_says_what_is_wrong_with_the_images(run, tmp_path, images, message):
    (tmp_path / "twice").mkdir()
    for name in ("twice/a.png", "twice/a.jpg"):
        cv2.imwrite(str(tmp_path / name), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(SystemExit, match=message):
        cli.main(["predict", str(run), str(tmp_path / images), "--out", str(tmp_path / "out")])


@pytest.mark.parametrize("scale", ["0", "-1", "inf", "nan", "much"])
def test_a_scale_that_is_none_is_refused(run, tmp_path, scale, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["predict", str(run), str(tmp_path), "--out", str(tmp_path / "out"), "--scale", scale])
    assert "--scale" in capsys.readouterr().err


def test_a_workdir_without_a_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json does not exist: give the workdir"):
        wbcjax.load(tmp_path)


@pytest.mark.parametrize(("name", "best_score"), [("voc", "box/AP"), ("label_images", "mask/AP")])
def test_the_best_checkpoint_is_chosen_by_boxes_where_nothing_is_outlined(tmp_path, monkeypatch, name, best_score):
    monkeypatch.setenv("WBCJAX_CACHE", str(tmp_path / "cache"))
    config = toy_config()
    dataset = write_format(tmp_path, name)
    for file in Path(dataset.annotations).glob("a.*"):  # the field with a cell: the other one gets the same
        file.with_stem("b").write_bytes(file.read_bytes().replace(b"a.png", b"b.png"))
    config.dataset.update(dataclasses.asdict(dataset))
    config.dataset.split.val_names = ("a.png",)
    assert make_task(config).best_score == best_score


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["shard_map", "pmap"])
def test_mask_rcnn_trains_on_eight_devices_as_on_one(parallel):
    """The figure of the issue: SGD, three steps, parameters within 1e-5, the same step under pmap."""
    config = toy_config()
    config.dataset.synthetic.seed = 5000  # with seed 0 rounding decides which RoI is drawn in step 3 (1.5e-5 apart)
    config.train.optimizer = part("sgd")
    config.train.update({"learning_rate": 0.02, "warmup_steps": 0, "parallel": parallel, "steps": 3})
    one, eight = (parameters_of_steps(make_task(config), config, 3, devices) for devices in (1, 8))
    moved = jax.tree.map(lambda a, b: float(np.max(np.abs(a - b))), one[0], one[-1])
    apart = jax.tree.map(lambda a, b: float(np.max(np.abs(a - b))), one[-1], eight[-1])
    assert max(jax.tree.leaves(moved)) > 1e-3, "the steps must have changed something"
    assert max(jax.tree.leaves(apart)) < 1e-5


CONFIGS = {
    "smear_demo": ((), 18),
    "segpc_mask_rcnn": (("r18",), 18),
    "segpc_mask_rcnn:middle": (("r18_middle",), 18),
    "segpc_mask_rcnn:quick": (("r18_quick",), 18),
    "segpc_mask_rcnn:r34": (("r34",), 34),
    "segpc_mask_rcnn:r50": (("r50",), 50),
    "segpc_nucleus": ((), 18),
    "all_synthetic": ((), 18),
    "all_mask_rcnn": ((), 101),
    "myeloma_mask_rcnn": ((), 101),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_describes_a_model_that_takes_its_canvas_and_a_run_that_can_be_planned(name):
    variant, depth = CONFIGS[name]
    config = importlib.import_module(f"wbcjax.configs.{name.partition(':')[0]}").get_config(*variant)
    assert set(config) == set(base.mask_rcnn()), "base.py names every key of an experiment"
    assert plan_run(checked(TrainSettings, config.train, "config.train"), 200).steps > 0
    assert predictor(model_of(config), FieldSetSettings.from_config(config.dataset)).classes == tuple(
        config.dataset.classes
    )
    model = mask_rcnn.build(model_of(config), len(config.dataset.classes) + 1)
    assert model.settings.backbone.depth == depth

    image = jax.ShapeDtypeStruct((1, *config.dataset.canvas, 3), np.uint8)
    size = jax.ShapeDtypeStruct((1, 2), np.float32)
    variables = jax.eval_shape(lambda: mask_rcnn.init(model, 0))
    found = jax.eval_shape(lambda v, i, s: model.apply(v, i, s, method="predict"), variables, image, size)
    assert found.boxes.shape == (1, config.model.detection.per_image, 4)


@pytest.mark.parametrize("canvas", [(200, 256), (32, 48)])
def test_a_canvas_that_the_pyramid_cannot_halve_is_refused(canvas):
    config = toy_config()
    config.dataset.canvas = canvas
    with pytest.raises(ValueError, match=r"config\.dataset\.canvas is .* multiples of 32"):
        predictor(model_of(config), FieldSetSettings.from_config(config.dataset))
